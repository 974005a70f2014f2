#include "execution/step_cost.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <tuple>

#include "core/check.h"
#include "execution/expert_step.h"
#include "execution/mixer_cost.h"
#include "execution/operator_time.h"
#include "execution/step_energy.h"
#include "execution/step_links.h"
#include "parallel/graph_sizes.h"

namespace moesim {
namespace {

constexpr std::uint8_t kComputeStream = 0, kNetworkStream = 1;

/// `ranks` consecutive GPUs in groups of `size`; at least one group.
std::vector<GpuGroup> consecutive_groups(std::int32_t size, std::int32_t ranks) {
  std::vector<GpuGroup> groups;
  for (std::int32_t first = 0; first == 0 || first + size <= ranks; first += size) {
    GpuGroup& group = groups.emplace_back();
    for (std::int32_t i = 0; i < size; ++i) group.push_back(GpuId{static_cast<std::uint32_t>(first + i)});
  }
  return groups;
}

/// Every rank of a pipeline stage with its successor in the next.
std::vector<GpuGroup> stage_pairs(std::int32_t ranks) {
  std::vector<GpuGroup> pairs;
  for (std::int32_t r = 0; r < ranks; ++r) {
    pairs.push_back({GpuId{static_cast<std::uint32_t>(r)}, GpuId{static_cast<std::uint32_t>(r + ranks)}});
  }
  return pairs;
}

Task compute_task(TimePart part, const OperatorCost& cost, std::uint8_t after) {
  Task task;
  task.duration = cost.time;
  task.clocked = cost.clocked;
  task.part = part;
  task.stream = kComputeStream;
  task.after[0] = after;
  return task;
}

Task network_task(TaskTraffic traffic, Duration duration, std::uint8_t after) {
  const TimePart part = traffic == TaskTraffic::dispatch  ? TimePart::dispatch
                        : traffic == TaskTraffic::combine ? TimePart::combine
                                                          : TimePart::tensor_parallel;
  Task task = compute_task(part, {duration, {}, {}}, after);
  task.traffic = traffic;
  task.resource = Resource::network;
  task.stream = kNetworkStream;
  return task;
}

/// What one of `ranks` GPUs sends in an all-gather of `bytes` as a ring does it; an all-reduce is two of them.
KernelWork gather_work(Bytes bytes, std::uint32_t ranks) {
  KernelWork work;
  work.link_bytes = static_cast<double>(bytes.value) * (1 - 1.0 / ranks);
  return work;
}
KernelWork reduce_work(Bytes bytes, std::uint32_t ranks) {
  KernelWork work = gather_work(bytes, ranks);
  work *= 2;
  return work;
}

/// Tokens of a step as every rank runs them.
struct StepTokens {
  std::int64_t widest = 1;  ///< of the widest rank, padded to the captured graph
  std::int64_t rows = 0;    ///< emitting rows of the rank with most
  bool graph = false;
};

StepTokens step_tokens(const ExecutionSpec& spec, std::span<const RankBatch> ranks) {
  StepTokens t;
  bool prefill = false;
  for (const RankBatch& rank : ranks) {
    t.widest = std::max(t.widest, rank.tokens);
    t.rows = std::max(t.rows, rank.emitting_rows);
    prefill = prefill || !rank.prefill.empty();
  }
  t.graph = spec.cuda_graphs && t.widest <= spec.largest_graph && (spec.graphs_hold_prefill || !prefill);
  if (t.graph) t.widest = std::min(graph_tokens(t.widest), spec.largest_graph);
  return t;
}

/// Layers that cost the same apart from what their gates draw.
struct LayerClass {
  LayerSpec layer;
  CostTable dense_ffn;
};

}  // namespace

struct StepCost::State {
  const ModelSpec& model;
  const KernelCost& kernels;
  const OperatorPricing pricing;
  const Topology& topology;
  const CollectiveProfile& profile;
  const ExecutionSpec spec;
  OperatorContext context;

