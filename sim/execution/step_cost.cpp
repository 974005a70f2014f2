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

Task compute_task(TimePart part, Duration duration, std::uint8_t after) {
  Task task;
  task.duration = duration;
  task.part = part;
  task.stream = kComputeStream;
  task.after[0] = after;
  return task;
}

Task network_task(TaskTraffic traffic, Duration duration, std::uint8_t after) {
  const TimePart part = traffic == TaskTraffic::dispatch  ? TimePart::dispatch
                        : traffic == TaskTraffic::combine ? TimePart::combine
                                                          : TimePart::tensor_parallel;
  Task task = compute_task(part, duration, after);
  task.traffic = traffic;
  task.resource = Resource::network;
  task.stream = kNetworkStream;
  return task;
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
  TokenTable dense_ffn;
};

}  // namespace

struct StepCost::State {
  const ModelSpec& model;
  const KernelCost& kernels;
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
  TokenTable dispatch_quantise, embedding, head, router, shared, graph_all_reduce, all_reduce, expert_all_reduce,
      all_gather, logits;
  std::int64_t kernels_per_layer = 0;
  bool sequence_parallel = false;

  // One step
  std::vector<std::vector<Duration>> mixer_time;  ///< mixer -> rank
  std::vector<Spread> mixer_spread;
  std::vector<StepProgram> programs;  ///< by stage
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
      mixers.emplace_back(context, kernels, static_cast<std::int32_t>(i));
    }
    mixer_time.assign(mixers.size(), std::vector<Duration>(static_cast<std::size_t>(spec.plan.dp)));
    mixer_spread.resize(mixers.size());
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

  void fill_program(std::int32_t stage, const StepTokens& tokens, std::uint64_t draw) {
    StepProgram& program = programs[static_cast<std::size_t>(stage)];
    program.tasks.clear();
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
    const Duration time = embedding.at(
        tokens.widest, [&] { return operators_time(kernels, embedding_operators(context, tokens.widest)); });
    const std::uint8_t looked_up = push(program, compute_task(TimePart::head, time, kNoTask));
    if (spec.plan.tp > 1) push(program, network_task(TaskTraffic::tensor_reduce, all_reduce_time(tokens), looked_up));
  }

  void fill_head(StepProgram& program, const StepTokens& tokens) {
    if (tokens.rows == 0) return;
    const Duration time =
        head.at(tokens.rows, [&] { return operators_time(kernels, head_operators(context, tokens.rows)); });
    const std::uint8_t sampled = push(program, compute_task(TimePart::head, time, kNoTask));
    if (spec.plan.tp == 1) return;
    const Duration gather = logits.at(
        tokens.rows, [&] { return tp_group.time(Collective::all_gather, Bytes{tokens.rows * model.vocabulary * 2}); });
    push(program, network_task(TaskTraffic::logits_gather, gather, sampled));
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
    Task task = compute_task(TimePart::host, launches - device, kNoTask);
    task.resource = Resource::host;
    push(program, task);
  }

  void fill_layer(StepProgram& program, std::size_t l, const StepTokens& tokens, std::uint64_t draw) {
    LayerClass& layer_class = classes[class_of_layer[l]];
    const LayerSpec& layer = layer_class.layer;
    const Spread& mixer = mixer_spread[static_cast<std::size_t>(layer.mixer)];
    Task attention = compute_task(TimePart::attention, mixer.slowest, kNoTask);
    attention.waiting = mixer.waiting();
    std::uint8_t last = push(program, attention);
    const auto reduce = [&] {
      if (spec.plan.tp > 1) {
        last = push(program, network_task(TaskTraffic::tensor_reduce, all_reduce_time(tokens), last));
      }
    };
    reduce();
    if (layer.dense_width > 0) {
      const Duration time = layer_class.dense_ffn.at(
          tokens.widest, [&] { return operators_time(kernels, dense_ffn_operators(context, layer, tokens.widest)); });
      last = push(program, compute_task(TimePart::dense_ffn, time, last));
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
    const Duration gate_time =
        router.at(tokens, [&] { return operators_time(kernels, router_operators(context, tokens)); });
    const Duration quantise_time =
        experts->quantised_dispatch()
            ? dispatch_quantise.at(tokens, [&] { return kernels.quantize(tokens, model.hidden, spec.activation); })
            : Duration();
    const std::uint8_t gate = push(program, compute_task(TimePart::router, gate_time + quantise_time, last));
    const ExpertTimes times = experts->time(moe_layer, in.draw);

    std::uint8_t ready = gate;
    if (experts->exchanges()) ready = push(program, network_task(TaskTraffic::dispatch, times.dispatch, gate));
    if (model.moe.shared_width > 0) {  // beside the dispatch where there is one
      const Duration shared_time = shared.at(tokens, [&] { return shared_expert_time(tokens); });
      push(program, compute_task(TimePart::experts, shared_time, gate));
    }
    Task routed = compute_task(TimePart::experts, times.experts.slowest, ready);
    routed.waiting = times.experts.waiting();
    const std::uint8_t done = push(program, routed);
    if (experts->exchanges()) {
      const std::uint8_t combined = push(program, network_task(TaskTraffic::combine, times.combine, done));
      if (sequence_parallel) {  // each TP rank had sent its slice of the tokens
        const Duration gather = all_gather.at(
            tokens, [&] { return tp_group.time(Collective::all_gather, Bytes{tokens * model.hidden * 2}); });
        push(program, network_task(TaskTraffic::tensor_gather, gather, combined));
      } else if (spec.plan.tp > 1) {  // each TP rank holds partial sums
        push(program, network_task(TaskTraffic::tensor_reduce, all_reduce_time(in.tokens), combined));
      }
    } else if (expert_group->ranks() > 1) {
      push(program, network_task(TaskTraffic::expert_reduce, expert_all_reduce_time(in.tokens), done));
    }
  }

  /// Where TP ranks hold slices of the tokens, each runs the whole shared experts on its slice.
  Duration shared_expert_time(std::int64_t tokens) const {
    if (!sequence_parallel) return operators_time(kernels, shared_expert_operators(context, tokens));
    OperatorContext whole = context;
    whole.sharding.tp = 1;
    return operators_time(kernels, shared_expert_operators(whole, (tokens + spec.plan.tp - 1) / spec.plan.tp));
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
      for (std::size_t r = 0; r < ranks.size(); ++r) {
        // A captured graph runs every rank at the widest size; without one a rank runs its own tokens, an idle one one.
        const std::int64_t own = tokens.graph ? tokens.widest : std::max<std::int64_t>(1, ranks[r].tokens);
        mixer_time[m][r] = mixers[m].time(ranks[r], own);
        mixer_spread[m].add(mixer_time[m][r]);
      }
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
      timing.stages[static_cast<std::size_t>(s)] = evaluate(programs[static_cast<std::size_t>(s)]);
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
