#include "calibration/comm_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibration/least_squares.h"
#include "calibration/spread_starts.h"
#include "calibration/touched_constants.h"
#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

/// Samples of one point: one of them stands for all, with the mean of the logarithms.
struct Point {
  const CommSample* sample;
  double log_measured = 0;
};

std::vector<Point> points_of(std::span<const CommSystem> systems, std::span<const CommSample* const> samples) {
  std::map<std::string, std::pair<Point, int>> by_key;
  std::vector<std::string> order;
  for (const CommSample* sample : samples) {
    const std::string key = sample->point(systems[sample->system].name);
    auto [place, fresh] = by_key.try_emplace(key, Point{sample, 0}, 0);
    if (fresh) order.push_back(key);
    place->second.first.log_measured += logarithm(sample->measured);
    ++place->second.second;
  }
  std::vector<Point> points;
  for (const std::string& key : order) {
    auto& [point, count] = by_key.at(key);
    points.push_back({point.sample, point.log_measured / count});
  }
  return points;
}

std::vector<const CommSample*> samples_of(const std::vector<Point>& points) {
  std::vector<const CommSample*> samples;
  for (const Point& point : points) samples.push_back(point.sample);
  return samples;
}

/// Sections that nobody measured have shares of zero: somewhere to start from.
void make_usable(const FitSection& section, std::vector<CollectiveProfile>& profiles) {
  for (CollectiveProfile& profile : profiles) {
    RingProtocols& ring = profile.ring;
    if (section.name == "ring" && ring.ll128_share == 0) {
      ring.ll128_share = std::sqrt(ring.ll_share * ring.simple_share);
      ring.ll128_extra = Duration::picoseconds(ring.simple_extra.ps() / 4);
      ring.ll128_step = ring.step;
    }
    for (const CostCurve curve : section.curves) {
      CustomAllReduce* custom = curve == CostCurve::custom_all_reduce          ? &profile.custom_all_reduce
                                : curve == CostCurve::custom_all_reduce_sglang ? &profile.custom_all_reduce_sglang
                                : curve == CostCurve::custom_all_reduce_trtllm ? &profile.custom_all_reduce_trtllm
                                                                               : nullptr;
      if (custom != nullptr && custom->max_ranks == 0) {
        *custom = {8,   Duration::microseconds(5), Duration::nanoseconds(50),
                   0.5, Duration::microseconds(8), Duration::nanoseconds(100),
                   0.7};
      }
    }
    const auto fits = [&](CostCurve curve) { return section.curves.front() == curve; };
    const auto some = [](double& share, bool fitted) {
      if (fitted && share == 0) share = 0.01;
    };
    some(profile.low_latency_dispatch.token_share, fits(CostCurve::low_latency_dispatch));
    some(profile.low_latency_combine.token_share, fits(CostCurve::low_latency_combine));
    some(profile.normal_dispatch.token_share, fits(CostCurve::normal_dispatch));
    some(profile.normal_combine.token_share, fits(CostCurve::normal_combine));
    if (fits(CostCurve::put) && profile.put.share == 0) {
      profile.put = {Duration::microseconds(8), Duration::nanoseconds(200), 1};
    }
  }
}

void drop_corrections(const FitSection& section, CollectiveProfile& profile) {
  if (section.between_domains) return;
  std::erase_if(profile.corrections, [&](const CurveCorrection& correction) {
    return std::find(section.curves.begin(), section.curves.end(), correction.curve) != section.curves.end();
  });
}

void set_all(const FitSection& section, std::span<const double> logs, std::vector<CollectiveProfile>& profiles) {
  for (CollectiveProfile& profile : profiles) {
    for (std::size_t j = 0; j < logs.size(); ++j) section.parameters[j].set(profile, exponential(logs[j]));
  }
}

