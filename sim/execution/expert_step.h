#pragma once
// The routed experts of one MoE layer in one step: gates drawn, loads by rank through the placement, time of every
// rank's grouped GEMMs and of both exchanges.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "collectives/collective_cost.h"
#include "execution/execution_spec.h"
#include "execution/operator_time.h"
#include "execution/rank_batch.h"
#include "hardware/kernel_cost.h"
#include "model/model_spec.h"
#include "network/topology.h"
#include "parallel/expert_load.h"
#include "routing/router.h"

namespace moesim {

struct ExpertTimes {
  Spread experts;              ///< over all expert ranks
  Duration dispatch, combine;  ///< zero without an exchange
};

class ExpertStep {
 public:
  /// `router` and `kernels` stay valid while the object lives. Rank r of the first stage is GPU r.
  ExpertStep(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
             const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router& router,
             std::int32_t moe_layers);

  /// Tokens leave their rank for experts of other DP ranks (DP > 1).
  bool exchanges() const { return exchange_.has_value(); }
  /// Rows are quantised before they leave.
  bool quantised_dispatch() const { return quantised_dispatch_; }

  /// Takes the tokens that every DP rank has in the step to come.
  void start(std::span<const RankBatch> ranks);
  /// One layer of the step. `layer`: index among the MoE layers; `draw` names the step.
  ExpertTimes time(std::int32_t layer, std::uint64_t draw);

  /// After `time`: bytes that both exchanges of the last expert group put on the links, by kind of link.
  CarriedBytes carried();
  /// After `time`: what was drawn for the last expert group.
  std::span<const std::uint32_t> counts() const { return counts_; }
  std::span<const ExpertLoad> loads() const { return loads_by_rank_; }
  Duration rank_time(std::size_t expert_rank) const { return (*moe_cost_)(loads_by_rank_[expert_rank]); }

 private:
  /// Tokens that the members of one set of experts send.
  struct Sources {
    std::vector<std::int64_t> by_gpu;   ///< of the exchange group
    std::vector<std::int64_t> by_rank;  ///< of the placement
    std::int64_t total = 0;
  };
  void split_tokens(std::span<const RankBatch> ranks, Sources& sources) const;
  void draw(std::int32_t layer, const Sources& sources, std::uint64_t draw);
  void find_ratios(std::int32_t layer);
  RoutedTraffic traffic(const Sources& sources);

  const Router& router_;
  ExecutionSpec spec_;
  std::int64_t top_k_;
  bool quantised_dispatch_ = false;
  std::optional<ExpertLoads> loads_;
  std::optional<MoeCost> moe_cost_;
  std::optional<MoeExchange> exchange_;
  std::int64_t experts_per_rank_ = 0;
  std::vector<std::uint32_t> rank_of_expert_, node_of_expert_;
  std::vector<std::vector<double>> rank_ratio_, node_ratio_;  ///< by MoE layer, found on first use
  std::vector<std::uint32_t> counts_, matrix_;
  std::vector<std::uint16_t> ids_;
  std::vector<ExpertLoad> loads_by_rank_;
  ExchangeCounts counts_of_exchange_;
  std::vector<Sources> sources_;             ///< by set of experts
  std::vector<std::int64_t> rows_, copies_;  ///< by GPU of the exchange group
};

}  // namespace moesim
