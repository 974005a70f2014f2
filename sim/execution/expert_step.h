#pragma once
// The routed experts of one MoE layer in one step: gates drawn, loads by rank through the placement, time of every
// rank's grouped GEMMs and of both exchanges.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "collectives/collective_cost.h"
#include "collectives/exchange_program.h"
#include "execution/execution_spec.h"
#include "execution/operator_time.h"
#include "execution/rank_batch.h"
#include "hardware/kernel_cost.h"
#include "hardware/kernel_work.h"
#include "model/model_spec.h"
#include "network/topology.h"
#include "parallel/expert_load.h"
#include "routing/router.h"

namespace moesim {

struct ExpertTimes {
  Spread experts;              ///< over all expert ranks
  Duration dispatch, combine;  ///< zero without an exchange
  KernelWork work;             ///< of the mean GPU; its link bytes are what it sends in both exchanges
};

/// Tokens leave their rank for experts of other data-parallel ranks.
bool exchanges_tokens(const ParallelPlan& plan);
/// What moves the tokens where `asked` is configured: nothing without an exchange, collectives without expert
/// parallelism.
MoeBackend exchange_backend(const ParallelPlan& plan, MoeBackend asked);
/// The layout of the grouped GEMMs behind a backend; empty: the fused op, which permutes the rows itself.
std::optional<GroupedLayout> grouped_layout(MoeBackend backend);
/// The routed experts of one rank.
MoeShape routed_shape(const ModelSpec& model, const ExecutionSpec& spec);

/// Steps with a prompt and pure decode steps may use different kernels. Kernels with a limit of tokens a rank go in
/// rounds: each rank sends its tokens in order, `max_dispatch_tokens` a round, and each round dispatches, computes and
/// combines before the next, with gates and latencies of its own.
class ExpertStep {
 public:
  /// References stay valid while the object lives. Rank r of the first stage is GPU r. On the flow network several sets
  /// of experts are simulated one after the other, each alone.
  ExpertStep(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
             const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router& router,
             std::int32_t moe_layers);

  /// Tokens leave their rank for experts of other DP ranks (DP > 1).
  bool exchanges() const { return modes_.front().exchange.has_value(); }

  /// Takes the tokens that every DP rank has in the step to come.
  void start(std::span<const RankBatch> ranks);
  /// Of the step that was started: rows are quantised before they leave; the kernels; rounds of every layer.
  bool quantised_dispatch() const { return mode_->quantised_dispatch; }
  MoeBackend backend() const { return mode_->backend; }
  std::int64_t rounds() const { return rounds_; }
  /// One layer of the step. `layer`: index among the MoE layers; `draw` names the step.
  ExpertTimes time(std::int32_t layer, std::uint64_t draw);

  /// After `time`: what was drawn for the last expert group, summed over its rounds.
  std::span<const std::uint32_t> counts() const { return total_counts_; }
  std::span<const std::int64_t> rank_rows() const { return rank_rows_; }
  Duration rank_time(std::size_t expert_rank) const { return rank_times_[expert_rank]; }

  /// Draws one layer of the step again and shows what every set of experts exchanges, round by round.
  using SeeTraffic = std::function<void(std::size_t group, const RoutedTraffic&)>;
  void show_traffic(std::int32_t layer, std::uint64_t draw, const SeeTraffic& see);

  /// GPUs of the exchange of the first set of experts, and payload of the started step.
  const GpuGroup& group() const { return group_; }
  const TokenPayload& payload() const { return mode_->payload; }

 private:
  /// Kernels of one kind of steps.
  struct Mode {
    MoeBackend backend = MoeBackend::none;
    MoeCost cost;
    ExpertWork work;
    std::optional<MoeExchange> exchange;
    std::optional<ExchangePrograms> programs;  ///< on the flow network, where routing decides
    std::optional<GroupTimes> gathers;         ///< on the flow network, where it does not
    TokenPayload payload;
    bool quantised_dispatch = false;
    std::int64_t round_tokens = 0;  ///< 0: no limit
  };
  /// Tokens that the members of one set of experts send.
  struct Sources {
    std::vector<std::int64_t> by_gpu;   ///< of the exchange group
    std::vector<std::int64_t> by_rank;  ///< of the placement
    std::int64_t total = 0;
  };
  Mode mode_of(MoeBackend backend, const KernelCost& kernels, const Topology& topology,
               const CollectiveProfile& collectives) const;
  void split_tokens(std::span<const RankBatch> ranks, Sources& sources) const;
  void add_up(Sources& sources) const;
  const Sources& round_of(std::size_t group, std::int64_t round);
  void draw(std::int32_t layer, const Sources& sources, std::uint64_t draw);
  void find_ratios(std::int32_t layer);
  RoutedTraffic traffic(const Sources& sources);
  void add_exchanges(const RoutedTraffic& moved, Duration& dispatch, Duration& combine);
  double sent_bytes(const Sources& sources, const ExpertLoad& sum) const;
  /// Draws every round of every set of experts: `visit(group, sources)`.
  template <class Visit>
  void draw_rounds(std::int32_t layer, std::uint64_t draw_name, Visit&& visit);

  const ModelSpec& model_;
  const Topology& topology_;
  const CollectiveProfile& collectives_;
  const Router& router_;
  ExecutionSpec spec_;
  std::int64_t top_k_;
  GpuGroup group_;
  bool exchanged_ = false;
  std::optional<ExpertLoads> loads_;
  std::vector<Mode> modes_;  ///< of steps with a prompt; of pure decode steps, where they differ
  Mode* mode_ = nullptr;
  std::int64_t experts_per_rank_ = 0;
  std::vector<std::uint32_t> rank_of_expert_, node_of_expert_;
  std::vector<std::vector<double>> rank_ratio_, node_ratio_;  ///< by MoE layer, found on first use
  std::vector<std::uint32_t> counts_, total_counts_, matrix_;
  std::vector<std::uint16_t> ids_;
  std::vector<ExpertLoad> loads_by_rank_;
  std::vector<std::int64_t> rank_rows_;
  std::vector<Duration> rank_times_;
  ExchangeCounts counts_of_exchange_;
  std::vector<Sources> sources_;  ///< by set of experts
  Sources round_;
  std::int64_t rounds_ = 1;
  std::vector<std::int64_t> rows_, copies_;  ///< by GPU of the exchange group
};

}  // namespace moesim
