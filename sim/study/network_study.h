#pragma once
// A network scenario simulated: every task alone and all of them together.

#include <optional>
#include <string>
#include <vector>

#include "config/network_scenario.h"
#include "metrics/run_result.h"
#include "metrics/trace_event.h"
#include "network/transfer_program.h"

namespace moesim {

struct NetworkTaskResult {
  std::string name;
  std::string what;  ///< "all_reduce by ring, bulk"
  std::uint32_t ranks = 0;
  Bytes bytes;  ///< as nccl-tests count them; of an exchange, of the mean rank
  std::uint64_t transfers = 0;
  Duration closed_form;  ///< alone, without max-min
  Duration alone;        ///< on the flow network
  Duration lower;        ///< with `bounded`: no sharing can be faster
  bool bounded = false;  ///< too many transfers to follow each: `alone` is an estimate
  Instant start, finish;
  /// Time beside the others over time alone.
  double slowdown() const { return alone == Duration() ? 1 : (finish - start) / alone; }
};

struct NetworkResult {
  std::string name, cluster, gpu;
  std::int64_t gpus = 0;
  Instant end;
  std::vector<NetworkTaskResult> tasks;
  std::vector<LinkClassUse> kinds;
  std::vector<LinkUse> links;       ///< the most used first
  std::vector<double> utilization;  ///< of every link of the topology
  std::vector<RateStep> steps;      ///< with `record`
  Provenance provenance;
};

/// A task of more than `kExactTransfers` transfers is estimated, and has the network for itself: read_network_scenario
/// takes it alone only.
NetworkResult simulate_network(const NetworkScenario& scenario, RecordRates record = RecordRates::no);

/// The tasks with their closed forms, nothing simulated: what `describe` shows.
std::vector<NetworkTaskResult> network_plan(const NetworkScenario& scenario);

/// Bars of the tasks, a lane each, and counters of the busiest links, for a Chrome trace: what reaches into the window.
std::vector<TraceEvent> network_timeline(const NetworkScenario& scenario, const NetworkResult& result,
                                         Instant from = {}, std::optional<Instant> to = std::nullopt);

}  // namespace moesim
