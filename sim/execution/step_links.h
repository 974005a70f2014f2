#pragma once
// Which links the collectives of one engine use: every group of its ranks on the GPUs that the engine really holds.

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "collectives/exchange_links.h"
#include "execution/expert_step.h"
#include "parallel/plan.h"

namespace moesim {

/// Rank r of the engine is GPU `first_gpu + r`. Groups are prepared when they are first asked for.
class StepLinks {
 public:
  /// Topology and profile stay valid while the object lives.
  StepLinks(const Topology& topology, const CollectiveProfile& profile, const ParallelPlan& plan, GpuId first_gpu);

  /// A collective of every tensor-parallel group, and of every set of experts, of one stage; `buffer` as in nccl-tests.
  void add_tensor(std::int32_t stage, Collective kind, Bytes buffer, LinkBytes& to);
  void add_experts(std::int32_t stage, Collective kind, Bytes buffer, LinkBytes& to);
  /// Every rank of the stage sends `message` to the same rank of the next one.
  void add_stage_transfer(std::int32_t stage, Bytes message, LinkBytes& to) const;

  /// The exchanges of one set of experts of a stage, on all groups of GPUs that do the same side by side: without
  /// expert parallelism the ranks of each tensor-parallel position make one. `step` gives backend and payload.
  std::vector<ExchangeLinks>& exchange(std::int32_t stage, std::size_t set, const ExpertStep& step);
  /// Lays on the links whatever the exchanges of all stages have collected.
  void lay_exchanges(LinkBytes& to);

 private:
  GpuId gpu(std::int32_t stage, std::int32_t rank) const;
  const std::vector<GroupCollectives>& groups(std::int32_t stage, std::int32_t size);

  const Topology& topology_;
  const CollectiveProfile& profile_;
  ParallelPlan plan_;
  GpuId first_gpu_;
  std::map<std::tuple<std::int32_t, std::int32_t>, std::vector<GroupCollectives>> groups_;  ///< by stage and size
  std::map<std::tuple<std::int32_t, std::size_t, MoeBackend>, std::vector<ExchangeLinks>> exchanges_;
};

}  // namespace moesim
