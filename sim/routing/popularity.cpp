#include "routing/popularity.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

/// To sum 1, none below 1e-12 of the mean: a race needs every expert to arrive at last.
void normalize(std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double least = 1e-12 / static_cast<double>(weights.size());
  for (double& w : weights) w = std::max(w / sum, least);
}

/// -log(1 - q), without the cancellation at small q.
double hazard(double q) {
  return q < 1e-5 ? q * (1 + q / 2) : -logarithm(1 - q);
}

/// Adds `scale` times the race integrand at one time to the rows `first`..`most` of `sums`. `before` and `after` are
/// room for (n + 1) * most probabilities.
double add_node(std::span<const double> weights, double time, double scale, std::int64_t first, std::int64_t most,
                std::vector<double>& before, std::vector<double>& after, std::vector<double>& sums) {
  const std::size_t n = weights.size();
  const auto k = static_cast<std::size_t>(most);
  std::vector<double> stay(n);
  for (std::size_t e = 0; e < n; ++e) stay[e] = exponential(-weights[e] * time);
  // before[e * k + i]: probability that i of the experts below e have arrived; after: of those from e on.
  std::fill(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(k), 0.0);
  before[0] = 1;
  for (std::size_t e = 0; e < n; ++e) {
    const double* from = &before[e * k];
    double* to = &before[(e + 1) * k];
    const double come = 1 - stay[e];
    to[0] = from[0] * stay[e];
    for (std::size_t i = 1; i < k; ++i) to[i] = from[i] * stay[e] + from[i - 1] * come;
  }
  std::fill(after.begin() + static_cast<std::ptrdiff_t>(n * k),
            after.begin() + static_cast<std::ptrdiff_t>((n + 1) * k), 0.0);
  after[n * k] = 1;
  for (std::size_t e = n; e-- > 0;) {
    const double* from = &after[(e + 1) * k];
    double* to = &after[e * k];
    const double come = 1 - stay[e];
    to[0] = from[0] * stay[e];
    for (std::size_t i = 1; i < k; ++i) to[i] = from[i] * stay[e] + from[i - 1] * come;
  }
  double largest = 0;
  std::vector<double> at_most(k);
  for (std::size_t e = 0; e < n; ++e) {
    const double* low = &before[e * k];
    const double* high = &after[(e + 1) * k];
    std::partial_sum(high, high + k, at_most.begin());
    const double density = scale * weights[e] * time * stay[e];
    for (auto draws = static_cast<std::size_t>(first); draws <= k; ++draws) {
      double reach = 0;
      for (std::size_t i = 0; i < draws; ++i) reach += low[i] * at_most[draws - 1 - i];
      sums[(draws - static_cast<std::size_t>(first)) * n + e] += density * reach;
      largest = std::max(largest, reach);
    }
  }
  return largest;
}

std::vector<double> race_rows(std::span<const double> weights, std::int64_t first, std::int64_t most) {
  const std::size_t n = weights.size();
  const auto rows = static_cast<std::size_t>(most - first + 1);
  std::vector<double> sums(rows * n, 0.0);
  // A race of n or more takes everybody and has no last time; its rows are set at the end.
  const std::int64_t open = std::min<std::int64_t>(most, static_cast<std::int64_t>(n) - 1);
  if (first <= open) {
    constexpr double step = 0.25;
    const double heaviest = *std::max_element(weights.begin(), weights.end());
    double time = 1e-7 / heaviest;
    // Below the first node the integrand is w t: a geometric series.
    const double ratio = exponential(-step);
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t e = 0; e < n; ++e) sums[row * n + e] = step * weights[e] * time * ratio / (1 - ratio);
    const double growth = exponential(step);
    std::vector<double> before((n + 1) * static_cast<std::size_t>(open)), after(before.size());
    while (add_node(weights, time, step, first, open, before, after, sums) > 1e-13) time *= growth;
  }
  for (std::int64_t draws = std::max(first, open + 1); draws <= most; ++draws)
    std::fill_n(sums.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(draws - first) * n), n, 1.0);
  return sums;
}

}  // namespace

std::vector<double> popularity_weights(const PopularitySpec& spec, std::int64_t experts, Stream stream) {
  MOESIM_CHECK(experts > 0, "{} experts", experts);
  std::vector<double> weights(static_cast<std::size_t>(experts), 1.0);
  switch (spec.kind) {
    case PopularityKind::uniform:
      break;
    case PopularityKind::zipf:
      for (std::size_t r = 0; r < weights.size(); ++r) weights[r] = power(static_cast<double>(r + 1), -spec.exponent);
      break;
    case PopularityKind::lognormal:
      for (double& w : weights) w = exponential(spec.sigma * stream.normal());
      break;
    case PopularityKind::dirichlet:
      for (double& w : weights) w = stream.gamma(spec.concentration);
      break;
    case PopularityKind::file:
      MOESIM_CHECK(false, "the popularity of a file is a table of {} rows, not a law", spec.table.size());
  }
  normalize(weights);
  std::sort(weights.begin(), weights.end(), std::greater<>());
  return weights;
}

std::vector<std::uint16_t> random_permutation(std::int64_t n, Stream stream) {
  std::vector<std::uint16_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::uint16_t{0});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  return order;
}

std::vector<double> race_inclusion(std::span<const double> weights, std::int64_t most) {
  return race_rows(weights, 1, most);
}

std::vector<double> race_inclusion_of(std::span<const double> weights, std::int64_t draws) {
  return race_rows(weights, draws, draws);
}

std::vector<double> capped_inclusion(std::span<const double> table_row, std::int64_t top_k) {
  std::vector<double> q(table_row.begin(), table_row.end());
  std::vector<bool> full(q.size(), false);
  double places = static_cast<double>(top_k);
  // Each pass either fills an expert or is the last.
  for (std::size_t pass = 0; pass <= q.size(); ++pass) {
    double sum = 0;
    for (std::size_t e = 0; e < q.size(); ++e)
      if (!full[e]) sum += q[e];
    if (sum <= 0) break;
    const double scale = places / sum;
    bool again = false;
    for (std::size_t e = 0; e < q.size(); ++e) {
      if (full[e]) continue;
      q[e] *= scale;
      if (q[e] > 1) {
        q[e] = 1;
        full[e] = true;
        again = true;
      }
    }
    if (!again) break;
    places = static_cast<double>(top_k) - static_cast<double>(std::count(full.begin(), full.end(), true));
  }
  return q;
}

std::vector<double> weights_for_inclusion(std::span<const double> target, std::int64_t draws) {
  std::vector<double> goal(target.begin(), target.end());
  for (double& q : goal) q = std::clamp(q, 1e-9, 1 - 1e-6);
  std::vector<double> weights(goal.size());
  for (std::size_t e = 0; e < goal.size(); ++e) weights[e] = hazard(goal[e]);
  if (draws >= static_cast<std::int64_t>(goal.size())) return weights;
  for (int pass = 0; pass < 100; ++pass) {
    normalize(weights);
    const std::vector<double> q = race_inclusion_of(weights, draws);
    double worst = 0;
    for (std::size_t e = 0; e < goal.size(); ++e) {
      worst = std::max(worst, std::abs(q[e] / goal[e] - 1));
      weights[e] *= hazard(goal[e]) / hazard(std::min(q[e], 1 - 1e-12));
    }
    if (worst < 1e-7) break;
  }
  normalize(weights);
  return weights;
}

}  // namespace moesim
