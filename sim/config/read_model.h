#pragma once
// A Hugging Face config.json, as it is, to a ModelSpec. The shape keys decide (`kv_lora_rank`: latent attention,
// `linear_*`: linear attention, expert keys: MoE, `text_config`: nesting); `model_type` fills in only what its family
// leaves unsaid (config/model_family). What cannot be decided is an error that names the key, never a guess.

#include <filesystem>
#include <string>
#include <vector>

#include "config/json_reader.h"
#include "model/model_spec.h"

namespace moesim {

/// The model that `root` describes. Unknown keys are ignored unless they alter shapes. `warnings` gets a sentence for
/// each assumption (a family that is not known and is taken for Llama's form).
/// Counts as the makers do: vision towers and multi-token-prediction layers are not in the totals.
ModelSpec read_model(const JsonReader& root, std::vector<std::string>* warnings = nullptr);
ModelSpec read_model_file(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

}  // namespace moesim
