#include "execution/expert_step.h"

#include <algorithm>
#include <numeric>

namespace moesim {
namespace {

GpuGroup first_gpus(std::int32_t count) {
  GpuGroup group;
  for (std::int32_t i = 0; i < count; ++i) group.push_back(GpuId{static_cast<std::uint32_t>(i)});
  return group;
}

/// Activations cross as bf16, unless the backend sends the quantised rows that its grouped GEMM reads: fp8 with one
/// fp32 scale per 128 elements [DeepEP].
TokenPayload token_payload(const ModelSpec& model, const ExecutionSpec& spec, MoeBackend backend) {
  const bool quantised = bits_per_element(spec.activation) < 16 &&
                         (backend == MoeBackend::deepep_high_throughput || backend == MoeBackend::deepep_low_latency ||
                          backend == MoeBackend::flashinfer_nvlink_one_sided ||
                          backend == MoeBackend::flashinfer_nvlink_two_sided || backend == MoeBackend::pplx);
  const double element = quantised ? 1.0 + 4.0 / 128 : 2.0;
  return {Bytes::ceil(static_cast<double>(model.hidden) * element), Bytes{model.hidden * 2}};
}

}  // namespace

ExpertStep::ExpertStep(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
                       const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router& router,
                       std::int32_t moe_layers)
    : router_(router), spec_(spec), top_k_(model.moe.top_k) {
  const ParallelPlan& plan = spec.plan;
  const std::int32_t group_ranks = plan.ep * plan.etp;
  const GpuGroup group = first_gpus(group_ranks);
  std::vector<std::uint32_t> node_of_rank;
  for (std::int32_t r = 0; r < plan.ep; ++r) {
    node_of_rank.push_back(topology.node_of(group[static_cast<std::size_t>(r * plan.etp)]).value);
  }
  const ExpertPlacement placement = linear_placement(model.moe.experts, plan.ep, spec.redundant_experts);
  rank_of_expert_ = rank_of_experts(placement);
  loads_.emplace(placement, node_of_rank);
  node_of_expert_ = loads_->node_of_experts();

  const bool exchanged = plan.dp > 1 && plan.dp_ranks_per_expert_group() > 1;
  const MoeBackend backend = exchanged ? spec.backend : MoeBackend::none;
  MoeShape shape;
  shape.hidden = model.hidden;
  shape.intermediate = std::max<std::int64_t>(1, model.moe.width / plan.etp);
  shape.local_experts = (placement.slots() + placement.ranks() - 1) / placement.ranks();
  shape.top_k = model.moe.top_k;
  shape.gated = model.moe.gated;
  shape.weight = model.formats.experts;
  const bool quantised = bits_per_element(shape.weight) < 16 && bits_per_element(spec.activation) < 16;
  shape.activation = quantised ? spec.activation : DataType::bf16;
  if (backend == MoeBackend::deepep_low_latency) {
    moe_cost_.emplace(MoeCost::grouped(kernels, shape, GroupedLayout::masked));
  } else if (backend == MoeBackend::deepep_high_throughput) {
    moe_cost_.emplace(MoeCost::grouped(kernels, shape, GroupedLayout::contiguous));
  } else {
    moe_cost_.emplace(MoeCost::fused(kernels, shape));
  }
  if (exchanged) exchange_.emplace(topology, collectives, group, backend, token_payload(model, spec, backend));

  rank_ratio_.resize(static_cast<std::size_t>(moe_layers));
  node_ratio_.resize(static_cast<std::size_t>(moe_layers));
  counts_.resize(static_cast<std::size_t>(model.moe.experts));
  loads_by_rank_.resize(loads_->ranks());
  counts_of_exchange_ = loads_->exchange_counts();
  tokens_.resize(static_cast<std::size_t>(group_ranks));
  rows_.resize(tokens_.size());
  copies_.resize(tokens_.size());
  if (spec.resolution == RoutingResolution::matrix) matrix_.resize(loads_->ranks() * counts_.size());
}

ExpertTimes ExpertStep::time(std::int32_t layer, std::span<const RankBatch> ranks, std::uint64_t draw_name) {
  ExpertTimes times;
  // Several sets of experts (edp > 1) serve equal parts of the DP ranks side by side.
  const auto groups = static_cast<std::size_t>(spec_.plan.edp);
  const std::size_t each = std::max<std::size_t>(1, ranks.size() / groups);
  for (std::size_t g = 0; g < groups && g * each < ranks.size(); ++g) {
    draw(layer, ranks.subspan(g * each, each), draw_name * groups + g);
    for (std::size_t r = 0; r < loads_by_rank_.size(); ++r) times.experts.add(rank_time(r));
    if (exchange_) {
      const RoutedTraffic moved = traffic();
      times.dispatch = std::max(times.dispatch, exchange_->dispatch(moved));
      times.combine = std::max(times.combine, exchange_->combine(moved));
    }
  }
  return times;
}

void ExpertStep::split_tokens(std::span<const RankBatch> ranks) {
  // TP ranks of one DP rank send a slice each; the slices differ by one token at most.
  const std::size_t slices = std::max<std::size_t>(1, tokens_.size() / ranks.size());
  std::fill(tokens_.begin(), tokens_.end(), 0);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const auto n = static_cast<std::int64_t>(slices);
    for (std::int64_t i = 0; i < n && r * slices + static_cast<std::size_t>(i) < tokens_.size(); ++i) {
      tokens_[r * slices + static_cast<std::size_t>(i)] = ranks[r].tokens * (i + 1) / n - ranks[r].tokens * i / n;
    }
  }
  // Ranks of the placement hold etp GPUs each.
  const auto etp = static_cast<std::size_t>(spec_.plan.etp);
  for (std::size_t r = 0; r < counts_of_exchange_.tokens.size(); ++r) {
    const auto* first = tokens_.data() + r * etp;
    counts_of_exchange_.tokens[r] = std::accumulate(first, first + etp, std::int64_t{0});
  }
}