void fit_parameters(CommPredictor& predictor, const FitSection& section, const std::vector<Point>& points,
                    std::vector<CollectiveProfile>& profiles, Prior prior) {
  const std::vector<const CommSample*> samples = samples_of(points);
  const CollectiveProfile& from = profiles[samples.front()->system];
  LeastSquares problem;
  const std::size_t priors = prior == Prior::given ? section.parameters.size() : 0;
  problem.residuals = points.size() + priors;
  std::vector<CollectiveProfile> tried = profiles;
  std::vector<double> start;
  problem.evaluate = [&](std::span<const double> x, std::span<double> residuals) {
    set_all(section, x, tried);
    const std::vector<double> seconds = predictor.predict(samples, tried);
    for (std::size_t i = 0; i < points.size(); ++i) residuals[i] = logarithm(seconds[i]) - points[i].log_measured;
    constexpr double weight = 0.03;
    for (std::size_t j = 0; j < priors; ++j) residuals[points.size() + j] = weight * (x[j] - start[j]);
  };
  for (const FitParameter& parameter : section.parameters) {
    problem.low.push_back(logarithm(parameter.low));
    problem.high.push_back(logarithm(parameter.high));
    // From a bound, where a logarithm moves nothing, no fit would come away.
    const double given = parameter.get(from);
    const bool inside = given > 1.01 * parameter.low && given < 0.99 * parameter.high;
    start.push_back(logarithm(inside ? given : std::sqrt(parameter.low * parameter.high)));
  }
  problem.starts = spread_starts(start, problem.low, problem.high, 1, 5);  // up to a factor e each way
  set_all(section, minimize(problem).x, profiles);
}

/// Evenly chosen `most` of `all`, the ends among them.
std::vector<double> thinned(const std::vector<double>& all, std::size_t most) {
  if (all.size() <= most) return all;
  std::vector<double> chosen;
  for (std::size_t i = 0; i < most; ++i) chosen.push_back(all[i * (all.size() - 1) / (most - 1)]);
  return chosen;
}

/// The mean residual around every knot, residuals weighing less the farther they are, none beyond the next knot.
CurveCorrection corrected_curve(CostCurve curve, std::uint32_t ranks,
                                const std::vector<std::pair<double, double>>& left, std::size_t most_knots) {
  std::set<double> distinct;
  for (const auto& [size, residual] : left) distinct.insert(size);
  CurveCorrection correction{curve, ranks, thinned({distinct.begin(), distinct.end()}, most_knots), {}};
  const std::vector<double>& x = correction.log_size;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = 0, weights = 0;
    for (const auto& [size, residual] : left) {
      const double reach = size < x[i] ? (i > 0 ? x[i] - x[i - 1] : 1) : (i + 1 < x.size() ? x[i + 1] - x[i] : 1);
      const double weight = std::max(0.0, 1 - std::abs(size - x[i]) / reach);
      sum += weight * residual;
      weights += weight;
    }
    correction.log_factor.push_back(weights > 0 ? sum / weights : 0);
  }
  return correction;
}

void fit_corrections(CommPredictor& predictor, const FitSection& section, const std::vector<Point>& points,
                     std::vector<CollectiveProfile>& profiles) {
  if (section.between_domains) return;
  const std::vector<const CommSample*> samples = samples_of(points);
  const std::vector<double> seconds = predictor.predict(samples, profiles);
  std::map<std::pair<CostCurve, std::uint32_t>, std::vector<std::pair<double, double>>> left;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (samples[i]->domains > 1) continue;
    left[{samples[i]->curve, samples[i]->ranks}].emplace_back(logarithm(samples[i]->size()),
                                                              points[i].log_measured - logarithm(seconds[i]));
  }
  constexpr std::size_t fewest = 4;
  std::erase_if(left, [](const auto& entry) {
    std::set<double> distinct;
    for (const auto& [size, residual] : entry.second) distinct.insert(size);
    return distinct.size() < fewest;
  });
  if (left.empty()) return;
  std::map<CostCurve, std::size_t> counts;  // of ranks with a curve of their own
  for (const auto& [key, residuals] : left) ++counts[key.first];
  for (const auto& [key, residuals] : left) {
    const CurveCorrection correction =
        corrected_curve(key.first, key.second, residuals, kMostKnots / counts[key.first]);
    for (CollectiveProfile& profile : profiles) profile.corrections.push_back(correction);
  }
}

}  // namespace

