#pragma once
// Fits the sections of a collective profile to measured samples, and scores such fits on samples that they did not see.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calibration/comm_prediction.h"
#include "calibration/fit_section.h"
#include "core/error_summary.h"

namespace moesim {

/// At most this many knots of corrections for one collective or kernel, over all counts of ranks.
inline constexpr std::size_t kMostKnots = 64;

enum class Corrections { none, fitted };

/// Whether what few rows leave open stays near the parameters given: one e-fold away costs as much as an error of 3 %
/// at one point. None where the parameters given were fitted to the same rows.
enum class Prior { none, given };

/// `profiles` (one a system) with the parameters of `section` fitted to `samples`, the same numbers for all systems:
/// least squares on the logarithm of time over the points (geometric means of repeats, data types and versions),
/// soft-L1 of scale 0.1, several starts around the given values. With corrections, what is left at each size in one
/// domain becomes the section's `CurveCorrection`s. Samples that the section does not take are ignored.
void fit_section(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                 std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                 Corrections corrections, Prior prior = Prior::none);

/// Which samples are left out together.
enum class HoldOut {
  points,  ///< sizes of every series in turn, every fifth; a size with all its repeats, types and versions
  series,  ///< every fifth series of a system in turn, whole
  ranks,   ///< one count of ranks in turn
  systems  ///< one system in turn
};
std::string_view name(HoldOut hold_out);

struct ScoredSample {
  const CommSample* sample = nullptr;
  double predicted = 0;  ///< seconds
};
ErrorSummary errors_of(std::span<const ScoredSample> scored);

/// Samples predicted by fits that did not see them, by the law alone and with its corrections.
struct HeldOutErrors {
  HoldOut hold_out = HoldOut::points;
  std::vector<ScoredSample> law, corrected;
};

/// Called with the number of fits done and to do.
using FitProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Every sample of the section predicted by a fit without its fold. A fold that is everything is not scored, nor are
/// samples inside a domain (between domains) when their count of ranks is the only one there: the law has parts that
/// nothing else would fit.
HeldOutErrors cross_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                             std::span<const CommSample* const> samples, const std::vector<CollectiveProfile>& profiles,
                             HoldOut hold_out, const FitProgress& progress = {});

/// Fits on fewer points a constant follow their noise.
inline constexpr std::size_t kEnoughPoints = 3;

/// A fitted section with all that is known of how good it is.
struct SectionFit {
  const FitSection* section = nullptr;
  std::vector<const CommSample*> samples;   ///< that it took
  std::size_t points = 0, constants = 0;    ///< distinct, and those of the section that they tell
  std::vector<ScoredSample> before, after;  ///< with the profiles given, and with those fitted to the same samples
  std::vector<HeldOutErrors> held_out;
  Corrections corrections = Corrections::none;
  std::vector<FittedRange> ranges;  ///< one a curve
};

/// Fits `section` into `profiles`. Corrections stay where cross-validation says so: the ratios of the median errors
/// with and without them, for points and for counts of ranks left out, multiply to less than 0.95. Nothing is done, and
/// `ranges` is empty, where no sample is of the section or fewer points than constants are.
SectionFit fit_and_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                            std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                            std::span<const HoldOut> hold_outs, const FitProgress& progress = {},
                            Prior prior = Prior::none);

}  // namespace moesim
