#include "calibration/kernel_fit.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "calibration/kernel_prediction.h"
#include "calibration/least_squares.h"
#include "calibration/spread_starts.h"
#include "core/math.h"
#include "core/statistics.h"
#include "hardware/cost_perturbation.h"
#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

constexpr std::size_t kFolds = 5;
constexpr std::size_t kOwnFolds = 10;    // shapes that have a fold each
constexpr std::size_t kFewRows = 400;    // of the first fits
constexpr std::size_t kManyRows = 1500;  // of the last one: what ten constants can use
constexpr int kMoreStarts = 2;
constexpr std::size_t kFullyFitted = 2;  // choices of a section that are all fitted from all starts
constexpr std::size_t kAxisKnots = 8;
constexpr double kShrinkage = 2;          // rows' worth of a residual of zero at every knot
constexpr double kLargestResidual = 0.7;  // log; within what config/read_profile accepts
constexpr double kResidualGain = 0.97;

/// Where the residual of the sample's section is asked.
ResidualPlace residual_place(const KernelSample& sample, const GpuSpec& gpu) {
  if (const auto* gemm = std::get_if<TimedGemm>(&sample.timed)) return residual_place(gemm->shape);
  if (const auto* experts = std::get_if<TimedExperts>(&sample.timed)) {
    return residual_place(experts->load);
  }
  if (const auto* attention = std::get_if<TimedAttention>(&sample.timed)) {
    if (attention->one_kernel) {
      return residual_place(attention->shape, attention->decode, attention->prefill, gpu.multiprocessors);
    }
    if (attention->prefill.empty()) return residual_place(attention->shape, attention->decode, gpu.multiprocessors);
    return residual_place(attention->shape, attention->prefill, gpu.multiprocessors);
  }
  return {};
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

/// A constant e times its typical value counts as much as a row that is 30 % off, less with fewer than 100 rows.
/// Sections of few shapes leave directions open in which constants trade against each other; unseen shapes then fall
/// anywhere. A handful of rows has the say of its own.
constexpr double kPullToTypical = 0.3, kRowsOfFullPull = 100;

/// At most about `most` of the samples, by a multiplicative hash of their place: no pattern of a table survives.
SampleList thinned(std::span<const KernelSample* const> samples, std::size_t most) {
  if (samples.size() <= most) return {samples.begin(), samples.end()};
  SampleList chosen;
  const double share = static_cast<double>(most) / static_cast<double>(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto hash = static_cast<std::uint32_t>(static_cast<std::uint32_t>(i + 1) * 2654435761U);
    if (hash < share * 4294967296.0) chosen.push_back(samples[i]);
  }
  return chosen;
}

void set_constants(const KernelSection& section, std::span<const double> logs, KernelProfile& profile) {
  for (std::size_t j = 0; j < logs.size(); ++j) {
    const KernelConstant& c = section.constants[j];
    // exp(log(bound)) may miss a bound by its last bit.
    c.set(profile, std::clamp(exponential(logs[j]), c.low, c.high));
  }
}

LeastSquaresEnd fitted(const GpuSpec& gpu, const KernelSection& section, std::span<const KernelSample* const> samples,
                       KernelProfile& tried, std::vector<std::vector<double>> starts, int iterations) {
  std::vector<double> measured;
  for (const KernelSample* sample : samples) measured.push_back(logarithm(sample->measured));
  LeastSquares problem;
  problem.residuals = samples.size() + section.constants.size();
  const double pull = kPullToTypical * std::min(1.0, static_cast<double>(samples.size()) / kRowsOfFullPull);
  problem.iterations = iterations;
  KernelPredictor predict(samples, gpu);
  for (const KernelConstant& c : section.constants) {
    problem.low.push_back(logarithm(c.low));
    problem.high.push_back(logarithm(c.high));
  }
  problem.starts = std::move(starts);
  problem.evaluate = [&](std::span<const double> x, std::span<double> residuals) {
    set_constants(section, x, tried);
    const std::vector<double> seconds = predict(tried);
    for (std::size_t i = 0; i < samples.size(); ++i) residuals[i] = logarithm(seconds[i]) - measured[i];
    for (std::size_t j = 0; j < x.size(); ++j) {
      residuals[samples.size() + j] = pull * (x[j] - logarithm(section.constants[j].typical));
    }
  };
  return minimize(problem);
}

void fit_constants(const GpuSpec& gpu, const KernelSection& section, std::span<const KernelSample* const> samples,
                   KernelProfile& profile) {
  KernelProfile tried = constants_only(profile, section);
  const SampleList few = thinned(samples, kFewRows), many = thinned(samples, kManyRows);
  std::vector<double> low, typical, high;
  for (const KernelConstant& c : section.constants) {
    low.push_back(logarithm(c.low));
    typical.push_back(logarithm(c.typical));
    high.push_back(logarithm(c.high));
  }
  std::vector<int> blocks = section.blocks.empty() ? std::vector<int>{0} : section.blocks;
  if (blocks.size() > kFullyFitted) {
    // Many choices: the one that fits a few rows best from the typical constants.
    double least = INFINITY;
    int chosen = 0;
    for (const int block : blocks) {
      section.set_block(tried, block);
      const LeastSquaresEnd end = fitted(gpu, section, few, tried, {typical}, 30);
      if (end.cost >= least) continue;
      least = end.cost;
      chosen = block;
    }
    blocks = {chosen};
  }
  LeastSquaresEnd best;
  int best_block = 0;
  for (const int block : blocks) {
    if (block != 0) section.set_block(tried, block);
    // Halves of the bounds around the typical: their corners are far from any kernel.
    std::vector<double> inner_low, inner_high;
    for (std::size_t j = 0; j < low.size(); ++j) {
      inner_low.push_back((low[j] + typical[j]) / 2);
      inner_high.push_back((high[j] + typical[j]) / 2);
    }
    LeastSquaresEnd end =
        fitted(gpu, section, few, tried, spread_over(typical, inner_low, inner_high, kMoreStarts), 30);
    if (few.size() < many.size()) end = fitted(gpu, section, many, tried, {end.x}, 40);
    if (best.x.empty() || end.cost < best.cost) {
      best = std::move(end);
      best_block = block;
    }
  }
  if (best_block != 0) section.set_block(profile, best_block);
  set_constants(section, best.x, profile);
}

/// Evenly spread knots over the octaves of `values`, no more than there are different ones.
std::vector<double> knots_of(const std::vector<double>& values) {
  const std::set<double> distinct(values.begin(), values.end());
  const double low = *distinct.begin(), high = *distinct.rbegin();
  const double octaves = high - low;
  const std::size_t count =
      std::clamp<std::size_t>(static_cast<std::size_t>(octaves / 1.5) + 1, 1, std::min(kAxisKnots, distinct.size()));
  if (count == 1) return {(low + high) / 2};
  std::vector<double> knots;
  for (std::size_t i = 0; i < count; ++i) {
    knots.push_back(low + octaves * static_cast<double>(i) / static_cast<double>(count - 1));
  }
  return knots;
}

void fit_residual(const GpuSpec& gpu, const KernelSection& section, std::span<const KernelSample* const> samples,
                  KernelProfile& profile) {
  KernelResidual* const residual = section.residual(profile);
  if (residual == nullptr) return;
  const std::vector<double> seconds = predict_kernels(samples, gpu, profile);
  std::vector<double> x, y, left;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const ResidualPlace place = residual_place(*samples[i], gpu);
    x.push_back(octave(place.x));
    y.push_back(octave(place.y));
    left.push_back(std::clamp(logarithm(samples[i]->measured / seconds[i]), -kLargestResidual, kLargestResidual));
  }
  KernelResidual fit{.x = knots_of(x), .y = knots_of(y), .factor = {}};
  fit.factor.assign(fit.x.size() * fit.y.size(), 1);  // so that it is not empty
  std::vector<std::vector<std::pair<std::size_t, double>>> weights;
  for (std::size_t i = 0; i < samples.size(); ++i) weights.push_back(fit.weights(x[i], y[i]));
  // Least squares with shrinkage, one knot after the other; reweighted so that far rows count as by the soft loss.
  std::vector<double> knots(fit.factor.size(), 0);
  for (int round = 0; round < 30; ++round) {
    std::vector<double> sum(knots.size(), 0), norm(knots.size(), kShrinkage);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      double now = left[i];
      for (const auto& [k, w] : weights[i]) now -= w * knots[k];
      const double robust = 1 / std::sqrt(1 + now * now / 0.01);
      for (const auto& [k, w] : weights[i]) {
        sum[k] += robust * w * (now + w * knots[k]);
        norm[k] += robust * w * w;
      }
    }
    for (std::size_t k = 0; k < knots.size(); ++k) knots[k] = 0.5 * knots[k] + 0.5 * sum[k] / norm[k];
  }
  for (std::size_t k = 0; k < knots.size(); ++k) {
    fit.factor[k] = exponential(std::clamp(knots[k], -kLargestResidual, kLargestResidual));
  }
  *residual = std::move(fit);
}