void fit_section(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                 std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                 Corrections corrections, Prior prior) {
  std::vector<const CommSample*> taken;
  for (const CommSample* sample : samples) {
    if (section.takes(*sample)) taken.push_back(sample);
  }
  if (taken.empty()) return;
  for (CollectiveProfile& profile : profiles) drop_corrections(section, profile);
  make_usable(section, profiles);
  const std::vector<Point> points = points_of(systems, taken);
  fit_parameters(predictor, section, points, profiles, prior);
  if (corrections == Corrections::fitted) fit_corrections(predictor, section, points, profiles);
}

std::string_view name(HoldOut hold_out) {
  switch (hold_out) {
    case HoldOut::points:
      return "points";
    case HoldOut::series:
      return "series";
    case HoldOut::ranks:
      return "ranks";
    case HoldOut::systems:
      return "systems";
  }
  fail_invariant(__FILE__, __LINE__, "unknown hold-out");
}

namespace {

constexpr std::size_t kFolds = 5;

/// The fold of every sample.
std::vector<std::size_t> folds_of(std::span<const CommSystem> systems, std::span<const CommSample* const> samples,
                                  HoldOut hold_out) {
  std::map<std::string, std::set<std::pair<double, std::int64_t>>> sizes;
  std::map<std::string, std::set<std::string>> series;
  std::set<std::string> names;
  std::set<std::uint32_t> ranks;
  for (const CommSample* sample : samples) {
    const std::string& system = systems[sample->system].name;
    sizes[sample->series(system)].insert({sample->size(), sample->messages});
    series[system].insert(sample->series(system));
    names.insert(system);
    ranks.insert(sample->ranks);
  }
  const auto place = [](const auto& set, const auto& value) {
    return static_cast<std::size_t>(std::distance(set.begin(), set.find(value)));
  };
  std::vector<std::size_t> folds;
  for (const CommSample* sample : samples) {
    const std::string& system = systems[sample->system].name;
    const std::string own = sample->series(system);
    switch (hold_out) {
      case HoldOut::points:
        folds.push_back(place(sizes[own], std::pair{sample->size(), sample->messages}) % kFolds);
        break;
      case HoldOut::series:
        folds.push_back(place(series[system], own) % kFolds);
        break;
      case HoldOut::ranks:
        folds.push_back(place(ranks, sample->ranks));
        break;
      case HoldOut::systems:
        folds.push_back(place(names, system));
        break;
    }
  }
  return folds;
}

}  // namespace

namespace {

std::vector<const CommSample*> taken_by(const FitSection& section, std::span<const CommSample* const> samples) {
  std::vector<const CommSample*> taken;
  for (const CommSample* sample : samples) {
    if (section.takes(*sample)) taken.push_back(sample);
  }
  return taken;
}

std::vector<ScoredSample> score(CommPredictor& predictor, std::span<const CommSample* const> samples,
                                const std::vector<CollectiveProfile>& profiles) {
  const std::vector<double> seconds = predictor.predict(samples, profiles);
  std::vector<ScoredSample> scored;
  for (std::size_t i = 0; i < samples.size(); ++i) scored.push_back({samples[i], seconds[i]});
  return scored;
}

std::vector<FittedRange> ranges_of(const std::vector<const CommSample*>& samples) {
  std::map<CostCurve, FittedRange> ranges;
  for (const CommSample* sample : samples) {
    auto [place, fresh] = ranges.try_emplace(
        sample->curve, FittedRange{sample->curve, sample->ranks, sample->ranks, sample->size(), sample->size()});
    FittedRange& range = place->second;
    range.fewest_ranks = std::min(range.fewest_ranks, sample->ranks);
    range.most_ranks = std::max(range.most_ranks, sample->ranks);
    range.smallest = std::min(range.smallest, sample->size());
    range.largest = std::max(range.largest, sample->size());
  }
  std::vector<FittedRange> list;
  for (const auto& [curve, range] : ranges) list.push_back(range);
  return list;
}

/// Ratio of the errors with corrections to those without, over all that was left out.
bool corrections_earn_their_place(const std::vector<HeldOutErrors>& held_out) {
  double ratio = 1;
  for (const HeldOutErrors& errors : held_out) {
    if (errors.law.empty() || (errors.hold_out != HoldOut::points && errors.hold_out != HoldOut::ranks)) continue;
    ratio *= errors_of(errors.corrected).median_ape / std::max(1e-6, errors_of(errors.law).median_ape);
  }
  return ratio < 0.95;
}

}  // namespace

