#pragma once
// How a model is executed on its ranks: the part of an engine's configuration that sets the time of a step.

#include <cstdint>
#include <optional>

#include "collectives/collective_cost.h"
#include "collectives/group_times.h"
#include "core/data_type.h"
#include "core/units.h"
#include "hardware/power.h"
#include "model/operators.h"
#include "parallel/plan.h"
#include "routing/router.h"

namespace moesim {

struct ExecutionSpec {
  ParallelPlan plan;
  NetworkModel network = NetworkModel::closed_form;
  MoeBackend backend = MoeBackend::none;
  std::optional<MoeBackend> decode_backend;  ///< of steps without a prompt; empty: the same
  std::int64_t max_dispatch_tokens = 0;      ///< of a rank in one round of a low-latency exchange; 0: no limit
  std::int32_t redundant_experts = 0;
  RoutingResolution resolution = RoutingResolution::counts;
  FusionTable fusion;
  DataType activation = DataType::bf16, kv_cache = DataType::bf16;
  bool cuda_graphs = true;
  std::int64_t largest_graph = 512;  ///< tokens of a rank in the largest captured graph
  bool graphs_hold_prefill = true;   ///< piecewise graphs: steps with prefill replay them as well
  Duration launch{};                 ///< host time to launch one kernel outside a graph
  std::optional<PowerModel> power;   ///< empty: energy is not counted, clocks are locked
  Clocks clocks = Clocks::locked;
};

}  // namespace moesim
