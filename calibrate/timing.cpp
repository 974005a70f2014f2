#include "timing.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/statistics.h"

namespace moesim::calibrate {

namespace {

Distribution<double> sorted(std::span<const double> values) {
  Distribution<double> distribution;
  for (const double value : values) distribution.add(value);
  distribution.sort();
  return distribution;
}

}  // namespace

Timing summarize(std::span<const double> samples) {
  MOESIM_CHECK(!samples.empty(), "no samples");
  const Distribution<double> times = sorted(samples);
  const double median = times.quantile(0.5);
  std::vector<double> deviations;
  for (const double sample : samples) deviations.push_back(std::abs(sample - median));
  // 1.4826 times the median deviation estimates the standard deviation of normal data. A thousandth of the median
  // keeps repeats that agree to the last tick from making outliers of each other.
  const double scale = std::max(1.4826 * sorted(deviations).quantile(0.5), 1e-3 * median);
  const auto outliers = std::count_if(deviations.begin(), deviations.end(), [&](double d) { return d > 5 * scale; });
  return {.median = median,
          .spread = median > 0 ? (times.quantile(0.9) - times.quantile(0.1)) / median : 0,
          .repeats = static_cast<int>(samples.size()),
          .outliers = static_cast<int>(outliers)};
}

RepeatPlan plan_repeats(double first, int rotation) {
  MOESIM_CHECK(rotation >= 1, "rotation {}", rotation);
  constexpr double replay = 200e-6, all = 0.25;
  constexpr int most_copies = 100;
  const double once = std::max(first, 1e-7);
  RepeatPlan plan;
  plan.copies = static_cast<int>(std::clamp(std::ceil(replay / once), 1.0, static_cast<double>(most_copies)));
  plan.copies = (plan.copies + rotation - 1) / rotation * rotation;
  plan.repeats = static_cast<int>(std::clamp(all / (once * plan.copies), double{kFewestRepeats}, 200.0));
  return plan;
}

int rotated_copies(std::int64_t bytes, std::int64_t l2) {
  MOESIM_CHECK(bytes > 0, "bytes {}", bytes);
  return static_cast<int>(std::clamp<std::int64_t>((l2 + bytes - 1) / bytes, 1, 5));
}

}  // namespace moesim::calibrate
