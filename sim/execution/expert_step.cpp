#include "execution/expert_step.h"

#include <algorithm>
#include <numeric>

#include "collectives/link_loads.h"

namespace moesim {
namespace {

/// The GPUs that exchange tokens: without expert parallelism one of each data-parallel rank (each holds a slice of all
/// experts), else all that share experts.
GpuGroup exchange_group(const ParallelPlan& plan) {
  GpuGroup group;
  const bool slices_only = plan.ep == 1;
  const std::int32_t members = slices_only ? plan.etp / (plan.tp * plan.cp) : plan.ep * plan.etp;
  const std::int32_t stride = slices_only ? plan.tp * plan.cp : 1;
  for (std::int32_t i = 0; i < members; ++i) group.push_back(GpuId{static_cast<std::uint32_t>(i * stride)});
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
  const bool exchanged = plan.dp > 1 && plan.dp_ranks_per_expert_group() > 1;
  const MoeBackend backend = !exchanged                                         ? MoeBackend::none
                             : plan.ep == 1 || spec.backend == MoeBackend::none ? MoeBackend::allgather_reducescatter
                                                                                : spec.backend;
  const GpuGroup group = exchanged ? exchange_group(plan) : GpuGroup{GpuId{0}};
  std::vector<std::uint32_t> node_of_rank(static_cast<std::size_t>(plan.ep));
  if (exchanged && plan.ep > 1) {
    const GroupNodes nodes = group_nodes(topology, group);
    for (std::size_t r = 0; r < node_of_rank.size(); ++r) {
      node_of_rank[r] = nodes.node_of_rank[r * static_cast<std::size_t>(plan.etp)];
    }
  }
  const ExpertPlacement placement = linear_placement(model.moe.experts, plan.ep, spec.redundant_experts);
  rank_of_expert_ = rank_of_experts(placement);
  loads_.emplace(placement, node_of_rank);
  node_of_expert_ = loads_->node_of_experts();

  MoeShape shape;
  shape.hidden = model.hidden;
  shape.intermediate = std::max<std::int64_t>(1, model.moe.width / plan.etp);
  shape.local_experts = (placement.slots() + placement.ranks() - 1) / placement.ranks();
  experts_per_rank_ = shape.local_experts;
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
  if (exchanged) {
    const TokenPayload payload = token_payload(model, spec, backend);
    quantised_dispatch_ = payload.dispatch < payload.combine;
    exchange_.emplace(topology, collectives, group, backend, payload);
  }

  rank_ratio_.resize(static_cast<std::size_t>(moe_layers));
  node_ratio_.resize(static_cast<std::size_t>(moe_layers));
  counts_.resize(static_cast<std::size_t>(model.moe.experts));
  loads_by_rank_.resize(loads_->ranks());
  counts_of_exchange_ = loads_->exchange_counts();
  // Without sources no pairs: every source sends to a rank in proportion to its tokens.
  if (spec.resolution == RoutingResolution::counts) counts_of_exchange_.pair_rows.clear();
  rows_.resize(exchanged ? group.size() : 1);
  copies_.resize(rows_.size());
  if (spec.resolution == RoutingResolution::matrix) matrix_.resize(loads_->ranks() * counts_.size());
}

void ExpertStep::start(std::span<const RankBatch> ranks) {
  // Several sets of experts (edp > 1) serve equal parts of the DP ranks side by side.
  const auto groups = static_cast<std::size_t>(spec_.plan.edp);
  const std::size_t each = std::max<std::size_t>(1, ranks.size() / groups);
  sources_.resize(std::min(groups, ranks.size()));
  for (std::size_t g = 0; g < sources_.size(); ++g) split_tokens(ranks.subspan(g * each, each), sources_[g]);
}

ExpertTimes ExpertStep::time(std::int32_t layer, std::uint64_t draw_name) {
  ExpertTimes times;
  for (std::size_t g = 0; g < sources_.size(); ++g) {
    draw(layer, sources_[g], draw_name * sources_.size() + g);
    for (std::size_t r = 0; r < loads_by_rank_.size(); ++r) times.experts.add(rank_time(r));
    if (exchange_) {
      const RoutedTraffic moved = traffic(sources_[g]);
      times.dispatch = std::max(times.dispatch, exchange_->dispatch(moved));
      times.combine = std::max(times.combine, exchange_->combine(moved));
    }
  }
  return times;
}

CarriedBytes ExpertStep::carried() {
  CarriedBytes sum{};
  if (!exchange_) return sum;
  const RoutedTraffic moved = traffic(sources_.back());
  const CarriedBytes out = exchange_->dispatch_bytes(moved), back = exchange_->combine_bytes(moved);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = out[i] + back[i];
  return sum;
}

void ExpertStep::split_tokens(std::span<const RankBatch> ranks, Sources& sources) const {
  // TP ranks of one DP rank send a slice each; the slices differ by one token at most.
  const std::size_t gpus = rows_.size();
  const std::size_t slices = std::max<std::size_t>(1, gpus / ranks.size());
  const auto n = static_cast<std::int64_t>(slices);
  sources.by_gpu.assign(gpus, 0);
  sources.by_rank.assign(loads_->ranks(), 0);
  sources.total = 0;
  for (std::size_t i = 0; i < std::max(gpus, ranks.size()); ++i) {
    const auto k = static_cast<std::int64_t>(i % slices);
    const std::int64_t tokens = ranks[std::min(i / slices, ranks.size() - 1)].tokens;
    const std::int64_t slice = tokens * (k + 1) / n - tokens * k / n;
    sources.by_gpu[std::min(i, gpus - 1)] += slice;
    sources.total += slice;
  }
  // Ranks of the placement hold several GPUs of the group where experts are split by expert TP.
  for (std::size_t i = 0; i < gpus; ++i) sources.by_rank[i * sources.by_rank.size() / gpus] += sources.by_gpu[i];
}

void ExpertStep::find_ratios(std::int32_t layer) {
  const auto l = static_cast<std::size_t>(layer);
  if (!rank_ratio_[l].empty()) return;
  rank_ratio_[l] = router_.distinct_ratio(layer, rank_of_expert_, loads_->ranks());
  node_ratio_[l] =
      loads_->nodes() > 1 ? router_.distinct_ratio(layer, node_of_expert_, loads_->nodes()) : std::vector<double>{1.0};
}

void ExpertStep::draw(std::int32_t layer, const Sources& sources, std::uint64_t draw_name) {
  counts_of_exchange_.tokens = sources.by_rank;
  if (spec_.resolution == RoutingResolution::token) {
    ids_.resize(static_cast<std::size_t>(sources.total * top_k_));
    router_.draw_tokens(layer, draw_name, sources.total, ids_);
    loads_->from_tokens(ids_, top_k_, loads_by_rank_, counts_of_exchange_);
    std::fill(counts_.begin(), counts_.end(), 0u);
    for (const std::uint16_t e : ids_) ++counts_[e];
    return;
  }
  find_ratios(layer);
  const auto l = static_cast<std::size_t>(layer);
  if (spec_.resolution == RoutingResolution::matrix) {
    router_.draw_matrix(layer, draw_name, sources.by_rank, matrix_);
    loads_->from_matrix(matrix_, sources.total, rank_ratio_[l], loads_by_rank_, counts_of_exchange_);
    std::fill(counts_.begin(), counts_.end(), 0u);
    for (std::size_t i = 0; i < matrix_.size(); i += counts_.size()) {
      for (std::size_t e = 0; e < counts_.size(); ++e) counts_[e] += matrix_[i + e];
    }
  } else {
    router_.draw_counts(layer, draw_name, sources.total, counts_);
    loads_->from_counts(counts_, sources.total, rank_ratio_[l], loads_by_rank_);
  }
  if (exchange_ && exchange_->depends_on_routing()) {
    loads_->fill_copies(loads_by_rank_, node_ratio_[l], counts_of_exchange_);
  }
}

RoutedTraffic ExpertStep::traffic(const Sources& sources) {
  const ExchangeCounts& c = counts_of_exchange_;
  const std::size_t gpus = sources.by_gpu.size();
  if (gpus == c.rows.size()) return {c.tokens, c.rows, c.rank_copies, c.node_copies, c.pair_rows, experts_per_rank_};
  for (std::size_t i = 0; i < gpus; ++i) {
    rows_[i] = c.rows[i * c.rows.size() / gpus];
    copies_[i] = c.rank_copies[i * c.rows.size() / gpus];
  }
  return {sources.by_gpu, rows_, copies_, c.node_copies, {}, experts_per_rank_};
}

}  // namespace moesim
