#include "config/read_power.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/json_reader.h"

namespace moesim {

namespace {

struct PowerEntry {
  PowerModel model;  ///< `limit`: the board power to which idle and awake refer
  std::vector<std::string> gpus;
  std::string architecture, vendor;
  double peak = 0;  ///< of bf16, flop/s
};

PowerEntry read_entry(const JsonReader& json) {
  constexpr std::array<std::string_view, 14> known = {
      "gpus",        "architecture", "vendor",     "board_power", "bf16",      "idle",         "awake",
      "flop_16_bit", "flop_8_bit",   "flop_4_bit", "memory_byte", "link_byte", "lowest_clock", "source"};
  json.expect_only(known);
  PowerEntry entry;
  for (const JsonReader& gpu : json.at("gpus").elements()) entry.gpus.push_back(gpu.string());
  if (entry.gpus.empty()) json.at("gpus").fail("expected the ids of at least one GPU");
  entry.architecture = json.at("architecture").string();
  entry.vendor = json.at("vendor").string();
  PowerModel& model = entry.model;
  model.name = entry.gpus.front();
  model.limit = json.at("board_power").watts();
  entry.peak = json.at("bf16").flops_per_second().value;
  if (model.limit <= 0) json.at("board_power").fail("expected a power above 0");
  if (entry.peak <= 0) json.at("bf16").fail("expected a rate above 0");
  model.idle = json.at("idle").watts();
  model.awake = json.at("awake").watts();
  if (model.idle + model.awake >= model.limit) json.at("awake").fail("idle and awake leave nothing of the board power");
  // A format that the GPU lacks runs on the next wider one.
  constexpr std::array<std::string_view, kMathWidths> flops = {"flop_16_bit", "flop_8_bit", "flop_4_bit"};
  for (std::size_t i = 0; i < kMathWidths; ++i) {
    const auto energy = i == 0 ? std::optional(json.at(flops[i])) : json.find(flops[i]);
    model.per_flop[i] = energy ? energy->joules() : model.per_flop[i - 1];
  }
  model.per_memory_byte = json.at("memory_byte").joules();
  model.per_link_byte = json.at("link_byte").joules();
  model.lowest_clock = json.at("lowest_clock").number_in(0.05, 1);
  model.source = json.at("source").string();
  return entry;
}

std::vector<PowerEntry> read_entries() {
  const auto path = power_table();
  const nlohmann::ordered_json document = parse_json_file(path);
  std::vector<PowerEntry> entries;
  for (const JsonReader& json : JsonReader(document, input_name(path)).elements()) {
    entries.push_back(read_entry(json));
  }
  if (entries.empty()) JsonReader(document, input_name(path)).fail("expected at least one entry");
  return entries;
}

/// How little an entry suits a GPU that it does not name: another vendor, another architecture, another board power.
std::array<double, 3> strangeness(const PowerEntry& entry, const GpuSpec& gpu) {
  const double ratio = entry.model.limit / gpu.power_watts;
  return {entry.vendor == gpu.vendor ? 0.0 : 1.0, entry.architecture == gpu.architecture ? 0.0 : 1.0,
          std::max(ratio, 1 / ratio)};
}

}  // namespace

std::filesystem::path power_table() {
  return product_root() / "topologies" / "power.json";
}

std::optional<PowerModel> power_model_of(const GpuSpec& gpu) {
  if (gpu.power_watts <= 0) return std::nullopt;
  const std::vector<PowerEntry> entries = read_entries();
  const auto named = std::ranges::find_if(
      entries, [&](const PowerEntry& entry) { return std::ranges::find(entry.gpus, gpu.id) != entry.gpus.end(); });
  if (named != entries.end()) {
    PowerModel model = named->model;
    model.limit = gpu.power_watts;
    return model;
  }
  const PowerEntry& nearest = *std::ranges::min_element(
      entries, [&](const PowerEntry& a, const PowerEntry& b) { return strangeness(a, gpu) < strangeness(b, gpu); });
  PowerModel model = nearest.model;
  const double size = gpu.power_watts / model.limit;
  model.extrapolated = true;
  model.source = fmt::format("constants of {}, scaled by board power ({:.0f} W of {:.0f} W)", model.name,
                             gpu.power_watts, model.limit);
  model.limit = gpu.power_watts;
  model.idle *= size;
  model.awake *= size;
  if (nearest.architecture != gpu.architecture) {
    for (double& energy : model.per_flop) energy *= size * nearest.peak / gpu.bf16.value;
  }
  return model;
}

}  // namespace moesim
