#include "config/model_catalog.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "config/json_reader.h"

namespace moesim {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string without_maker(const std::string& name) {
  const auto slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

}  // namespace

ModelCatalog read_model_catalog(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(folder, absent)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  ModelCatalog catalog;
  for (const auto& file : files) catalog.files.emplace(lower(file.stem().string()), file);
  std::vector<std::pair<std::string, std::filesystem::path>> bare;
  for (const auto& file : files) {
    const nlohmann::ordered_json json = parse_json_file(file);
    const JsonReader root(json, file.string());
    const auto aliases = json.is_object() ? root.find("aliases") : std::nullopt;
    if (!aliases) continue;
    for (const JsonReader& alias : aliases->elements()) {
      const std::string name = lower(alias.string());
      catalog.files.emplace(name, file);
      bare.emplace_back(without_maker(name), file);
    }
  }
  for (const auto& [name, file] : bare) catalog.files.emplace(name, file);
  return catalog;
}

std::optional<std::filesystem::path> find_model(const ModelCatalog& catalog, std::string_view name) {
  const std::string whole = lower(name);
  auto place = catalog.files.find(whole);
  if (place == catalog.files.end()) place = catalog.files.find(without_maker(whole));
  return place == catalog.files.end() ? std::nullopt : std::optional(place->second);
}

std::optional<std::filesystem::path> find_model_by_name(std::string_view name) {
  return find_model(read_model_catalog(product_root() / "models"), name);
}

}  // namespace moesim
