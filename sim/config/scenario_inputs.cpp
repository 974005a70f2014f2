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

ScenarioInputs::Calibration ScenarioInputs::read_calibration() const {
  Calibration calibration;
  const auto field = root_.find("calibration");
  std::vector<JsonReader> entries;
  if (field) entries = field->json().is_array() ? field->elements() : std::vector{*field};
  bool kernels_named = false;
  for (const JsonReader& entry : entries) {
    const std::string text = entry.string();
    if (text != "auto" && text != "roofline") {
      const fs::path file = file_of(entry);
      if (is_collective_profile(file)) {
        calibration.collectives.push_back(file);
        continue;
      }
    }
    if (kernels_named) entry.fail(fmt::format("a second profile of kernels; the first is {}", calibration.kernels));
    calibration.kernels = text;
    kernels_named = true;
  }
  return calibration;
}

CollectiveProfile ScenarioInputs::read_collectives(const GpuSpec& gpu, const ClusterSpec& cluster,
                                                   std::span<const fs::path> files) {
  CollectiveProfile profile = collective_profile_for(product_root() / "calibrate" / "profiles", gpu, cluster);
  for (const fs::path& file : files) {
    const std::string rest = profile.name;
    profile = own_collective_profile(file, gpu, cluster, profile);
    add_hash(file);
    note(fmt::format("collectives: {}; what it lacks comes from {}", shown_path(file), rest));
  }
  return profile;
}

void ScenarioInputs::add_profile(const CollectiveProfile& profile, Uses uses) {
  std::string sources;
  for (auto source = profile.sources.rbegin(); source != profile.sources.rend(); ++source) {
    if (source == profile.sources.rbegin()) {
      sources = *source;
    } else if (uses == Uses::network) {
      sources += "; what it does not measure: " + *source;
    }
  }
  provenance_.profiles.push_back({profile.name, profile.provider, profile.date, sources, profile.extrapolated});
  const fs::path file = product_root() / "calibrate" / "profiles" / (profile.name + ".json");
  if (fs::exists(file)) add_hash(file);
  for (const std::string& text : profile.notes) {
    (profile.extrapolated ? provenance_.extrapolated : provenance_.notes).push_back("collectives: " + text);
  }
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
