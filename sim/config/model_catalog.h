#pragma once
// The names under which the shipped and the user's model files are found.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace moesim {

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
