#pragma once
// Shapes of public models, written out here so that the expected values of the tests stand beside their source.

#include "hardware/gpu_spec.h"
#include "model/model_spec.h"

namespace moesim {

/// DeepSeek-V3 (config.json of deepseek-ai/DeepSeek-V3): 61 layers, the first 3 dense, MLA, 256 experts, fp8 blocks.
inline ModelSpec deepseek_v3() {
  ModelSpec model;
  model.name = "DeepSeek-V3";
  model.hidden = 7168;
  model.vocabulary = 129280;
  MixerSpec mla{.kind = MixerKind::latent, .query_heads = 128, .kv_heads = 128};
  mla.key_dim = 192;
  mla.value_dim = 128;
  mla.q_rank = 1536;
  mla.kv_rank = 512;
  mla.rope_dim = 64;
  mla.nope_dim = 128;
  mla.weights =
      7168 * 1536 + 1536 + 1536 * 128 * 192 + 7168 * (512 + 64) + 512 + 512 * 128 * (128 + 128) + 128 * 128 * 7168;
  model.mixers = {mla};
  model.moe = {.experts = 256, .top_k = 8, .width = 2048, .shared_width = 2048};
  model.moe.groups = 8;
  model.moe.top_groups = 4;
  model.moe.expert_weights = 3 * 7168 * 2048;
  model.moe.shared_weights = 3 * 7168 * 2048;
  model.moe.router_weights = 256 * 7168 + 256;
  for (int i = 0; i < 61; ++i) {
    LayerSpec layer{.mixer = 0, .moe = i >= 3};
    layer.dense_width = i < 3 ? 18432 : 0;
    layer.dense_weights = 3 * 7168 * layer.dense_width;
    layer.norm_weights = 2 * 7168;
    model.layers.push_back(layer);
  }
  model.embedding_weights = model.head_weights = model.vocabulary * model.hidden;
  model.other_weights = model.hidden;
  model.formats.attention = model.formats.dense_ffn = model.formats.experts = model.formats.shared =
      DataType::fp8_block;
  return model;
}

/// Llama-3-70B: 80 layers, 64 query and 8 KV heads of 128, FFN 28672, bf16.
inline ModelSpec llama_3_70b() {
  ModelSpec model;
  model.name = "Llama-3-70B";
  model.hidden = 8192;
  model.vocabulary = 128256;
  MixerSpec mixer{.kind = MixerKind::full, .query_heads = 64, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  mixer.weights = 8192 * (64 * 128) * 2 + 8192 * 8 * 128 * 2;
  model.mixers = {mixer};
  for (int i = 0; i < 80; ++i) {
    LayerSpec layer;
    layer.dense_width = 28672;
    layer.dense_weights = 3LL * 8192 * 28672;
    layer.norm_weights = 2 * 8192;
    model.layers.push_back(layer);
  }
  model.embedding_weights = model.head_weights = model.vocabulary * model.hidden;
  model.other_weights = model.hidden;
  return model;
}

/// Mixtral-8x7B: 32 layers, 32 query and 8 KV heads of 128, 8 experts of 14336, top-2, bf16.
inline ModelSpec mixtral_8x7b() {
  ModelSpec model;
  model.name = "Mixtral-8x7B";
  model.hidden = 4096;
  model.vocabulary = 32000;
  MixerSpec mixer{.kind = MixerKind::full, .query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  mixer.weights = 4096 * (32 * 128) * 2 + 4096 * 8 * 128 * 2;
  model.mixers = {mixer};
  model.moe = {.experts = 8, .top_k = 2, .width = 14336};
  model.moe.expert_weights = 3LL * 4096 * 14336;
  model.moe.router_weights = 8 * 4096;
  for (int i = 0; i < 32; ++i) {
    LayerSpec layer{.mixer = 0, .moe = true};
    layer.norm_weights = 2 * 4096;
    model.layers.push_back(layer);
  }
  model.embedding_weights = model.head_weights = model.vocabulary * model.hidden;
  model.other_weights = model.hidden;
  return model;
}

inline GpuSpec gpu_of_80_gib() {
  GpuSpec gpu;
  gpu.id = "h100_sxm";
  gpu.architecture = "hopper";
  gpu.memory = Bytes{80LL << 30};
  return gpu;
}

}  // namespace moesim
