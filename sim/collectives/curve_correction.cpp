#include "collectives/curve_correction.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

double value_at(const CurveCorrection& correction, double log_size) {
  const auto& x = correction.log_size;
  const auto above = static_cast<std::size_t>(std::upper_bound(x.begin(), x.end(), log_size) - x.begin());
  if (above == 0) return correction.log_factor.front();
  if (above == x.size()) return correction.log_factor.back();
  const double t = (log_size - x[above - 1]) / (x[above] - x[above - 1]);
  return correction.log_factor[above - 1] * (1 - t) + correction.log_factor[above] * t;
}

}  // namespace

std::string_view name(CostCurve curve) {
  switch (curve) {
    case CostCurve::all_reduce:
      return "all_reduce";
    case CostCurve::all_gather:
      return "all_gather";
    case CostCurve::reduce_scatter:
      return "reduce_scatter";
    case CostCurve::all_to_all:
      return "all_to_all";
    case CostCurve::send_recv:
      return "send_recv";
    case CostCurve::custom_all_reduce:
      return "custom_all_reduce";
    case CostCurve::custom_all_reduce_sglang:
      return "custom_all_reduce_sglang";
    case CostCurve::custom_all_reduce_trtllm:
      return "custom_all_reduce_trtllm";
    case CostCurve::low_latency_dispatch:
      return "low_latency_dispatch";
    case CostCurve::low_latency_combine:
      return "low_latency_combine";
    case CostCurve::normal_dispatch:
      return "normal_dispatch";
    case CostCurve::normal_combine:
      return "normal_combine";
    case CostCurve::two_sided_prepare:
      return "two_sided_prepare";
    case CostCurve::two_sided_dispatch:
      return "two_sided_dispatch";
    case CostCurve::two_sided_combine:
      return "two_sided_combine";
    case CostCurve::one_sided_dispatch:
      return "one_sided_dispatch";
    case CostCurve::one_sided_combine:
      return "one_sided_combine";
    case CostCurve::put:
      return "put";
  }
  fail_invariant(__FILE__, __LINE__, "unknown curve");
}

CollectiveProfile with_engine(CollectiveProfile profile, std::string_view engine) {
  const bool sglang = engine == "sglang" && profile.custom_all_reduce_sglang.max_ranks > 0;
  const bool trtllm = engine == "trtllm" && profile.custom_all_reduce_trtllm.max_ranks > 0;
  if (!sglang && !trtllm) return profile;
  const CostCurve own = sglang ? CostCurve::custom_all_reduce_sglang : CostCurve::custom_all_reduce_trtllm;
  profile.custom_all_reduce = sglang ? profile.custom_all_reduce_sglang : profile.custom_all_reduce_trtllm;
  std::erase_if(profile.corrections, [](const auto& c) { return c.curve == CostCurve::custom_all_reduce; });
  for (CurveCorrection& correction : profile.corrections) {
    if (correction.curve == own) correction.curve = CostCurve::custom_all_reduce;
  }
  std::erase_if(profile.fitted, [](const FittedRange& r) { return r.curve == CostCurve::custom_all_reduce; });
  for (FittedRange& range : profile.fitted) {
    if (range.curve == own) range.curve = CostCurve::custom_all_reduce;
  }
  return profile;
}

PreparedCorrection::PreparedCorrection(std::span<const CurveCorrection> corrections, CostCurve curve, double ranks) {
  const CurveCorrection* below = nullptr;
  const CurveCorrection* above = nullptr;
  for (const CurveCorrection& correction : corrections) {
    if (correction.curve != curve || correction.log_size.empty()) continue;
    if (correction.ranks <= ranks && (below == nullptr || correction.ranks > below->ranks)) below = &correction;
    if (correction.ranks >= ranks && (above == nullptr || correction.ranks < above->ranks)) above = &correction;
  }
  if (below == nullptr) below = above;
  if (above == nullptr) above = below;
  if (below == nullptr) return;
  std::set<double> sizes(below->log_size.begin(), below->log_size.end());
  sizes.insert(above->log_size.begin(), above->log_size.end());
  double weight = 0;
  if (above->ranks > below->ranks) {
    weight = (logarithm(ranks) - logarithm(below->ranks)) / (logarithm(above->ranks) - logarithm(below->ranks));
  }
  // One count of ranks says little about another: half of it for twice or half the ranks.
  double faded = 1;
  if (ranks > above->ranks) faded = above->ranks / ranks;
  if (ranks < below->ranks) faded = ranks / below->ranks;
  for (const double size : sizes) {
    knots_.push_back({size, faded * ((1 - weight) * value_at(*below, size) + weight * value_at(*above, size)), 0});
  }
}

double PreparedCorrection::log_of(double x) {
  return logarithm(x);
}

double PreparedCorrection::size_of(const Knot& knot) {
  return exponential(knot.log_size);
}

void PreparedCorrection::pool() {
  // Pool-adjacent-violators: least squares of the logarithms under the order.
  struct Block {
    double sum;
    std::size_t count;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Block> blocks;
  for (const Knot& knot : knots_) {
    blocks.push_back({knot.log_time, 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() > blocks.back().mean()) {
      blocks[blocks.size() - 2].sum += blocks.back().sum;
      blocks[blocks.size() - 2].count += blocks.back().count;
      blocks.pop_back();
    }
  }
  constexpr double rise = 1e-6;
  std::size_t i = 0;
  for (const Block& block : blocks) {
    for (std::size_t j = 0; j < block.count; ++j, ++i) {
      knots_[i].log_time = block.mean() + rise * static_cast<double>(i);
    }
  }
}

double PreparedCorrection::factor(double size) const {
  if (knots_.empty()) return 1;
  const double x = logarithm(size);
  if (x <= knots_.front().log_size) return exponential(knots_.front().log_factor);
  if (x >= knots_.back().log_size) return exponential(knots_.back().log_factor);
  const auto above = std::upper_bound(knots_.begin(), knots_.end(), x,
                                      [](double value, const Knot& knot) { return value < knot.log_size; });
  const Knot &a = *(above - 1), &b = *above;
  const double t = (x - a.log_size) / (b.log_size - a.log_size);
  return exponential(a.log_factor * (1 - t) + b.log_factor * t);
}

double PreparedCorrection::corrected(double seconds, double size) const {
  if (knots_.empty()) return seconds;
  const double x = logarithm(size);
  if (x <= knots_.front().log_size) return seconds * exponential(knots_.front().log_factor);
  if (x >= knots_.back().log_size) return seconds * exponential(knots_.back().log_factor);
  const auto above = std::upper_bound(knots_.begin(), knots_.end(), x,
                                      [](double value, const Knot& knot) { return value < knot.log_size; });
  const Knot &a = *(above - 1), &b = *above;
  const double t = (x - a.log_size) / (b.log_size - a.log_size);
  const double log_time = logarithm(seconds) + a.log_factor * (1 - t) + b.log_factor * t;
  // A little of the way is left to the size, so that times rise strictly.
  const double low = a.log_time, high = b.log_time;
  constexpr double strict = 1e-7;
  return exponential(std::clamp(log_time, low + strict * t, high - strict * (1 - t)));
}

}  // namespace moesim