void drop_residual(const KernelSection& section, KernelProfile& profile) {
  if (KernelResidual* const residual = section.residual(profile)) *residual = {};
}

}  // namespace

std::vector<std::size_t> shape_folds(std::span<const KernelSample* const> samples) {
  std::map<std::pair<std::uint64_t, std::string>, std::size_t> places;
  for (const KernelSample* sample : samples) places[{fnv1a(sample->shape), sample->shape}] = 0;
  const std::size_t folds = places.size() <= kOwnFolds ? places.size() : kFolds;
  std::size_t turn = 0;
  for (auto& [key, fold] : places) fold = turn++ % folds;
  std::vector<std::size_t> of_samples;
  for (const KernelSample* sample : samples) of_samples.push_back(places.at({fnv1a(sample->shape), sample->shape}));
  return of_samples;
}

bool fit_kernel_section(const GpuSpec& gpu, const KernelSection& section, std::span<const KernelSample* const> samples,
                        KernelProfile& profile, Residuals residuals) {
  if (samples.size() < section.constants.size()) return false;
  drop_residual(section, profile);
  section.factor(profile) = kUnperturbed;
  fit_constants(gpu, section, samples, profile);
  if (residuals == Residuals::fitted) fit_residual(gpu, section, samples, profile);
  return true;
}

