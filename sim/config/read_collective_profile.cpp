#include "config/read_collective_profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "config/json_reader.h"

namespace moesim {

namespace {

constexpr std::string_view kFormat = "moesim-collectives-1";
constexpr std::array<std::string_view, 3> kScaleUpNames{"switched", "mesh", "pcie"};
constexpr std::array<std::string_view, 18> kKeys{
    "format",     "source",     "date",       "fit_range",         "residuals",          "gpus",
    "stands_for", "line_rate",  "efficiency", "network_line_rate", "network_efficiency", "ring",
    "all_reduce", "all_to_all", "send_recv",  "custom_all_reduce", "exchange",           "network"};

/// What the measured links could reach: line rate x efficiency.
struct LineRates {
  BytesPerSecond scale_up, network;
};

double share(const JsonReader& section, std::string_view key, BytesPerSecond line) {
  return section.at(key).bandwidth().value / line.value;
}

Duration duration_or_zero(const JsonReader& section, std::string_view key) {
  const auto value = section.find(key);
  return value ? value->duration() : Duration();
}

void expect_only(const JsonReader& section, std::initializer_list<std::string_view> keys) {
  const std::vector<std::string_view> known(keys);
  section.expect_only(known);
}

RingProtocols read_ring(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"base", "step", "ll_rate", "simple_extra", "simple_step", "simple_rate"});
  return {.base = section.at("base").duration(),
          .step = section.at("step").duration(),
          .ll_share = share(section, "ll_rate", line.scale_up),
          .simple_extra = section.at("simple_extra").duration(),
          .simple_step = section.at("simple_step").duration(),
          .simple_share = share(section, "simple_rate", line.scale_up)};
}

DirectProtocols read_all_to_all(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"base", "per_peer", "ll_rate", "simple_extra", "simple_rate", "bulk_from", "bulk_rate"});
  DirectProtocols direct{.base = section.at("base").duration(),
                         .per_peer = section.at("per_peer").duration(),
                         .ll_share = share(section, "ll_rate", line.scale_up),
                         .simple_extra = section.at("simple_extra").duration(),
                         .simple_share = share(section, "simple_rate", line.scale_up),
                         .bulk_from = {},
                         .bulk_share = 0};
  if (const auto from = section.find("bulk_from")) {
    direct.bulk_from = from->bytes();
    direct.bulk_share = share(section, "bulk_rate", line.scale_up);
  }
  return direct;
}

LatencyAndShare read_latency_and_share(const JsonReader& section, BytesPerSecond line) {
  return {section.at("latency").duration(), share(section, "rate", line)};
}

CustomAllReduce read_custom(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"max_ranks", "one_shot_base", "one_shot_per_peer", "one_shot_rate", "two_shot_base",
                        "two_shot_per_peer", "two_shot_rate"});
  CustomAllReduce custom;
  custom.max_ranks = static_cast<std::uint32_t>(section.at("max_ranks").integer_in(0, 4096));
  if (custom.max_ranks == 0) return custom;
  custom.one_shot_base = section.at("one_shot_base").duration();
  custom.one_shot_per_peer = section.at("one_shot_per_peer").duration();
  custom.one_shot_share = share(section, "one_shot_rate", line.scale_up);
  custom.two_shot_base = section.at("two_shot_base").duration();
  custom.two_shot_per_peer = section.at("two_shot_per_peer").duration();
  custom.two_shot_share = share(section, "two_shot_rate", line.scale_up);
  return custom;
}

LowLatencyExchange read_low_latency(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"latency", "rate", "network_latency", "per_log2_nodes", "network_rate"});
  return {.domain = read_latency_and_share(section, line.scale_up),
          .network = {section.at("network_latency").duration(), share(section, "network_rate", line.network)},
          .per_log2_nodes = section.at("per_log2_nodes").duration()};
}

NormalExchange read_normal(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"latency", "per_log2_nodes", "rate_per_sm", "rate", "network_rate_per_sm", "network_rate"});
  return {.latency = section.at("latency").duration(),
          .per_log2_nodes = section.at("per_log2_nodes").duration(),
          .scale_up_share_per_sm = share(section, "rate_per_sm", line.scale_up),
          .scale_up_share = share(section, "rate", line.scale_up),
          .network_share_per_sm = share(section, "network_rate_per_sm", line.network),
          .network_share = share(section, "network_rate", line.network)};
}

