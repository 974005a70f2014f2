#include "config/read_mixers.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace moesim {
namespace {

using Count = std::int64_t;

/// Nemotron-H's pattern: M Mamba, * attention, E experts, - dense FFN; each a block with its own norm. A mixer and the
/// FFN behind it are one layer here, a mixer without one a layer without FFN.
std::vector<LayerPlan> read_hybrid_pattern(const Shapes& s, const JsonReader& pattern) {
  const std::string text = pattern.string();
  if (static_cast<Count>(text.size()) != s.layers) {
    pattern.fail(fmt::format("has {} blocks; expected {}, as num_hidden_layers says", text.size(), s.layers));
  }
  std::vector<LayerPlan> plans;
  for (const char block : text) {
    if (block == 'M' || block == '*') {
      plans.push_back(
          {.kind = block == 'M' ? MixerKind::mamba : MixerKind::full, .ffn = false, .moe = false, .norms = 1});
    } else if (block == 'E' || block == '-') {
      if (plans.empty() || plans.back().ffn) pattern.fail("an FFN block that follows no mixer cannot be read");
      plans.back().ffn = true;
      plans.back().moe = block == 'E';
      plans.back().norms = 2;
    } else {
      pattern.fail("expected only M, *, E and -");
    }
  }
  return plans;
}

std::vector<LayerPlan> read_layer_types(const JsonReader& list, Count layers) {
  constexpr std::string_view names[] = {"full_attention",    "attention",        "sliding_attention",
                                        "chunked_attention", "linear_attention", "mamba"};
  constexpr MixerKind kinds[] = {MixerKind::full,    MixerKind::full,   MixerKind::window,
                                 MixerKind::chunked, MixerKind::linear, MixerKind::mamba};
  std::vector<LayerPlan> plans;
  for (const JsonReader& entry : per_layer(list, layers)) plans.push_back({.kind = kinds[entry.choice(names)]});
  return plans;
}

}  // namespace

std::vector<LayerPlan> read_layer_plans(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  if (const auto pattern = keys.find({"hybrid_override_pattern"})) return read_hybrid_pattern(s, *pattern);
  std::vector<LayerPlan> plans(static_cast<std::size_t>(s.layers));
  const auto layer = [&plans](Count i) -> LayerPlan& { return plans[static_cast<std::size_t>(i)]; };
  if (keys.given("kv_lora_rank")) {
    for (LayerPlan& plan : plans) plan = {.kind = MixerKind::latent, .indexed = keys.given("index_topk")};
    return plans;
  }
  if (const auto types = keys.find({"layer_types"})) return read_layer_types(*types, s.layers);
  if (const auto list = keys.find({"attn_type_list"})) {
    const auto entries = per_layer(*list, s.layers);
    for (Count i = 0; i < s.layers; ++i) {
      layer(i).kind = entries[static_cast<std::size_t>(i)].integer_in(0, 1) == 0 ? MixerKind::linear : MixerKind::full;
    }
    return plans;
  }
  if (const auto interval = keys.maybe({"full_attention_interval"}, 1, most_layers)) {
    for (Count i = 0; i < s.layers; ++i) layer(i).kind = (i + 1) % *interval == 0 ? MixerKind::full : MixerKind::linear;
    return plans;
  }
  if (keys.given("linear_num_key_heads")) {
    keys.missing("layer_types",
                 "missing; with linear_num_key_heads it or full_attention_interval tells the layers apart");
  }
  if (const auto period = keys.maybe({"attn_layer_period"}, 1, most_layers)) {
    const Count offset = keys.maybe({"attn_layer_offset"}, 0, *period - 1).value_or(0);
    for (Count i = 0; i < s.layers; ++i) layer(i).kind = i % *period == offset ? MixerKind::full : MixerKind::mamba;
    return plans;
  }
  if (keys.given("mamba_d_state") || keys.given("mamba_num_heads") || keys.given("mamba_n_heads")) {
    keys.missing("attn_layer_period", "missing; with Mamba keys it tells the layers apart");
  }
  if (keys.given("attention_chunk_size")) {
    // Llama 4: layers without rotary positions see everything; by default every fourth one. A 0 in the list marks one.
    const Count interval = keys.maybe({"no_rope_layer_interval"}, 1, most_layers).value_or(4);
    const auto list = keys.find({"no_rope_layers"});
    const bool listed = list && list->json().is_array() && !list->json().empty();
    const auto entries = listed ? per_layer(*list, s.layers) : std::vector<JsonReader>();
    for (Count i = 0; i < s.layers; ++i) {
      const bool sees_all =
          listed ? entries[static_cast<std::size_t>(i)].integer_in(0, 1) == 0 : (i + 1) % interval == 0;
      layer(i).kind = sees_all ? MixerKind::full : MixerKind::chunked;
    }
    return plans;
  }
  if (keys.given("sliding_window") && keys.flag("use_sliding_window", true)) {
    const auto pattern = keys.maybe({"sliding_window_pattern", "_sliding_window_pattern"}, 1, most_layers);
    const Count first = keys.given("use_sliding_window")
                            ? keys.maybe({"max_window_layers"}, 0, most_layers).value_or(0)  // Qwen2: full below it
                            : 0;
    if (!pattern && s.family.model_type.starts_with("gemma3"))
      keys.missing("layer_types", "missing; the windows need it");
    for (Count i = 0; i < s.layers; ++i) {
      const bool window = pattern ? (i + 1) % *pattern != 0 : s.family.alternating_window ? i % 2 == 0 : i >= first;
      if (window) layer(i).kind = MixerKind::window;
    }
  }
  if (const auto sparse = keys.find({"sparse_attention_config"});
      sparse && sparse->find("use_sparse_attention") && sparse->at("use_sparse_attention").boolean()) {
    const auto entries = per_layer(sparse->at("sparse_attention_freq"), s.layers);
    for (Count i = 0; i < s.layers; ++i) layer(i).indexed = entries[static_cast<std::size_t>(i)].integer_in(0, 1) == 1;
  }
  return plans;
}

