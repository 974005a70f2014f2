#include "config/read_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "config/model_family.h"
#include "config/read_weight_formats.h"

namespace moesim {
namespace {

using Count = std::int64_t;
using Keys = std::initializer_list<std::string_view>;

// Upper limits of single values; with them no product of a few overflows 64 bits.
constexpr Count most_layers = 10'000;
constexpr Count most_experts = 1 << 17;
constexpr Count widest = 1 << 22;  // hidden and intermediate sizes, ranks
constexpr Count most_heads = 1 << 14;
constexpr Count widest_head = 1 << 14;
constexpr Count most_tokens = Count{1} << 40;
constexpr Count largest_vocabulary = 1 << 26;
constexpr double most_parameters = 1e15;

/// Keys that alter shapes in ways that are not read yet, unless they are null, false, 0 or empty.
constexpr std::string_view refused_keys[] = {"compress_ratios",
                                             "block_configs",
                                             "cross_attention_layers",
                                             "altup_num_inputs",
                                             "laurel_rank",
                                             "moe_latent_size",
                                             "zero_expert_num",
                                             "num_kv_shared_layers",
                                             "use_double_wide_mlp",
                                             "linear_attn_config",
                                             "layers_block_type",
                                             "hidden_size_per_layer_input",
                                             "cla_share_factor",
                                             "use_cla",
                                             "moe_layer_start_index",
                                             "parallel_hybrid_block"};

/// The keys of one config, looked up in the decoder's object and in the sub-objects that some families put shapes in.
class ShapeKeys {
 public:
  explicit ShapeKeys(const JsonReader& text) : text_(text) {
    sources_.push_back(text);
    for (const std::string_view part : {"attn_config", "ffn_config"}) {
      if (const auto sub = text.find(part); sub && sub->json().is_object()) sources_.push_back(*sub);
    }
  }

  const JsonReader& text() const { return text_; }

  /// The first of `keys` that is given and not null.
  std::optional<JsonReader> find(Keys keys) const {
    for (const std::string_view key : keys) {
      for (const JsonReader& source : sources_) {
        if (auto value = source.find(key)) return value;
      }
    }
    return std::nullopt;
  }
  std::optional<Count> maybe(Keys keys, Count low, Count high) const {
    const auto value = find(keys);
    return value ? std::optional(value->integer_in(low, high)) : std::nullopt;
  }
  /// A required count of at least 1; the error names the first key, and the others as spellings.
  Count positive(Keys keys, Count high) const {
    if (const auto value = maybe(keys, 1, high)) return *value;
    std::string others;
    for (auto key = keys.begin() + 1; key < keys.end(); ++key) others += fmt::format(" or {}", *key);
    missing(*keys.begin(), others.empty() ? "missing; the shapes need it" : "missing; the shapes need it" + others);
  }
  bool flag(std::string_view key, bool absent) const {
    const auto value = find({key});
    return value ? value->boolean() : absent;
  }
  bool given(std::string_view key) const { return find({key}).has_value(); }
  [[noreturn]] void missing(std::string_view key, const std::string& message) const {
    JsonReader(text_.json(), text_.file(), fmt::format("{}/{}", text_.pointer(), key)).fail(message);
  }

