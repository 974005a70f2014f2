#pragma once
// A timeline that ui.perfetto.dev and chrome://tracing open: a process a replica; in it a lane for the computing and
// one for the communicating of every GPU, one for the host, and counters of the batch and of the KV blocks.

#include <span>
#include <string>

#include "metrics/run_result.h"
#include "metrics/trace_event.h"

namespace moesim {

/// Chrome trace JSON; `ts` and `dur` in microseconds.
std::string chrome_trace(std::span<const TraceEvent> events);
/// The same: the counters are among the events.
inline std::string chrome_trace(std::span<const TraceEvent> events, std::span<const StepSample> /*samples*/) {
  return chrome_trace(events);
}

}  // namespace moesim