NvlinkExchange read_nvlink(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"latency", "per_log2_ranks", "per_token", "rate"});
  NvlinkExchange exchange{.latency = section.at("latency").duration(),
                          .per_log2_ranks = section.at("per_log2_ranks").duration(),
                          .per_token = duration_or_zero(section, "per_token"),
                          .share = 1};
  if (section.has("rate")) exchange.share = share(section, "rate", line.scale_up);
  return exchange;
}

void read_exchange(const JsonReader& section, const LineRates& line, CollectiveProfile& profile) {
  expect_only(section, {"low_latency_dispatch", "low_latency_combine", "normal_dispatch", "normal_combine",
                        "normal_sms", "two_sided_prepare", "two_sided_dispatch", "two_sided_combine",
                        "one_sided_dispatch", "one_sided_combine"});
  const auto read = [&](std::string_view key, auto reader, auto& target) {
    if (const auto part = section.find(key)) target = reader(*part, line);
  };
  read("low_latency_dispatch", read_low_latency, profile.low_latency_dispatch);
  read("low_latency_combine", read_low_latency, profile.low_latency_combine);
  read("normal_dispatch", read_normal, profile.normal_dispatch);
  read("normal_combine", read_normal, profile.normal_combine);
  read("two_sided_prepare", read_nvlink, profile.two_sided_prepare);
  read("two_sided_dispatch", read_nvlink, profile.two_sided_dispatch);
  read("two_sided_combine", read_nvlink, profile.two_sided_combine);
  read("one_sided_dispatch", read_nvlink, profile.one_sided_dispatch);
  read("one_sided_combine", read_nvlink, profile.one_sided_combine);
  if (const auto sms = section.find("normal_sms")) {
    profile.normal_sms = static_cast<std::int32_t>(sms->integer_in(1, 1024));
  }
}

NetworkProtocols read_network(const JsonReader& section, const LineRates& line, const ClusterSpec& cluster) {
  expect_only(section, {"hop", "bulk_hop", "rate", "ll_rate", "all_to_all_rate", "two_node_factor", "transports"});
  NetworkProtocols network{.hop = section.at("hop").duration(),
                           .bulk_hop = section.at("bulk_hop").duration(),
                           .share = share(section, "rate", line.network),
                           .ll_share = share(section, "ll_rate", line.network),
                           .all_to_all_share = share(section, "all_to_all_rate", line.network),
                           .two_node_factor = section.at("two_node_factor").number_in(1, 2)};
  for (const JsonReader& transport : section.at("transports").elements()) {
    expect_only(transport, {"name", "clusters", "hop"});
    for (const JsonReader& part : transport.at("clusters").elements()) {
      if (cluster.name.find(part.string()) == std::string::npos) continue;
      const Duration hop = transport.at("hop").duration();
      network.bulk_hop += hop - network.hop;
      network.hop = hop;
    }
  }
  return network;
}

/// Whether a list of the file names the GPU or architecture for this kind of scale-up.
bool serves(const JsonReader& file, std::string_view key, const std::string& value, const ClusterSpec& cluster) {
  const auto section = file.find(key);
  if (!section) return false;
  expect_only(*section, {"names", "scale_up"});
  const std::size_t kind = section->at("scale_up").choice(kScaleUpNames);
  if (static_cast<std::size_t>(cluster.scale_up) != kind) return false;
  const std::vector<JsonReader> names = section->at("names").elements();
  return std::any_of(names.begin(), names.end(),
                     [&](const JsonReader& name) { return name.string() == value || name.string() == "any"; });
}

