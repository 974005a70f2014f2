#pragma once
// One bar of a timeline, or the state of a replica or a link from one time on, for the Chrome trace.

#include <cstdint>
#include <optional>
#include <string>

#include "core/units.h"
#include "metrics/breakdown.h"

namespace moesim {

/// Of all data-parallel ranks of a replica together, in one step.
struct StepCounters {
  std::int64_t sequences = 0, tokens = 0;
  std::int64_t blocks_used = 0, blocks_free = 0;  ///< of the KV cache
};

struct TraceEvent {
  std::uint32_t replica = 0;
  std::uint32_t gpu = 0;  ///< rank in the replica
  Resource lane = Resource::compute;
  std::string name;  ///< "attention L3"
  TimePart part = TimePart::attention;
  /// Of a bar that is no GPU's and of no part: what its lane, a number in `gpu`, is called.
  std::string lane_name;
  Instant start;
  Duration duration;
  std::int64_t tokens = 0;               ///< of the GPU's data-parallel rank in the step; 0 is not written
  Bytes bytes;                           ///< message of a collective; 0 is not written
  std::optional<StepCounters> counters;  ///< when set, no bar: counters from `start` on
  /// When set, no bar and of no replica: the rate of the link `name` from `start` on.
  std::optional<double> link_bytes_per_second;
};

}  // namespace moesim