namespace {

/// Multi-head latent attention. [arXiv:2405.04434]; the indexer of its sparse form [DeepSeek-V3.2 inference code]
MixerSpec latent_mixer(const Shapes& s, bool indexed) {
  const ShapeKeys& keys = s.keys;
  MixerSpec m{.kind = MixerKind::latent, .query_heads = s.heads, .kv_heads = s.heads};
  m.kv_rank = keys.positive({"kv_lora_rank"}, widest);
  m.q_rank = keys.maybe({"q_lora_rank"}, 0, widest).value_or(0);
  m.nope_dim = keys.positive({"qk_nope_head_dim"}, widest_head);
  m.rope_dim = keys.positive({"qk_rope_head_dim"}, widest_head);
  m.value_dim = keys.positive({"v_head_dim"}, widest_head);
  m.key_dim = m.nope_dim + m.rope_dim;
  const Count query = m.q_rank > 0 ? (s.hidden + s.heads * m.key_dim) * m.q_rank : s.hidden * s.heads * m.key_dim;
  m.matrix_weights = query + s.hidden * (m.kv_rank + m.rope_dim) + m.kv_rank * s.heads * (m.nope_dim + m.value_dim) +
                     s.heads * m.value_dim * s.hidden;
  m.weights = m.matrix_weights + m.q_rank + m.kv_rank;
  if (indexed) {
    m.index_top_k = keys.positive({"index_topk"}, most_tokens);
    m.index_heads = keys.positive({"index_n_heads"}, most_heads);
    m.index_dim = keys.positive({"index_head_dim"}, widest_head);
    const Count from = m.q_rank > 0 ? m.q_rank : s.hidden;
    const Count index = from * m.index_heads * m.index_dim + s.hidden * (m.index_dim + m.index_heads);
    m.matrix_weights += index;
    m.weights += index + 2 * m.index_dim;  // LayerNorm of the index keys
  }
  return m;
}

/// Grouped-query attention over all keys, a window or a chunk.
MixerSpec attention_mixer(const Shapes& s, const LayerPlan& plan) {
  const ShapeKeys& keys = s.keys;
  MixerSpec m{.kind = plan.kind,
              .query_heads = s.heads,
              .kv_heads = s.kv_heads,
              .key_dim = s.head_dim,
              .value_dim = s.head_dim};
  bool separate_values = true;
  if (plan.kind == MixerKind::window) {
    m.extent = keys.positive({"sliding_window"}, most_tokens);
  } else if (plan.kind == MixerKind::chunked) {
    m.extent = keys.positive({"attention_chunk_size"}, most_tokens);
  } else {
    // Gemma 4: layers that see everything have heads of their own.
    m.key_dim = m.value_dim = keys.maybe({"global_head_dim"}, 1, widest_head).value_or(s.head_dim);
    m.kv_heads = keys.maybe({"num_global_key_value_heads"}, 1, most_heads).value_or(s.kv_heads);
    separate_values = !keys.flag("attention_k_eq_v", false);
    if (s.heads % m.kv_heads != 0) {
      keys.find({"num_global_key_value_heads"})
          ->fail(fmt::format("{} query heads are not a multiple of {} key-value heads", s.heads, m.kv_heads));
    }
  }
  // A limit that no sequence reaches is none (Phi, Qwen2.5).
  if (m.extent > 0 && s.max_positions > 0 && m.extent >= s.max_positions) {
    m.kind = MixerKind::full;
    m.extent = 0;
  }
  const Count q = m.query_heads * m.key_dim, kv = m.kv_heads * m.key_dim, out = m.query_heads * m.value_dim;
  m.gated_output = keys.flag("attn_output_gate", keys.flag("attention_output_gate", s.family.gated_output));
  m.matrix_weights =
      s.hidden * q * (m.gated_output ? 2 : 1) + s.hidden * kv * (separate_values ? 2 : 1) + out * s.hidden;
  m.weights = m.matrix_weights;
  const bool all_biases = s.family.all_biases && !keys.flag("no_bias", false);
  const bool stated_bias = keys.flag("attention_bias", keys.flag("bias", false));
  if (stated_bias || s.family.qkv_bias || all_biases) m.weights += q + 2 * kv;
  if ((stated_bias && s.family.output_bias) || all_biases) m.weights += s.hidden;
  if (s.family.attention_sinks) m.weights += m.query_heads;
  QkNorm norm = keys.flag("use_qk_norm", true) ? s.family.qk_norm : QkNorm::none;
  if (s.family.model_type == "glm4_moe" && keys.flag("use_qk_norm", false)) norm = QkNorm::per_head;
  if (const auto type = keys.find({"qk_norm_type"}); type && norm != QkNorm::none) {
    constexpr std::string_view names[] = {"per_head", "per_layer"};
    norm = type->choice(names) == 0 ? QkNorm::per_head : QkNorm::whole;
  }
  if (norm == QkNorm::per_head) m.weights += 2 * m.key_dim;
  if (norm == QkNorm::whole) m.weights += q + kv;
  if (plan.indexed) {
    // Block-sparse attention: an index key a token; the best blocks of keys are read.
    const JsonReader sparse = keys.text().at("sparse_attention_config");
    m.index_heads = sparse.at("sparse_num_index_heads").integer_in(1, most_heads);
    m.index_dim = sparse.at("sparse_index_dim").integer_in(1, widest_head);
    m.index_top_k =
        sparse.at("sparse_topk_blocks").integer_in(1, 1 << 20) * sparse.at("sparse_block_size").integer_in(1, 1 << 20);
    const Count index = s.hidden * (m.index_heads * m.index_dim + m.index_dim);
    m.matrix_weights += index;
    m.weights += index + 2 * m.index_dim;
  }
  return m;
}

/// Gated DeltaNet by its `linear_*` keys [arXiv:2412.06464], or lightning attention [arXiv:2501.08313].
MixerSpec linear_mixer(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  MixerSpec m{.kind = MixerKind::linear};
  if (!keys.given("linear_num_key_heads")) {
    if (!keys.given("attn_type_list"))
      keys.missing("linear_num_key_heads", "missing; the linear-attention layers need it");
    const Count width = s.heads * s.head_dim;
    m.query_heads = m.kv_heads = s.heads;
    m.key_dim = m.value_dim = s.head_dim;
    m.state_elements = s.heads * s.head_dim * s.head_dim;
    m.linear_in_columns = 4 * width;  // q, k, v, output gate
    m.linear_out_rows = width;
    m.matrix_weights = 5 * s.hidden * width;
    m.weights = m.matrix_weights + width;
    return m;
  }
  m.query_heads = keys.positive({"linear_num_value_heads"}, most_heads);
  m.kv_heads = keys.positive({"linear_num_key_heads"}, most_heads);
  m.key_dim = keys.positive({"linear_key_head_dim"}, widest_head);
  m.value_dim = keys.positive({"linear_value_head_dim"}, widest_head);
  const Count kernel = keys.positive({"linear_conv_kernel_dim"}, 1024);
  if (m.query_heads % m.kv_heads != 0) {
    keys.find({"linear_num_value_heads"})
        ->fail(fmt::format("{} value heads are not a multiple of {} key heads", m.query_heads, m.kv_heads));
  }
  const Count key_width = m.kv_heads * m.key_dim, value_width = m.query_heads * m.value_dim;
  const Count convolved = 2 * key_width + value_width;
  m.linear_in_columns = convolved + value_width + 2 * m.query_heads;  // q, k, v, gate, beta, decay
  m.linear_out_rows = value_width;
  m.state_elements = m.query_heads * m.key_dim * m.value_dim + convolved * (kernel - 1);
  m.matrix_weights = s.hidden * (m.linear_in_columns + m.linear_out_rows);
  m.weights = m.matrix_weights + convolved * kernel + 2 * m.query_heads + m.value_dim;
  return m;
}

/// Mamba-2 by its heads [arXiv:2405.21060], else Mamba-1 by its ranks [arXiv:2312.00752, Jamba arXiv:2403.19887].
MixerSpec mamba_mixer(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  MixerSpec m{.kind = MixerKind::mamba};
  if (const auto heads = keys.maybe({"mamba_num_heads", "mamba_n_heads"}, 1, most_heads)) {
    const Count head = keys.positive({"mamba_head_dim", "mamba_d_head"}, widest_head);
    const Count state = keys.positive({"ssm_state_size", "mamba_d_state"}, widest_head);
    const Count groups = keys.positive({"n_groups", "mamba_n_groups"}, most_heads);
    const Count kernel = keys.positive({"conv_kernel", "mamba_d_conv"}, 1024);
    const Count inner = *heads * head, convolved = inner + 2 * groups * state;
    m.query_heads = m.kv_heads = *heads;
    m.key_dim = state;
    m.value_dim = head;
    m.linear_in_columns = inner + convolved + *heads;
    m.linear_out_rows = inner;
    m.state_elements = inner * state + convolved * (kernel - 1);
    m.matrix_weights = s.hidden * (m.linear_in_columns + inner);
    m.weights =
        m.matrix_weights + convolved * (kernel + (keys.flag("use_conv_bias", true) ? 1 : 0)) + 3 * *heads + inner;
    return m;
  }
  const Count inner = keys.positive({"mamba_expand"}, 64) * s.hidden;
  const Count state = keys.positive({"mamba_d_state"}, widest_head);
  const Count kernel = keys.positive({"mamba_d_conv"}, 1024);
  const auto rank_key = keys.find({"mamba_dt_rank"});
  const bool automatic = !rank_key || rank_key->json().is_string();  // "auto"
  const Count rank = automatic ? (s.hidden + 15) / 16 : rank_key->integer_in(1, widest);
  m.query_heads = m.kv_heads = 1;
  m.key_dim = state;
  m.value_dim = inner;
  m.linear_in_columns = 2 * inner;
  m.linear_out_rows = inner;
  m.state_elements = inner * (state + kernel - 1);
  m.matrix_weights = 3 * s.hidden * inner + inner * (rank + 2 * state) + rank * inner;
  m.weights = m.matrix_weights + inner * kernel + (keys.flag("mamba_conv_bias", true) ? inner : 0) + inner * state +
              2 * inner + rank + 2 * state;
  return m;
}

}  // namespace

MixerSpec read_mixer(const Shapes& s, const LayerPlan& plan) {
  switch (plan.kind) {
    case MixerKind::latent:
      return latent_mixer(s, plan.indexed);
    case MixerKind::linear:
      return linear_mixer(s);
    case MixerKind::mamba:
      return mamba_mixer(s);
    case MixerKind::full:
    case MixerKind::window:
    case MixerKind::chunked:
      break;
  }
  return attention_mixer(s, plan);
}

}  // namespace moesim
