#pragma once
// How far the true times of kernels may be from the predicted ones: one log-normal factor a family, regime of size and
// GPU, fixed within a run, as large as the errors on shapes that no fit saw.

#include <array>
#include <cstdint>
#include <string_view>

#include "hardware/gpu_spec.h"
#include "hardware/kernel_profile.h"

namespace moesim {

/// Standard normal numbers. All zero leaves every time as it is.
struct KernelPerturbation {
  std::array<std::array<double, kSizeRegimes>, kKernelFamilies> normal{};

  /// From the streams "calibration/GPU/FAMILY", one substream a regime: a family added later moves no other.
  static KernelPerturbation draw(std::uint64_t seed, std::string_view gpu);
};

/// Standard deviation of ln(true / predicted) of a section in a regime: its own error there on unseen shapes; else, of
/// all its rows, ln(1 + p90) / 1.645, as a normal distribution has 90 % of its absolute values within 1.645; else that
/// of a plain roofline. In quadrature with it that of a roofline where only other regimes were measured, and the error
/// of such a transfer where the section was measured on another GPU or stands in for another format.
double log_sd(const SectionOrigin& origin, SizeRegime regime, std::string_view gpu);

/// A roofline misses measured kernels by 10 to 18 % in the mean [kernel-cost 1]; the mean of |x| of a normal
/// distribution is 0.8 sd.
inline constexpr double kRooflineLogSd = 0.22;
/// Efficiencies of a GPU on one of its generation: 7 to 19 % in the mean, 13.7 % over four transfers of products and
/// grouped products between H20 and H800 (results/calibration/kernels.md); sd as above.
inline constexpr double kTransferLogSd = 0.17;

/// The profile with the factors e^(log_sd x normal) in all its sections, for use on `gpu`.
KernelProfile perturbed(KernelProfile profile, const KernelPerturbation& perturbation, const GpuSpec& gpu);

}  // namespace moesim
