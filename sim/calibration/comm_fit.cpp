#include "calibration/comm_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibration/least_squares.h"
#include "calibration/spread_starts.h"
#include "calibration/touched_constants.h"
#include "calibration/version_eras.h"
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
      if (section.op != CommOp::custom_allreduce) continue;
      CustomAllReduce& custom = all_reduce_kernels(profile, curve);
      if (custom.max_ranks == 0) {
        custom = {8,   Duration::microseconds(5), Duration::nanoseconds(50),
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
    if (fits(CostCurve::put)) some(profile.put.share, true);
    if (fits(CostCurve::get)) some(profile.get.share, true);
  }
}

/// Leaves the law of the section alone, of one version of its library.
void drop_corrections(const FitSection& section, CollectiveProfile& profile) {
  if (section.between_domains) return;
  const auto own = [&](const auto& entry) {
    return std::find(section.curves.begin(), section.curves.end(), entry.curve) != section.curves.end();
  };
  std::erase_if(profile.corrections, own);
  std::erase_if(profile.older_all_reduce, own);
}

void set_all(const FitSection& section, std::span<const double> logs, std::vector<CollectiveProfile>& profiles) {
  for (CollectiveProfile& profile : profiles) {
    for (std::size_t j = 0; j < logs.size(); ++j) section.parameters[j].set(profile, exponential(logs[j]));
  }
}

/// Where a fit starts: from the values given unless they are ignored; from what is usual, and around it, unless they
/// are a prior, else around them.
std::vector<std::vector<double>> starts_of(const FitSection& section, const CollectiveProfile& from, Given given,
                                           std::size_t points) {
  std::vector<double> own, usual;
  for (const FitParameter& parameter : section.parameters) {
    usual.push_back(logarithm(parameter.usual));
    // From a bound, where a logarithm moves nothing, no fit would come away.
    const double value = parameter.get(from);
    const bool inside = value > 1.01 * parameter.low && value < 0.99 * parameter.high;
    own.push_back(inside ? logarithm(value) : usual.back());
  }
  std::vector<std::vector<double>> starts;
  if (given != Given::ignored) starts.push_back(own);
  if (given != Given::prior) starts.push_back(usual);
  std::vector<double> low, high;
  for (const FitParameter& parameter : section.parameters) {
    low.push_back(logarithm(parameter.low));
    high.push_back(logarithm(parameter.high));
  }
  constexpr std::size_t many = 500;  // points that leave one valley
  constexpr int more_starts = 3;     // up to a factor e each way
  if (points >= many) return starts;
  std::vector<std::vector<double>> spread = spread_starts(starts.back(), low, high, 1, more_starts);
  starts.insert(starts.end(), spread.begin() + 1, spread.end());
  return starts;
}

