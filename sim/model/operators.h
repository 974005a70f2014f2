#pragma once
// Every operator of a forward pass on one rank with its shape: what docs/model.md lists, the cost model prices and
// `describe` prints. Attention kernels and routed experts are priced apart, since they depend on context lengths and on
// the gates.

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "core/data_type.h"
#include "core/units.h"
#include "hardware/operator_shape.h"
#include "model/model_spec.h"

namespace moesim {

/// One kernel that streams `bytes` (reads and writes together).
struct MemoryPass {
  Bytes bytes;
};
/// Dynamic quantisation of an m x k activation; with `static_scale` the scale reduction is absent.
struct QuantizePass {
  std::int64_t m = 0, k = 0;
  DataType to = DataType::fp8;
};
struct Operator {
  std::string_view name;
  std::variant<GemmShape, MemoryPass, QuantizePass> work;
};

/// Which elementwise passes exist as kernels of their own; by engine (sources where the presets are defined).
struct FusionTable {
  bool norm_with_residual = true;   ///< residual add inside the norm kernel
  bool quantize_with_norm = false;  ///< fp8 quantisation of a GEMM's input inside the norm or activation before it
  bool quantize_with_activation = false;
  bool rope_with_cache_write = false;
  bool mla_prefill_absorbed = false;  ///< MLA prefill attends in the latent space (no re-expansion of cached latents)
  bool mixed_attention = false;       ///< decode steps and prefill chunks of a batch in one call of the kernel
  bool operator==(const FusionTable&) const = default;
};

/// How one rank shares a layer: tensor-parallel degree of attention and of the dense FFN and shared experts.
struct Sharding {
  std::int32_t tp = 1;
  std::int32_t expert_tp = 1;
};

struct NumberFormats {
  WeightFormats weights;
  DataType activation = DataType::bf16;  ///< of GEMM inputs where the weights are quantised to it
  DataType kv_cache = DataType::bf16;
};

/// What the operator lists depend on besides the token count.
struct OperatorContext {
  const ModelSpec* model = nullptr;
  Sharding sharding;
  NumberFormats formats;
  FusionTable fusion;
};

/// Heads of one rank: query heads / tp; KV heads at least 1 (replicated when tp exceeds them).
AttentionShape attention_shape(const OperatorContext& context, const MixerSpec& mixer);
/// MLA when prefilled without absorption: full heads with key_dim nope + rope.
AttentionShape expanded_latent_shape(const OperatorContext& context, const MixerSpec& mixer);

/// Token-wise operators of a mixer for `tokens` new tokens of which `decode_tokens` are decode steps: norm,
/// projections, rope, cache write, output projection; MLA's low-rank projections and absorption products.
std::vector<Operator> mixer_operators(const OperatorContext& context, const MixerSpec& mixer, std::int64_t tokens,
                                      std::int64_t decode_tokens);
/// MLA prefill without absorption: expansion of the latents of `keys` keys into heads.
std::vector<Operator> latent_expansion_operators(const OperatorContext& context, const MixerSpec& mixer,
                                                 std::int64_t keys);
/// Norm, gate and up GEMM, activation, down GEMM of a dense FFN of `width`.
std::vector<Operator> dense_ffn_operators(const OperatorContext& context, const LayerSpec& layer, std::int64_t tokens);
/// Norm, router GEMM, top-k.
std::vector<Operator> router_operators(const OperatorContext& context, std::int64_t tokens);
/// Shared experts as one dense FFN of their summed width, without a norm.
std::vector<Operator> shared_expert_operators(const OperatorContext& context, std::int64_t tokens);
std::vector<Operator> embedding_operators(const OperatorContext& context, std::int64_t tokens);
/// Final norm, LM head and sampling of the rows that emit a token.
std::vector<Operator> head_operators(const OperatorContext& context, std::int64_t rows);

/// The recurrent kernel of a linear-attention or Mamba mixer on one rank, over tp.
RecurrentShape recurrent_shape(const OperatorContext& context, const MixerSpec& mixer);

}  // namespace moesim
