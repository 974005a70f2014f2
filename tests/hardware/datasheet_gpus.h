#pragma once
// GPUs whose kernels were measured, by hand from the NVIDIA datasheets (dense rates; multiprocessors and L2 as
// enabled).

#include "hardware/gpu_spec.h"

namespace moesim::testing {

inline GpuSpec datasheet_gpu(const char* id, double terabytes_per_second, double bf16, double fp8, double fp4,
                             int multiprocessors, std::int64_t l2_megabytes) {
  GpuSpec gpu;
  gpu.id = id;
  gpu.memory = {80'000'000'000};
  gpu.memory_bandwidth = {terabytes_per_second * 1e12};
  gpu.fp32 = {60e12};
  gpu.bf16 = {bf16 * 1e12};
  gpu.fp8 = {fp8 * 1e12};
  gpu.int8 = {(fp8 > 0 ? fp8 : 2 * bf16) * 1e12};
  gpu.fp4 = {fp4 * 1e12};
  gpu.multiprocessors = multiprocessors;
  gpu.l2 = {l2_megabytes * 1'000'000};
  return gpu;
}

inline GpuSpec h100() {
  return datasheet_gpu("h100_sxm", 3.35, 989, 1978, 0, 132, 50);
}
inline GpuSpec a100() {
  return datasheet_gpu("a100_sxm", 2.039, 312, 0, 0, 108, 40);
}
inline GpuSpec b200() {
  return datasheet_gpu("b200_sxm", 7.7, 2250, 4500, 9000, 148, 126);
}
inline GpuSpec l40s() {
  return datasheet_gpu("l40s", 0.864, 362, 733, 0, 142, 96);
}
inline GpuSpec rtx_pro_6000() {
  return datasheet_gpu("rtx_pro_6000_server", 1.792, 467.8, 935.6, 1871.2, 188, 128);
}

}  // namespace moesim::testing
