#pragma once
// What the families of models leave unsaid in their config.json. Shapes come from shape keys; this table holds only
// what a family's modelling code fixes without a key (a bias, a norm on queries and keys, an MLP of two matrices).

#include <cstdint>
#include <optional>
#include <string_view>

namespace moesim {

/// Learned norms on queries and keys: none, one of head size for each, or over the whole projections.
enum class QkNorm { none, per_head, whole };

struct ModelFamily {
  std::string_view model_type;
  bool gated_ffn = true;            ///< three matrices an FFN, else two
  std::int64_t norms = 2;           ///< norm parameters a layer, in units of the hidden size
  std::int64_t moe_norms = 0;       ///< more of them in a MoE layer
  std::int64_t final_norms = 1;     ///< of the last norm, in the same unit
  bool tied_embeddings = false;     ///< when `tie_word_embeddings` is absent
  bool qkv_bias = false;            ///< without `attention_bias`
  bool output_bias = false;         ///< `attention_bias` also puts one on the output projection
  bool all_biases = false;          ///< on every projection and both FFN matrices (unless `no_bias`)
  bool ffn_biases = false;          ///< on both FFN matrices
  bool expert_biases = false;       ///< on the expert matrices
  bool router_bias = false;         ///< one value an expert, without a key that says so
  bool head_bias = false;           ///< without `lm_head_bias`
  bool attention_sinks = false;     ///< one learned logit a head
  bool sigmoid_scores = false;      ///< without `scoring_func`
  bool gated_output = false;        ///< attention output gate, without `attn_output_gate`
  bool alternating_window = false;  ///< with `sliding_window` and nothing else: even layers only
  QkNorm qk_norm = QkNorm::none;
  std::int64_t default_ffn_ratio = 0;     ///< FFN width over hidden size when no key gives it; 0: it must be given
  std::int64_t extra_positions = -1;      ///< learned positions: the maximum and so many more; -1: none
  std::int64_t other_hidden_vectors = 0;  ///< more parameters outside the layers, in units of the hidden size
  bool scaled_router = false;             ///< a scale over the input and one an expert beside the router matrix
};

/// The row of a `model_type`, or nothing for a family that is not in the table.
std::optional<ModelFamily> find_family(std::string_view model_type);

}  // namespace moesim