  std::vector<LayerClass> classes;
  std::vector<std::uint32_t> class_of_layer;
  std::vector<std::int32_t> moe_layers;
  std::vector<std::int32_t> moe_index;  ///< by layer; -1 where dense
  std::deque<MixerCost> mixers;
  std::optional<ExpertStep> experts;
  GroupTimes tp_group;
  std::optional<GroupTimes> expert_group, stage_pair;
  CostTable dispatch_quantise, embedding, head, router, shared;
  TimeTable graph_all_reduce, all_reduce, expert_all_reduce, all_gather, logits;
  std::int64_t kernels_per_layer = 0;
  bool sequence_parallel = false;

  // One step
  std::vector<std::vector<Duration>> mixer_time;  ///< mixer -> rank
  std::vector<Spread> mixer_spread;
  std::vector<OperatorCost> mixer_cost;  ///< by mixer: of the slowest rank, with the mean work
  KernelWork stage_work;                 ///< of the mean GPU in the stage that is laid out
  std::vector<StepProgram> programs;     ///< by stage
  StepTiming timing;
  StepTokens tokens_of_step;
  std::uint32_t filling = 0;
  // Its traffic
  std::map<std::uint32_t, StepLinks> links;  ///< by first GPU of the engine
  LinkBytes on_links;

  State(const ModelSpec& m, const KernelCost& k, const Topology& t, const CollectiveProfile& collectives,
        const ExecutionSpec& s, const Router* gates)
      : model(m),
        kernels(k),
        pricing(k),
        topology(t),
        profile(collectives),
        spec(s),
        tp_group(topology, collectives, consecutive_groups(s.plan.tp, s.plan.stage_ranks()), s.network),
        on_links(t.links().size()) {
    MOESIM_CHECK(model.mixers.size() <= kMaxMixers, "{} kinds of mixers", model.mixers.size());
    context = {&model, {spec.plan.tp, spec.plan.etp}, {model.formats, spec.activation, spec.kv_cache}, spec.fusion};
    sequence_parallel = sequence_parallel_experts(spec.plan);
    find_classes();
    for (std::size_t i = 0; i < model.mixers.size(); ++i) {
      mixers.emplace_back(context, pricing, static_cast<std::int32_t>(i));
    }
    mixer_time.assign(mixers.size(), std::vector<Duration>(static_cast<std::size_t>(spec.plan.dp)));
    mixer_spread.resize(mixers.size());
    mixer_cost.resize(mixers.size());
    if (model.is_moe()) {
      MOESIM_CHECK(gates != nullptr, "a MoE model of {} layers without gates", moe_layers.size());
      experts.emplace(model, kernels, topology, collectives, spec, *gates,
                      static_cast<std::int32_t>(moe_layers.size()));
      expert_group.emplace(topology, collectives,
                           consecutive_groups(spec.plan.ep * spec.plan.etp, spec.plan.stage_ranks()), spec.network);
    }
    if (spec.plan.pp > 1) {
      stage_pair.emplace(topology, collectives, stage_pairs(spec.plan.stage_ranks()), spec.network);
    }
    count_kernels();
    lay_out_programs();
  }

  void find_classes() {
    std::map<std::tuple<std::int32_t, bool, std::int64_t, bool>, std::uint32_t> known;
    for (const LayerSpec& layer : model.layers) {
      const auto key = std::tuple(layer.mixer, layer.moe, layer.dense_width, layer.dense_gated);
      const auto [at, is_new] = known.emplace(key, static_cast<std::uint32_t>(classes.size()));
      if (is_new) classes.push_back({layer, {}});
      const auto l = static_cast<std::int32_t>(class_of_layer.size());
      class_of_layer.push_back(at->second);
      moe_index.push_back(layer.moe ? static_cast<std::int32_t>(moe_layers.size()) : -1);
      if (layer.moe) moe_layers.push_back(l);
    }
  }

  /// Kernels that a layer launches: its operators, two attention kernels, seven of the fused MoE op [kernel-cost].
  void count_kernels() {
    const LayerSpec& layer = model.layers.back();
    std::size_t n = mixer_operators(context, model.mixers[static_cast<std::size_t>(layer.mixer)], 1, 0).size() + 2;
    if (layer.dense_width > 0) n += dense_ffn_operators(context, layer, 1).size();
    if (layer.moe) n += router_operators(context, 1).size() + shared_expert_operators(context, 1).size() + 7;
    kernels_per_layer = static_cast<std::int64_t>(n) + (spec.plan.tp > 1 ? 2 : 0);
  }

