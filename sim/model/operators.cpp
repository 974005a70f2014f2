#include "model/operators.h"

#include <algorithm>

namespace moesim {
namespace {

constexpr std::int64_t kActivationBytes = 2;  // bf16 between operators

bool is_quantised(DataType type) {
  return bits_per_element(type) < 16;
}

/// Read as bf16, written in the format of the cache.
std::int64_t cache_write_bytes(const OperatorContext& c, std::int64_t elements) {
  return Bytes::ceil(static_cast<double>(elements) * (2 + bytes_per_element(c.formats.kv_cache))).value;
}

std::int64_t share(std::int64_t total, std::int64_t parts) {
  return std::max<std::int64_t>(1, total / parts);
}

/// Collects the operators of one block, deciding formats and quantisation passes in one place.
class OperatorList {
 public:
  explicit OperatorList(const OperatorContext& context) : context_(context) {}

  void pass(std::string_view name, std::int64_t bytes) { operators_.push_back({name, MemoryPass{{bytes}}}); }

  void norm(std::int64_t tokens) {
    const std::int64_t row = tokens * context_.model->hidden * kActivationBytes;
    if (context_.fusion.norm_with_residual) {
      pass("norm + residual", 4 * row);  // reads x and the residual, writes both
    } else {
      pass("residual", 3 * row);
      pass("norm", 2 * row);
    }
  }

  /// The conversion of a GEMM's input, where the format needs one and no neighbour does it on the way.
  void quantise(std::int64_t m, std::int64_t k, DataType weight, bool fused) {
    if (quantises(weight) && !fused)
      operators_.push_back({"quantise", QuantizePass{m, k, context_.formats.activation}});
  }

  void gemm(std::string_view name, const GemmShape& shape) {
    GemmShape s = shape;
    s.activation = quantises(s.weight) ? input_format(s.weight) : DataType::bf16;
    operators_.push_back({name, s});
  }

  std::vector<Operator> take() { return std::move(operators_); }

 private:
  bool quantises(DataType weight) const { return is_quantised(weight) && is_quantised(context_.formats.activation); }
  /// Weights with block scales take activations with block scales.
  DataType input_format(DataType weight) const {
    return weight == DataType::fp8_block ? weight : context_.formats.activation;
  }

