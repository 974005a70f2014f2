#include "config/read_gpu.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "config/json_reader.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

fs::path gpu_folder() {
  return product_root() / "topologies" / "gpu";
}

FlopsPerSecond flops_or_zero(const JsonReader& file, std::string_view key) {
  const auto value = file.find(key);
  return value ? value->flops_per_second() : FlopsPerSecond{};
}

BytesPerSecond bandwidth_or_zero(const JsonReader& file, std::string_view key) {
  const auto value = file.find(key);
  return value ? value->bandwidth() : BytesPerSecond{};
}

double midpoint(const JsonReader& price) {
  constexpr std::array<std::string_view, 3> known = {"low", "high", "source"};
  price.expect_only(known);
  const double low = price.at("low").usd(), high = price.at("high").usd();
  if (high < low)
    price.at("high").fail(fmt::format("expected at least the low price of {} USD, got {} USD", low, high));
  price.at("source").string();
  return (low + high) / 2;
}

std::vector<fs::path> gpu_files() {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(gpu_folder(), error)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  if (error) {
    throw ConfigError(InputProblem::missing_file, fmt::format("{}: {}", gpu_folder().string(), error.message()));
  }
  std::ranges::sort(files);
  return files;
}

bool is_called(const GpuSpec& gpu, const std::string& key) {
  return gpu_key(gpu.id) == key ||
         std::ranges::any_of(gpu.aliases, [&](const std::string& alias) { return gpu_key(alias) == key; });
}

/// At most four ids: the nearest spelling first, then ids that share the first letters of `name`.
std::string near_names(std::string_view name, const std::vector<GpuSpec>& gpus) {
  std::vector<std::string> spellings, ids;
  for (const GpuSpec& gpu : gpus) {
    spellings.push_back(gpu.id);
    spellings.insert(spellings.end(), gpu.aliases.begin(), gpu.aliases.end());
  }
  if (const auto near = nearest(name, spellings)) {
    const auto owner = std::ranges::find_if(gpus, [&](const GpuSpec& gpu) { return is_called(gpu, gpu_key(*near)); });
    if (owner != gpus.end()) ids.push_back(owner->id);
  }
  const std::string key = gpu_key(name);
  for (const GpuSpec& gpu : gpus) {
    const bool alike = key.size() >= 2 && (gpu_key(gpu.id).starts_with(key.substr(0, 3)) ||
                                           key.find(gpu_key(gpu.id)) != std::string::npos);
    if (ids.size() < 4 && alike && std::ranges::find(ids, gpu.id) == ids.end()) ids.push_back(gpu.id);
  }
  std::string line;
  for (const std::string& id : ids) line += (line.empty() ? "" : ", ") + id;
  return line;
}

}  // namespace

GpuSpec read_gpu_file(const fs::path& path) {
  const nlohmann::ordered_json document = parse_json_file(path);
  const JsonReader file(document, input_name(path));
  constexpr std::array<std::string_view, 21> known = {
      "name",  "vendor", "architecture",  "memory", "memory_bandwidth", "bf16",         "fp8",
      "int8",  "fp4",    "fp32",          "l2",     "bf16_measured",    "fp8_measured", "multiprocessors",
      "power", "price",  "scale_up_peer", "source", "scale_up",         "host_link",    "aliases"};
  file.expect_only(known);
  GpuSpec gpu;
  gpu.id = fs::path(input_name(path)).stem().string();
  gpu.name = file.at("name").string();
  gpu.vendor = file.at("vendor").string();
  gpu.architecture = file.at("architecture").string();
  gpu.memory = file.at("memory").bytes();
  if (gpu.memory.value <= 0) file.at("memory").fail("expected more than no memory");
  gpu.memory_bandwidth = file.at("memory_bandwidth").bandwidth();
  if (gpu.memory_bandwidth.value <= 0) file.at("memory_bandwidth").fail("expected a bandwidth above 0");
  gpu.bf16 = file.at("bf16").flops_per_second();
  if (gpu.bf16.value <= 0) file.at("bf16").fail("expected a rate above 0");
  gpu.fp32 = flops_or_zero(file, "fp32");
  gpu.fp8 = flops_or_zero(file, "fp8");
  gpu.int8 = flops_or_zero(file, "int8");
  gpu.fp4 = flops_or_zero(file, "fp4");
  gpu.bf16_measured = flops_or_zero(file, "bf16_measured");
  gpu.fp8_measured = flops_or_zero(file, "fp8_measured");
  if (const auto l2 = file.find("l2")) gpu.l2 = l2->bytes();
  if (const auto count = file.find("multiprocessors")) {
    gpu.multiprocessors = static_cast<int>(count->integer_in(1, 100'000));
  }
  gpu.scale_up = bandwidth_or_zero(file, "scale_up");
  gpu.scale_up_peer = bandwidth_or_zero(file, "scale_up_peer");
  if (gpu.scale_up_peer.value > gpu.scale_up.value) {
    file.at("scale_up_peer").fail("expected at most scale_up, the sum over all peers");
  }
  gpu.host_link = bandwidth_or_zero(file, "host_link");
  if (const auto power = file.find("power")) gpu.power_watts = power->watts();
  if (const auto price = file.find("price")) gpu.price_usd_per_hour = midpoint(*price);
  if (const auto aliases = file.find("aliases")) {
    for (const JsonReader& alias : aliases->elements()) {
      gpu.aliases.push_back(alias.string());
      if (gpu_key(gpu.aliases.back()).empty()) alias.fail("expected a name with letters or digits");
    }
  }
  gpu.source = file.at("source").string();
  return gpu;
}

std::vector<GpuSpec> read_gpus() {
  std::vector<GpuSpec> gpus;
  for (const fs::path& file : gpu_files()) gpus.push_back(read_gpu_file(file));
  return gpus;
}

std::string gpu_key(std::string_view spelling) {
  std::string key;
  for (const char c : spelling) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) key += c;
    if (c >= 'A' && c <= 'Z') key += static_cast<char>(c - 'A' + 'a');
  }
  return key;
}

GpuSpec find_gpu(std::string_view name) {
  const std::string key = gpu_key(name);
  // An id is found without reading the other files.
  for (const fs::path& file : gpu_files()) {
    if (gpu_key(file.stem().string()) == key) return read_gpu_file(file);
  }
  const std::vector<GpuSpec> gpus = read_gpus();
  for (const GpuSpec& gpu : gpus) {
    if (!key.empty() && is_called(gpu, key)) return gpu;
  }
  std::string shown;
  for (const char c : name.substr(0, 60)) shown += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  const std::string near = near_names(shown, gpus);
  throw ConfigError(InputProblem::usage,
                    fmt::format("unknown GPU \"{}\"; {}", shown,
                                near.empty() ? "the ids are the files of topologies/gpu" : "near names: " + near));
}

}  // namespace moesim
