#include "execution/expert_step.h"

#include <algorithm>
#include <numeric>

#include "collectives/collective_perturbation.h"
#include "collectives/layer_collectives.h"
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

bool exchanges_tokens(const ParallelPlan& plan) {
  return plan.dp > 1 && plan.dp_ranks_per_expert_group() > 1;
}

MoeBackend exchange_backend(const ParallelPlan& plan, MoeBackend asked) {
  if (!exchanges_tokens(plan)) return MoeBackend::none;
  return plan.ep == 1 || asked == MoeBackend::none ? MoeBackend::allgather_reducescatter : asked;
}

std::optional<GroupedLayout> grouped_layout(MoeBackend backend) {
  if (backend == MoeBackend::deepep_low_latency) return GroupedLayout::masked;
  if (backend == MoeBackend::deepep_high_throughput) return GroupedLayout::contiguous;
  return std::nullopt;
}

MoeShape routed_shape(const ModelSpec& model, const ExecutionSpec& spec) {
  const ParallelPlan& plan = spec.plan;
  const std::int64_t slots = model.moe.experts + spec.redundant_experts;
  MoeShape shape;
  shape.hidden = model.hidden;
  shape.intermediate = std::max<std::int64_t>(1, model.moe.width / plan.etp);
  shape.local_experts = (slots + plan.ep - 1) / plan.ep;
  shape.top_k = model.moe.top_k;
  shape.gated = model.moe.gated;
  shape.weight = model.formats.experts;
  const bool quantised = bits_per_element(shape.weight) < 16 && bits_per_element(spec.activation) < 16;
  shape.activation = quantised ? spec.activation : DataType::bf16;
  return shape;
}

ExpertStep::ExpertStep(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
                       const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router& router,
                       std::int32_t moe_layers)
    : model_(model),
      topology_(topology),
      collectives_(collectives),
      router_(router),
      spec_(spec),
      top_k_(model.moe.top_k) {
  const ParallelPlan& plan = spec.plan;
  exchanged_ = exchanges_tokens(plan);
  group_ = exchanged_ ? exchange_group(plan) : GpuGroup{GpuId{0}};
  std::vector<std::uint32_t> node_of_rank(static_cast<std::size_t>(plan.ep));
  if (exchanged_ && plan.ep > 1) {
    const GroupNodes nodes = group_nodes(topology, group_);
    for (std::size_t r = 0; r < node_of_rank.size(); ++r) {
      node_of_rank[r] = nodes.node_of_rank[r * static_cast<std::size_t>(plan.etp)];
    }
  }
  const ExpertPlacement placement = linear_placement(model.moe.experts, plan.ep, spec.redundant_experts);
  rank_of_expert_ = rank_of_experts(placement);
  loads_.emplace(placement, node_of_rank);
  node_of_expert_ = loads_->node_of_experts();
  experts_per_rank_ = (placement.slots() + placement.ranks() - 1) / placement.ranks();
  modes_.push_back(mode_of(spec.backend, kernels, topology, collectives));
  if (exchanged_ && spec.decode_backend) {
    modes_.push_back(mode_of(*spec.decode_backend, kernels, topology, collectives));
  }
  mode_ = &modes_.front();

  rank_ratio_.resize(static_cast<std::size_t>(moe_layers));
  node_ratio_.resize(static_cast<std::size_t>(moe_layers));
  counts_.resize(static_cast<std::size_t>(model.moe.experts));
  loads_by_rank_.resize(loads_->ranks());
  counts_of_exchange_ = loads_->exchange_counts();
  // Without sources no pairs: every source sends to a rank in proportion to its tokens.
  if (spec.resolution == RoutingResolution::counts) counts_of_exchange_.pair_rows.clear();
  if (spec.resolution != RoutingResolution::token) {
    counts_of_exchange_.pair_rank_copies.clear();
    counts_of_exchange_.pair_node_copies.clear();
  }
  rows_.resize(group_.size());
  copies_.resize(rows_.size());
  if (spec.resolution == RoutingResolution::matrix) matrix_.resize(loads_->ranks() * counts_.size());
}

