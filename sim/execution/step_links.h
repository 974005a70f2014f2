#pragma once
// Which links the collectives of one engine use: every group of its ranks on the GPUs that the engine really holds.

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "collectives/exchange_links.h"
#include "execution/expert_step.h"
#include "execution/step_program.h"
#include "parallel/plan.h"

namespace moesim {

/// Rank r of the engine is GPU `first_gpu + r`. Groups are prepared when they are first asked for.
class StepLinks {
 public:
  /// Topology and profile stay valid while the object lives.
  StepLinks(const Topology& topology, const CollectiveProfile& profile, const ParallelPlan& plan, GpuId first_gpu);

  /// Buffers of the collectives of one step, as nccl-tests counts them.
  struct Buffers {
    Bytes activations, logits;
  };
  /// `times` collectives of one kind in every group of a stage. Exchanges are collected layer by layer instead.
  void add(TaskTraffic traffic, std::int32_t stage, std::int64_t times, const Buffers& buffers, LinkBytes& to);
  /// Every rank of the stage sends `message` to the same rank of the next one.
  void add_stage_transfer(std::int32_t stage, Bytes message, LinkBytes& to) const;

  /// Draws a layer of the step that `experts` has started again and collects its exchanges; `lay_exchanges` puts what
  /// was collected on the links.
  enum class Way { dispatch, combine, both };
  struct Layer {
    std::int32_t stage = 0, moe_layer = 0;
    std::uint64_t draw = 0;
  };
  void collect(const Layer& layer, Way way, ExpertStep& experts);
  void lay_exchanges(LinkBytes& to);

 private:
  GpuId gpu(std::int32_t stage, std::int32_t rank) const;
  const std::vector<GroupCollectives>& groups(std::int32_t stage, std::int32_t size);
  /// Of one set of experts, on all groups of GPUs that do the same side by side: without expert parallelism the ranks
  /// of each tensor-parallel position make one.
  std::vector<ExchangeLinks>& exchange(std::int32_t stage, std::size_t set, const ExpertStep& experts);

  const Topology& topology_;
  const CollectiveProfile& profile_;
  ParallelPlan plan_;
  GpuId first_gpu_;
  std::map<std::tuple<std::int32_t, std::int32_t>, std::vector<GroupCollectives>> groups_;  ///< by stage and size
  std::map<std::tuple<std::int32_t, std::size_t, MoeBackend>, std::vector<ExchangeLinks>> exchanges_;
};

}  // namespace moesim
