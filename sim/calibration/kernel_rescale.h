#pragma once
// Carries a provider's kernels to another GPU by the same other kernel measured on both: what one knows of vLLM on the
// user's machine from our own kernels there.

#include <array>
#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "calibration/kernel_sample.h"
#include "hardware/kernel_profile.h"

namespace moesim {

/// Fewest rows measured on both GPUs that say something of a section.
inline constexpr std::size_t kFewestRatios = 8;

/// Standard deviation of ln(true / predicted) that is added, in quadrature, across architectures: carried between H100
/// and B200 by TensorRT-LLM's kernels, those of vLLM and SGLang were off by 15 to 50 % in the median, 25 % in the
/// middle (results/calibration/kernels.md); that of a normal law is 0.6745 sd.
inline constexpr double kOtherArchitectureLogSd = 0.37;

/// What the rows of one section said.
struct SectionRatio {
  std::size_t rows = 0;  ///< measured on both GPUs
  /// By regime: median of (local / reference), each over what the datasheets' rates alone say of the provider's kernel.
  RegimeFactors factor = kUnperturbed;
  RegimeFactors local_to_reference = kUnperturbed;  ///< medians of the measured ratio itself
  double log_sd = 0;    ///< of single rows about the factor, of all regimes: median |deviation| x 1.4826
  std::string problem;  ///< why nothing was rescaled; empty otherwise
};

/// `profile`, of a provider measured on `reference_gpu`, for `local_gpu`: each section with rows on both gets
///   t(provider, local) = t(provider, reference) x t(ours, local) / t(ours, reference)
/// in the median of a regime (that of the section where the regime has fewer than `kFewestRatios` rows), as the
/// section's `factor` on what the form says with the local GPU's rates; its errors are widened by the spread of the
/// rows. Of several kernels for one shape the fastest counts. Rows of both are of one provider and one GPU each. Other
/// sections stay; the results are by section of the rows.
std::map<std::string, SectionRatio> rescale(KernelProfile& profile, const GpuSpec& local_gpu,
                                            std::span<const KernelSample* const> local, const GpuSpec& reference_gpu,
                                            std::span<const KernelSample* const> reference);

}  // namespace moesim
