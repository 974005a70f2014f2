#include "cublas_product.h"

namespace moesim::calibrate {

namespace {

void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const auto& value) {
  BLAS_TRY(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value));
}

cublasLtMatrixLayout_t layout(cudaDataType type, std::int64_t rows, std::int64_t columns, std::int64_t pitch,
                              std::int64_t batch, std::int64_t stride) {
  cublasLtMatrixLayout_t result = nullptr;
  BLAS_TRY(cublasLtMatrixLayoutCreate(&result, type, static_cast<std::uint64_t>(rows),
                                      static_cast<std::uint64_t>(columns), pitch));
  if (batch > 1) {
    const auto count = static_cast<std::int32_t>(batch);
    BLAS_TRY(cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    BLAS_TRY(
        cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
  }
  return result;
}

}  // namespace

// The library counts columns first: what is w[n, k] and x[m, k] by rows is w^T, x of n and m columns to it, and y[m, n]
// by rows is the n x m matrix w x^T.
CublasProduct::CublasProduct(const Machine& machine, const ProductShape& shape)
    : machine_(machine), fp8_(shape.precision == Precision::fp8) {
  try {
    const cudaDataType type = fp8_ ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    BLAS_TRY(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (fp8_) {
      // The algorithm is chosen for an operation with scales; where they are comes with each start.
      const void* const somewhere = machine.workspace();
      set(operation_, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, somewhere);
      set(operation_, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, somewhere);
      set(operation_, CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
    }
    w_ = layout(type, shape.k, shape.n, shape.k, shape.batch, shape.w_stride);
    x_ = layout(type, shape.k, shape.m, shape.x_pitch > 0 ? shape.x_pitch : shape.k, shape.batch, shape.x_stride);
    y_ =
        layout(CUDA_R_16BF, shape.n, shape.m, shape.y_pitch > 0 ? shape.y_pitch : shape.n, shape.batch, shape.y_stride);

    cublasLtMatmulPreference_t preference = nullptr;
    BLAS_TRY(cublasLtMatmulPreferenceCreate(&preference));
    const std::size_t bytes = machine.workspace_bytes();
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                 &bytes, sizeof bytes);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = cublasLtMatmulAlgoGetHeuristic(machine.lt(), operation_, w_, x_, y_, y_, preference, 1, &found, &count);
    }
    cublasLtMatmulPreferenceDestroy(preference);
    BLAS_TRY(status);
    if (count == 0) throw RowError(Failure::Kind::not_supported, "cublasLt has no algorithm for this product");
    algorithm_ = found.algo;
  } catch (...) {
    release();
    throw;
  }
}

CublasProduct::~CublasProduct() {
  release();
}
void CublasProduct::release() {
  for (const cublasLtMatrixLayout_t matrix : {x_, w_, y_}) {
    if (matrix != nullptr) cublasLtMatrixLayoutDestroy(matrix);
  }
  if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
}

void CublasProduct::enqueue(const void* x, const void* w, Bf16* y, const float* x_scale, const float* w_scale) const {
  if (fp8_) {
    set(operation_, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w_scale);
    set(operation_, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, x_scale);
  }
  const float one = 1, zero = 0;
  BLAS_TRY(cublasLtMatmul(machine_.lt(), operation_, &one, w, w_, x, x_, &zero, y, y_, y, y_, &algorithm_,
                          machine_.workspace(), machine_.workspace_bytes(), machine_.stream()));
}

}  // namespace moesim::calibrate
