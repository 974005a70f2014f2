#include "parallel/memory_use.h"

#include <fmt/core.h>

#include <algorithm>

#include <array>
#include <optional>
#include <vector>
#include "parallel/graph_sizes.h"

namespace moesim {

namespace {

constexpr std::int64_t kMebibyte = 1 << 20;
constexpr double kActivationBytes = 2;  ///< bf16 between the kernels of all engines

bool has_kv_heads(const MixerSpec& mixer) {
  return mixer.kind == MixerKind::full || mixer.kind == MixerKind::window || mixer.kind == MixerKind::chunked;
}

double share_of_kv_heads(const MixerSpec& mixer, std::int32_t tp) {
  const std::int64_t held = (mixer.kv_heads + tp - 1) / tp;
  return static_cast<double>(held) / static_cast<double>(mixer.kv_heads);
}

/// Parameters of one mixer on one tensor-parallel rank.
double mixer_weights_per_rank(const ModelSpec& model, const MixerSpec& mixer, std::int32_t tp) {
  const auto hidden = static_cast<double>(model.hidden);
  const auto total = static_cast<double>(mixer.weights);
  if (has_kv_heads(mixer)) {
    const double kv = hidden * static_cast<double>(mixer.kv_heads * (mixer.key_dim + mixer.value_dim));
    return (total - kv) / tp + kv * share_of_kv_heads(mixer, tp);
  }
  if (mixer.kind == MixerKind::latent) {
    const double down = hidden * static_cast<double>(mixer.q_rank + mixer.kv_rank + mixer.rope_dim);
    const double indexer = static_cast<double>(mixer.q_rank * mixer.index_heads * mixer.index_dim) +
                           hidden * static_cast<double>(mixer.index_dim + mixer.index_heads);
    const double whole = std::min(total, down + indexer);
    return (total - whole) / tp + whole;
  }
  return total / tp;
}

/// Elements of the widest set of tensors alive beside the residual stream inside one layer, a rank.
double widest_tensors(const ModelSpec& model, const ParallelPlan& plan, const LayerSpec& layer, double tokens) {
  const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(layer.mixer)];
  const double tp = plan.tp;
  double columns = static_cast<double>(mixer.linear_in_columns + mixer.linear_out_rows) / tp;
  if (mixer.kind == MixerKind::latent) {
    columns = static_cast<double>(mixer.query_heads * (2 * mixer.key_dim + 2 * mixer.value_dim)) / tp +
              static_cast<double>(mixer.q_rank + mixer.kv_rank + mixer.rope_dim);
  } else if (has_kv_heads(mixer)) {
    columns =
        static_cast<double>(mixer.query_heads * (mixer.key_dim + mixer.value_dim)) / tp +
        static_cast<double>(mixer.kv_heads * (mixer.key_dim + mixer.value_dim)) * share_of_kv_heads(mixer, plan.tp);
  }
  const double dense_tensors = layer.dense_gated ? 3 : 2;  // gate and up, then their product
  columns = std::max(columns, dense_tensors * static_cast<double>(layer.dense_width) / tp);
  double elements = columns * tokens;
  if (layer.moe) {
    const double shared_parts = sequence_parallel_experts(plan) ? 1 : tp;
    const double met = tokens * plan.dp_ranks_per_expert_group();
    const double rows = met * static_cast<double>(model.moe.top_k) / plan.ep;
    const double expert_tensors = model.moe.gated ? 3 : 2;
    const double routed =
        met * static_cast<double>(model.hidden) +
        rows * (expert_tensors * static_cast<double>(model.moe.width) / plan.etp + static_cast<double>(model.hidden));
    const double shared = tokens * 3 * static_cast<double>(model.moe.shared_width) / shared_parts;
    elements = std::max(elements, routed + shared);
  }
  return elements;
}

void add_layer_weights(const ModelSpec& model, const ParallelPlan& plan, const LayerSpec& layer, double slots,
                       std::array<double, 5>& parts) {
  const WeightFormats& formats = model.formats;
  const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(layer.mixer)];
  parts[0] += mixer_weights_per_rank(model, mixer, plan.tp) * bytes_per_element(formats.attention) +
              static_cast<double>(layer.norm_weights) * kActivationBytes;
  parts[1] += static_cast<double>(layer.dense_weights) / plan.tp * bytes_per_element(formats.dense_ffn);
  if (!layer.moe) return;
  const double shared_parts = sequence_parallel_experts(plan) ? 1 : plan.tp;
  parts[2] += slots * static_cast<double>(model.moe.expert_weights) / plan.etp * bytes_per_element(formats.experts);
  parts[3] += static_cast<double>(model.moe.shared_weights) / shared_parts * bytes_per_element(formats.shared);
  parts[4] += static_cast<double>(model.moe.router_weights) * bytes_per_element(formats.router);
}