std::vector<ScoredKernel> score(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                const KernelProfile& profile) {
  const std::vector<double> seconds = predict_kernels(samples, gpu, profile);
  std::vector<ScoredKernel> scored;
  for (std::size_t i = 0; i < samples.size(); ++i) scored.push_back({samples[i], seconds[i]});
  return scored;
}

ErrorSummary errors_of(std::span<const ScoredKernel> scored) {
  std::vector<MeasuredPair> pairs;
  for (const ScoredKernel& s : scored) pairs.push_back({s.predicted, s.sample->measured});
  return summarize_errors(pairs);
}

std::vector<RegimeErrors> errors_by_regime(std::span<const ScoredKernel> scored) {
  std::array<std::vector<ScoredKernel>, kSizeRegimes> regimes;
  for (const ScoredKernel& s : scored) regimes[static_cast<std::size_t>(size_regime(*s.sample))].push_back(s);
  std::vector<RegimeErrors> list;
  for (std::size_t r = 0; r < kSizeRegimes; ++r) {
    if (regimes[r].empty()) continue;
    const ErrorSummary e = errors_of(regimes[r]);
    Distribution<double> logs;
    for (const ScoredKernel& s : regimes[r]) logs.add(std::abs(logarithm(s.predicted / s.sample->measured)));
    logs.sort();
    constexpr double normal_p90 = 1.6449;  // of |z|
    list.push_back({.regime = static_cast<SizeRegime>(r),
                    .rows = e.scored,
                    .mape = e.mape,
                    .median_ape = e.median_ape,
                    .p90_ape = e.p90_ape,
                    .bias = e.bias,
                    .log_sd = logs.quantile(0.9) / normal_p90});
  }
  return list;
}

