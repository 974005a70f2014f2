#pragma once
// What `moesim describe model` and `describe gpu` print.

#include <string>

#include "hardware/gpu_spec.h"
#include "model/model_spec.h"

namespace moesim {

std::string model_text(const ModelSpec& model);
/// Keys: model, parameters {total, active, active_without_embedding, active_without_embedding_and_head, by_part},
/// weight_bytes, kv_bytes_per_token, flops_per_token, layers, mixers, moe.
std::string model_json(const ModelSpec& model);

std::string gpu_text(const GpuSpec& gpu);
std::string gpu_json(const GpuSpec& gpu);

}  // namespace moesim