ExpertStep::Mode ExpertStep::mode_of(MoeBackend asked, const KernelCost& kernels, const Topology& topology,
                                     const CollectiveProfile& collectives) const {
  const ParallelPlan& plan = spec_.plan;
  const MoeBackend backend = exchange_backend(plan, asked);
  const MoeShape shape = routed_shape(model_, spec_);
  const std::optional<GroupedLayout> layout = grouped_layout(backend);
  Mode mode{.backend = backend,
            .cost = layout ? MoeCost::grouped(kernels, shape, *layout) : MoeCost::fused(kernels, shape),
            .work = ExpertWork(shape),
            .exchange = {},
            .programs = {},
            .gathers = {},
            .payload = {}};
  if (!exchanged_) return mode;
  mode.payload = token_payload(model_, spec_, backend);
  mode.quantised_dispatch = mode.payload.dispatch < mode.payload.combine;
  mode.exchange.emplace(topology, collectives, group_, backend, mode.payload);
  if (spec_.network == NetworkModel::flow) {
    if (mode.exchange->depends_on_routing()) {
      mode.programs.emplace(topology, collectives, *mode.exchange, group_, mode.payload);
    } else {
      mode.gathers.emplace(topology, collectives, std::vector<GpuGroup>{group_}, spec_.network);
    }
  }
  if (goes_in_rounds(backend)) mode.round_tokens = spec_.max_dispatch_tokens;
  return mode;
}

void ExpertStep::start(std::span<const RankBatch> ranks) {
  const bool prefill = std::any_of(ranks.begin(), ranks.end(), [](const RankBatch& r) { return !r.prefill.empty(); });
  mode_ = prefill ? &modes_.front() : &modes_.back();
  // Several sets of experts (edp > 1) serve equal parts of the DP ranks side by side.
  const auto groups = static_cast<std::size_t>(spec_.plan.edp);
  const std::size_t each = std::max<std::size_t>(1, ranks.size() / groups);
  sources_.resize(std::min(groups, ranks.size()));
  for (std::size_t g = 0; g < sources_.size(); ++g) split_tokens(ranks.subspan(g * each, each), sources_[g]);
  rounds_ = 1;
  if (mode_->round_tokens == 0) return;
  // Ranks step together: all take as many rounds as the one with most tokens.
  for (const Sources& sources : sources_) {
    for (const std::int64_t tokens : sources.by_gpu) {
      rounds_ = std::max(rounds_, (tokens + mode_->round_tokens - 1) / mode_->round_tokens);
    }
  }
}

const ExpertStep::Sources& ExpertStep::round_of(std::size_t group, std::int64_t round) {
  if (rounds_ == 1) return sources_[group];
  round_.by_gpu = sources_[group].by_gpu;
  for (std::int64_t& tokens : round_.by_gpu) {
    tokens = std::clamp<std::int64_t>(tokens - round * mode_->round_tokens, 0, mode_->round_tokens);
  }
  add_up(round_);
  return round_;
}

template <class Visit>
void ExpertStep::draw_rounds(std::int32_t layer, std::uint64_t draw_name, Visit&& visit) {
  constexpr std::uint64_t kNextRound = 0x9E3779B97F4A7C15U;  // far from the names of other steps
  for (std::size_t g = 0; g < sources_.size(); ++g) {
    for (std::int64_t i = 0; i < rounds_; ++i) {
      const Sources& sources = round_of(g, i);
      if (sources.total == 0 && rounds_ > 1) continue;
      draw(layer, sources, draw_name * sources_.size() + g + static_cast<std::uint64_t>(i) * kNextRound);
      visit(g, sources);
    }
  }
}

ExpertTimes ExpertStep::time(std::int32_t layer, std::uint64_t draw_name) {
  ExpertTimes times;
  const std::size_t ranks = loads_by_rank_.size();
  std::size_t current = SIZE_MAX;
  Duration slowest, dispatch, combine;  // of one set of experts
  draw_rounds(layer, draw_name, [&](std::size_t group, const Sources& sources) {
    if (group != current) {
      current = group;
      slowest = dispatch = combine = Duration();
      rank_times_.assign(ranks, Duration());
      rank_rows_.assign(ranks, 0);
      total_counts_.assign(counts_.size(), 0);
      times.experts.count += static_cast<std::int64_t>(ranks);
    }
    Spread round;
    ExpertLoad sum;  // of all ranks: the work is linear in it
    for (std::size_t r = 0; r < ranks; ++r) {
      const Duration own = mode_->cost(loads_by_rank_[r]);
      round.add(own);
      rank_times_[r] += own;
      rank_rows_[r] += loads_by_rank_[r].rows;
      sum.tokens += loads_by_rank_[r].tokens;
      sum.local_tokens += loads_by_rank_[r].local_tokens;
      sum.rows += loads_by_rank_[r].rows;
      sum.active += loads_by_rank_[r].active;
    }
    times.work += mode_->work(sum);
    if (mode_->exchange) times.work.link_bytes += sent_bytes(sources, sum);
    for (std::size_t e = 0; e < counts_.size(); ++e) total_counts_[e] += counts_[e];
    slowest += round.slowest;
    times.experts.sum += round.sum;
    if (mode_->exchange) add_exchanges(traffic(sources), dispatch, combine);
    times.experts.slowest = std::max(times.experts.slowest, slowest);
    times.dispatch = std::max(times.dispatch, dispatch);
    times.combine = std::max(times.combine, combine);
  });
  if (times.experts.count > 0) times.work *= 1 / static_cast<double>(times.experts.count);
  return times;
}

