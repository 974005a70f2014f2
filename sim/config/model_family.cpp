#include "config/model_family.h"

#include <algorithm>
#include <iterator>

namespace moesim {
namespace {

// Sources: the modelling code of huggingface/transformers (models/<model_type>), and for remote-code models the code
// beside the weights. Rows that only repeat the defaults tell a known family from an unknown one.
constexpr ModelFamily families[] = {
    // Llama's form.
    {.model_type = "llama", .output_bias = true},
    {.model_type = "mistral"},
    {.model_type = "ministral3"},
    {.model_type = "mixtral"},
    {.model_type = "phi3"},
    {.model_type = "qwen2", .qkv_bias = true},
    {.model_type = "qwen2_moe", .qkv_bias = true},
    {.model_type = "qwen3", .output_bias = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_moe", .output_bias = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen2_vl_text", .qkv_bias = true},
    {.model_type = "qwen2_5_vl_text", .qkv_bias = true},
    {.model_type = "qwen3_vl_text", .output_bias = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_vl_moe_text", .output_bias = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_next", .gated_output = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_5", .gated_output = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_5_text", .gated_output = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_5_moe", .gated_output = true, .qk_norm = QkNorm::per_head},
    {.model_type = "qwen3_5_moe_text", .gated_output = true, .qk_norm = QkNorm::per_head},
    {.model_type = "deepseek"},
    {.model_type = "deepseek_v2"},
    {.model_type = "deepseek_v3"},
    {.model_type = "deepseek_v32"},
    {.model_type = "kimi_k2"},
    {.model_type = "glm4_moe", .router_bias = true, .sigmoid_scores = true},
    {.model_type = "glm_moe_dsa", .router_bias = true, .sigmoid_scores = true},
    {.model_type = "glm4_moe_lite", .router_bias = true, .sigmoid_scores = true},
    {.model_type = "gpt_oss",
     .output_bias = true,
     .expert_biases = true,
     .router_bias = true,
     .attention_sinks = true,
     .alternating_window = true},
    {.model_type = "llama4", .sigmoid_scores = true},
    {.model_type = "llama4_text", .sigmoid_scores = true},
    {.model_type = "dbrx"},
    {.model_type = "grok-1", .norms = 4, .tied_embeddings = true},
    {.model_type = "jamba"},
    {.model_type = "minimax_m1"},
    {.model_type = "minimax_m2", .router_bias = true, .qk_norm = QkNorm::whole},
    {.model_type = "minimax_m3", .router_bias = true, .qk_norm = QkNorm::per_head},
    {.model_type = "olmoe", .qk_norm = QkNorm::whole},
    {.model_type = "phimoe", .norms = 4, .final_norms = 2, .output_bias = true},  // LayerNorm: weight and bias
    {.model_type = "arctic"},
    {.model_type = "gemma", .tied_embeddings = true},
    {.model_type = "gemma2", .norms = 4, .tied_embeddings = true, .alternating_window = true},
    {.model_type = "gemma3_text", .norms = 4, .tied_embeddings = true, .qk_norm = QkNorm::per_head},
    {.model_type = "gemma4_text",
     .norms = 4,
     .moe_norms = 3,
     .tied_embeddings = true,
     .qk_norm = QkNorm::per_head,
     .scaled_router = true},
    // An FFN of two matrices; LayerNorm with weight and bias.
    {.model_type = "gptj",
     .gated_ffn = false,
     .final_norms = 2,
     .ffn_biases = true,
     .head_bias = true,
     .default_ffn_ratio = 4},
    {.model_type = "gpt2",
     .gated_ffn = false,
     .norms = 4,
     .final_norms = 2,
     .tied_embeddings = true,
     .all_biases = true,
     .default_ffn_ratio = 4,
     .extra_positions = 0},
    {.model_type = "opt",
     .gated_ffn = false,
     .norms = 4,
     .final_norms = 2,
     .tied_embeddings = true,
     .all_biases = true,
     .extra_positions = 2},
    {.model_type = "mpt",
     .gated_ffn = false,
     .norms = 4,
     .final_norms = 2,
     .tied_embeddings = true,
     .all_biases = true,
     .default_ffn_ratio = 4},
    {.model_type = "falcon",
     .gated_ffn = false,
     .norms = 4,
     .final_norms = 2,
     .tied_embeddings = true,
     .default_ffn_ratio = 4},
    {.model_type = "gpt_neox", .gated_ffn = false, .norms = 4, .final_norms = 2, .all_biases = true},
    {.model_type = "bloom",
     .gated_ffn = false,
     .norms = 4,
     .final_norms = 2,
     .tied_embeddings = true,
     .all_biases = true,
     .default_ffn_ratio = 4,
     .other_hidden_vectors = 2},
    {.model_type = "nemotron", .gated_ffn = false, .norms = 4, .final_norms = 2},
    {.model_type = "nemotron_h", .gated_ffn = false, .router_bias = true, .sigmoid_scores = true},
    // Encoder-decoders: read by their own keys.
    {.model_type = "switch_transformers", .gated_ffn = false, .tied_embeddings = true},
    {.model_type = "t5", .gated_ffn = false, .tied_embeddings = true},
};

}  // namespace

std::optional<ModelFamily> find_family(std::string_view model_type) {
  const auto row = std::ranges::find(families, model_type, &ModelFamily::model_type);
  if (row == std::end(families)) return std::nullopt;
  return *row;
}

}  // namespace moesim