  // Blocks and segments are laid out once; every step fills in the tasks.
  // Stage: [embedding] [a block for each class of dense layers and for each MoE layer] [head] [launch-bound rest]

  std::int32_t layer_count() const { return static_cast<std::int32_t>(model.layers.size()); }

  void lay_out_programs() {
    programs.resize(static_cast<std::size_t>(spec.plan.pp));
    timing.stages.resize(programs.size());
    if (spec.power) timing.energy.resize(programs.size());
    for (std::int32_t s = 0; s < spec.plan.pp; ++s) {
      StepProgram& program = programs[static_cast<std::size_t>(s)];
      const LayerRange range = layers_of_stage(model, spec.plan.pp, s);
      if (s == 0) program.add_segment(-1, program.open_block());
      std::map<std::uint32_t, std::uint32_t> block_of_class;
      for (std::int32_t l = range.first; l < range.first + range.count; ++l) {
        const auto i = static_cast<std::size_t>(l);
        const std::uint32_t c = class_of_layer[i];
        if (moe_index[i] >= 0) {
          program.add_segment(l, program.open_block());
        } else {
          if (!block_of_class.contains(c)) block_of_class[c] = program.open_block();
          program.add_segment(l, block_of_class[c]);
        }
      }
      if (s == spec.plan.pp - 1) program.add_segment(layer_count(), program.open_block());
      program.add_segment(layer_count() + 1, program.open_block());
    }
  }

  std::uint8_t push(StepProgram& program, const Task& task) {
    program.tasks.push_back(task);
    return static_cast<std::uint8_t>(program.blocks[filling].count++);
  }
  std::uint8_t push(StepProgram& program, const Task& task, KernelWork work) {
    work *= program.blocks[filling].uses;
    stage_work += work;
    return push(program, task);
  }
  std::uint8_t push(StepProgram& program, TimePart part, const OperatorCost& cost, std::uint8_t after) {
    return push(program, compute_task(part, cost, after), cost.work);
  }

  void fill_program(std::int32_t stage, const StepTokens& tokens, std::uint64_t draw) {
    StepProgram& program = programs[static_cast<std::size_t>(stage)];
    program.tasks.clear();
    stage_work = {};
    std::uint32_t unfilled = 0;  // blocks are numbered in the order in which segments first refer to them
    for (const Segment& segment : program.segments) {
      if (segment.block < unfilled) continue;
      unfilled = segment.block + 1;
      filling = segment.block;
      program.blocks[filling].first = static_cast<std::uint32_t>(program.tasks.size());
      program.blocks[filling].count = 0;
      if (segment.layer < 0) {
        fill_embedding(program, tokens);
      } else if (segment.layer < layer_count()) {
        fill_layer(program, static_cast<std::size_t>(segment.layer), tokens, draw);
      } else if (segment.layer == layer_count()) {
        fill_head(program, tokens);
      } else {
        fill_launch_rest(program, stage, tokens);
      }
    }
  }

  void fill_embedding(StepProgram& program, const StepTokens& tokens) {
    const OperatorCost& cost =
        embedding.at(tokens.widest, [&] { return pricing.operators(embedding_operators(context, tokens.widest)); });
    const std::uint8_t looked_up = push(program, TimePart::head, cost, kNoTask);
    if (spec.plan.tp > 1) push_all_reduce(program, tokens, looked_up);
  }

  void fill_head(StepProgram& program, const StepTokens& tokens) {
    if (tokens.rows == 0) return;
    const OperatorCost& cost =
        head.at(tokens.rows, [&] { return pricing.operators(head_operators(context, tokens.rows)); });
    const std::uint8_t sampled = push(program, TimePart::head, cost, kNoTask);
    if (spec.plan.tp == 1) return;
    const Bytes bytes{tokens.rows * model.vocabulary * 2};
    const Duration gather = logits.at(tokens.rows, [&] { return tp_group.time(Collective::all_gather, bytes); });
    push(program, network_task(TaskTraffic::logits_gather, gather, sampled), gather_work(bytes, tp_group.ranks()));
  }

