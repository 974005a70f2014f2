#pragma once
// One bar of a timeline, for the Chrome trace.

#include <cstdint>
#include <string>

#include "core/units.h"
#include "metrics/breakdown.h"

namespace moesim {

struct TraceEvent {
  std::uint32_t replica = 0;
  std::uint32_t gpu = 0;  ///< rank in the replica
  Resource lane = Resource::compute;
  std::string name;  ///< "attention L3"
  TimePart part = TimePart::attention;
  Instant start;
  Duration duration;
  std::int64_t tokens = 0;
};

}  // namespace moesim
