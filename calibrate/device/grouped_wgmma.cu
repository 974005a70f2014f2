// Start of the grouped product by wgmma. Compiled for sm_90a alone.

#include "grouped_wgmma.cuh"

#include <cudaTypedefs.h>

#include <algorithm>
#include <initializer_list>
#include <string>

#include "cuda_error.h"
#include "launches.h"

namespace moesim::calibrate {

namespace {

/// The driver's function, without linking the driver.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static PFN_cuTensorMapEncodeTiled_v12000 function = [] {
    void* symbol = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess || symbol == nullptr) {
      throw RowError(Failure::Kind::not_supported, "the driver has no tensor maps");
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(symbol);
  }();
  return function;
}

/// [extents[0] (contiguous), ...] in boxes of 128 bytes x 128 (x 1), swizzled by 128 bytes, zeros beyond the edges.
template <class Element>
TensorMap tensor_map(const Element* data, std::initializer_list<std::uint64_t> extents) {
  TensorMap map;
  cuuint64_t sizes[3], strides[2];
  cuuint32_t box[3] = {128 / sizeof(Element), kWgmmaRows, 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  std::copy(extents.begin(), extents.end(), sizes);
  strides[0] = sizes[0] * sizeof(Element);
  strides[1] = strides[0] * sizes[1];
  const CUtensorMapDataType type =
      sizeof(Element) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  const CUresult result =
      encoder()(&map, type, static_cast<cuuint32_t>(extents.size()), const_cast<Element*>(data), sizes, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw RowError(Failure::Kind::failed_call, "cuTensorMapEncodeTiled: error " + std::to_string(result));
  }
  return map;
}

}  // namespace

template <class Element>
void launch_grouped_wgmma(const GroupedProduct<Element>& product, std::int64_t rows, int multiprocessors,
                          cudaStream_t stream) {
  static const cudaError_t allowed =
      cudaFuncSetAttribute(grouped_wgmma<Element>, cudaFuncAttributeMaxDynamicSharedMemorySize, kWgmmaSharedBytes);
  cuda_check(allowed, "grouped_wgmma: shared memory");
  const auto k = static_cast<std::uint64_t>(product.k);
  const TensorMap rows_map = tensor_map(product.rows, {k, static_cast<std::uint64_t>(rows)});
  const TensorMap weights_map = tensor_map(
      product.weights, {k, static_cast<std::uint64_t>(product.n), static_cast<std::uint64_t>(product.experts)});
  grouped_wgmma<<<static_cast<unsigned>(multiprocessors), kWgmmaThreads, kWgmmaSharedBytes, stream>>>(
      rows_map, weights_map, product);
  CUDA_LAUNCHED("grouped_wgmma");
}
template void launch_grouped_wgmma(const GroupedProduct<Bf16>&, std::int64_t, int, cudaStream_t);
template void launch_grouped_wgmma(const GroupedProduct<Fp8>&, std::int64_t, int, cudaStream_t);

}  // namespace moesim::calibrate