  /// Kernels outside a graph are launched one by one; where that takes longer than the kernels, the device waits.
  void fill_launch_rest(StepProgram& program, std::int32_t stage, const StepTokens& tokens) {
    if (tokens.graph) return;
    const Duration launches = spec.launch * (kernels_per_layer * layers_of_stage(model, spec.plan.pp, stage).count);
    Duration device;
    for (const TaskBlock& block : program.blocks) {
      for (std::uint32_t i = 0; i < block.count && &block != &program.blocks[filling]; ++i) {
        device += program.tasks[block.first + i].duration * static_cast<std::int64_t>(block.uses);
      }
    }
    if (launches <= device) return;
    Task task = compute_task(TimePart::host, {launches - device, {}, {}}, kNoTask);
    task.resource = Resource::host;
    push(program, task);
  }

  void fill_layer(StepProgram& program, std::size_t l, const StepTokens& tokens, std::uint64_t draw) {
    LayerClass& layer_class = classes[class_of_layer[l]];
    const LayerSpec& layer = layer_class.layer;
    const OperatorCost& mixer = mixer_cost[static_cast<std::size_t>(layer.mixer)];
    Task attention = compute_task(TimePart::attention, mixer, kNoTask);
    attention.waiting = mixer_spread[static_cast<std::size_t>(layer.mixer)].waiting();
    std::uint8_t last = push(program, attention, mixer.work);
    const auto reduce = [&] {
      if (spec.plan.tp > 1) last = push_all_reduce(program, tokens, last);
    };
    reduce();
    if (layer.dense_width > 0) {
      const OperatorCost& cost = layer_class.dense_ffn.at(
          tokens.widest, [&] { return pricing.operators(dense_ffn_operators(context, layer, tokens.widest)); });
      last = push(program, TimePart::dense_ffn, cost, last);
      // Beside experts of the same ranks its partial sums join theirs in one all-reduce.
      if (!layer.moe || experts->exchanges()) reduce();
    }
    if (layer.moe) fill_moe(program, moe_index[l], last, {tokens, draw});
  }

  struct StepInput {
    const StepTokens& tokens;
    std::uint64_t draw;
  };

  void fill_moe(StepProgram& program, std::int32_t moe_layer, std::uint8_t last, const StepInput& in) {
    const std::int64_t tokens = in.tokens.widest;
    OperatorCost gates = router.at(tokens, [&] { return pricing.operators(router_operators(context, tokens)); });
    if (experts->quantised_dispatch()) {
      gates += dispatch_quantise.at(tokens, [&] {
        return pricing.kernel(kernels.quantize(tokens, model.hidden, spec.activation),
                              work_of_quantize(tokens, model.hidden, spec.activation));
      });
    }
    const std::uint8_t gate = push(program, TimePart::router, gates, last);
    const ExpertTimes times = experts->time(moe_layer, in.draw);

    std::uint8_t ready = gate;
    if (experts->exchanges()) ready = push(program, network_task(TaskTraffic::dispatch, times.dispatch, gate));
    if (model.moe.shared_width > 0) {  // beside the dispatch where there is one
      push(program, TimePart::experts, shared.at(tokens, [&] { return shared_expert_cost(tokens); }), gate);
    }
    const OperatorCost cost = pricing.kernel(times.experts.slowest, times.work);
    Task routed = compute_task(TimePart::experts, cost, ready);
    routed.waiting = times.experts.waiting();
    const std::uint8_t done = push(program, routed, cost.work);
    if (experts->exchanges()) {
      const std::uint8_t combined = push(program, network_task(TaskTraffic::combine, times.combine, done));
      if (sequence_parallel) {  // each TP rank had sent its slice of the tokens
        const Bytes bytes{tokens * model.hidden * 2};
        const Duration gather = all_gather.at(tokens, [&] { return tp_group.time(Collective::all_gather, bytes); });
        push(program, network_task(TaskTraffic::tensor_gather, gather, combined), gather_work(bytes, tp_group.ranks()));
      } else if (spec.plan.tp > 1) {  // each TP rank holds partial sums
        push_all_reduce(program, in.tokens, combined);
      }
    } else if (expert_group->ranks() > 1) {
      push(program, network_task(TaskTraffic::expert_reduce, expert_all_reduce_time(in.tokens), done),
           reduce_work(activations(), expert_group->ranks()));
    }
  }