void ExpertStep::find_ratios(std::int32_t layer) {
  const auto l = static_cast<std::size_t>(layer);
  if (!rank_ratio_[l].empty()) return;
  rank_ratio_[l] = router_.distinct_ratio(layer, rank_of_expert_, loads_->ranks());
  node_ratio_[l] =
      loads_->nodes() > 1 ? router_.distinct_ratio(layer, node_of_expert_, loads_->nodes()) : std::vector<double>{1.0};
}

void ExpertStep::draw(std::int32_t layer, std::span<const RankBatch> ranks, std::uint64_t draw_name) {
  split_tokens(ranks);
  const std::int64_t total = std::accumulate(tokens_.begin(), tokens_.end(), std::int64_t{0});
  if (spec_.resolution == RoutingResolution::token) {
    ids_.resize(static_cast<std::size_t>(total * top_k_));
    router_.draw_tokens(layer, draw_name, total, ids_);
    loads_->from_tokens(ids_, top_k_, loads_by_rank_, counts_of_exchange_);
    std::fill(counts_.begin(), counts_.end(), 0u);
    for (const std::uint16_t e : ids_) ++counts_[e];
    return;
  }
  find_ratios(layer);
  const auto l = static_cast<std::size_t>(layer);
  if (spec_.resolution == RoutingResolution::matrix) {
    router_.draw_matrix(layer, draw_name, counts_of_exchange_.tokens, matrix_);
    loads_->from_matrix(matrix_, total, rank_ratio_[l], loads_by_rank_, counts_of_exchange_);
    std::fill(counts_.begin(), counts_.end(), 0u);
    for (std::size_t i = 0; i < matrix_.size(); i += counts_.size()) {
      for (std::size_t e = 0; e < counts_.size(); ++e) counts_[e] += matrix_[i + e];
    }
  } else {
    router_.draw_counts(layer, draw_name, total, counts_);
    loads_->from_counts(counts_, total, rank_ratio_[l], loads_by_rank_);
  }
  if (exchange_ && exchange_->depends_on_routing()) {
    loads_->fill_copies(loads_by_rank_, node_ratio_[l], counts_of_exchange_);
  }
}

RoutedTraffic ExpertStep::traffic() {
  const ExchangeCounts& c = counts_of_exchange_;
  const auto etp = static_cast<std::size_t>(spec_.plan.etp);
  if (etp == 1) {
    return {c.tokens, c.rows, c.rank_copies, c.node_copies, c.pair_rows};
  }
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    rows_[i] = c.rows[i / etp];
    copies_[i] = c.rank_copies[i / etp];
  }
  return {tokens_, rows_, copies_, c.node_copies, {}};
}

}  // namespace moesim
