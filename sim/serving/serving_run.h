#pragma once
// A serving run: requests in, records out. Owns the event queue and the clock.

#include <cstdint>
#include <functional>
#include <vector>

#include "collectives/collective_profile.h"
#include "core/statistics.h"
#include "hardware/gpu_spec.h"
#include "hardware/kernel_profile.h"
#include "hardware/power.h"
#include "metrics/run_result.h"
#include "metrics/trace_event.h"
#include "network/cluster_spec.h"
#include "parallel/memory_use.h"
#include "routing/router.h"
#include "serving/engine_spec.h"
#include "workload/request.h"

namespace moesim {

/// References stay valid during the run. `model.formats` holds the weight formats that apply.
struct ServingInputs {
  const ModelSpec& model;
  const GpuSpec& gpu;
  const ClusterSpec& cluster;
  const KernelProfile& kernels;
  const CollectiveProfile& collectives;
  const EngineSpec& engine;
  const RoutingSpec& routing;
  const ArrivalSpec& arrivals;
  const std::vector<Request>& requests;
  std::uint64_t seed = 1;
  bool strides = true;
  const PowerModel* power = nullptr;  ///< null: energy is not counted
  Clocks clocks = Clocks::locked;
};

struct ServingObserver {
  std::function<void(std::int64_t finished, std::int64_t total)> progress;  ///< a few hundred times a run
  std::function<bool()> interrupted;                                        ///< true ends the run early
  std::vector<TraceEvent>* trace = nullptr;  ///< steps that overlap [trace_from, trace_to)
  Instant trace_from, trace_to = Instant::never();
};

/// Everything a run knows; `summarize` (metrics/summary.h) turns it into the figures of RunResult.
struct ServingOutcome {
  std::vector<RequestRecord> requests;
  Distribution<std::int64_t> token_gaps;  ///< inter-token latencies in picoseconds, not yet sorted
  std::int64_t steps = 0;
  std::int64_t step_sequences = 0;                ///< summed over steps: decode sequences and prefill chunks
  Breakdown breakdown;                            ///< summed over engines, idle included
  std::array<double, kResources> busy_seconds{};  ///< mean over engines
  Energy energy;                                  ///< of all GPUs while they compute, without what they draw idle
  double mean_clock = 1;  ///< share of the kernel tables' clock, mean over the time in which GPUs compute
  std::vector<ExpertLayerSummary> experts;
  std::vector<LinkClassUse> network;
  std::vector<LinkUse> links;  ///< as in RunResult
  std::int64_t links_left_out = 0;
  std::vector<PoolMemory> memory;
  std::vector<StepSample> step_samples;
  std::int64_t preemptions = 0;
  std::uint64_t fingerprint = 0;
  bool interrupted = false;
};

ServingOutcome run_serving(const ServingInputs& inputs, const ServingObserver& observer = {});

/// Cache tokens that one data-parallel rank can hold, and the memory table of its fullest GPU.
PoolMemory pool_memory(const ModelSpec& model, const GpuSpec& gpu, const ClusterSpec& cluster,
                       const EngineSpec& engine);

/// The sizes that set the memory of a GPU, from the engine's configuration.
MemoryLimits memory_limits(const ModelSpec& model, const ClusterSpec& cluster, const EngineSpec& engine);

}  // namespace moesim
