// Start of the grouped product by mma.sync.

#include "cuda_error.h"
#include "grouped_gemm.cuh"
#include "launches.h"

namespace moesim::calibrate {

template <class Element>
void launch_grouped_mma(const GroupedProduct<Element>& product, int multiprocessors, cudaStream_t stream) {
  static const cudaError_t allowed =
      cudaFuncSetAttribute(grouped_mma<Element>, cudaFuncAttributeMaxDynamicSharedMemorySize, kMmaSharedBytes);
  cuda_check(allowed, "grouped_mma: shared memory");
  int blocks = 0;  // resident on a multiprocessor at once: persistent blocks are no more
  CUDA_TRY(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, grouped_mma<Element>, kMmaThreads, kMmaSharedBytes));
  if (blocks < 1) throw RowError(Failure::Kind::not_supported, "grouped_mma does not fit this GPU");
  grouped_mma<<<static_cast<unsigned>(blocks * multiprocessors), kMmaThreads, kMmaSharedBytes, stream>>>(product);
  CUDA_LAUNCHED("grouped_mma");
}
template void launch_grouped_mma(const GroupedProduct<Bf16>&, int, cudaStream_t);
template void launch_grouped_mma(const GroupedProduct<Fp8>&, int, cudaStream_t);

}  // namespace moesim::calibrate
