#pragma once
// Times of measured kernels by the cost model that simulations use.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/kernel_sample.h"
#include "hardware/kernel_cost.h"

namespace moesim {

/// Seconds of every sample by `profile` on `gpu`, caches as in a benchmark loop (CacheState::replayed); 0 where the
/// profile has no section for it. The samples are of one GPU.
///   gemm, mla_bmm  KernelCost::gemm, with `quantize` of a single product's input where the time contains it
///   moe            MoeCost::fused with the counts of the row; in a layout MoeCost::grouped, or one product of it;
///                  an eager op with the host's work before it
///   attention      decode_attention and prefill_attention; of a mixed call mixed_attention
///                  where the profile has it, else the sum
///   the others     the KernelCost function of their name
class KernelPredictor {
 public:
  KernelPredictor(std::span<const KernelSample* const> samples, const GpuSpec& gpu)
      : samples_(samples.begin(), samples.end()), gpu_(gpu) {}
  /// Again and again with other constants: fits.
  std::vector<double> operator()(const KernelProfile& profile);

 private:
  std::vector<const KernelSample*> samples_;
  GpuSpec gpu_;
  std::optional<KernelCost> kernels_;
};
std::vector<double> predict_kernels(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                    const KernelProfile& profile);

/// Where the constants of a sample's section come from; nothing where the profile has no such section and
/// another one stands in.
const SectionOrigin* section_origin(const KernelProfile& profile, std::string_view section);

/// What stands in for measurements of this very kernel on this GPU, in a few words; empty where nothing does: the
/// section was measured on the GPU, of the provider, of the version where both are known.
std::string stand_in(const KernelProfile& profile, const KernelSample& sample, const GpuSpec& gpu);

}  // namespace moesim
