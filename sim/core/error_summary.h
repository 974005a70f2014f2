#pragma once
// How far predictions are from measurements.

#include <cstdint>
#include <span>

namespace moesim {

/// Errors of a set of predictions p of measurements m; nothing to say about an empty set.
struct ErrorSummary {
  std::int64_t scored = 0;
  double mape = 0;        ///< mean of |p/m - 1|
  double median_ape = 0;  ///< quantiles linear between neighbours
  double p90_ape = 0;
  double bias = 0;  ///< median of ln(p/m)
};
struct MeasuredPair {
  double predicted = 0, measured = 0;
};
ErrorSummary summarize_errors(std::span<const MeasuredPair> pairs);

}  // namespace moesim
