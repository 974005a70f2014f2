#pragma once
// Batch of every rank -> step program -> its time. Holds everything that is prepared once a run: tables of token-wise
// operators by token count, collectives of the groups, expert placement, gates.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/collective_cost.h"
#include "core/units.h"
#include "execution/execution_spec.h"
#include "execution/rank_batch.h"
#include "execution/step_energy.h"
#include "execution/step_program.h"
#include "hardware/kernel_cost.h"
#include "model/model_spec.h"
#include "network/topology.h"
#include "routing/router.h"

namespace moesim {

/// One step: time of each pipeline stage and of the transfer between two.
struct StepTiming {
  std::vector<Timing> stages;
  Duration stage_transfer;
  std::vector<StageEnergy> energy;  ///< by stage; empty without a model of power
};

/// Loads of one MoE layer in one step, for the `experts` figures of a result.
struct ExpertObservation {
  double expert_max_over_mean = 0, rank_max_over_mean = 0;
  std::int64_t distinct_experts = 0;
  Duration straggler_wait;
};

/// One bar of a rank, as the trace wants it.
struct RankTask {
  std::uint32_t rank = 0;   ///< of the replica
  std::int32_t layer = -1;  ///< -1: outside the layers
  std::string_view name;    ///< of the part; "embedding" for what comes before the layers
  Resource resource = Resource::compute;
  TimePart part = TimePart::attention;
  Duration start, duration;  ///< from the start of the step
  std::int64_t tokens = 0;   ///< of the rank's data-parallel rank
  Bytes bytes;               ///< message of a tensor-parallel collective; 0 where not known
};

class StepCost {
 public:
  /// All references stay valid while the object lives. `router` is null for a dense model.
  StepCost(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
           const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router* router);
  ~StepCost();
  StepCost(const StepCost&) = delete;
  StepCost& operator=(const StepCost&) = delete;

  /// Time of one step of all data-parallel ranks together (`ranks.size() == plan.dp`). `draw` names the step for the
  /// gates: the same number gives the same choices. Valid until the next call.
  const StepTiming& time(std::span<const RankBatch> ranks, std::uint64_t draw);

  /// The program that `time` evaluated last for a stage.
  const StepProgram& program(std::int32_t stage) const;

  /// Draws the gates of one step again and describes the load of every MoE layer; `counts[l]` receives tokens by
  /// expert.
  void observe_experts(std::span<const RankBatch> ranks, std::uint64_t draw, std::vector<ExpertObservation>& layers,
                       std::vector<std::vector<std::uint32_t>>& counts);

  /// Bytes that all collectives and exchanges of one step put on every link, when rank r of the engine is GPU
  /// `first_gpu + r`. Valid until the next call.
  const LinkBytes& link_bytes(std::span<const RankBatch> ranks, std::uint64_t draw, GpuId first_gpu);
  /// The same task by task: when each collective starts, from the start of the step, how long it takes, and its bytes.
  using SeeTraffic = std::function<void(Duration start, Duration duration, const LinkBytes& bytes)>;
  void show_link_traffic(std::span<const RankBatch> ranks, std::uint64_t draw, GpuId first_gpu, const SeeTraffic& see);
  const Topology& topology() const;

  /// Every rank's own tasks of the step: ranks differ where their batches and their experts differ.
  std::vector<RankTask> rank_tasks(std::span<const RankBatch> ranks, std::uint64_t draw);

  /// Layers of the model that are MoE, in order.
  std::span<const std::int32_t> moe_layers() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moesim
