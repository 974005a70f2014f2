#pragma once
// A Hugging Face config.json, as it is, to a ModelSpec. The shape keys decide (`kv_lora_rank`: latent attention,
// `linear_*`: linear attention, expert keys: MoE, `text_config`: nesting); `model_type` fills in only what its family
// leaves unsaid (config/model_family). What cannot be decided is an error that names the key, never a guess.

#include <filesystem>
#include <map>
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

/// The names of the model files of a folder, in lower case: each file's stem and its "aliases", the same without the
/// maker before the slash. A stem goes before an alias, a full name before a bare one, then the order of the file
/// names.
struct ModelCatalog {
  std::map<std::string, std::filesystem::path> files;
};
ModelCatalog read_model_catalog(const std::filesystem::path& folder);

/// The file with this name, letter case ignored, with or without the maker before the slash.
std::optional<std::filesystem::path> find_model(const ModelCatalog& catalog, std::string_view name);
/// The same among the files of `models/` under the product's root. Reads the folder; for many names keep a catalog.
std::optional<std::filesystem::path> find_model_by_name(std::string_view name);

}  // namespace moesim