  /// Where TP ranks hold slices of the tokens, each runs the whole shared experts on its slice.
  OperatorCost shared_expert_cost(std::int64_t tokens) const {
    if (!sequence_parallel) return pricing.operators(shared_expert_operators(context, tokens));
    OperatorContext whole = context;
    whole.sharding.tp = 1;
    return pricing.operators(shared_expert_operators(whole, (tokens + spec.plan.tp - 1) / spec.plan.tp));
  }

  std::uint8_t push_all_reduce(StepProgram& program, const StepTokens& tokens, std::uint8_t after) {
    return push(program, network_task(TaskTraffic::tensor_reduce, all_reduce_time(tokens), after),
                reduce_work(activations(), tp_group.ranks()));
  }

  Duration all_reduce_time(const StepTokens& tokens) {
    const Bytes bytes{tokens.widest * model.hidden * 2};
    return tokens.graph ? graph_all_reduce.at(tokens.widest, [&] { return tp_group.custom_all_reduce_time(bytes); })
                        : all_reduce.at(tokens.widest, [&] { return tp_group.time(Collective::all_reduce, bytes); });
  }

  /// Behind experts that are split over the ranks of one DP rank.
  Duration expert_all_reduce_time(const StepTokens& tokens) {
    if (expert_group->ranks() == tp_group.ranks()) return all_reduce_time(tokens);
    return expert_all_reduce.at(tokens.widest, [&] {
      return expert_group->time(Collective::all_reduce, Bytes{tokens.widest * model.hidden * 2});
    });
  }

  void time_mixers(std::span<const RankBatch> ranks, const StepTokens& tokens) {
    for (std::size_t m = 0; m < mixers.size(); ++m) {
      mixer_spread[m] = {};
      mixer_cost[m] = {};
      for (std::size_t r = 0; r < ranks.size(); ++r) {
        // A captured graph runs every rank at the widest size; without one a rank runs its own tokens, an idle one one.
        const std::int64_t own = tokens.graph ? tokens.widest : std::max<std::int64_t>(1, ranks[r].tokens);
        const OperatorCost cost = mixers[m].cost(ranks[r], own);
        mixer_time[m][r] = cost.time;
        mixer_spread[m].add(cost.time);
        mixer_cost[m].work += cost.work;
        if (cost.time >= mixer_cost[m].time) {
          mixer_cost[m].time = cost.time;
          mixer_cost[m].clocked = cost.clocked;
        }
      }
      mixer_cost[m].work *= 1 / static_cast<double>(ranks.size());
    }
  }

  StepLinks& links_from(GpuId first_gpu) {
    return links.try_emplace(first_gpu.value, topology, profile, spec.plan, first_gpu).first->second;
  }

  Bytes activations() const { return {tokens_of_step.widest * model.hidden * 2}; }
  StepLinks::Buffers buffers() const { return {activations(), Bytes{tokens_of_step.rows * model.vocabulary * 2}}; }

  const LinkBytes& link_bytes(std::span<const RankBatch> ranks, std::uint64_t draw, GpuId first_gpu) {
    time(ranks, draw);
    on_links.clear();
    StepLinks& on = links_from(first_gpu);
    for (std::int32_t stage = 0; stage < spec.plan.pp; ++stage) {
      const StepProgram& program = programs[static_cast<std::size_t>(stage)];
      std::array<std::int64_t, kTaskTraffic> times{};
      for (const TaskBlock& block : program.blocks) {
        for (const Task& task : std::span(program.tasks).subspan(block.first, block.count)) {
          times[static_cast<std::size_t>(task.traffic)] += block.uses;
        }
      }
      for (std::size_t i = 0; i < times.size(); ++i) {
        if (times[i] > 0) on.add(static_cast<TaskTraffic>(i), stage, times[i], buffers(), on_links);
      }
      const LayerRange range = layers_of_stage(model, spec.plan.pp, stage);
      for (std::int32_t l = range.first; l < range.first + range.count; ++l) {
        const std::int32_t moe_layer = moe_index[static_cast<std::size_t>(l)];
        if (moe_layer >= 0) on.collect({stage, moe_layer, draw}, StepLinks::Way::both, *experts);
      }
      if (stage + 1 < spec.plan.pp) on.add_stage_transfer(stage, activations(), on_links);
    }
    on.lay_exchanges(on_links);
    return on_links;
  }