Bytes communication_buffers(const ParallelPlan& plan, const MemoryLimits& limits) {
  std::int64_t mebibytes = 0;
  for (const std::int32_t group : {plan.tp, plan.pp, plan.dp, plan.cp, plan.ep}) mebibytes += group > 1 ? 64 : 0;
  mebibytes += plan.tp > 1 ? 16 : 0;
  return Bytes{mebibytes * kMebibyte} + limits.exchange_buffers;
}

MemoryUse stage_memory(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits,
                       std::int32_t stage) {
  const std::int64_t all_slots = model.moe.experts + limits.redundant_experts;
  const std::int64_t rank_slots = (all_slots + plan.ep - 1) / plan.ep;
  const auto slots = static_cast<double>(rank_slots);
  const auto tokens = static_cast<double>(limits.max_batched_tokens);
  const LayerRange range = layers_of_stage(model, plan.pp, stage);
  std::array<double, 5> parts{};
  double widest = 0;
  for (std::int32_t i = 0; i < range.count; ++i) {
    const LayerSpec& layer = model.layers[static_cast<std::size_t>(range.first + i)];
    add_layer_weights(model, plan, layer, slots, parts);
    widest = std::max(widest, widest_tensors(model, plan, layer, tokens));
  }
  MemoryUse use;
  use.attention = Bytes::ceil(parts[0]);
  use.dense_ffn = Bytes::ceil(parts[1]);
  use.experts = Bytes::ceil(parts[2]);
  use.shared = Bytes::ceil(parts[3]);
  use.router = Bytes::ceil(parts[4]);
  use.stage = stage;
  const double embedding = static_cast<double>(model.embedding_weights) / plan.tp;
  const bool last = stage == plan.pp - 1;
  if (stage == 0) use.embedding = Bytes::ceil(embedding * bytes_per_element(model.formats.embedding));
  if (last) {
    const double head = model.head_weights > 0 ? static_cast<double>(model.head_weights) / plan.tp
                        : stage > 0            ? embedding
                                               : 0;
    use.head = Bytes::ceil(head * bytes_per_element(model.formats.head) +
                           static_cast<double>(model.other_weights) * kActivationBytes);
    use.logits = Bytes{10 * limits.max_sequences * model.vocabulary};
  }
  use.activations = Bytes::ceil((2 * tokens * static_cast<double>(model.hidden) + widest) * kActivationBytes);
  if (limits.cuda_graphs) {
    const std::int64_t sizes = captured_graphs(largest_graph(limits.max_sequences));
    use.graphs = Bytes{kMebibyte / 4 * sizes * range.count};
  }
  use.communication = communication_buffers(plan, limits);
  use.context = Bytes{(512 + 64) * kMebibyte};
  use.capacity = gpu.memory;
  use.limit = Bytes{static_cast<std::int64_t>(static_cast<double>(gpu.memory.value) * limits.gpu_memory_utilization)};
  use.cache_capacity = use.limit - use.weights() - use.buffers();
  use.cache_per_token = cache_bytes_per_token_per_gpu(model, plan, limits.cache, stage);
  return use;
}

/// Whether `b` has less room than `a`: fewer tokens, or fewer bytes where neither holds any.
bool fuller(const MemoryUse& b, const MemoryUse& a) {
  if (b.cache_tokens() != a.cache_tokens()) return b.cache_tokens() < a.cache_tokens();
  return b.cache_capacity < a.cache_capacity;
}

bool holds(const MemoryUse& use, std::int64_t tokens) {
  return use.cache_capacity.value > 0 && (use.cache_per_token.value == 0 || use.cache_tokens() >= tokens);
}

/// The plan with `factor` times the tensor parallelism: inside the same world where DP ranks can be given up, else in a
/// world `factor` times as large, whose experts spread over the new ranks.
ParallelPlan with_more_tensor_parallelism(ParallelPlan plan, std::int32_t factor) {
  plan.tp *= factor;
  if (plan.dp % factor == 0) {
    plan.dp /= factor;
  } else {
    (plan.ep > 1 ? plan.ep : plan.etp) *= factor;
  }
  return plan;
}

struct Attempt {
  const GpuSpec& gpu;
  const MemoryLimits& limits;
  std::int64_t tokens;

  bool fits(const ModelSpec& model, const ParallelPlan& plan) const {
    return plan_problem(plan, model).empty() && holds(memory_use(model, plan, gpu, limits), tokens);
  }
};

