#pragma once
// Fits the sections of a kernel profile to measured kernels, and scores such fits on shapes that they did not see.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibration/kernel_section.h"
#include "core/error_summary.h"

namespace moesim {

using SampleList = std::vector<const KernelSample*>;

/// A fold of whole shapes (`KernelSample::shape`: all sizes, splits and repeats of one (n, k), model, layout of heads).
/// Which fold is fixed before anything is fitted: the distinct shapes in the order of their hash (FNV-1a, 64 bits) are
/// dealt to the folds in turn; ten shapes or fewer have a fold each, more of them five.
std::vector<std::size_t> shape_folds(std::span<const KernelSample* const> samples);

enum class Residuals { none, fitted };

/// `profile` with the constants of `section` fitted to `samples` of one GPU, all taken by it: least squares on the
/// logarithm of the whole time (of a product with quantisation of its input, by the quantise sections of `profile`),
/// soft-L1 of scale 0.1, bounds of the section. Starts: the typical constants and two more over the bounds
/// [halton-1960], on about 400 rows; the best end is the start of the fit to about 1,500, chosen by a hash of their
/// place where there are more. With residuals, what is left
/// becomes the section's `KernelResidual`: at most 8 x 8 knots, shrunk towards 1 where rows are few.
/// Fewer rows than constants fit nothing (false).
bool fit_kernel_section(const GpuSpec& gpu, const KernelSection& section, std::span<const KernelSample* const> samples,
                        KernelProfile& profile, Residuals residuals);

struct ScoredKernel {
  const KernelSample* sample = nullptr;
  double predicted = 0;  ///< seconds
};
ErrorSummary errors_of(std::span<const ScoredKernel> scored);
/// Of the regimes that have rows.
std::vector<RegimeErrors> errors_by_regime(std::span<const ScoredKernel> scored);

/// A fitted section with all that is known of how good it is.
struct KernelFit {
  std::optional<KernelSection> section;
  SampleList samples;  ///< that it took
  std::size_t shapes = 0;
  std::vector<ScoredKernel> before, after;   ///< with the profile given, and with that fitted to the same samples
  std::vector<ScoredKernel> law, corrected;  ///< every sample by a fit without its fold, without and with residuals
  Residuals residuals = Residuals::none;
  std::string problem;  ///< why nothing was fitted; empty otherwise

  /// Held-out predictions of what the profile now holds; in-sample ones where all rows are of one shape.
  const std::vector<ScoredKernel>& held_out() const;
};

/// Called with the number of fits done and to do.
using FitProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Fits the section `key` of `op` into `profile`. Residuals stay where they lower the cross-validated mean error by 3 %
/// of itself. The origin's `errors` are filled in; its texts are the caller's.
KernelFit fit_and_validate(const GpuSpec& gpu, KernelOp op, const std::string& key,
                           std::span<const KernelSample* const> samples, KernelProfile& profile,
                           const FitProgress& progress = {});

/// Predictions by the profile's relative constants with the datasheet rates of `gpu`.
std::vector<ScoredKernel> score(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                const KernelProfile& profile);

}  // namespace moesim
