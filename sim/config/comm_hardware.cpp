#include "config/comm_hardware.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>

#include "config/json_reader.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/standard_node.h"

namespace moesim {

namespace {

/// "8x400G IB NDR" -> 8 NICs of 400 Gbit/s. False where the text does not start so, or the GPUs cannot share so many.
bool set_nics(std::string_view text, ClusterSpec& cluster) {
  std::int32_t count = 0;
  double rate = 0;
  const char* const end = text.data() + text.size();
  const auto [after_count, bad_count] = std::from_chars(text.data(), end, count);
  if (bad_count != std::errc() || after_count == end || *after_count != 'x') return false;
  const auto [after_rate, bad_rate] = std::from_chars(after_count + 1, end, rate);
  if (bad_rate != std::errc() || after_rate == end || *after_rate != 'G' || count < 1 || rate <= 0) return false;
  const std::int32_t g = cluster.gpus_per_node;
  if (count <= g ? g % count != 0 : count % g != 0) return false;
  cluster.nics_per_node = count;
  cluster.nic.bandwidth = {rate / 8 * 1e9};
  return true;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

/// Whether `name` stands in `text`, in any case.
bool names(std::string_view text, std::string_view name) {
  return lower(text).find(lower(name)) != std::string::npos;
}

/// Whether text from which no NICs and rate were read ("8x400G") says nothing or names a network: "RoCE", "8x RoCE".
bool names_network(std::string_view text) {
  constexpr std::string_view known[] = {"IB", "InfiniBand", "RoCE", "EFA", "TCPX", "NVL"};
  if (text.empty() || lower(text) == "n/a") return true;
  const std::size_t digits = text.find_first_not_of("0123456789");
  if (digits > 0 && (digits == std::string_view::npos || !text.substr(digits).starts_with("x "))) return false;
  return std::any_of(std::begin(known), std::end(known), [&](std::string_view name) { return names(text, name); });
}

std::string text_or_empty(const JsonReader& object, std::string_view key) {
  const auto value = object.find(key);
  return value ? value->string() : std::string();
}

ClusterSpec shipped_cluster(const std::string& file) {
  return read_cluster_file(product_root() / file);
}

}  // namespace

CommHardware::CommHardware(const std::optional<std::filesystem::path>& cluster) {
  if (cluster) given_ = read_cluster_file(*cluster);
  const std::filesystem::path path = product_root() / "topologies" / "systems.json";
  const nlohmann::ordered_json document = parse_json_file(path);
  const JsonReader file(document, path.string());
  const JsonReader systems = file.at("systems");
  for (const std::string& name : systems.keys()) {
    Alias alias;
    const auto entry = systems.find(name);
    alias.described = entry.has_value();
    if (entry) {
      alias.cluster = entry->at("cluster").string();
      alias.nics = text_or_empty(*entry, "nics");
      alias.nic_name = text_or_empty(*entry, "nic_name");
      if (const auto degraded = entry->find("degraded")) {
        for (const JsonReader& part : degraded->elements()) {
          alias.degraded.emplace_back(part.at("op").string(),
                                      static_cast<std::uint32_t>(part.at("nodes").integer_in(1, 65536)));
        }
      }
    }
    aliases_.emplace(name, std::move(alias));
  }
  for (const JsonReader& link : file.at("links").elements()) {
    links_.push_back({link.at("contains").string(), link.at("gpu").string(), link.at("cluster").string()});
  }
  for (const GpuSpec& gpu : read_gpus()) gpu_ids_.push_back(gpu.id);
}

CommHardware::Described CommHardware::by_columns(const CommPlace& place) const {
  std::string id;
  try {
    id = find_gpu(place.gpu).id;
  } catch (const ConfigError&) {
    return {};
  }
  ClusterSpec cluster;
  const std::filesystem::path named =
      product_root() / "topologies" / "cluster" / std::filesystem::path(place.system + ".json").filename();
  std::error_code ignored;
  const auto rule = std::find_if(links_.begin(), links_.end(), [&](const LinkRule& link) {
    return link.gpu == id && names(place.inter_link, link.contains);
  });
  if (std::filesystem::is_regular_file(named, ignored)) cluster = read_cluster_file(named);
  if (cluster.gpu == id) {
    // The shipped file that the row is named after, as import names it.
  } else if (rule != links_.end()) {
    cluster = shipped_cluster(rule->cluster);
  } else if (const auto standard = standard_node(id)) {
    cluster = read_cluster_file(*standard);
  } else {
    return {};
  }
  if (set_nics(place.inter_link, cluster)) {
    cluster.name += ", " + place.inter_link;
  } else if (place.nodes > 1 && !names_network(place.inter_link)) {
    return {{},
            fmt::format("unknown inter_link {}; expected NICs that share a node's {} GPUs evenly, as 8x400G, or one of "
                        "IB, RoCE, EFA, TCPX, NVL",
                        echo(place.inter_link), cluster.gpus_per_node)};
  }
  return {std::move(cluster), {}};
}

std::optional<ClusterSpec> CommHardware::by_name(const std::string& system) const {
  const auto alias = aliases_.find(system);
  if (alias != aliases_.end()) {
    if (!alias->second.described) return std::nullopt;
    ClusterSpec cluster = shipped_cluster(alias->second.cluster);
    if (!alias->second.nics.empty() && set_nics(alias->second.nics, cluster)) {
      cluster.name += ", " + alias->second.nics;
    }
    if (!alias->second.nic_name.empty()) cluster.name += ", " + alias->second.nic_name;
    return cluster;
  }
  const std::string key = gpu_key(system);
  std::string best;
  for (const std::string& id : gpu_ids_) {
    if (key.find(gpu_key(id)) != std::string::npos && id.size() > best.size()) best = id;
  }
  if (best.empty()) return std::nullopt;
  const auto standard = standard_node(best);
  if (!standard) return std::nullopt;
  return read_cluster_file(*standard);
}

CommHardware::Described CommHardware::described(const CommPlace& place) const {
  if (given_) return {given_, {}};
  if (!place.gpu.empty() && !place.intra_link.empty()) return by_columns(place);
  return {by_name(place.system), {}};
}

bool CommHardware::degraded(const std::string& system, CommOp op, std::uint32_t nodes) const {
  const auto alias = aliases_.find(system);
  if (given_ || alias == aliases_.end()) return false;
  const auto& bad = alias->second.degraded;
  return std::find(bad.begin(), bad.end(), std::pair{std::string(name(op)), nodes}) != bad.end();
}

CommHardware::Found CommHardware::find(const CommPlace& place) {
  const std::string text = given_ ? given_->name
                                  : fmt::format("{}|{}|{}|{}|{}", place.system, place.gpu, place.intra_link,
                                                place.inter_link, place.nodes > 1);
  auto known = described_.find(text);
  if (known == described_.end()) known = described_.emplace(text, described(place)).first;
  if (!known->second.cluster) return {{}, known->second.problem.empty() ? "unknown system" : known->second.problem};
  ClusterSpec cluster = *known->second.cluster;
  const std::int32_t nodes = machines_for(cluster, place.nodes);
  const std::pair key{text + '|' + place.system, nodes};
  const auto found = found_.find(key);
  if (place.nodes < 1 || place.ranks % place.nodes != 0 ||
      place.ranks / place.nodes > static_cast<std::uint32_t>(cluster.gpus_per_node) || nodes > 4096) {
    return {{}, "ranks do not fit the system"};
  }
  if (found != found_.end()) return found->second;
  cluster.nodes = nodes;
  if (nodes * cluster.gpus_per_node > cluster.scale_up_domain && nodes > 1 && cluster.fabric == FabricKind::none) {
    return {{}, "no network between the nodes of the system"};
  }
  CommSystem system;
  system.name = place.system.empty() ? cluster.name : place.system;
  system.gpu = find_gpu(cluster.gpu);
  system.topology = std::make_shared<const Topology>(cluster);
  system.profile = collective_profile_for(product_root() / "calibrate" / "profiles", system.gpu, cluster);
  systems_.push_back(std::move(system));
  return found_.emplace(key, Found{systems_.size() - 1, {}}).first->second;
}

}  // namespace moesim
