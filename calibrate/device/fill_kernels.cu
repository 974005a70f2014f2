// Random inputs, poison counts, the pattern of collectives, and a kernel that does nothing.

#include "../random_values.h"
#include "cuda_error.h"
#include "launches.h"
#include "platform.h"

namespace moesim::calibrate {

namespace {

template <class Element>
__global__ void fill_random(Element* data, std::size_t size, std::uint64_t seed) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    data[i] = random_element<Element>(seed, i);
  }
}

template <class Element>
__global__ void count_nan(const Element* data, std::size_t size, unsigned long long* count) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  unsigned long long mine = 0;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    const float value = to_float(data[i]);
    if (value != value) ++mine;
  }
  if (mine > 0) atomicAdd(count, mine);
}

__global__ void fill_pattern(Bf16* data, std::size_t size, int rank) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    data[i] = to_bf16(static_cast<float>((7 * i + static_cast<std::size_t>(rank)) % 3));
  }
}

__global__ void nothing() {}

constexpr unsigned kBlocks = 1024, kThreads = 256;

}  // namespace

template <class Element>
void launch_fill_random(Element* data, std::size_t size, std::uint64_t seed, cudaStream_t stream) {
  fill_random<<<kBlocks, kThreads, 0, stream>>>(data, size, seed);
  CUDA_LAUNCHED("fill_random");
}
template void launch_fill_random(float*, std::size_t, std::uint64_t, cudaStream_t);
template void launch_fill_random(Bf16*, std::size_t, std::uint64_t, cudaStream_t);
template void launch_fill_random(Fp8*, std::size_t, std::uint64_t, cudaStream_t);

template <class Element>
std::size_t launch_count_nan(const Element* data, std::size_t size) {
  unsigned long long* count = nullptr;
  CUDA_TRY(cudaMalloc(&count, sizeof *count));
  unsigned long long found = 0;
  cudaError_t error = cudaMemset(count, 0, sizeof *count);
  if (error == cudaSuccess) {
    count_nan<<<kBlocks, kThreads>>>(data, size, count);
    error = cudaGetLastError();
  }
  if (error == cudaSuccess) error = cudaMemcpy(&found, count, sizeof found, cudaMemcpyDeviceToHost);
  cudaFree(count);
  cuda_check(error, "count_nan");
  return found;
}
template std::size_t launch_count_nan(const float*, std::size_t);
template std::size_t launch_count_nan(const Bf16*, std::size_t);
template std::size_t launch_count_nan(const Fp8*, std::size_t);

void launch_fill_pattern(Bf16* data, std::size_t size, int rank, cudaStream_t stream) {
  fill_pattern<<<kBlocks, kThreads, 0, stream>>>(data, size, rank);
  CUDA_LAUNCHED("fill_pattern");
}

void launch_nothing(cudaStream_t stream) {
  nothing<<<1, 32, 0, stream>>>();
  CUDA_LAUNCHED("nothing");
}

}  // namespace moesim::calibrate
