#include "core/error_summary.h"

#include <cmath>

#include "core/math.h"
#include "core/statistics.h"

namespace moesim {

ErrorSummary summarize_errors(std::span<const MeasuredPair> pairs) {
  ErrorSummary errors;
  errors.scored = static_cast<std::int64_t>(pairs.size());
  if (pairs.empty()) return errors;
  Distribution<double> relative, logs;
  for (const MeasuredPair& pair : pairs) {
    relative.add(std::abs(pair.predicted / pair.measured - 1));
    logs.add(logarithm(pair.predicted / pair.measured));
  }
  relative.sort();
  logs.sort();
  errors.mape = relative.mean();
  errors.median_ape = relative.quantile(0.5);
  errors.p90_ape = relative.quantile(0.9);
  errors.bias = logs.quantile(0.5);
  return errors;
}

}  // namespace moesim
