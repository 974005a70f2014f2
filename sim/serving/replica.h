#pragma once
// One engine: data-parallel ranks that step together, their batches in flight, and when the next step is decided.
//
// State moves from decision to decision. A decision composes the next step from what is known then, computes its time
// and so knows when it ends; nothing between two decisions has to be an event. `run` makes decisions until the horizon,
// the next time at which anything outside can reach this replica; steps that change nothing but lengths go through a
// short loop (strides), with the same result.

#include <cstdint>
#include <map>
#include <vector>

#include "core/ids.h"
#include "core/statistics.h"
#include "core/units.h"
#include "execution/step_cost.h"
#include "metrics/run_result.h"
#include "metrics/trace_event.h"
#include "serving/engine_spec.h"
#include "serving/rank_scheduler.h"
#include "serving/run_ledger.h"

namespace moesim {

/// Counted over all steps of a replica.
struct ReplicaTotals {
  std::int64_t steps = 0, step_sequences = 0, step_tokens = 0;
  Breakdown breakdown;
  std::array<Duration, kResources> busy{};
  Energy energy;             ///< of all its GPUs while they compute, idle power included
  double clock_seconds = 0;  ///< clock of every stage x its time, summed
  double stage_seconds = 0;
  std::int64_t preemptions = 0;
  std::int64_t blocks_peak = 0;  ///< of the fullest rank
  Instant last_end;
};

/// Loads of the MoE layers, from a sample of the steps: the first 32 and then every 64th.
struct ExpertTotals {
  std::int64_t samples = 0;
  std::vector<double> expert_max_over_mean, rank_max_over_mean, distinct, wait_seconds;  ///< by MoE layer, summed
  std::vector<std::vector<std::uint64_t>> counts;                                        ///< layer x expert
};

/// Bytes over the sampled steps, and bytes per second of the busiest of them.
struct LinkTotals {
  double bytes = 0, peak_per_second = 0;
};

/// Traffic on the links, from the same sample.
struct NetworkTotals {
  std::map<LinkId, LinkTotals> links;  ///< that carried something
  CarriedBytes peak_per_second{};      ///< of all links of a kind in the busiest step
  std::int64_t tokens = 0;             ///< of the sampled steps
};

/// A step in the window of a trace: enough to compute it again.
struct TracedStep {
  Instant start;
  std::vector<RankBatch> batches;
  std::uint64_t draw = 0;
};

/// Receives the bars that overlap [from, to) and the counters of the steps that begin in it.
struct ReplicaTrace {
  std::vector<TraceEvent>* events = nullptr;
  Instant from, to;
};

class Replica {
 public:
  /// `cost` may be shared by equal replicas; it stays valid while the replica lives.
  Replica(ReplicaId id, const EngineSpec& engine, const ModelSpec& model, const SchedulerLimits& limits,
          StepCost& cost);

  /// A request reaches the scheduler. Goes to the rank with the least load (4 x waiting + running, as vLLM's data-
  /// parallel balancer counts); among equals in turn. Returns the rank.
  std::uint32_t deliver(Instant now, RequestId request, const RequestRecord& record);

  /// When the next step is decided; never() while there is nothing to do.
  Instant next_decision() const { return next_decision_; }

  /// Makes the decision that is due, and with strides those before `horizon` too.
  struct Limits {
    Instant horizon;
    bool strides = true;
    bool stop_after_end = false;  ///< return once a sequence has ended: its client may send the next request
  };
  void run(const Limits& limits, RunLedger& ledger);

  /// 4 x waiting + running sequences of all ranks.
  std::int64_t load() const;

  const ReplicaTotals& totals() const { return totals_; }
  const ExpertTotals& experts() const { return experts_; }
  const NetworkTotals& network() const { return network_; }
  const std::vector<TracedStep>& traced_steps() const { return traced_steps_; }
  /// Rank r of the engine is GPU `first_gpu + r`: engines follow each other.
  GpuId first_gpu() const { return {id_.value * static_cast<std::uint32_t>(engine_.plan.world())}; }
  const std::vector<StepSample>& samples() const { return samples_; }
  double mean_blocks(Instant end) const;
  void trace_to(const ReplicaTrace& trace) { trace_ = trace; }

 private:
  struct StepTimes {
    Instant start, end;
    Duration host;  ///< scheduling and launch preparation before the start
  };
  void decide(RunLedger& ledger);
  void repeat_unchanged(const Limits& limits, RunLedger& ledger);
  StepTimes time_step(Instant decision, std::int64_t sequences);
  void account(Instant decision, const StepTimes& times);
  void emit(const StepTimes& times, RunLedger& ledger);
  void observe(const StepTimes& times);
  void observe_experts(std::uint64_t draw);
  void observe_network(const StepTimes& times, std::uint64_t draw);
  void trace_step(const StepTimes& times, std::uint64_t draw);
  void plan_next(Instant decision, const StepTimes& times);
  void sample(const StepTimes& times);

  ReplicaId id_;
  const EngineSpec& engine_;
  StepCost& cost_;
  std::vector<RankScheduler> ranks_;
  std::vector<RankBatch> batches_;  ///< of the step being decided, by rank
  std::vector<StepEvents> events_;
  std::int32_t cohort_ = 0;  ///< of the next decision
  Instant next_decision_ = Instant::never();
  std::vector<Instant> stage_free_;  ///< when a pipeline stage has done its last step
  std::vector<Instant> cohort_end_;  ///< when a cohort's last step ended
  Instant last_start_;
  const StepTiming* timing_ = nullptr;
  std::uint32_t next_rank_ = 0;
  bool idle_ = true;

  ReplicaTotals totals_;
  ExpertTotals experts_;
  NetworkTotals network_;
  std::vector<ExpertObservation> observations_;
  std::vector<std::vector<std::uint32_t>> observed_counts_;
  TimeWeighted<std::int64_t> blocks_;
  std::vector<StepSample> samples_;
  std::int64_t sample_every_ = 1;
  ReplicaTrace trace_;
  std::vector<TracedStep> traced_steps_;
  std::int64_t blocks_total_ = 0;  ///< of all ranks
};

}  // namespace moesim
