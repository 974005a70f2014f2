#pragma once
// How far the truth may be from a simulated figure: intervals from runs with other seeds and perturbed costs.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moesim {

/// Of one more draw from where `values` came from.
struct Interval {
  double low = 0, median = 0, high = 0;
};

/// 90 % prediction interval from n >= 2 independent values: below 19 of them, mean +- t(0.95, n - 1) s sqrt(1 + 1 / n)
/// [hahn-meeker], of the logarithms where all values are positive; from 19 on, which is the least for it, the order
/// statistics at 0.05 (n + 1) and 0.95 (n + 1), linear between neighbours: they hold whatever the distribution is.
Interval prediction_interval_90(std::span<const double> values);

/// A figure of a run, by its key in the result.
struct UncertainFigure {
  std::string name;
  Interval interval;
};

struct Uncertainty {
  std::int64_t replications = 0;
  std::vector<UncertainFigure> figures;
};

struct RunResult;

/// The headline figures of one run that others of the same scenario have as well, by key; nothing when no request was
/// finished.
std::vector<std::pair<std::string, double>> headline_figures(const RunResult& result);

/// Intervals of every figure that all replications have.
Uncertainty uncertainty_of(std::span<const std::vector<std::pair<std::string, double>>> replications);

}  // namespace moesim
