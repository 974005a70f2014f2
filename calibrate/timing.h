#pragma once
// From the times of repeats to the numbers of a row, and how many repeats a row needs.

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace moesim::calibrate {

/// Seconds.
struct Timing {
  double median = 0;
  double spread = 0;  ///< (90th - 10th percentile) / median, over all repeats
  int repeats = 0;
  int outliers = 0;  ///< further from the median than 5 times the scaled median deviation
};

/// `samples` holds at least one time.
Timing summarize(std::span<const double> samples);

/// How a row is timed: one sample is a replay of a graph that holds the operator `copies` times.
struct RepeatPlan {
  int copies = 1;
  int warm_up = 3;   ///< replays that are not counted
  int repeats = 20;  ///< replays that are
};
inline constexpr int kFewestRepeats = 20;

/// Enough copies that a replay takes 200 us (event resolution is 0.5 us [cuda events]) and a whole number of turns
/// through `rotation` buffers; then repeats for a quarter of a second, within 20 and 200. `first` is one rough time of
/// the operator.
RepeatPlan plan_repeats(double first, int rotation);

/// How many copies of a read-only operand of `bytes` are rotated: min(5, ceil(l2 / bytes)), the rule of the collector
/// behind the shared tables, so that its rows and ours are in the same cache state [aiconfigurator].
int rotated_copies(std::int64_t bytes, std::int64_t l2);

/// Why a row has no time.
struct Failure {
  enum class Kind { wrong_result, not_supported, out_of_memory, failed_call, device_lost };
  Kind kind = Kind::failed_call;
  std::string message;
};

/// What measuring a case gives: the times of its latency columns, in their order.
struct Measured {
  std::vector<Timing> times;
  int sm_clock = 0;  ///< MHz during the repeats; 0: not known
};
using Outcome = std::variant<Measured, Failure>;

}  // namespace moesim::calibrate