/// The libraries whose measurements the file's sections hold; empty for defaults that nobody measured.
std::string providers_of(const JsonReader& file) {
  if (!file.has("gpus")) return {};
  std::string providers = "nccl";
  if (const auto custom = file.find("custom_all_reduce"); custom && custom->at("max_ranks").integer() > 0) {
    providers += ", vllm";
  }
  if (const auto exchange = file.find("exchange")) {
    if (exchange->has("low_latency_dispatch") || exchange->has("normal_dispatch")) providers += ", deepep";
    if (exchange->has("two_sided_dispatch") || exchange->has("one_sided_dispatch")) providers += ", trtllm";
  }
  return providers;
}

}  // namespace

CollectiveProfile read_collective_profile(const std::filesystem::path& path, const ClusterSpec& cluster,
                                          const CollectiveProfile& base) {
  const nlohmann::ordered_json document = parse_json_file(path);
  const JsonReader file(document, path.string());
  file.expect_only(kKeys);
  if (const std::string format = file.at("format").string(); format != kFormat) {
    file.at("format").fail(
        fmt::format("\"{}\" is not a format that this version reads; expected \"{}\"", format, kFormat));
  }
  CollectiveProfile profile = base;
  profile.name = path.stem().string();
  profile.date = file.at("date").string();
  profile.provider = providers_of(file);
  profile.sources.push_back(fmt::format("{} ({})", file.at("source").string(), file.at("date").string()));
  const LineRates line{file.at("line_rate").bandwidth() * file.at("efficiency").number_in(0.01, 1),
                       file.at("network_line_rate").bandwidth() * file.at("network_efficiency").number_in(0.01, 1)};
  if (const auto ring = file.find("ring")) {
    profile.ring = read_ring(*ring, line);
    profile.domain_all_reduce.clear();
  }
  if (const auto protocols = file.find("all_reduce")) {
    profile.domain_all_reduce.clear();
    for (const JsonReader& protocol : protocols->elements()) {
      expect_only(protocol, {"min_ranks", "latency", "rate"});
      profile.domain_all_reduce.push_back({static_cast<std::uint32_t>(protocol.at("min_ranks").integer_in(2, 4096)),
                                           protocol.at("latency").duration(), share(protocol, "rate", line.scale_up)});
    }
  }
  if (const auto section = file.find("all_to_all")) profile.all_to_all = read_all_to_all(*section, line);
  if (const auto section = file.find("send_recv")) {
    expect_only(*section, {"latency", "rate", "network_latency", "network_rate"});
    profile.send_recv = read_latency_and_share(*section, line.scale_up);
    if (section->has("network_rate")) {
      profile.network_send_recv = {section->at("network_latency").duration(),
                                   share(*section, "network_rate", line.network)};
    }
  }
  if (const auto section = file.find("custom_all_reduce")) profile.custom_all_reduce = read_custom(*section, line);
  if (const auto section = file.find("exchange")) read_exchange(*section, line, profile);
  if (const auto section = file.find("network")) profile.network = read_network(*section, line, cluster);
  return profile;
}

CollectiveProfile collective_profile_for(const std::filesystem::path& folder, const GpuSpec& gpu,
                                         const ClusterSpec& cluster) {
  std::vector<std::filesystem::path> families;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file_name = entry.path().filename().string();
    if (file_name.starts_with("collectives-") && file_name.ends_with(".json") &&
        file_name != "collectives-default.json") {
      families.push_back(entry.path());
    }
  }
  std::sort(families.begin(), families.end());
  const CollectiveProfile defaults = read_collective_profile(folder / "collectives-default.json", cluster);
  std::optional<std::filesystem::path> stand_in;
  for (const std::filesystem::path& path : families) {
    const nlohmann::ordered_json document = parse_json_file(path);
    const JsonReader file(document, path.string());
    if (serves(file, "gpus", gpu.id, cluster)) return read_collective_profile(path, cluster, defaults);
    if (!stand_in && serves(file, "stands_for", gpu.architecture, cluster)) stand_in = path;
  }
  CollectiveProfile profile = stand_in ? read_collective_profile(*stand_in, cluster, defaults) : defaults;
  profile.extrapolated = true;
  profile.notes.push_back(fmt::format("collectives of {} were not measured: {} scaled by the line rates of {}", gpu.id,
                                      profile.name, cluster.name));
  return profile;
}

}  // namespace moesim
