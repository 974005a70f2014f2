#pragma once
// Times of measured kernels by the cost model that simulations use.

#include <span>
#include <vector>

#include "calibration/kernel_sample.h"
#include "hardware/kernel_profile.h"

namespace moesim {

/// Seconds of every sample by `profile` on `gpu`, caches as in a benchmark loop (CacheState::replayed); 0 where the
/// profile has no section for it. The samples are of one GPU.
///   gemm           KernelCost::gemm, with `quantize` of its input where the time contains it
///   moe            MoeCost::fused with the counts of the row; moe_wideep, grouped_gemm: MoeCost::grouped
///   attention      decode_attention and prefill_attention; of a mixed call the sum
///   the others     the KernelCost function of their name
std::vector<double> predict_kernels(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                    const KernelProfile& profile);

}  // namespace moesim