HeldOutErrors cross_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                             std::span<const CommSample* const> samples, const std::vector<CollectiveProfile>& profiles,
                             HoldOut hold_out, const FitProgress& progress) {
  const std::vector<const CommSample*> taken = taken_by(section, samples);
  HeldOutErrors errors{hold_out, {}, {}};
  if (taken.empty()) return errors;
  const std::vector<std::size_t> folds = folds_of(systems, taken, hold_out);
  const std::size_t count = *std::max_element(folds.begin(), folds.end()) + 1;
  for (std::size_t fold = 0; fold < count; ++fold) {
    std::vector<const CommSample*> seen, unseen;
    for (std::size_t i = 0; i < taken.size(); ++i) (folds[i] == fold ? unseen : seen).push_back(taken[i]);
    if (hold_out == HoldOut::ranks) {
      std::erase_if(unseen, [&](const CommSample* sample) {
        return std::none_of(seen.begin(), seen.end(),
                            [&](const CommSample* other) { return (other->domains > 1) == (sample->domains > 1); });
      });
    }
    if (!seen.empty() && !unseen.empty()) {
      std::vector<CollectiveProfile> fitted = profiles;
      fit_section(predictor, systems, section, seen, fitted, Corrections::fitted);
      const std::vector<ScoredSample> corrected = score(predictor, unseen, fitted);
      for (CollectiveProfile& profile : fitted) drop_corrections(section, profile);
      const std::vector<ScoredSample> law = score(predictor, unseen, fitted);
      errors.corrected.insert(errors.corrected.end(), corrected.begin(), corrected.end());
      errors.law.insert(errors.law.end(), law.begin(), law.end());
    }
    if (progress) progress(static_cast<std::int64_t>(fold + 1), static_cast<std::int64_t>(count));
  }
  return errors;
}

SectionFit fit_and_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                            std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                            std::span<const HoldOut> hold_outs, const FitProgress& progress, Prior prior) {
  SectionFit fit;
  fit.section = &section;
  fit.samples = taken_by(section, samples);
  if (fit.samples.empty()) return fit;
  fit.points = points_of(systems, fit.samples).size();
  std::vector<CollectiveProfile> usable = profiles;
  make_usable(section, usable);
  fit.constants = touched_constants(predictor, section, fit.samples, usable);
  if (fit.points < fit.constants) return fit;
  fit.ranges = ranges_of(fit.samples);
  fit.before = score(predictor, fit.samples, profiles);
  for (const HoldOut hold_out : hold_outs) {
    fit.held_out.push_back(cross_validate(predictor, systems, section, fit.samples, profiles, hold_out, progress));
  }
  fit.corrections = corrections_earn_their_place(fit.held_out) ? Corrections::fitted : Corrections::none;
  fit_section(predictor, systems, section, fit.samples, profiles, fit.corrections, prior);
  for (CollectiveProfile& profile : profiles) {
    std::erase_if(profile.fitted, [&](const FittedRange& range) {
      return !section.between_domains &&
             std::find(section.curves.begin(), section.curves.end(), range.curve) != section.curves.end();
    });
    profile.fitted.insert(profile.fitted.end(), fit.ranges.begin(), fit.ranges.end());
  }
  fit.after = score(predictor, fit.samples, profiles);
  return fit;
}

ErrorSummary errors_of(std::span<const ScoredSample> scored) {
  std::vector<MeasuredPair> pairs;
  for (const ScoredSample& s : scored) pairs.push_back({s.predicted, s.sample->measured});
  return summarize_errors(pairs);
}

}  // namespace moesim