  const StepTiming& time(std::span<const RankBatch> ranks, std::uint64_t draw) {
    const StepTokens tokens = tokens_of_step = step_tokens(spec, ranks);
    time_mixers(ranks, tokens);
    if (experts) experts->start(ranks);
    for (std::int32_t s = 0; s < spec.plan.pp; ++s) {
      fill_program(s, tokens, draw);
      const auto i = static_cast<std::size_t>(s);
      timing.stages[i] = evaluate(programs[i]);
      if (s + 1 < spec.plan.pp) stage_work.link_bytes += static_cast<double>(activations().value);
      if (spec.power) timing.energy[i] = apply_power(programs[i], timing.stages[i], stage_work, spec);
    }
    timing.stage_transfer = stage_pair ? stage_pair->time(Collective::send_recv, activations()) : Duration();
    return timing;
  }
};

StepCost::StepCost(const ModelSpec& model, const KernelCost& kernels, const Topology& topology,
                   const CollectiveProfile& collectives, const ExecutionSpec& spec, const Router* router)
    : state_(std::make_unique<State>(model, kernels, topology, collectives, spec, router)) {}
StepCost::~StepCost() = default;

const StepTiming& StepCost::time(std::span<const RankBatch> ranks, std::uint64_t draw) {
  return state_->time(ranks, draw);
}

const StepProgram& StepCost::program(std::int32_t stage) const {
  return state_->programs[static_cast<std::size_t>(stage)];
}

const LinkBytes& StepCost::link_bytes(std::span<const RankBatch> ranks, std::uint64_t draw, GpuId first_gpu) {
  return state_->link_bytes(ranks, draw, first_gpu);
}

const Topology& StepCost::topology() const {
  return state_->topology;
}

std::span<const std::int32_t> StepCost::moe_layers() const {
  return state_->moe_layers;
}

void StepCost::observe_experts(std::span<const RankBatch> ranks, std::uint64_t draw,
                               std::vector<ExpertObservation>& layers,
                               std::vector<std::vector<std::uint32_t>>& counts) {
  State& s = *state_;
  s.experts->start(ranks);
  layers.assign(s.moe_layers.size(), {});
  counts.resize(s.moe_layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const ExpertTimes times = s.experts->time(static_cast<std::int32_t>(l), draw);
    counts[l].assign(s.experts->counts().begin(), s.experts->counts().end());
    std::int64_t rows = 0, most = 0, rank_most = 0, rank_rows = 0;
    for (const std::uint32_t n : counts[l]) {
      rows += n;
      most = std::max<std::int64_t>(most, n);
      layers[l].distinct_experts += n > 0 ? 1 : 0;
    }
    for (const std::int64_t own : s.experts->rank_rows()) {
      rank_rows += own;
      rank_most = std::max(rank_most, own);
    }
    if (rows > 0 && rank_rows > 0) {
      layers[l].expert_max_over_mean =
          static_cast<double>(most) * static_cast<double>(counts[l].size()) / static_cast<double>(rows);
      layers[l].rank_max_over_mean = static_cast<double>(rank_most) *
                                     static_cast<double>(s.experts->rank_rows().size()) /
                                     static_cast<double>(rank_rows);
    }
    layers[l].straggler_wait = times.experts.waiting();
  }
}

namespace {

/// Collects the tasks of one stage with the segment they belong to.
struct TaskList {
  static constexpr bool kRecords = true;
  struct Entry {
    std::int32_t layer;
    Task task;
    Duration start;
  };
  std::vector<Entry>& entries;
  void operator()(const Segment& segment, const Task& task, Duration start) {
    entries.push_back({segment.layer, task, start});
  }
};

}  // namespace

void StepCost::show_link_traffic(std::span<const RankBatch> ranks, std::uint64_t draw, GpuId first_gpu,
                                 const SeeTraffic& see) {
  State& s = *state_;
  s.time(ranks, draw);
  StepLinks& on = s.links_from(first_gpu);
  Duration stage_start;
  for (std::int32_t stage = 0; stage < s.spec.plan.pp; ++stage) {
    std::vector<TaskList::Entry> entries;
    const Timing total = evaluate(s.programs[static_cast<std::size_t>(stage)], TaskList{entries});
    for (const auto& [layer, task, start] : entries) {
      if (task.duration == Duration() || task.traffic == TaskTraffic::none) continue;
      s.on_links.clear();
      on.add(task.traffic, stage, 1, s.buffers(), s.on_links);
      if (task.traffic == TaskTraffic::dispatch || task.traffic == TaskTraffic::combine) {
        const bool out = task.traffic == TaskTraffic::dispatch;
        on.collect({stage, s.moe_index[static_cast<std::size_t>(layer)], draw},
                   out ? StepLinks::Way::dispatch : StepLinks::Way::combine, *s.experts);
        on.lay_exchanges(s.on_links);
      }
      see(stage_start + start, task.duration, s.on_links);
    }
    stage_start += total.total;
    if (s.timing.stage_transfer == Duration() || stage + 1 == s.spec.plan.pp) continue;
    s.on_links.clear();
    on.add_stage_transfer(stage, s.activations(), s.on_links);
    see(stage_start, s.timing.stage_transfer, s.on_links);
    stage_start += s.timing.stage_transfer;
  }
}

std::vector<RankTask> StepCost::rank_tasks(std::span<const RankBatch> ranks, std::uint64_t draw) {
  State& s = *state_;
  s.time(ranks, draw);
  const StepTokens step = step_tokens(s.spec, ranks);
  std::vector<RankTask> bars;
  const auto stage_ranks = static_cast<std::size_t>(s.spec.plan.stage_ranks());
  const std::size_t gpus_per_dp_rank = stage_ranks / ranks.size();
  Duration stage_start;
  for (std::size_t stage = 0; stage < s.programs.size(); ++stage) {
    std::vector<TaskList::Entry> entries;
    const Timing total = evaluate(s.programs[stage], TaskList{entries});
    std::int32_t drawn = -1;
    for (const auto& [layer, task, start] : entries) {
      if (task.duration == Duration()) continue;
      const auto l = static_cast<std::size_t>(std::clamp(layer, 0, s.layer_count() - 1));
      const bool inside = layer >= 0 && layer < s.layer_count();
      RankTask bar;
      if (inside) bar.layer = layer;
      bar.name = layer < 0 && task.part == TimePart::head ? "embedding" : name(task.part);
      bar.resource = task.resource;
      bar.part = task.part;
      if (task.part == TimePart::tensor_parallel) {  // behind the head logits are gathered, elsewhere hidden states
        bar.bytes.value =
            layer == s.layer_count() ? step.rows * s.model.vocabulary * 2 : step.widest * s.model.hidden * 2;
      }
      // Ranks' own times are at the tables' clock, the task's at that of the step.
      const Duration slowing = s.spec.power ? slowed_by(task, s.timing.energy[stage].clock) : Duration();
      const double slower = slowing == Duration() ? 1 : task.duration / (task.duration - slowing);
      const bool mixer = task.part == TimePart::attention;
      const bool routed = task.part == TimePart::experts && task.waiting > Duration();
      if (routed && drawn != layer) {
        s.experts->time(s.moe_index[l], draw);
        drawn = layer;
      }
      for (std::size_t r = 0; r < stage_ranks; ++r) {
        Duration own = task.duration;
        if (mixer) {
          own = s.mixer_time[static_cast<std::size_t>(s.model.layers[l].mixer)][r / gpus_per_dp_rank];
        } else if (routed) {
          own = s.experts->rank_time(r / static_cast<std::size_t>(s.spec.plan.etp) % s.experts->rank_rows().size());
        }
        if (own == Duration()) continue;
        if (slower != 1 && (mixer || routed)) own = Duration::from_seconds(own.seconds() * slower);
        bar.rank = static_cast<std::uint32_t>(stage * stage_ranks + r);
        bar.start = stage_start + start;
        bar.duration = own;
        bar.tokens = ranks[r / gpus_per_dp_rank].tokens;
        bars.push_back(bar);
      }
    }
    stage_start += total.total + s.timing.stage_transfer;
  }
  return bars;
}

}  // namespace moesim