 private:
  JsonReader text_;
  std::vector<JsonReader> sources_;
};

/// What a layer does with its tokens, before equal ones are merged.
struct LayerPlan {
  MixerKind kind = MixerKind::full;
  bool indexed = false;                    ///< reads only the keys that an indexer chose
  bool ffn = true;                         ///< false: a mixer alone (hybrid patterns)
  std::optional<bool> moe = std::nullopt;  ///< decided by the pattern itself
  Count norms = 0;                         ///< blocks with a norm each, when the pattern decides
  bool operator==(const LayerPlan&) const = default;
};

struct Shapes {
  const ShapeKeys& keys;
  ModelFamily family;
  Count hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  Count max_positions = 0;
};

/// Fails when the list of one entry a layer has another length.
std::vector<JsonReader> per_layer(const JsonReader& list, Count layers) {
  auto entries = list.elements();
  if (static_cast<Count>(entries.size()) != layers) {
    list.fail(fmt::format("has {} entries; expected {}, one a layer", entries.size(), layers));
  }
  return entries;
}

Count head_size(const ShapeKeys& keys, Count hidden, Count heads) {
  if (const auto given = keys.maybe({"head_dim"}, 1, widest_head)) return *given;
  if (hidden % heads != 0) {
    keys.missing("head_dim", fmt::format("missing, and hidden size {} is not divisible by {} heads", hidden, heads));
  }
  return hidden / heads;
}

Shapes read_shapes(const ShapeKeys& keys, const ModelFamily& family) {
  Shapes s{.keys = keys, .family = family};
  s.hidden = keys.positive({"hidden_size", "n_embd", "d_model"}, widest);
  s.layers = keys.positive({"num_hidden_layers", "n_layer", "n_layers", "num_layers"}, most_layers);
  s.heads = keys.positive({"num_attention_heads", "n_head", "n_heads"}, most_heads);
  if (const auto kv = keys.maybe({"num_key_value_heads", "num_kv_heads", "kv_n_heads"}, 1, most_heads)) {
    s.kv_heads = *kv;
  } else {
    s.kv_heads = keys.flag("multi_query", false) && !keys.flag("new_decoder_architecture", false) ? 1 : s.heads;
  }
  const bool latent = keys.given("kv_lora_rank");
  if (s.heads % s.kv_heads != 0) {
    keys.find({"num_key_value_heads", "num_kv_heads", "kv_n_heads"})
        ->fail(fmt::format("{} query heads are not a multiple of {} key-value heads", s.heads, s.kv_heads));
  }
  s.head_dim = latent ? 0 : head_size(keys, s.hidden, s.heads);
  s.max_positions =
      keys.maybe({"max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"}, 1, most_tokens)
          .value_or(0);
  return s;
}

// --- token mixers -------------------------------------------------------------------------------------------------

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

/// Which kind of mixer each layer has.
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

// --- FFNs ---------------------------------------------------------------------------------------------------------

/// Three matrices, or two.
Count ffn_matrices(bool gated, Count hidden, Count width) {
  return (gated ? 3 : 2) * hidden * width;
}

MoeSpec read_moe(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  MoeSpec moe;
  if (!keys.flag("enable_moe_block", true)) return moe;
  const auto experts_key = keys.find({"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"});
  if (!experts_key) {
    if (keys.given("moe_intermediate_size")) keys.missing("num_experts", "missing, but moe_intermediate_size is given");
    return moe;
  }
  moe.experts = experts_key->integer_in(0, most_experts);
  if (moe.experts == 0) return moe;
  const auto top_k =
      keys.find({"num_experts_per_tok", "experts_per_token", "moe_top_k", "top_k_experts", "moe_topk", "moe_k"});
  if (!top_k) keys.missing("num_experts_per_tok", fmt::format("missing; {} experts need it", moe.experts));
  moe.top_k = top_k->integer_in(1, most_experts);
  if (moe.top_k > moe.experts) top_k->fail(fmt::format("{} experts a token, but there are {}", moe.top_k, moe.experts));
  moe.gated = s.family.gated_ffn;
  moe.width = keys.positive({"moe_intermediate_size", "intermediate_size", "ffn_hidden_size"}, widest);
  moe.expert_weights = ffn_matrices(moe.gated, s.hidden, moe.width);
  if (s.family.expert_biases) moe.expert_weights += (moe.gated ? 2 : 1) * moe.width + s.hidden;

  const Count shared_experts = keys.maybe({"n_shared_experts", "num_shared_experts"}, 0, 1024).value_or(0);
  if (const auto width = keys.maybe({"shared_expert_intermediate_size"}, 0, widest)) {
    moe.shared_width = *width;  // Qwen: with a gate of one column
    if (*width > 0) moe.shared_weights = s.hidden;
  } else if (const auto total = keys.maybe({"moe_shared_expert_intermediate_size"}, 0, widest)) {
    moe.shared_width = *total;
  } else if (const auto minimax = keys.maybe({"shared_intermediate_size"}, 0, widest)) {
    moe.shared_width = *minimax * std::max<Count>(1, shared_experts);
  } else if (shared_experts > 0) {
    moe.shared_width = shared_experts * moe.width;
  } else if (keys.given("intermediate_size_mlp")) {
    moe.shared_width = keys.positive({"intermediate_size"}, widest);  // Llama 4: one, as wide as a routed expert
  }
  moe.shared_weights += ffn_matrices(moe.gated, s.hidden, moe.shared_width);

  const std::string method = keys.given("topk_method") ? keys.find({"topk_method"})->string() : "";
  const bool corrected = method == "noaux_tc";
  moe.router_weights = s.hidden * moe.experts;
  if (corrected || s.family.router_bias || keys.flag("use_routing_bias", false)) moe.router_weights += moe.experts;
  if (s.family.scaled_router) moe.router_weights += s.hidden + moe.experts;
  if (const auto scoring = keys.find({"scoring_func"})) {
    constexpr std::string_view names[] = {"softmax", "sigmoid", "sqrtsoftplus"};
    moe.sigmoid_scores = scoring->choice(names) != 0;
  } else {
    moe.sigmoid_scores = corrected || s.family.sigmoid_scores;
  }
  const auto groups = keys.find({"n_group"});
  if (groups && groups->integer_in(0, most_experts) > 1 && method != "greedy") {
    moe.groups = groups->integer();
    if (moe.experts % moe.groups != 0) {
      groups->fail(fmt::format("{} experts are not divisible by {} groups", moe.experts, moe.groups));
    }
    const auto top_groups = keys.find({"topk_group"});
    if (!top_groups) keys.missing("topk_group", fmt::format("missing; {} groups need it", moe.groups));
    moe.top_groups = top_groups->integer_in(1, moe.groups);
    if (moe.top_k > moe.top_groups * (moe.experts / moe.groups)) {
      top_groups->fail(fmt::format("{} groups hold fewer than {} experts", moe.top_groups, moe.top_k));
    }
    moe.group_score_experts = corrected || s.family.router_bias ? std::min<Count>(2, moe.experts / moe.groups) : 1;
  }
  return moe;
}

/// True for the layers with experts. One entry a layer of the config.
std::vector<bool> read_moe_layers(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  std::vector<bool> moe(static_cast<std::size_t>(s.layers), true);
  const auto keep = [&](auto predicate) {
    for (Count i = 0; i < s.layers; ++i)
      moe[static_cast<std::size_t>(i)] = moe[static_cast<std::size_t>(i)] && predicate(i);
  };
  if (const auto types = keys.find({"mlp_layer_types"})) {
    constexpr std::string_view names[] = {"dense", "sparse"};
    const auto entries = per_layer(*types, s.layers);
    keep([&](Count i) { return entries[static_cast<std::size_t>(i)].choice(names) == 1; });
    return moe;
  }
  if (const auto first = keys.maybe({"first_k_dense_replace"}, 0, most_layers))
    keep([&](Count i) { return i >= *first; });
  if (const auto frequency = keys.find({"moe_layer_freq"})) {
    if (frequency->json().is_array()) {
      const auto entries = per_layer(*frequency, s.layers);
      keep([&](Count i) { return entries[static_cast<std::size_t>(i)].integer_in(0, 1) == 1; });
    } else {
      const Count step = frequency->integer_in(1, most_layers);
      keep([&](Count i) { return i % step == 0; });
    }
  }
  if (const auto list = keys.find({"moe_layers"}); list && list->json().is_array()) {
    std::vector<bool> named(moe.size(), false);
    for (const JsonReader& entry : list->elements())
      named[static_cast<std::size_t>(entry.integer_in(0, s.layers - 1))] = true;
    keep([&](Count i) { return named[static_cast<std::size_t>(i)]; });
  } else if (const auto interleave = keys.maybe(
                 {"interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_frequency"}, 1, most_layers)) {
    keep([&](Count i) { return (i + 1) % *interleave == 0; });
  }
  if (const auto period = keys.maybe({"expert_layer_period"}, 1, most_layers)) {
    const Count offset = keys.maybe({"expert_layer_offset"}, 0, *period - 1).value_or(0);
    keep([&](Count i) { return i % *period == offset; });
  }
  if (const auto dense = keys.find({"mlp_only_layers"})) {
    for (const JsonReader& entry : dense->elements())
      moe[static_cast<std::size_t>(entry.integer_in(0, s.layers - 1))] = false;
  }
  return moe;
}

Count dense_width(const Shapes& s, Keys spellings) {
  if (const auto width = s.keys.maybe(spellings, 1, widest)) return *width;
  if (const auto ratio = s.keys.maybe({"expansion_ratio"}, 1, 64)) return *ratio * s.hidden;
  if (s.family.default_ffn_ratio > 0) return s.family.default_ffn_ratio * s.hidden;
  s.keys.missing("intermediate_size", "missing; the shapes need it");
}

/// Adds the dense FFN of `width` to a layer.
void add_dense_ffn(const Shapes& s, Count width, LayerSpec& layer) {
  layer.dense_width = width;
  layer.dense_gated = s.family.gated_ffn;
  layer.dense_weights = ffn_matrices(layer.dense_gated, s.hidden, width);
  const bool all_biases = s.family.all_biases && !s.keys.flag("no_bias", false);
  if (all_biases || s.family.ffn_biases || s.keys.flag("mlp_bias", s.keys.flag("bias", false))) {
    layer.dense_weights += (layer.dense_gated ? 2 : 1) * width + s.hidden;
  }
}

// --- the whole ----------------------------------------------------------------------------------------------------

/// Total in floating point, to refuse shapes whose integer products would overflow.
void check_size(const ModelSpec& model, const ShapeKeys& keys) {
  double total = static_cast<double>(model.embedding_weights) + static_cast<double>(model.head_weights);
  for (const LayerSpec& layer : model.layers) {
    total += static_cast<double>(model.mixers[static_cast<std::size_t>(layer.mixer)].weights) +
             static_cast<double>(layer.dense_weights);
    if (layer.moe) {
      total += static_cast<double>(model.moe.experts) * static_cast<double>(model.moe.expert_weights) +
               static_cast<double>(model.moe.shared_weights);
    }
  }
  if (total > most_parameters) {
    keys.text().fail(fmt::format("the shapes give {:.3g} parameters; expected at most {:.0g}", total, most_parameters));
  }
}

/// `tie_word_embeddings` of the outer object goes before that of the decoder.
bool read_tied(const JsonReader& root, const ShapeKeys& keys, bool absent) {
  if (const auto tied = root.find("tie_word_embeddings")) return tied->boolean();
  return keys.flag("tie_word_embeddings", absent);
}

void read_embeddings(const JsonReader& root, const Shapes& s, ModelSpec& model) {
  const ShapeKeys& keys = s.keys;
  model.vocabulary = keys.positive({"vocab_size"}, largest_vocabulary);
  model.tied_embeddings = read_tied(root, keys, s.family.tied_embeddings);
  model.embedding_weights = model.vocabulary * s.hidden;
  if (!model.tied_embeddings) {
    model.head_weights = model.embedding_weights;
    if (keys.flag("lm_head_bias", s.family.head_bias)) model.head_weights += model.vocabulary;
  }
  model.other_weights = (s.family.final_norms + s.family.other_hidden_vectors) * s.hidden;
  if (s.family.extra_positions >= 0 || keys.flag("learned_pos_emb", false)) {
    if (s.max_positions == 0) keys.missing("max_position_embeddings", "missing; learned positions need it");
    if (s.max_positions > (1 << 24)) keys.text().fail("learned positions for more than 16 million tokens");
    model.other_weights += (s.max_positions + std::max<Count>(0, s.family.extra_positions)) * s.hidden;
  }
}

void read_decoder(const Shapes& s, ModelSpec& model) {
  const ShapeKeys& keys = s.keys;
  const auto plans = read_layer_plans(s);
  const bool by_pattern = keys.given("hybrid_override_pattern");
  model.moe = read_moe(s);
  const auto moe_layers = by_pattern ? std::vector<bool>() : read_moe_layers(s);
  const bool residual = keys.flag("parallel_attn_mlp_res", false);  // Arctic: a dense FFN beside the experts
  const bool beside = keys.flag("enable_moe_block", false);         // Gemma 4: the same
  const bool layer_scalar = s.family.scaled_router;
  std::vector<LayerPlan> kinds;  // of model.mixers
  for (std::size_t i = 0; i < plans.size(); ++i) {
    LayerPlan kind{.kind = plans[i].kind, .indexed = plans[i].indexed};
    auto known = std::ranges::find(kinds, kind);
    if (known == kinds.end()) {
      model.mixers.push_back(read_mixer(s, kind));
      known = kinds.insert(kinds.end(), kind);
    }
    LayerSpec layer{.mixer = static_cast<std::int32_t>(known - kinds.begin())};
    const bool wants_experts = by_pattern ? plans[i].moe.value_or(false) : static_cast<bool>(moe_layers[i]);
    layer.moe = wants_experts && model.moe.experts > 0;
    if (by_pattern && wants_experts && !layer.moe)
      keys.missing("n_routed_experts", "missing; the pattern has expert layers");
    layer.dense_gated = s.family.gated_ffn;
    if (!layer.moe && plans[i].ffn) {
      add_dense_ffn(s,
                    dense_width(s, {"intermediate_size_mlp", "dense_intermediate_size", "intermediate_size",
                                    "ffn_hidden_size", "n_inner", "ffn_dim"}),
                    layer);
    } else if (layer.moe && beside) {
      add_dense_ffn(s, dense_width(s, {"intermediate_size"}), layer);
    } else if (layer.moe && residual) {
      add_dense_ffn(s, s.hidden, layer);
    }
    layer.norm_weights = s.hidden * (plans[i].norms > 0 ? plans[i].norms : s.family.norms);
    if (layer.moe) layer.norm_weights += s.hidden * (s.family.moe_norms + (residual ? 2 : 0));
    if (layer_scalar) layer.norm_weights += 1;
    model.layers.push_back(layer);
  }
  if (model.moe.experts > 0 && std::ranges::none_of(model.layers, &LayerSpec::moe)) {
    keys.find({"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"})
        ->fail("experts are given, but the keys that place them leave no layer with any");
  }
}

/// Draft layers for multi-token prediction: a layer like the last one, two more norms and the projection of
/// [hidden; embedding]. [arXiv:2412.19437 section 2.2]
void read_mtp(const Shapes& s, ModelSpec& model) {
  const auto layers = s.keys.maybe({"num_nextn_predict_layers", "mtp_num_hidden_layers"}, 0, 64);
  if (!layers || *layers == 0) return;
  model.mtp_layers = *layers;
  const LayerSpec& last = model.layers.back();
  const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(last.mixer)];
  Count weights = mixer.weights + last.dense_weights + last.norm_weights + 2 * s.hidden * s.hidden + 3 * s.hidden;
  if (last.moe)
    weights += model.moe.experts * model.moe.expert_weights + model.moe.shared_weights + model.moe.router_weights;
  model.mtp_weights = *layers * weights;
}

/// T5's form, whose sparse layers are Switch layers. [arXiv:2101.03961; transformers models/switch_transformers]
void read_encoder_decoder(const JsonReader& root, const ShapeKeys& keys, ModelSpec& model) {
  model.hidden = keys.positive({"d_model"}, widest);
  const Count heads = keys.positive({"num_heads"}, most_heads), head = keys.positive({"d_kv"}, widest_head);
  const Count width = keys.positive({"d_ff"}, widest);
  const bool gated = keys.flag("is_gated_act", false);
  const Count encoders = keys.positive({"num_layers"}, most_layers);
  const Count decoders = keys.maybe({"num_decoder_layers"}, 1, most_layers).value_or(encoders);
  const Count buckets = keys.maybe({"relative_attention_num_buckets"}, 1, 1 << 16).value_or(32);
  const Count matrices = 4 * model.hidden * heads * head;
  MixerSpec self{.query_heads = heads,
                 .kv_heads = heads,
                 .key_dim = head,
                 .value_dim = head,
                 .weights = matrices,
                 .matrix_weights = matrices};
  MixerSpec crossed = self;  // a decoder layer also attends to the encoder's output
  crossed.weights = crossed.matrix_weights = 2 * matrices;
  model.mixers = {self, crossed};
  model.encoder_layers = encoders;
  if (const auto experts = keys.find({"num_experts"})) {
    MoeSpec& moe = model.moe;
    moe.experts = experts->integer_in(1, most_experts);
    const auto chosen = keys.find({"num_selected_experts"});
    moe.top_k = chosen ? chosen->integer_in(1, most_experts) : 1;
    if (moe.top_k > moe.experts)
      chosen->fail(fmt::format("{} experts a token, but there are {}", moe.top_k, moe.experts));
    moe.width = width;
    moe.gated = gated;
    moe.expert_weights = ffn_matrices(gated, model.hidden, width);
    moe.router_weights = model.hidden * moe.experts;
  }
  const auto add_side = [&](Count layers, std::int32_t mixer, Count norms, std::string_view sparse_key) {
    Count sparse = 0;
    if (model.moe.experts > 0) {
      if (!keys.given(sparse_key)) keys.missing(sparse_key, "missing; the experts need it");
      sparse = keys.find({sparse_key})->integer_in(0, layers);
    }
    const Count step = sparse > 0 ? layers / sparse : 0;
    for (Count i = 0; i < layers; ++i) {
      LayerSpec layer{.mixer = mixer, .moe = step > 0 && (step == 1 || i % step == 1), .dense_gated = gated};
      if (!layer.moe) {
        layer.dense_width = width;
        layer.dense_weights = ffn_matrices(gated, model.hidden, width);
      }
      layer.norm_weights = norms * model.hidden;
      model.layers.push_back(layer);
    }
    model.other_weights += model.hidden + buckets * heads;
  };
  add_side(encoders, 0, 2, "num_sparse_encoder_layers");
  add_side(decoders, 1, 3, "num_sparse_decoder_layers");
  if (model.moe.experts > 0 && std::ranges::none_of(model.layers, &LayerSpec::moe)) model.moe = {};
  model.vocabulary = keys.positive({"vocab_size"}, largest_vocabulary);
  model.tied_embeddings = read_tied(root, keys, true);
  model.embedding_weights = model.vocabulary * model.hidden;
  if (!model.tied_embeddings) model.head_weights = model.embedding_weights;
}

/// The row of the family, or Llama's form for one that is not known but whose activation says what its FFN is.
ModelFamily family_of(const JsonReader& root, const ShapeKeys& keys, std::vector<std::string>* warnings) {
  std::string type;
  if (const auto inner = keys.find({"model_type"})) type = inner->string();
  if (type.empty()) {
    if (const auto outer = root.find("model_type")) type = outer->string();
  }
  if (const auto known = find_family(type)) return *known;
  constexpr std::string_view gated[] = {"silu", "swish", "swiglu", "swigluoai"};
  const auto activation = keys.find({"hidden_act", "hidden_activation"});
  if (!activation) {
    keys.missing("model_type", type.empty() ? "missing; without it and hidden_act the FFN cannot be decided"
                                            : "unknown family, and without hidden_act the FFN cannot be decided");
  }
  const std::string name = activation->string();
  const bool is_gated = std::ranges::find(gated, name) != std::end(gated);
  if (!is_gated && name != "relu2") {
    activation->fail("in an unknown family only silu and relu2 say how many matrices the FFN has");
  }
  if (warnings != nullptr) {
    warnings->push_back(fmt::format(
        "{}: model_type \"{}\" is not known; assumes no biases and no query-key norms beyond what the keys say",
        root.file(), type.substr(0, 60)));
  }
  ModelFamily family;
  family.gated_ffn = is_gated;
  return family;
}

JsonReader decoder_of(const JsonReader& root) {
  for (const std::string_view key : {"text_config", "language_config", "llm_config"}) {
    if (auto nested = root.find(key)) {
      if (!nested->json().is_object()) nested->fail("expected an object");
      return *nested;
    }
  }
  return root;
}

bool is_set(const nlohmann::ordered_json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  return !value.empty();
}

void read_formats(const JsonReader& root, const ShapeKeys& keys, ModelSpec& model) {
  auto type = keys.find({"torch_dtype", "dtype"});
  if (!type) type = root.find("torch_dtype");
  if (!type) type = root.find("dtype");
  const DataType base = type ? read_base_format(*type) : DataType::bf16;
  model.activation_format = base == DataType::fp8 ? DataType::bf16 : base;
  model.formats = {base, base, base, base, base, base, base};
  for (MixerSpec& mixer : model.mixers) {
    mixer.state_format = model.activation_format;
    if (const auto state = keys.find({"mamba_ssm_dtype", "mamba_ssm_cache_dtype"}))
      mixer.state_format = read_base_format(*state);
  }
  auto quantization = keys.find({"quantization_config"});
  if (!quantization) quantization = root.find("quantization_config");
  if (quantization) {
    const auto is_moe = [](const LayerSpec& layer) { return layer.moe; };
    const auto last_moe = std::find_if(model.layers.rbegin(), model.layers.rend(), is_moe);
    const Count layer =
        model.is_moe() ? model.layers.rend() - last_moe - 1 : static_cast<Count>(model.layers.size() / 2);
    model.formats = read_weight_formats(*quantization, model.activation_format, layer);
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string without_maker(const std::string& name) {
  const auto slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

}  // namespace

ModelSpec read_model(const JsonReader& root, std::vector<std::string>* warnings) {
  if (!root.json().is_object()) root.fail("expected a model's config.json, an object");
  const JsonReader text = decoder_of(root);
  const ShapeKeys keys(text);
  for (const std::string_view key : refused_keys) {
    if (const auto value = keys.find({key}); value && is_set(value->json())) {
      value->fail("alters the shapes in a way that is not modelled");
    }
  }
  ModelSpec model;
  const auto name = root.find("name");
  model.name = name ? name->string() : std::filesystem::path(root.file()).stem().string();
  if (const auto source = root.find("source")) model.source = source->string();
  if (const auto aliases = root.find("aliases")) {
    for (const JsonReader& alias : aliases->elements()) model.aliases.push_back(alias.string());
  }
  if (keys.given("d_kv") && keys.given("d_ff")) {
    family_of(root, keys, warnings);
    read_encoder_decoder(root, keys, model);
    check_size(model, keys);
  } else {
    if (keys.flag("is_encoder_decoder", false)) {
      keys.find({"is_encoder_decoder"})->fail("an encoder-decoder is read only in T5's form (d_model, d_ff, d_kv)");
    }
    const Shapes shapes = read_shapes(keys, family_of(root, keys, warnings));
    model.hidden = shapes.hidden;
    model.max_positions = shapes.max_positions;
    read_embeddings(root, shapes, model);
    read_decoder(shapes, model);
    check_size(model, keys);
    read_mtp(shapes, model);
  }
  read_formats(root, keys, model);
  return model;
}

ModelSpec read_model_file(const std::filesystem::path& path, std::vector<std::string>* warnings) {
  const nlohmann::ordered_json json = parse_json_file(path);
  return read_model(JsonReader(json, path.string()), warnings);
}

ModelCatalog read_model_catalog(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(folder, absent)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  ModelCatalog catalog;
  for (const auto& file : files) catalog.files.emplace(lower(file.stem().string()), file);
  std::vector<std::pair<std::string, std::filesystem::path>> bare;
  for (const auto& file : files) {
    const nlohmann::ordered_json json = parse_json_file(file);
    const JsonReader root(json, file.string());
    const auto aliases = json.is_object() ? root.find("aliases") : std::nullopt;
    if (!aliases) continue;
    for (const JsonReader& alias : aliases->elements()) {
      const std::string name = lower(alias.string());
      catalog.files.emplace(name, file);
      bare.emplace_back(without_maker(name), file);
    }
  }
  for (const auto& [name, file] : bare) catalog.files.emplace(name, file);
  return catalog;
}

std::optional<std::filesystem::path> find_model(const ModelCatalog& catalog, std::string_view name) {
  const std::string whole = lower(name);
  auto place = catalog.files.find(whole);
  if (place == catalog.files.end()) place = catalog.files.find(without_maker(whole));
  return place == catalog.files.end() ? std::nullopt : std::optional(place->second);
}

std::optional<std::filesystem::path> find_model_by_name(std::string_view name) {
  return find_model(read_model_catalog(product_root() / "models"), name);
}

}  // namespace moesim
