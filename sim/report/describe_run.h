#pragma once
// What `moesim describe cluster`, `describe scenario` and `describe trace` print.

#include <span>
#include <string>

#include "config/scenario.h"
#include "network/topology.h"
#include "workload/request.h"

namespace moesim {

std::string cluster_text(const Topology& topology);
std::string cluster_json(const Topology& topology);

/// The resolved plan, its ranks, memory of a GPU, the collectives of a layer, what was assumed.
std::string scenario_text(const Scenario& scenario);
std::string scenario_json(const Scenario& scenario);

/// Requests, lengths, rate and burstiness. `requests` sorted by arrival.
std::string trace_text(const std::string& name, std::span<const Request> requests, std::span<const std::string> notes);
std::string trace_json(const std::string& name, std::span<const Request> requests, std::span<const std::string> notes);

}  // namespace moesim