const std::vector<ScoredKernel>& KernelFit::held_out() const {
  const std::vector<ScoredKernel>& scored = residuals == Residuals::fitted ? corrected : law;
  return scored.empty() ? after : scored;
}

KernelFit fit_and_validate(const GpuSpec& gpu, KernelOp op, const std::string& key,
                           std::span<const KernelSample* const> samples, KernelProfile& profile,
                           const FitProgress& progress) {
  KernelFit fit;
  KernelProfile tried = profile;
  fit.section = kernel_section(op, key, tried, gpu.architecture);
  if (!fit.section) {
    fit.problem = "no fit takes this section";
    return fit;
  }
  const KernelSection& section = *fit.section;
  for (const KernelSample* sample : samples) {
    if (section.takes(*sample)) fit.samples.push_back(sample);
  }
  std::set<std::string> sizes;  // repeats tell nothing new
  for (const KernelSample* sample : fit.samples) sizes.insert(sizes_of(*sample));
  if (sizes.size() < section.constants.size()) {
    fit.problem = fmt::format("{} {}rows for {} constants", sizes.size(),
                              sizes.size() < fit.samples.size() ? "different " : "", section.constants.size());
    return fit;
  }
  fit.before = score(fit.samples, gpu, tried);
  const std::vector<std::size_t> folds = shape_folds(fit.samples);
  const std::size_t count = *std::max_element(folds.begin(), folds.end()) + 1;
  {
    std::set<std::string> shapes;
    for (const KernelSample* sample : fit.samples) shapes.insert(sample->shape);
    fit.shapes = shapes.size();
  }
  const bool can_correct = section.residual(tried) != nullptr;
  for (std::size_t fold = 0; fold < count && count > 1; ++fold) {
    SampleList seen, unseen;
    for (std::size_t i = 0; i < fit.samples.size(); ++i) (folds[i] == fold ? unseen : seen).push_back(fit.samples[i]);
    KernelProfile fold_profile = tried;
    if (fit_kernel_section(gpu, section, seen, fold_profile, Residuals::none)) {
      const std::vector<ScoredKernel> law = score(unseen, gpu, fold_profile);
      fit.law.insert(fit.law.end(), law.begin(), law.end());
      if (can_correct) {
        fit_residual(gpu, section, seen, fold_profile);
        const std::vector<ScoredKernel> corrected = score(unseen, gpu, fold_profile);
        fit.corrected.insert(fit.corrected.end(), corrected.begin(), corrected.end());
      }
    }
    if (progress) progress(static_cast<std::int64_t>(fold + 1), static_cast<std::int64_t>(count + 1));
  }
  if (!fit.corrected.empty() && errors_of(fit.corrected).mape < kResidualGain * errors_of(fit.law).mape) {
    fit.residuals = Residuals::fitted;
  }
  fit_kernel_section(gpu, section, fit.samples, tried, fit.residuals);
  profile = std::move(tried);
  fit.after = score(fit.samples, gpu, profile);
  section.origin(profile).errors = errors_by_regime(fit.held_out());
  if (fit.law.empty()) {  // of one shape, which the fit saw: as far off as a roofline may be elsewhere
    for (RegimeErrors& e : section.origin(profile).errors) e.log_sd = std::hypot(e.log_sd, kRooflineLogSd);
  }
  const ErrorSummary all = errors_of(fit.held_out());
  section.origin(profile).residuals = FitResiduals{
      .median_ape = all.median_ape,
      .p90_ape = all.p90_ape,
      .bias = all.bias,
      .rows_fitted = static_cast<std::int64_t>(fit.samples.size()),
      .rows_scored = all.scored,
      .split = fit.law.empty() && fit.shapes > 1 ? "scored on the rows of the fit: too few to leave a shape out"
               : fit.law.empty()                 ? "scored on the rows of the fit: all are of one shape"
                                 : fmt::format("every row scored by a fit without its shape ({} shapes, {} folds)",
                                               fit.shapes, count)};
  if (progress) progress(static_cast<std::int64_t>(count + 1), static_cast<std::int64_t>(count + 1));
  return fit;
}

}  // namespace moesim
