#pragma once
// Lanes of the busiest links in the timeline of a run.

#include <memory>
#include <vector>

#include "metrics/trace_event.h"
#include "network/topology.h"
#include "serving/replica.h"

namespace moesim {

/// Computes the traced steps again and gives, for the links that carry most of their line rate in the window (at most
/// kMostLanes), the rate whenever it changes. A collective runs at its mean rate on a link, bytes / duration;
/// collectives that overlap on a link add up. Events are ordered by link, then by time.
std::vector<TraceEvent> link_lanes(const std::vector<std::unique_ptr<Replica>>& replicas, StepCost& cost, Instant from,
                                   Instant to);
inline constexpr std::size_t kMostLanes = 16;

}  // namespace moesim