std::optional<std::string> parallel_advice(const Attempt& attempt, const ModelSpec& model, const ParallelPlan& plan) {
  for (const std::int32_t factor : {2, 4, 8, 16, 32, 64}) {
    const ParallelPlan wider = with_more_tensor_parallelism(plan, factor);
    if (attempt.fits(model, wider)) {
      return wider.dp == plan.dp ? fmt::format("tensor_parallel_size {}", wider.tp)
                                 : fmt::format("tensor_parallel_size {} and data_parallel_size {}", wider.tp, wider.dp);
    }
    ParallelPlan deeper = plan;
    deeper.pp *= factor;
    if (attempt.fits(model, deeper)) return fmt::format("pipeline_parallel_size {}", deeper.pp);
  }
  return std::nullopt;
}

std::optional<std::string> format_advice(const Attempt& attempt, const ModelSpec& model, const ParallelPlan& plan) {
  for (const DataType format : {DataType::fp8, DataType::int4}) {
    ModelSpec narrower = model;
    for (DataType* part : {&narrower.formats.attention, &narrower.formats.dense_ffn, &narrower.formats.experts,
                           &narrower.formats.shared}) {
      if (bits_per_element(format) < bits_per_element(*part)) *part = format;
    }
    if (attempt.fits(narrower, plan)) return fmt::format("{} weights", name(format));
  }
  return std::nullopt;
}

std::optional<std::string> budget_advice(const Attempt& attempt, const ModelSpec& model, const ParallelPlan& plan) {
  MemoryLimits smaller = attempt.limits;
  while (smaller.max_batched_tokens > 1024) {
    smaller.max_batched_tokens /= 2;
    if (Attempt{attempt.gpu, smaller, attempt.tokens}.fits(model, plan)) {
      return fmt::format("max_num_batched_tokens {}", smaller.max_batched_tokens);
    }
  }
  return std::nullopt;
}

}  // namespace

MemoryUse memory_use(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits) {
  MemoryUse fullest = stage_memory(model, plan, gpu, limits, 0);
  for (std::int32_t stage = 1; stage < plan.pp; ++stage) {
    const MemoryUse use = stage_memory(model, plan, gpu, limits, stage);
    if (fuller(use, fullest)) fullest = use;
  }
  return fullest;
}

Bytes cache_bytes_per_token_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format,
                                    std::int32_t stage) {
  double elements = 0;
  const LayerRange range = layers_of_stage(model, plan.pp, stage);
  for (std::int32_t i = 0; i < range.count; ++i) {
    const LayerSpec& layer = model.layers[static_cast<std::size_t>(range.first + i)];
    const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(layer.mixer)];
    const double share = has_kv_heads(mixer) ? share_of_kv_heads(mixer, plan.tp) : 1;
    elements += static_cast<double>(cache_elements_per_token(mixer)) * share;
  }
  return Bytes::ceil(elements * bytes_per_element(format) / plan.cp);
}

Bytes cache_bytes_per_token_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format) {
  Bytes largest;
  for (std::int32_t stage = 0; stage < plan.pp; ++stage) {
    largest = std::max(largest, cache_bytes_per_token_per_gpu(model, plan, format, stage));
  }
  return largest;
}

Bytes state_bytes_per_sequence_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format,
                                       std::int32_t stage) {
  std::int64_t elements = 0;
  const LayerRange range = layers_of_stage(model, plan.pp, stage);
  for (std::int32_t i = 0; i < range.count; ++i) {
    const LayerSpec& layer = model.layers[static_cast<std::size_t>(range.first + i)];
    elements += model.mixers[static_cast<std::size_t>(layer.mixer)].state_elements;
  }
  return Bytes::ceil(static_cast<double>(elements) * bytes_per_element(format) / plan.tp);
}

std::string fit_advice(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits,
                       std::int64_t tokens) {
  const MemoryUse use = memory_use(model, plan, gpu, limits);
  if (holds(use, tokens)) return {};
  std::string need = fmt::format("needs {:.1f} GiB of weights and {:.1f} GiB of buffers", use.weights().gibibytes(),
                                 use.buffers().gibibytes());
  if (tokens > 1) {
    need += fmt::format(" and {:.1f} GiB of cache for {} tokens", (use.cache_per_token * tokens).gibibytes(), tokens);
  }
  need += fmt::format(" on a GPU of {:.1f} GiB x {:.2f}", use.capacity.gibibytes(), limits.gpu_memory_utilization);
  const Attempt attempt{gpu, limits, tokens};
  std::string options;
  for (const auto& advice : {parallel_advice(attempt, model, plan), format_advice(attempt, model, plan),
                             budget_advice(attempt, model, plan)}) {
    if (advice) options += (options.empty() ? "" : " or ") + *advice;
  }
  return need + (options.empty() ? "; no single change of parallel sizes, weight format or token budget makes room"
                                 : "; fits with " + options);
}

}  // namespace moesim
