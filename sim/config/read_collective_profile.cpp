#include "config/read_collective_profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "config/json_reader.h"
#include "core/math.h"

namespace moesim {

namespace {

constexpr std::string_view kFormat = "moesim-collectives-1";
constexpr std::array<std::string_view, 3> kScaleUpNames{"switched", "mesh", "pcie"};
constexpr std::array<std::string_view, 26> kKeys{"format",
                                                 "notes",
                                                 "source",
                                                 "date",
                                                 "fit_range",
                                                 "residuals",
                                                 "gpus",
                                                 "stands_for",
                                                 "line_rate",
                                                 "efficiency",
                                                 "network_line_rate",
                                                 "network_efficiency",
                                                 "ring",
                                                 "all_reduce",
                                                 "all_to_all",
                                                 "send_recv",
                                                 "custom_all_reduce",
                                                 "custom_all_reduce_sglang",
                                                 "custom_all_reduce_trtllm",
                                                 "exchange",
                                                 "network",
                                                 "put",
                                                 "corrections",
                                                 "fits",
                                                 "rest",
                                                 "licence"};

/// What the measured links could reach: line rate x efficiency.
struct LineRates {
  BytesPerSecond scale_up, network;
};

double share(const JsonReader& section, std::string_view key, BytesPerSecond line) {
  return section.at(key).bandwidth().value / line.value;
}

double share_or_zero(const JsonReader& section, std::string_view key, BytesPerSecond line) {
  return section.has(key) ? share(section, key, line) : 0;
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
  expect_only(section, {"base", "step", "ll_rate", "ll128_extra", "ll128_step", "ll128_rate", "simple_extra",
                        "simple_step", "simple_rate"});
  return {.base = section.at("base").duration(),
          .step = section.at("step").duration(),
          .ll_share = share(section, "ll_rate", line.scale_up),
          .ll128_extra = duration_or_zero(section, "ll128_extra"),
          .ll128_step = duration_or_zero(section, "ll128_step"),
          .ll128_share = share_or_zero(section, "ll128_rate", line.scale_up),
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
  expect_only(section, {"latency", "rate", "network_latency", "per_log2_nodes", "network_rate", "per_expert",
                        "token_latency", "token_rate"});
  return {.domain = read_latency_and_share(section, line.scale_up),
          .network = {section.at("network_latency").duration(), share(section, "network_rate", line.network)},
          .per_log2_nodes = section.at("per_log2_nodes").duration(),
          .per_expert = duration_or_zero(section, "per_expert"),
          .token_latency = duration_or_zero(section, "token_latency"),
          .token_share = share_or_zero(section, "token_rate", line.scale_up)};
}

NormalExchange read_normal(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"latency", "per_log2_nodes", "rate_per_sm", "rate", "network_rate_per_sm", "network_rate",
                        "per_copy", "per_token", "token_rate"});
  return {.latency = section.at("latency").duration(),
          .per_log2_nodes = section.at("per_log2_nodes").duration(),
          .scale_up_share_per_sm = share(section, "rate_per_sm", line.scale_up),
          .scale_up_share = share(section, "rate", line.scale_up),
          .network_share_per_sm = share(section, "network_rate_per_sm", line.network),
          .network_share = share(section, "network_rate", line.network),
          .per_copy = duration_or_zero(section, "per_copy"),
          .per_token = duration_or_zero(section, "per_token"),
          .token_share = share_or_zero(section, "token_rate", line.scale_up)};
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

NetworkProtocols read_network(const JsonReader& section, const LineRates& line, const ClusterSpec& cluster,
                              std::string& applied) {
  expect_only(section,
              {"hop", "ll128_hop", "bulk_hop", "rate", "ll_rate", "all_to_all_rate", "two_node_factor", "transports"});
  NetworkProtocols network{.hop = section.at("hop").duration(),
                           .ll128_hop = section.at(section.has("ll128_hop") ? "ll128_hop" : "bulk_hop").duration(),
                           .bulk_hop = section.at("bulk_hop").duration(),
                           .share = share(section, "rate", line.network),
                           .ll_share = share(section, "ll_rate", line.network),
                           .all_to_all_share = share(section, "all_to_all_rate", line.network),
                           .two_node_factor = section.at("two_node_factor").number_in(1, 2)};
  applied.clear();
  const auto transports = section.find("transports");
  if (!transports) return network;
  for (const JsonReader& transport : transports->elements()) {
    expect_only(transport, {"name", "clusters", "hop"});
    for (const JsonReader& part : transport.at("clusters").elements()) {
      if (cluster.name.find(part.string()) == std::string::npos) continue;
      const Duration hop = transport.at("hop").duration();
      network.bulk_hop += hop - network.hop;
      network.ll128_hop += hop - network.hop;
      network.hop = hop;
      applied = transport.at("name").string();
    }
  }
  return network;
}

PutTransfer read_put(const JsonReader& section, const LineRates& line) {
  expect_only(section, {"latency", "per_message", "rate"});
  return {.latency = section.at("latency").duration(),
          .per_message = section.at("per_message").duration(),
          .share = share(section, "rate", line.network)};
}

CostCurve read_curve(const JsonReader& value) {
  std::array<std::string_view, kCostCurves> names;
  for (std::size_t i = 0; i < kCostCurves; ++i) names[i] = name(static_cast<CostCurve>(i));
  return static_cast<CostCurve>(value.choice(names));
}

CurveCorrection read_correction(const JsonReader& section) {
  expect_only(section, {"of", "ranks", "at", "factor"});
  CurveCorrection correction{.curve = read_curve(section.at("of")),
                             .ranks = static_cast<std::uint32_t>(section.at("ranks").integer_in(1, 65536)),
                             .log_size = {},
                             .log_factor = {}};
  for (const JsonReader& size : section.at("at").elements()) {
    correction.log_size.push_back(logarithm(size.number_in(1, 1e15)));
    if (correction.log_size.size() > 1 && correction.log_size.back() <= *(correction.log_size.end() - 2)) {
      size.fail("expected sizes that rise");
    }
  }
  for (const JsonReader& factor : section.at("factor").elements()) {
    correction.log_factor.push_back(logarithm(factor.number_in(0.05, 20)));
  }
  if (correction.log_size.empty() || correction.log_size.size() != correction.log_factor.size()) {
    section.at("factor").fail(fmt::format("expected {} factors, one for each size", correction.log_size.size()));
  }
  return correction;
}

FittedRange read_fit(const JsonReader& section) {
  FittedRange range{.curve = read_curve(section.at("of"))};
  const std::vector<JsonReader> ranks = section.at("ranks").elements(), sizes = section.at("size").elements();
  if (ranks.size() != 2) section.at("ranks").fail("expected the fewest and the most ranks");
  if (sizes.size() != 2) section.at("size").fail("expected the smallest and the largest size");
  range.fewest_ranks = static_cast<std::uint32_t>(ranks[0].integer_in(1, 1000000));
  range.most_ranks = static_cast<std::uint32_t>(ranks[1].integer_in(1, 1000000));
  range.smallest = sizes[0].number_in(0, 1e18);
  range.largest = sizes[1].number_in(0, 1e18);
  if (const auto between = section.find("between_domains")) range.between_domains = between->boolean();
  const auto left_out = section.find("left_out");
  const auto points = left_out ? left_out->find("points") : std::nullopt;
  if (points) range.p90_ape = points->at("p90_ape").number_in(0, 1e3);
  return range;
}

/// Curves whose law stands in a section of the file: corrections of an older law of theirs are void.
bool is_in(const JsonReader& file, CostCurve curve) {
  const auto in_exchange = [&](std::string_view key) {
    const auto exchange = file.find("exchange");
    return exchange && exchange->has(key);
  };
  switch (curve) {
    case CostCurve::all_reduce:
    case CostCurve::all_gather:
    case CostCurve::reduce_scatter:
      return file.has("ring");
    case CostCurve::all_to_all:
    case CostCurve::send_recv:
    case CostCurve::custom_all_reduce:
    case CostCurve::custom_all_reduce_sglang:
    case CostCurve::custom_all_reduce_trtllm:
    case CostCurve::put:
      return file.has(name(curve));
    case CostCurve::low_latency_dispatch:
    case CostCurve::low_latency_combine:
    case CostCurve::normal_dispatch:
    case CostCurve::normal_combine:
    case CostCurve::two_sided_prepare:
    case CostCurve::two_sided_dispatch:
    case CostCurve::two_sided_combine:
    case CostCurve::one_sided_dispatch:
    case CostCurve::one_sided_combine:
      return in_exchange(name(curve));
  }
  return false;
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
  if (const auto notes = file.find("notes")) {
    for (const JsonReader& note : notes->elements()) profile.notes.push_back(profile.name + ": " + note.string());
  }
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
  if (const auto section = file.find("custom_all_reduce_sglang")) {
    profile.custom_all_reduce_sglang = read_custom(*section, line);
  }
  if (const auto section = file.find("custom_all_reduce_trtllm")) {
    profile.custom_all_reduce_trtllm = read_custom(*section, line);
  }
  if (const auto section = file.find("put")) profile.put = read_put(*section, line);
  if (const auto section = file.find("network"))
    profile.network = read_network(*section, line, cluster, profile.transport);
  std::erase_if(profile.corrections, [&](const CurveCorrection& c) { return is_in(file, c.curve); });
  std::erase_if(profile.fitted, [&](const FittedRange& range) { return is_in(file, range.curve); });
  if (const auto fits = file.find("fits")) {
    for (const JsonReader& fit : fits->elements()) profile.fitted.push_back(read_fit(fit));
  }
  if (const auto corrections = file.find("corrections")) {
    for (const JsonReader& correction : corrections->elements()) {
      profile.corrections.push_back(read_correction(correction));
    }
  }
  return profile;
}

bool is_collective_profile(const std::filesystem::path& path) {
  const nlohmann::ordered_json document = parse_json_file(path);
  return document.is_object() && document.value("format", nlohmann::ordered_json()).is_string() &&
         document.at("format").get<std::string>().starts_with("moesim-collectives");
}

CollectiveProfile own_collective_profile(const std::filesystem::path& path, const GpuSpec& gpu,
                                         const ClusterSpec& cluster, const CollectiveProfile& base) {
  CollectiveProfile profile = read_collective_profile(path, cluster, base);
  const nlohmann::ordered_json document = parse_json_file(path);
  if (!serves(JsonReader(document, path.string()), "gpus", gpu.id, cluster)) {
    profile.extrapolated = true;
    profile.notes.push_back(
        fmt::format("{} was not fitted on {}: scaled by the line rates of {}", profile.name, gpu.id, cluster.name));
  }
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
