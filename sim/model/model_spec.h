#pragma once
// A transformer as its shapes: what a Hugging Face config.json says, decided once and kept as plain values. No model is
// named here; the reader (config/read_model) turns keys into these fields.

#include <cstdint>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/units.h"

namespace moesim {

/// How a layer mixes tokens. `full`, `window` and `chunked` keep keys and values; `latent` (MLA) keeps one latent and
/// one rope key a token; `linear` and `mamba` keep a constant state a sequence.
enum class MixerKind { full, window, chunked, latent, linear, mamba };

/// One kind of token mixer. A model has a few; its layers refer to them by index.
struct MixerSpec {
  MixerKind kind = MixerKind::full;
  std::int64_t query_heads = 0, kv_heads = 0;
  std::int64_t key_dim = 0;    ///< head size of q and k (MLA: qk_nope + qk_rope)
  std::int64_t value_dim = 0;  ///< head size of v (MLA: kv_heads = query_heads, as after the up-projection)
  std::int64_t extent = 0;     ///< window or chunk length in tokens; 0 = unlimited
  bool gated_output = false;   ///< a gate as wide as q (Qwen3-Next)
  // MLA
  std::int64_t q_rank = 0, kv_rank = 0, rope_dim = 0, nope_dim = 0;
  // Sparse indexer (DeepSeek-V3.2, MiniMax-M3): attention reads the `index_top_k` best keys, found by a small index
  // over all keys, of which each token caches one key of `index_dim`.
  std::int64_t index_top_k = 0, index_heads = 0, index_dim = 0;
  // Linear attention and Mamba: elements of the state a sequence, and the weights of the mixer.
  std::int64_t state_elements = 0;
  DataType state_format = DataType::bf16;
  // Linear attention: projections in / out of the recurrent kernel, per token (columns of the two GEMMs).
  std::int64_t linear_in_columns = 0, linear_out_rows = 0;
  std::int64_t weights = 0;         ///< all parameters of the mixer, its own norms and biases included
  std::int64_t matrix_weights = 0;  ///< those of its projections: two FLOPs each a token
};

bool has_constant_state(MixerKind kind);
/// Cached elements (not bytes) of one token in one layer: 0 for constant-state mixers. The indexer's keys included.
std::int64_t cache_elements_per_token(const MixerSpec& mixer);

/// The routed experts of a MoE layer.
struct MoeSpec {
  std::int64_t experts = 0, top_k = 0;
  std::int64_t width = 0;                   ///< intermediate size of one routed expert
  std::int64_t shared_width = 0;            ///< summed intermediate size of the shared experts; 0 = none
  bool gated = true;                        ///< three matrices an expert, or two
  std::int64_t groups = 1, top_groups = 1;  ///< group-limited routing: best `top_groups` of `groups`
  std::int64_t group_score_experts = 1;     ///< a group's score is the sum of its best 1 (V2) or 2 (V3) experts
  bool sigmoid_scores = false;
  std::int64_t expert_weights = 0;  ///< parameters of one routed expert
  std::int64_t shared_weights = 0;  ///< parameters of all shared experts of the layer (and their gate)
  std::int64_t router_weights = 0;
};

struct LayerSpec {
  std::int32_t mixer = 0;  ///< index into ModelSpec::mixers
  bool moe = false;
  std::int64_t dense_width = 0;  ///< intermediate size of the dense FFN; 0 = none. With `moe`: a residual FFN beside it
  bool dense_gated = true;
  std::int64_t dense_weights = 0;
  std::int64_t norm_weights = 0;
};

/// Formats of the stored weights by part, from `quantization_config` (a scenario may override them).
struct WeightFormats {
  DataType attention = DataType::bf16, dense_ffn = DataType::bf16, experts = DataType::bf16, shared = DataType::bf16,
           router = DataType::bf16, embedding = DataType::bf16, head = DataType::bf16;
};

struct ModelSpec {
  std::string name;
  std::string source;
  std::vector<std::string> aliases;  ///< other names of the same shapes
  std::int64_t hidden = 0, vocabulary = 0, max_positions = 0;
  std::vector<MixerSpec> mixers;
  std::vector<LayerSpec> layers;  ///< decoder layers; encoder layers of an encoder-decoder come first
  MoeSpec moe;                    ///< experts == 0 for a dense model; all MoE layers are alike
  std::int64_t encoder_layers = 0;
  std::int64_t mtp_layers = 0;  ///< multi-token-prediction layers, not counted in totals
  std::int64_t mtp_weights = 0;
  bool tied_embeddings = false;
  std::int64_t embedding_weights = 0, head_weights = 0, other_weights = 0;  ///< other: final norm, positions
  WeightFormats formats;
  DataType activation_format = DataType::bf16;

  bool is_moe() const { return moe.experts > 0; }
};

/// Parameters by part and in the three conventions in which makers print "active".
struct ParameterCount {
  std::int64_t attention = 0, dense_ffn = 0, experts = 0, shared = 0, router = 0, norms = 0, embedding = 0, head = 0,
               other = 0;
  std::int64_t total = 0;
  std::int64_t active = 0;  ///< all but the experts that were not chosen
  std::int64_t active_without_embedding = 0;
  std::int64_t active_without_embedding_and_head = 0;
};
ParameterCount count_parameters(const ModelSpec& model);

/// Bytes of the stored weights by part.
struct WeightBytes {
  Bytes attention, dense_ffn, experts, shared, router, embedding, head, other;
  Bytes total() const { return attention + dense_ffn + experts + shared + router + embedding + head + other; }
};
WeightBytes weight_bytes(const ModelSpec& model, const WeightFormats& formats);

/// Cache of a sequence of `tokens` tokens over all layers: growing part, window-limited part, constant states.
struct CacheBytes {
  Bytes growing, windowed, constant;
  Bytes total() const { return growing + windowed + constant; }
};
CacheBytes cache_bytes(const ModelSpec& model, std::int64_t tokens, DataType format);
/// Growth of the cache by one token while no window is full. Mixtral-8x7B bf16: 131,072.
Bytes cache_bytes_per_token(const ModelSpec& model, DataType format);

/// FLOPs of one forward pass of one token at position `context` (keys in sight, itself included): matrix products of
/// projections, chosen experts, shared experts, router, LM head; attention scores and values (MLA: with expanded keys
/// and values, as makers count it); four an element of a recurrent state (decay and update, read). A token of an
/// encoder-decoder passes both sides. Ignores norms, activations and cross-attention scores.
Flops flops_per_token(const ModelSpec& model, std::int64_t context);

/// Query-key pairs in sight and distinct keys read when `new_tokens` follow `cached` tokens of the same sequence.
/// Without a limit: pairs = n (c + (n+1)/2). A window of w keys (the token itself included) caps each query at w; a
/// chunked mixer sees the keys of its own chunk only; a sparse indexer caps each query at `index_top_k`, its distinct
/// keys are at most n index_top_k (different queries may choose different ones). A constant state has no keys.
struct VisibleKeys {
  double pairs = 0;
  std::int64_t keys = 0;
};
VisibleKeys visible_keys(const MixerSpec& mixer, std::int64_t new_tokens, std::int64_t cached);

}  // namespace moesim
