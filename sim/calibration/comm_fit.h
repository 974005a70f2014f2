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

/// What the profiles given count for.
enum class Given {
  ignored,  ///< they may be of rows that must not be seen: what the rows leave open stays near what is usual
  kept,     ///< they stay where no fit is better by a thousandth of the cost, so that a fit repeated changes nothing
  prior     ///< what few rows leave open stays near them
};
/// One e-fold away from a prior, or from what is usual, costs as much as such an error at one point.
inline constexpr double kPriorWeight = 0.03, kUsualWeight = 0.01;

/// `profiles` (one a system) with the parameters of `section` fitted to `samples`, the same numbers for all systems:
/// least squares on the logarithm of time over the points (geometric means of repeats, data types and versions),
/// soft-L1 of scale 0.1, several starts. With corrections, what is left at each size in one
/// domain becomes the section's `CurveCorrection`s. Samples that the section does not take are ignored.
void fit_section(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                 std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                 Corrections corrections, Given given = Given::ignored);

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
/// samples inside a domain (between domains) when their count of ranks, or their system, is the only one there: the law
/// has parts that nothing else would fit. `profiles` count as `Given::prior` for `given` so, else not at all. Engines'
/// all-reduce kernels on a system left out are predicted by the versions of the others that serve theirs.
HeldOutErrors cross_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                             std::span<const CommSample* const> samples, const std::vector<CollectiveProfile>& profiles,
                             HoldOut hold_out, const FitProgress& progress = {}, Given given = Given::ignored);

/// Fits on fewer points a constant follow their noise.
inline constexpr std::size_t kEnoughPoints = 3;

/// A fitted section with all that is known of how good it is.
struct SectionFit {
  const FitSection* section = nullptr;
  std::string through;                      ///< of kernels older than the newest: the last version that had them
  CollectiveProfile profile;                ///< of the first sample's system
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
                            Given given = Given::kept);

}  // namespace moesim