  const OperatorContext& context_;
  std::vector<Operator> operators_;
};

/// Projections of a sparse indexer: its queries (from the compressed query where there is one), its key and the weights
/// of its heads. [DeepSeek-V3.2]
void indexer_operators(OperatorList& list, const OperatorContext& c, const MixerSpec& mixer, std::int64_t tokens) {
  if (mixer.index_top_k == 0) return;
  const std::int64_t h = c.model->hidden;
  const DataType w = c.formats.weights.attention;
  list.gemm(
      "indexer q",
      {.m = tokens, .n = mixer.index_heads * mixer.index_dim, .k = mixer.q_rank > 0 ? mixer.q_rank : h, .weight = w});
  list.gemm("indexer k and weights", {.m = tokens, .n = mixer.index_dim + mixer.index_heads, .k = h, .weight = w});
}

void latent_operators(OperatorList& list, const OperatorContext& c, const MixerSpec& mixer, std::int64_t tokens,
                      std::int64_t decode_tokens) {
  const std::int64_t h = c.model->hidden;
  const std::int64_t heads = share(mixer.query_heads, c.sharding.tp);
  const DataType w = c.formats.weights.attention;
  const std::int64_t latent = mixer.kv_rank + mixer.rope_dim;
  list.quantise(tokens, h, w, c.fusion.quantize_with_norm);
  if (mixer.q_rank > 0) {
    list.gemm("q and kv down-projection", {.m = tokens, .n = mixer.q_rank + latent, .k = h, .weight = w});
    list.pass("latent norms", 2 * tokens * (mixer.q_rank + mixer.kv_rank) * kActivationBytes);
    list.quantise(tokens, mixer.q_rank, w, c.fusion.quantize_with_norm);
    list.gemm("q up-projection", {.m = tokens, .n = heads * mixer.key_dim, .k = mixer.q_rank, .weight = w});
  } else {
    list.gemm("q projection", {.m = tokens, .n = heads * mixer.key_dim, .k = h, .weight = w});
    list.gemm("kv down-projection", {.m = tokens, .n = latent, .k = h, .weight = w});
    list.pass("latent norm", 2 * tokens * mixer.kv_rank * kActivationBytes);
  }
  indexer_operators(list, c, mixer, tokens);
  list.pass("rope", 2 * tokens * (heads + 1) * mixer.rope_dim * kActivationBytes);
  if (!c.fusion.rope_with_cache_write) {
    list.pass("kv write", cache_write_bytes(c, tokens * latent));
  }
  // Absorption: W_UK into the query, W_UV out of the result, one product a head.
  const std::int64_t absorbed = c.fusion.mla_prefill_absorbed ? tokens : decode_tokens;
  if (absorbed > 0) {
    list.gemm("absorb k up-projection", {.m = absorbed,
                                         .n = mixer.kv_rank,
                                         .k = mixer.nope_dim,
                                         .weight = DataType::bf16,
                                         .batch = heads,
                                         .in_batch = true});
    list.gemm("absorb v up-projection", {.m = absorbed,
                                         .n = mixer.value_dim,
                                         .k = mixer.kv_rank,
                                         .weight = DataType::bf16,
                                         .batch = heads,
                                         .in_batch = true});
  }
  list.quantise(tokens, heads * mixer.value_dim, w, false);
  list.gemm("output projection", {.m = tokens, .n = h, .k = heads * mixer.value_dim, .weight = w});
}

void recurrent_operators(OperatorList& list, const OperatorContext& c, const MixerSpec& mixer, std::int64_t tokens) {
  const std::int64_t h = c.model->hidden;
  const DataType w = c.formats.weights.attention;
  // A mixer that states no columns is priced by its weights: half in, half out.
  const std::int64_t in = mixer.linear_in_columns > 0 ? mixer.linear_in_columns : mixer.weights / (2 * h);
  const std::int64_t out = mixer.linear_out_rows > 0 ? mixer.linear_out_rows : mixer.weights / (2 * h);
  list.quantise(tokens, h, w, c.fusion.quantize_with_norm);
  list.gemm("in-projection", {.m = tokens, .n = share(in, c.sharding.tp), .k = h, .weight = w});
  list.pass("convolution", 2 * tokens * share(in, c.sharding.tp) * kActivationBytes);
  list.pass("gate and norm", 3 * tokens * share(out, c.sharding.tp) * kActivationBytes);
  list.quantise(tokens, share(out, c.sharding.tp), w, false);
  list.gemm("out-projection", {.m = tokens, .n = h, .k = share(out, c.sharding.tp), .weight = w});
}

/// gate+up, activation, down.
void ffn_operators(OperatorList& list, const OperatorContext& c, std::int64_t tokens, std::int64_t width, bool gated,
                   DataType weight) {
  const std::int64_t h = c.model->hidden;
  const std::int64_t local = share(width, c.sharding.tp);
  list.quantise(tokens, h, weight, c.fusion.quantize_with_norm);
  list.gemm("gate and up", {.m = tokens, .n = (gated ? 2 : 1) * local, .k = h, .weight = weight});
  list.pass("activation", tokens * local * (gated ? 3 : 2) * kActivationBytes);
  list.quantise(tokens, local, weight, c.fusion.quantize_with_activation);
  list.gemm("down", {.m = tokens, .n = h, .k = local, .weight = weight});
}

}  // namespace

AttentionShape attention_shape(const OperatorContext& context, const MixerSpec& mixer) {
  AttentionShape shape;
  shape.query_heads = share(mixer.query_heads, context.sharding.tp);
  shape.kv_cache = context.formats.kv_cache;
  if (mixer.kind == MixerKind::latent) {
    shape.latent = true;
    shape.kv_heads = 1;
    shape.key_dim = mixer.kv_rank + mixer.rope_dim;
    shape.value_dim = mixer.kv_rank;
  } else {
    shape.kv_heads = share(mixer.kv_heads, context.sharding.tp);
    shape.key_dim = mixer.key_dim;
    shape.value_dim = mixer.value_dim;
  }
  return shape;
}

AttentionShape expanded_latent_shape(const OperatorContext& context, const MixerSpec& mixer) {
  AttentionShape shape;
  shape.query_heads = shape.kv_heads = share(mixer.query_heads, context.sharding.tp);
  shape.key_dim = mixer.key_dim;
  shape.value_dim = mixer.value_dim;
  return shape;
}

std::vector<Operator> mixer_operators(const OperatorContext& context, const MixerSpec& mixer, std::int64_t tokens,
                                      std::int64_t decode_tokens) {
  OperatorList list(context);
  list.norm(tokens);
  switch (mixer.kind) {
    case MixerKind::latent:
      latent_operators(list, context, mixer, tokens, decode_tokens);
      break;
    case MixerKind::linear:
    case MixerKind::mamba:
      recurrent_operators(list, context, mixer, tokens);
      break;
    case MixerKind::full:
    case MixerKind::window:
    case MixerKind::chunked: {
      const std::int64_t h = context.model->hidden;
      const std::int64_t q = share(mixer.query_heads, context.sharding.tp) * mixer.key_dim;
      const std::int64_t kv_heads = share(mixer.kv_heads, context.sharding.tp);
      const std::int64_t kv = kv_heads * (mixer.key_dim + mixer.value_dim);
      const std::int64_t out = share(mixer.query_heads, context.sharding.tp) * mixer.value_dim;
      const DataType w = context.formats.weights.attention;
      list.quantise(tokens, h, w, context.fusion.quantize_with_norm);
      list.gemm("qkv projection", {.m = tokens, .n = q * (mixer.gated_output ? 2 : 1) + kv, .k = h, .weight = w});
      indexer_operators(list, context, mixer, tokens);
      list.pass("rope", 2 * tokens * (q + kv_heads * mixer.key_dim) * kActivationBytes);
      if (!context.fusion.rope_with_cache_write) {
        list.pass("kv write", cache_write_bytes(context, tokens * kv));
      }
      if (mixer.gated_output) list.pass("output gate", 3 * tokens * out * kActivationBytes);
      list.quantise(tokens, out, w, false);
      list.gemm("output projection", {.m = tokens, .n = h, .k = out, .weight = w});
      break;
    }
  }
  return list.take();
}

std::vector<Operator> latent_expansion_operators(const OperatorContext& context, const MixerSpec& mixer,
                                                 std::int64_t keys) {
  OperatorList list(context);
  const std::int64_t heads = share(mixer.query_heads, context.sharding.tp);
  list.quantise(keys, mixer.kv_rank, context.formats.weights.attention, false);
  list.gemm("kv up-projection", {.m = keys,
                                 .n = heads * (mixer.nope_dim + mixer.value_dim),
                                 .k = mixer.kv_rank,
                                 .weight = context.formats.weights.attention});
  return list.take();
}

std::vector<Operator> dense_ffn_operators(const OperatorContext& context, const LayerSpec& layer, std::int64_t tokens) {
  OperatorList list(context);
  list.norm(tokens);
  ffn_operators(list, context, tokens, layer.dense_width, layer.dense_gated, context.formats.weights.dense_ffn);
  return list.take();
}

std::vector<Operator> router_operators(const OperatorContext& context, std::int64_t tokens) {
  OperatorList list(context);
  const MoeSpec& moe = context.model->moe;
  list.norm(tokens);
  list.gemm("router",
            {.m = tokens, .n = moe.experts, .k = context.model->hidden, .weight = context.formats.weights.router});
  list.pass("top-k", tokens * (moe.experts * 4 + moe.top_k * 8));  // fp32 scores in, ids and weights out
  return list.take();
}

std::vector<Operator> shared_expert_operators(const OperatorContext& context, std::int64_t tokens) {
  OperatorList list(context);
  const MoeSpec& moe = context.model->moe;
  if (moe.shared_width > 0) {
    ffn_operators(list, context, tokens, moe.shared_width, moe.gated, context.formats.weights.shared);
    list.pass("add shared output", 3 * tokens * context.model->hidden * kActivationBytes);
  }
  return list.take();
}

std::vector<Operator> embedding_operators(const OperatorContext& context, std::int64_t tokens) {
  OperatorList list(context);
  list.pass("embedding", 2 * tokens * context.model->hidden * kActivationBytes);
  return list.take();
}

std::vector<Operator> head_operators(const OperatorContext& context, std::int64_t rows) {
  OperatorList list(context);
  list.norm(rows);
  list.gemm("lm head", {.m = rows,
                        .n = share(context.model->vocabulary, context.sharding.tp),
                        .k = context.model->hidden,
                        .weight = context.formats.weights.head});
  // Soft-max and sampling read the fp32 logits of the whole vocabulary twice.
  list.pass("sampling", 2 * rows * context.model->vocabulary * 4);
  return list.take();
}

RecurrentShape recurrent_shape(const OperatorContext& context, const MixerSpec& mixer) {
  RecurrentShape shape;
  shape.heads = share(std::max<std::int64_t>(mixer.query_heads, 1), context.sharding.tp);
  shape.key_dim = mixer.key_dim;
  shape.value_dim = mixer.value_dim;
  shape.state = Bytes::ceil(static_cast<double>(mixer.state_elements) / context.sharding.tp *
                            bytes_per_element(mixer.state_format));
  const std::int64_t columns = mixer.linear_in_columns + mixer.linear_out_rows;
  shape.token = {share(columns, context.sharding.tp) * kActivationBytes};
  return shape;
}

}  // namespace moesim
