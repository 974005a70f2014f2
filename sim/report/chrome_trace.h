#pragma once
// A timeline that ui.perfetto.dev and chrome://tracing open: a process a replica; in it a lane for the computing and
// one for the communicating of every GPU, one for the host, and counters of the batch and of the KV blocks.

#include <span>
#include <string>

#include "metrics/trace_event.h"

namespace moesim {

/// Chrome trace JSON; `ts` and `dur` in microseconds.
std::string chrome_trace(std::span<const TraceEvent> events);

}  // namespace moesim