/// Bytes that a GPU of each rank of one set of experts sends in dispatch and combine, summed over the ranks: with
/// routed kernels a copy of a token for every rank that holds an expert of it, else all tokens, as a ring sends them.
double ExpertStep::sent_bytes(const Sources& sources, const ExpertLoad& sum) const {
  const double copies = mode_->exchange->depends_on_routing()
                            ? static_cast<double>(sum.local_tokens)
                            : static_cast<double>(sources.total) * static_cast<double>(loads_->ranks());
  const double elsewhere = 1 - 1 / static_cast<double>(group_.size());
  return copies * elsewhere * static_cast<double>(mode_->payload.dispatch.value + mode_->payload.combine.value);
}

void ExpertStep::add_exchanges(const RoutedTraffic& moved, Duration& dispatch, Duration& combine) {
  if (mode_->gathers) {
    std::int64_t tokens = 0;
    for (const std::int64_t t : moved.tokens) tokens += t;
    GroupTimes& gathers = *mode_->gathers;
    const bool naive = mode_->backend == MoeBackend::naive;
    if (naive) {  // a broadcast from each rank in turn
      for (const std::int64_t t : moved.tokens) {
        dispatch += gathers.time(Collective::broadcast, mode_->payload.dispatch * t);
      }
    } else {
      dispatch += gathers.time(Collective::all_gather, mode_->payload.dispatch * tokens);
    }
    combine +=
        gathers.time(naive ? Collective::all_reduce : Collective::reduce_scatter, mode_->payload.combine * tokens);
    return;
  }
  ExchangeTimes times;
  if (mode_->programs) {
    times = {alone_time(topology_, mode_->programs->dispatch(moved)).time,
             alone_time(topology_, mode_->programs->combine(moved)).time};
  } else {
    times = {mode_->exchange->dispatch(moved), mode_->exchange->combine(moved)};
  }
  times = perturbed_times(times, collectives_, mode_->backend, moved, mode_->payload);
  dispatch += times.dispatch;
  combine += times.combine;
}

void ExpertStep::show_traffic(std::int32_t layer, std::uint64_t draw_name, const SeeTraffic& see) {
  if (!exchanged_) return;
  draw_rounds(layer, draw_name, [&](std::size_t group, const Sources& sources) { see(group, traffic(sources)); });
}

void ExpertStep::split_tokens(std::span<const RankBatch> ranks, Sources& sources) const {
  // TP ranks of one DP rank send a slice each; the slices differ by one token at most.
  const std::size_t gpus = rows_.size();
  const std::size_t slices = std::max<std::size_t>(1, gpus / ranks.size());
  const auto n = static_cast<std::int64_t>(slices);
  sources.by_gpu.assign(gpus, 0);
  for (std::size_t i = 0; i < std::max(gpus, ranks.size()); ++i) {
    const auto k = static_cast<std::int64_t>(i % slices);
    const std::int64_t tokens = ranks[std::min(i / slices, ranks.size() - 1)].tokens;
    const std::int64_t slice = tokens * (k + 1) / n - tokens * k / n;
    sources.by_gpu[std::min(i, gpus - 1)] += slice;
  }
  add_up(sources);
}

void ExpertStep::add_up(Sources& sources) const {
  const std::size_t gpus = sources.by_gpu.size();
  sources.by_rank.assign(loads_->ranks(), 0);
  sources.total = 0;
  for (std::size_t i = 0; i < gpus; ++i) {
    // Ranks of the placement hold several GPUs of the group where experts are split by expert TP.
    sources.by_rank[i * sources.by_rank.size() / gpus] += sources.by_gpu[i];
    sources.total += sources.by_gpu[i];
  }
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
  if (mode_->exchange && mode_->exchange->depends_on_routing()) {
    loads_->fill_copies(loads_by_rank_, node_ratio_[l], counts_of_exchange_);
  }
}

RoutedTraffic ExpertStep::traffic(const Sources& sources) {
  const ExchangeCounts& c = counts_of_exchange_;
  const std::size_t gpus = sources.by_gpu.size();
  if (gpus == c.rows.size()) {
    return {c.tokens,           c.rows,           c.rank_copies, c.node_copies, c.pair_rows, c.pair_rank_copies,
            c.pair_node_copies, experts_per_rank_};
  }
  for (std::size_t i = 0; i < gpus; ++i) {
    rows_[i] = c.rows[i * c.rows.size() / gpus];
    copies_[i] = c.rank_copies[i * c.rows.size() / gpus];
  }
  return {sources.by_gpu, rows_, copies_, c.node_copies, {}, {}, {}, experts_per_rank_};
}

}  // namespace moesim
