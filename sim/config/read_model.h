#pragma once
// A Hugging Face config.json, as it is, to a ModelSpec. The shape keys decide (`kv_lora_rank`: latent attention,
// `linear_*`: linear attention, expert keys: MoE, `text_config`: nesting); `model_type` fills in only what its family
// leaves unsaid (config/model_family). What cannot be decided is an error that names the key, never a guess.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json_reader.h"
#include "model/model_spec.h"

namespace moesim {

/// The model that `root` describes. Unknown keys are ignored unless they alter shapes. `warnings` gets a sentence for
/// each assumption (a family that is not known and is taken for Llama's form).
/// Counts as the makers do: vision towers and multi-token-prediction layers are not in the totals.
ModelSpec read_model(const JsonReader& root, std::vector<std::string>* warnings = nullptr);
ModelSpec read_model_file(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

/// The file of `models/` under the product's root with this name: the file's stem or one of its "aliases", letter case
/// ignored, with or without the maker before the slash. Stems go before aliases, then the order of the file names.
std::optional<std::filesystem::path> find_model_by_name(std::string_view name);

}  // namespace moesim