void fit_parameters(CommPredictor& predictor, const FitSection& section, const std::vector<Point>& points,
                    std::vector<CollectiveProfile>& profiles, Given given) {
  const std::vector<const CommSample*> samples = samples_of(points);
  const CollectiveProfile& from = profiles[samples.front()->system];
  LeastSquares problem;
  const std::size_t priors = given == Given::kept ? 0 : section.parameters.size();
  const double weight = given == Given::prior ? kPriorWeight : kUsualWeight;
  problem.residuals = points.size() + priors;
  problem.starts = starts_of(section, from, given, points.size());
  std::vector<double> exact;  // as given, on a bound too
  for (const FitParameter& parameter : section.parameters) {
    problem.low.push_back(logarithm(parameter.low));
    problem.high.push_back(logarithm(parameter.high));
    exact.push_back(logarithm(std::clamp(parameter.get(from), parameter.low, parameter.high)));
  }
  const std::vector<double> start = problem.starts.front();
  std::vector<CollectiveProfile> tried = profiles;
  problem.evaluate = [&](std::span<const double> x, std::span<double> residuals) {
    set_all(section, x, tried);
    const std::vector<double> seconds = predictor.predict(samples, tried);
    for (std::size_t i = 0; i < points.size(); ++i) residuals[i] = logarithm(seconds[i]) - points[i].log_measured;
    for (std::size_t j = 0; j < priors; ++j) residuals[points.size() + j] = weight * (x[j] - start[j]);
  };
  const LeastSquaresEnd end = minimize(problem);
  constexpr double better = 1e-3;
  if (given == Given::kept && cost_of(problem, exact) * (1 - better) <= end.cost) return;
  set_all(section, end.x, profiles);
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
                 Corrections corrections, Given given) {
  std::vector<const CommSample*> taken;
  for (const CommSample* sample : samples) {
    if (section.takes(*sample)) taken.push_back(sample);
  }
  if (taken.empty()) return;
  for (CollectiveProfile& profile : profiles) drop_corrections(section, profile);
  make_usable(section, profiles);
  const std::vector<Point> points = points_of(systems, taken);
  fit_parameters(predictor, section, points, profiles, given);
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

/// Samples to fit and to predict.
struct Split {
  std::vector<const CommSample*> seen, unseen;
};

/// None where one side is empty. All-reduce kernels of engines on a system left out: by version, each with what the
/// other systems hold for it.
std::vector<Split> splits_of(std::span<const CommSystem> systems, const FitSection& section, HoldOut hold_out,
                             const std::vector<const CommSample*>& seen, const std::vector<const CommSample*>& unseen) {
  if (seen.empty() || unseen.empty()) return {};
  if (hold_out != HoldOut::systems || section.op != CommOp::custom_allreduce) return {{seen, unseen}};
  std::map<std::string, std::vector<const CommSample*>> by_system, by_version;
  for (const CommSample* sample : seen) by_system[systems[sample->system].name].push_back(sample);
  for (const CommSample* sample : unseen) by_version[sample->version].push_back(sample);
  std::vector<std::vector<VersionEra>> eras;
  for (const auto& [system, own] : by_system) eras.push_back(version_eras(systems, own));
  std::vector<Split> splits;
  for (const auto& [version, own] : by_version) {
    Split split;
    for (const std::vector<VersionEra>& list : eras) {
      const VersionEra& era = era_of(list, version);
      split.seen.insert(split.seen.end(), era.samples.begin(), era.samples.end());
    }
    const auto same =
        std::find_if(splits.begin(), splits.end(), [&](const Split& other) { return other.seen == split.seen; });
    Split& place = same != splits.end() ? *same : splits.emplace_back(std::move(split));
    place.unseen.insert(place.unseen.end(), own.begin(), own.end());
  }
  return splits;
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
                             HoldOut hold_out, const FitProgress& progress, Given given) {
  const std::vector<const CommSample*> taken = taken_by(section, samples);
  HeldOutErrors errors{hold_out, {}, {}};
  if (taken.empty()) return errors;
  const std::vector<std::size_t> folds = folds_of(systems, taken, hold_out);
  const std::size_t count = *std::max_element(folds.begin(), folds.end()) + 1;
  for (std::size_t fold = 0; fold < count; ++fold) {
    std::vector<const CommSample*> seen, unseen;
    for (std::size_t i = 0; i < taken.size(); ++i) (folds[i] == fold ? unseen : seen).push_back(taken[i]);
    if (hold_out == HoldOut::ranks || hold_out == HoldOut::systems) {
      std::erase_if(unseen, [&](const CommSample* sample) {
        return std::none_of(seen.begin(), seen.end(),
                            [&](const CommSample* other) { return (other->domains > 1) == (sample->domains > 1); });
      });
    }
    for (const Split& split : splits_of(systems, section, hold_out, seen, unseen)) {
      std::vector<CollectiveProfile> fitted = profiles;
      fit_section(predictor, systems, section, split.seen, fitted, Corrections::fitted,
                  given == Given::prior ? given : Given::ignored);
      const std::vector<ScoredSample> corrected = score(predictor, split.unseen, fitted);
      for (CollectiveProfile& profile : fitted) drop_corrections(section, profile);
      const std::vector<ScoredSample> law = score(predictor, split.unseen, fitted);
      errors.corrected.insert(errors.corrected.end(), corrected.begin(), corrected.end());
      errors.law.insert(errors.law.end(), law.begin(), law.end());
    }
    if (progress) progress(static_cast<std::int64_t>(fold + 1), static_cast<std::int64_t>(count));
  }
  return errors;
}

SectionFit fit_and_validate(CommPredictor& predictor, std::span<const CommSystem> systems, const FitSection& section,
                            std::span<const CommSample* const> samples, std::vector<CollectiveProfile>& profiles,
                            std::span<const HoldOut> hold_outs, const FitProgress& progress, Given given) {
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
    fit.held_out.push_back(
        cross_validate(predictor, systems, section, fit.samples, profiles, hold_out, progress, given));
  }
  fit.corrections = corrections_earn_their_place(fit.held_out) ? Corrections::fitted : Corrections::none;
  fit_section(predictor, systems, section, fit.samples, profiles, fit.corrections, given);
  for (CollectiveProfile& profile : profiles) {
    std::erase_if(profile.fitted, [&](const FittedRange& range) {
      return !section.between_domains &&
             std::find(section.curves.begin(), section.curves.end(), range.curve) != section.curves.end();
    });
    profile.fitted.insert(profile.fitted.end(), fit.ranges.begin(), fit.ranges.end());
  }
  fit.after = score(predictor, fit.samples, profiles);
  fit.profile = profiles[fit.samples.front()->system];
  return fit;
}

ErrorSummary errors_of(std::span<const ScoredSample> scored) {
  std::vector<MeasuredPair> pairs;
  for (const ScoredSample& s : scored) pairs.push_back({s.predicted, s.sample->measured});
  return summarize_errors(pairs);
}

}  // namespace moesim
