#include "config/scenario_inputs.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/file_hash.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"

namespace moesim {

namespace fs = std::filesystem;

ScenarioInputs::ScenarioInputs(JsonReader root, fs::path folder, Provenance& provenance)
    : root_(std::move(root)), folder_(std::move(folder)), provenance_(provenance) {}

void ScenarioInputs::add_hash(const fs::path& file) {
  if (is_standard_input(file)) {
    provenance_.input_hashes.emplace_back("stdin", hash_of(standard_input()));
    return;
  }
  const std::string shown = shown_path(file);
  for (const auto& [known, hash] : provenance_.input_hashes) {
    if (known == shown) return;
  }
  provenance_.input_hashes.emplace_back(shown, hash_of_file(file));
}

void ScenarioInputs::note(std::string text) {
  provenance_.notes.push_back(std::move(text));
}

void ScenarioInputs::note_overrides(std::span<const Override> overrides) {
  for (const Override& override : overrides) {
    // Strides change no result, and the seed has a field of its own.
    if (override.pointer == "/strides" || override.pointer == "/seed") continue;
    // A file's folder is not part of the experiment; its bytes are in the hashes.
    std::error_code ignored;
    const bool is_file = fs::is_regular_file(override.value, ignored);
    note(fmt::format("--set {}={}", override.pointer, is_file ? shown_path(override.value) : override.value));
  }
}

fs::path ScenarioInputs::file_of(const JsonReader& value, const fs::path& shipped) const {
  try {
    return resolve_path(value.string(), folder_, shipped);
  } catch (const ConfigError& error) {
    throw ConfigError(InputProblem::missing_file,
                      fmt::format("{}: {}: {}", value.file(), value.pointer(), error.what()));
  }
}

ClusterSpec ScenarioInputs::read_cluster() {
  const JsonReader field = root_.at("cluster");
  ClusterSpec cluster;
  if (field.json().is_object()) {
    cluster = moesim::read_cluster(field);
  } else {
    const std::string text = field.string();
    const fs::path folder = product_root() / "topologies" / "cluster";
    fs::path file = folder / (text + ".json");
    if (looks_like_a_file(text)) {
      file = file_of(field, fs::path("topologies") / "cluster");
    } else if (!fs::exists(file)) {
      fail_unknown_name(field, "cluster", folder);
    }
    cluster = read_cluster_file(file);
    add_hash(file);
  }
  if (const auto nodes = root_.find("nodes")) cluster = with_nodes(std::move(cluster), nodes->integer(), *nodes);
  return cluster;
}

GpuSpec ScenarioInputs::gpu_of(const ClusterSpec& cluster) {
  GpuSpec gpu = find_gpu(cluster.gpu);
  add_hash(product_root() / "topologies" / "gpu" / (gpu.id + ".json"));
  return gpu;
}

CollectiveProfile ScenarioInputs::read_collectives(const GpuSpec& gpu, const ClusterSpec& cluster) {
  CollectiveProfile profile = collective_profile_for(product_root() / "calibrate" / "profiles", gpu, cluster);
  std::string sources;
  for (auto source = profile.sources.rbegin(); source != profile.sources.rend(); ++source) {
    if (!sources.empty()) sources += "; what it does not measure: ";
    sources += *source;
  }
  provenance_.profiles.push_back({profile.name, profile.provider, profile.date, sources, profile.extrapolated});
  const fs::path file = product_root() / "calibrate" / "profiles" / (profile.name + ".json");
  if (fs::exists(file)) add_hash(file);
  if (profile.extrapolated) {
    for (const std::string& text : profile.notes) provenance_.extrapolated.push_back("collectives: " + text);
  }
  return profile;
}

bool looks_like_a_file(const std::string& text) {
  return text.ends_with(".json") || text.find('/') != std::string::npos;
}

void fail_unknown_name(const JsonReader& value, const std::string& what, const fs::path& folder) {
  std::vector<std::string> stems;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".json") stems.push_back(entry.path().stem().string());
  }
  std::sort(stems.begin(), stems.end());
  const auto near = nearest(value.string(), stems);
  value.fail(
      fmt::format("no {} of this name in {}{}", what, shown_path(folder), near ? "; did you mean " + *near + "?" : ""),
      InputProblem::missing_file);
}

}  // namespace moesim
