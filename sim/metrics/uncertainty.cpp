#include "metrics/uncertainty.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/math.h"
#include "core/statistics.h"
#include "metrics/run_result.h"

namespace moesim {

namespace {

/// Value at the 1-based position `rank` of the sorted values.
double order_statistic(const std::vector<double>& sorted, double rank) {
  const double place = std::clamp(rank - 1, 0.0, static_cast<double>(sorted.size() - 1));
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Interval prediction_interval_90(std::span<const double> values) {
  MOESIM_CHECK(values.size() >= 2, "an interval from {} values", values.size());
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(sorted.size());
  Interval interval;
  interval.median = order_statistic(sorted, (n + 1) / 2);
  constexpr std::size_t fewest_ordered = 19;
  if (sorted.size() >= fewest_ordered) {
    interval.low = order_statistic(sorted, 0.05 * (n + 1));
    interval.high = order_statistic(sorted, 0.95 * (n + 1));
    return interval;
  }
  const bool logs = sorted.front() > 0;
  double mean = 0, squares = 0;
  for (double& value : sorted) {
    if (logs) value = logarithm(value);
    mean += value / n;
  }
  for (const double value : sorted) squares += (value - mean) * (value - mean);
  const double t = student_t_95(static_cast<int>(sorted.size()) - 1);
  const double half = t * std::sqrt(squares / (n - 1) * (1 + 1 / n));
  interval.low = logs ? exponential(mean - half) : mean - half;
  interval.high = logs ? exponential(mean + half) : mean + half;
  return interval;
}

std::vector<std::pair<std::string, double>> headline_figures(const RunResult& result) {
  std::vector<std::pair<std::string, double>> figures;
  if (result.completed == 0) return figures;
  figures = {{"duration", result.duration_s},
             {"request_throughput", result.request_throughput},
             {"output_throughput", result.output_throughput},
             {"total_token_throughput", result.total_token_throughput},
             {"output_tokens_per_s_per_gpu", result.output_tokens_per_s_per_gpu}};
  if (result.request_goodput) figures.emplace_back("request_goodput", *result.request_goodput);
  if (result.energy) figures.emplace_back("energy_joules_per_token", result.energy->joules_per_output_token);
  if (result.interactivity_tokens_per_s_per_user > 0) {
    figures.emplace_back("interactivity_tokens_per_s_per_user", result.interactivity_tokens_per_s_per_user);
  }
  const auto latency = [&](const char* metric, const LatencySummary& summary) {
    if (summary.mean <= 0) return;
    for (const auto& [kind, value] : {std::pair{"mean", summary.mean}, std::pair{"median", summary.median},
                                      std::pair{"p90", summary.p90}, std::pair{"p99", summary.p99}}) {
      figures.emplace_back(std::string(kind) + "_" + metric + "_ms", value);
    }
  };
  latency("ttft", result.ttft_ms);
  latency("tpot", result.tpot_ms);
  latency("itl", result.itl_ms);
  latency("e2el", result.e2el_ms);
  if (result.cost_usd_per_million_output_tokens) {
    figures.emplace_back("cost_usd_per_million_output_tokens", *result.cost_usd_per_million_output_tokens);
  }
  return figures;
}

Uncertainty uncertainty_of(std::span<const std::vector<std::pair<std::string, double>>> replications) {
  Uncertainty uncertainty;
  uncertainty.replications = static_cast<std::int64_t>(replications.size());
  if (replications.size() < 2) return uncertainty;
  for (const auto& [name, first] : replications.front()) {
    std::vector<double> values;
    for (const auto& figures : replications) {
      const auto same =
          std::find_if(figures.begin(), figures.end(), [&, &key = name](const auto& f) { return f.first == key; });
      if (same != figures.end()) values.push_back(same->second);
    }
    if (values.size() == replications.size()) uncertainty.figures.push_back({name, prediction_interval_90(values)});
  }
  return uncertainty;
}

}  // namespace moesim
