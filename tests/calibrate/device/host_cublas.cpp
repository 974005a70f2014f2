// The functions of cuBLAS and cublasLt that calibrate/device calls, on the host: products with the first operand
// transposed, columns first, as their documentation has it.

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "number_formats.h"

namespace {

using moesim::calibrate::Bf16;
using moesim::calibrate::Fp8;

struct Operation {
  std::map<cublasLtMatmulDescAttributes_t, std::int64_t> attributes;
};
struct Matrix {
  cudaDataType type;
  std::int64_t rows, columns, pitch;
  std::int64_t batch = 1, stride = 0;
};

float element(const void* data, cudaDataType type, std::int64_t i) {
  return type == CUDA_R_16BF ? to_float(static_cast<const Bf16*>(data)[i]) : to_float(static_cast<const Fp8*>(data)[i]);
}

struct Operand {
  const void* data;
  std::int64_t pitch, start;
};

/// c[i, j] = scale sum_l a[l, i] b[l, j].
void multiply(std::int64_t m, std::int64_t n, std::int64_t k, cudaDataType type, const Operand& a, const Operand& b,
              const Operand& c, float scale) {
  auto* const out = static_cast<Bf16*>(const_cast<void*>(c.data));
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < m; ++i) {
      float sum = 0;
      for (std::int64_t l = 0; l < k; ++l) {
        sum += element(a.data, type, a.start + l + i * a.pitch) * element(b.data, type, b.start + l + j * b.pitch);
      }
      out[c.start + i + j * c.pitch] = moesim::calibrate::to_bf16(sum * scale);
    }
  }
}

/// What the pointer in an attribute points to.
float scale_at(const Operation& operation, cublasLtMatmulDescAttributes_t attribute) {
  return *reinterpret_cast<const float*>(operation.attributes.at(attribute));
}

template <class Handle, class Object>
cublasStatus_t give(Handle* handle, Object* object) {
  *handle = reinterpret_cast<Handle>(object);
  return CUBLAS_STATUS_SUCCESS;
}
char something;

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return give(handle, &something);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) {
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusString(cublasStatus_t) {
  return "an error";
}
cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  return give(handle, &something);
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, std::size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t, cudaDataType_t) {
  return give(operation, new Operation);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete reinterpret_cast<Operation*>(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  std::int64_t bits = 0;
  std::memcpy(&bits, value, bytes);
  reinterpret_cast<Operation*>(operation)->attributes[attribute] = bits;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* matrix, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t pitch) {
  return give(matrix, new Matrix{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), pitch});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matrix) {
  delete reinterpret_cast<Matrix*>(matrix);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t matrix,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  auto* const target = reinterpret_cast<Matrix*>(matrix);
  std::int64_t bits = 0;
  std::memcpy(&bits, value, bytes);
  (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? target->batch : target->stride) = bits;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return give(preference, &something);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, std::size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t*,
                                              int* count) {
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void*, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void*, const void*, cublasLtMatrixLayout_t, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void*, std::size_t,
                              cudaStream_t) {
  const auto& operation = *reinterpret_cast<const Operation*>(description);
  const auto& left = *reinterpret_cast<const Matrix*>(a_layout);
  const auto& right = *reinterpret_cast<const Matrix*>(b_layout);
  const auto& out = *reinterpret_cast<const Matrix*>(d_layout);
  if (operation.attributes.at(CUBLASLT_MATMUL_DESC_TRANSA) != CUBLAS_OP_T ||
      operation.attributes.at(CUBLASLT_MATMUL_DESC_TRANSB) != CUBLAS_OP_N || left.rows != right.rows ||
      out.rows != left.columns || out.columns != right.columns) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  float scale = 1;
  if (left.type == CUDA_R_8F_E4M3) {
    scale = scale_at(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER) *
            scale_at(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
  }
  for (std::int64_t i = 0; i < left.batch; ++i) {
    multiply(out.rows, out.columns, left.rows, left.type, {a, left.pitch, i * left.stride},
             {b, right.pitch, i * right.stride}, {d, out.pitch, i * out.stride}, scale);
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmGroupedBatchedEx(cublasHandle_t, const cublasOperation_t*, const cublasOperation_t*,
                                          const int* m, const int* n, const int* k, const void*, const void* const* a,
                                          cudaDataType_t type, const int* a_pitch, const void* const* b, cudaDataType_t,
                                          const int* b_pitch, const void*, void* const* c, cudaDataType_t,
                                          const int* c_pitch, int groups, const int* sizes, cublasComputeType_t) {
  int product = 0;
  for (int g = 0; g < groups; ++g) {
    for (int i = 0; i < sizes[g]; ++i, ++product) {
      multiply(m[g], n[g], k[g], type, {a[product], a_pitch[g], 0}, {b[product], b_pitch[g], 0},
               {c[product], c_pitch[g], 0}, 1);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
