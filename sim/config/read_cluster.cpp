#include "config/read_cluster.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "config/read_gpu.h"

namespace moesim {

namespace {

// What several links carry together has to fit the 2 x 10^15 B/s of network/max_min_sharing.
constexpr double kFastestTier = 1e14, kFastestDrawn = 1e15;

constexpr std::int64_t most_gpus = 65536;
constexpr std::array<std::string_view, 3> scale_up_names = {"switched", "mesh", "pcie"};
constexpr std::array<std::string_view, 3> fabric_names = {"none", "rail_fat_tree", "leaf_spine"};
constexpr std::array<std::string_view, 2> multipath_names = {"split", "hash"};
constexpr std::array<std::string_view, 7> vertex_names = {"gpu", "nvswitch", "pcie_switch", "cpu",
                                                          "nic", "leaf",     "spine"};
constexpr std::array<std::string_view, 4> link_names = {"scale_up", "pcie", "nic", "fabric"};

/// Keys `bandwidth`, `efficiency`, `latency` of an object.
LinkClass read_link(const JsonReader& object) {
  LinkClass link;
  link.bandwidth = object.at("bandwidth").bandwidth();
  if (link.bandwidth.value < 1e6 || link.bandwidth.value > kFastestTier) {
    object.at("bandwidth").fail("expected 1 MB/s to 100 TB/s");
  }
  link.efficiency = object.at("efficiency").number_in(0.001, 1);
  link.latency = object.at("latency").duration();
  return link;
}

LinkClass read_plain_link(const JsonReader& object) {
  constexpr std::array<std::string_view, 4> known = {"bandwidth", "efficiency", "latency", "source"};
  object.expect_only(known);
  object.at("source").string();
  return read_link(object);
}

std::int32_t count(const JsonReader& value, std::int64_t low, std::int64_t high) {
  return static_cast<std::int32_t>(value.integer_in(low, high));
}

void read_scale_up(const JsonReader& object, ClusterSpec& cluster) {
  constexpr std::array<std::string_view, 6> known = {"kind", "domain", "bandwidth", "efficiency", "latency", "source"};
  object.expect_only(known);
  cluster.scale_up = static_cast<ScaleUpKind>(object.at("kind").choice(scale_up_names));
  cluster.scale_up_link = read_link(object);
  object.at("source").string();
  const JsonReader domain = object.at("domain");
  cluster.scale_up_domain = count(domain, 1, most_gpus);
  if (cluster.scale_up == ScaleUpKind::pcie && cluster.scale_up_domain != 1) {
    domain.fail("expected 1 for kind pcie, which has no scale-up links");
  }
  const std::int32_t d = cluster.scale_up_domain, g = cluster.gpus_per_node;
  if (d <= g ? g % d != 0 : d % g != 0) {
    domain.fail(fmt::format("expected a divisor or a multiple of gpus_per_node ({}), got {}", g, d));
  }
  if (cluster.scale_up == ScaleUpKind::mesh && d > g) domain.fail("expected a mesh inside one node");
}

void read_host(const JsonReader& object, ClusterSpec& cluster) {
  constexpr std::array<std::string_view, 9> known = {"bandwidth",     "efficiency",  "latency",
                                                     "source",        "sockets",     "memory",
                                                     "pcie_switches", "pcie_uplink", "socket_link"};
  object.expect_only(known);
  cluster.host_link = read_link(object);
  object.at("source").string();
  cluster.host_memory = object.at("memory").bytes();
  cluster.sockets = count(object.at("sockets"), 1, 8);
  cluster.pcie_switches = count(object.at("pcie_switches"), 0, 64);
  if (cluster.pcie_switches % cluster.sockets != 0) {
    object.at("pcie_switches").fail(fmt::format("expected a multiple of sockets ({})", cluster.sockets));
  }
  if (cluster.pcie_switches > cluster.gpus_per_node) {
    object.at("pcie_switches").fail(fmt::format("expected at most gpus_per_node ({})", cluster.gpus_per_node));
  }
  if (cluster.pcie_switches > 0) cluster.pcie_uplink = read_plain_link(object.at("pcie_uplink"));
  if (cluster.sockets > 1) cluster.socket_link = read_plain_link(object.at("socket_link"));
}

void read_nic(const JsonReader& object, ClusterSpec& cluster) {
  constexpr std::array<std::string_view, 5> known = {"per_node", "bandwidth", "efficiency", "latency", "source"};
  object.expect_only(known);
  cluster.nic = read_link(object);
  object.at("source").string();
  const JsonReader per_node = object.at("per_node");
  cluster.nics_per_node = count(per_node, 1, 1024);
  const std::int32_t n = cluster.nics_per_node, g = cluster.gpus_per_node;
  if (n <= g ? g % n != 0 : n % g != 0) {
    per_node.fail(fmt::format("expected a divisor or a multiple of gpus_per_node ({}), got {}", g, n));
  }
}

void read_fabric(const JsonReader& object, ClusterSpec& cluster) {
  constexpr std::array<std::string_view, 7> known = {"kind",   "leaf_ports", "oversubscription", "switch_hop",
                                                     "source", "spines",     "multipath"};
  object.expect_only(known);
  cluster.fabric = static_cast<FabricKind>(object.at("kind").choice(fabric_names));
  object.at("source").string();
  if (cluster.fabric == FabricKind::none) return;
  if (cluster.nics_per_node == 0) object.at("kind").fail("a fabric needs a section nic");
  const std::int32_t nics = std::min(cluster.nics_per_node, cluster.gpus_per_node);
  const std::int32_t fewest = cluster.fabric == FabricKind::leaf_spine ? nics : 1;
  cluster.leaf_ports = count(object.at("leaf_ports"), fewest, 4096);
  cluster.oversubscription = object.at("oversubscription").number_in(0.01, 1000);
  cluster.switch_hop = object.at("switch_hop").duration();
  if (const auto spines = object.find("spines")) cluster.spines = count(*spines, 1, 1024);
  if (const auto way = object.find("multipath")) {
    cluster.multipath = static_cast<Multipath>(way->choice(multipath_names));
  }
}

/// Vertices by name, GPUs first.
std::map<std::string, std::uint32_t> read_vertices(const JsonReader& list, ClusterGraph& graph) {
  constexpr std::array<std::string_view, 3> known = {"name", "kind", "node"};
  const std::vector<JsonReader> elements = list.elements();
  std::map<std::string, std::uint32_t> index;
  for (const bool gpus : {true, false}) {
    for (const JsonReader& element : elements) {
      element.expect_only(known);
      const auto kind = static_cast<VertexKind>(element.at("kind").choice(vertex_names));
      if ((kind == VertexKind::gpu) != gpus) continue;
      const std::string label = element.at("name").string();
      const auto node = element.find("node");
      if (!index.emplace(label, graph.vertices.size()).second) {
        element.at("name").fail(fmt::format("\"{}\" names another vertex already", echo(label)));
      }
      graph.add(kind, label, node ? count(*node, 0, most_gpus) : -1);
    }
    if (gpus && graph.vertices.empty()) list.fail("expected at least one vertex of kind gpu");
  }
  if (graph.gpus() > most_gpus) list.fail(fmt::format("expected at most {} GPUs, got {}", most_gpus, graph.gpus()));
  const auto said = std::count_if(graph.vertices.begin(), graph.vertices.begin() + graph.gpus(),
                                  [](const Vertex& vertex) { return vertex.node >= 0; });
  if (said != 0 && said != graph.gpus()) list.fail("some GPUs have a node and some have none; expected all or none");
  return index;
}

/// Cables first, then links of one direction.
void read_links(const JsonReader& list, const std::map<std::string, std::uint32_t>& index, ClusterGraph& graph) {
  constexpr std::array<std::string_view, 7> known = {"from",    "to",   "bandwidth", "efficiency",
                                                     "latency", "kind", "one_way"};
  std::vector<Link> one_way;
  for (const JsonReader& element : list.elements()) {
    element.expect_only(known);
    const auto end = [&](std::string_view key) {
      const std::string label = element.at(key).string();
      const auto found = index.find(label);
      if (found == index.end()) {
        std::vector<std::string> names;
        for (const auto& [vertex, number] : index) names.push_back(vertex);
        const auto near = nearest(label, names);
        element.at(key).fail(fmt::format("no vertex is called \"{}\"{}", echo(label),
                                         near ? fmt::format("; did you mean {}?", *near) : ""));
      }
      return found->second;
    };
    Link link{.from = end("from"), .to = end("to"), .kind = {}, .rate = {}};
    if (link.from == link.to) element.at("to").fail("a link to where it comes from");
    link.kind = usual_kind(graph.vertices[link.from].kind, graph.vertices[link.to].kind);
    if (const auto kind = element.find("kind")) link.kind = static_cast<LinkKind>(kind->choice(link_names));
    link.rate.bandwidth = element.at("bandwidth").bandwidth();
    if (link.rate.bandwidth.value < 1e6 || link.rate.bandwidth.value > kFastestDrawn) {
      element.at("bandwidth").fail("expected 1 MB/s to 1000 TB/s");
    }
    if (const auto share = element.find("efficiency")) link.rate.efficiency = share->number_in(0.001, 1);
    link.rate.latency = element.at("latency").duration();
    const auto direction = element.find("one_way");
    if (direction && direction->boolean()) {
      one_way.push_back(link);
    } else {
      graph.connect(link.from, link.to, link.kind, link.rate);
    }
  }
  graph.links.insert(graph.links.end(), one_way.begin(), one_way.end());
}

void read_graph(const JsonReader& object, ClusterSpec& cluster) {
  constexpr std::array<std::string_view, 3> known = {"vertices", "links", "multipath"};
  object.expect_only(known);
  ClusterGraph graph;
  const std::map<std::string, std::uint32_t> index = read_vertices(object.at("vertices"), graph);
  read_links(object.at("links"), index, graph);
  if (const auto way = object.find("multipath")) {
    cluster.multipath = static_cast<Multipath>(way->choice(multipath_names));
  }
  if (const auto ends = unconnected(graph)) {
    object.at("links").fail(fmt::format("no path from {} to {}; expected every GPU to reach every other one",
                                        graph.vertices[ends->first].name, graph.vertices[ends->second].name));
  }
  cluster.graph = std::move(graph);
  sum_up_graph(cluster);
}

}  // namespace

ClusterSpec with_nodes(ClusterSpec cluster, std::int64_t nodes, const JsonReader& where) {
  if (cluster.graph && nodes != cluster.nodes) {
    where.fail(fmt::format("{} is drawn as a graph of {} node{}; another number needs another graph", cluster.name,
                           cluster.nodes, cluster.nodes == 1 ? "" : "s"),
               InputProblem::cannot_go_together);
  }
  if (cluster.graph) return cluster;
  if (nodes < 1 || nodes > most_gpus / cluster.gpus_per_node) {
    where.fail(fmt::format("expected 1 to {} nodes of {} GPUs, got {}", most_gpus / cluster.gpus_per_node,
                           cluster.gpus_per_node, nodes));
  }
  if (nodes > 1 && nodes * cluster.gpus_per_node > cluster.scale_up_domain && cluster.fabric == FabricKind::none) {
    where.fail(fmt::format("{} nodes of {} have no network between them; add a section fabric", nodes, cluster.name),
               InputProblem::cannot_go_together);
  }
  cluster.nodes = static_cast<std::int32_t>(nodes);
  return cluster;
}

ClusterSpec read_cluster(const JsonReader& value) {
  constexpr std::array<std::string_view, 11> known = {
      "name", "gpu", "nodes", "gpus_per_node", "scale_up", "host", "nic", "fabric", "node_power", "source", "graph"};
  constexpr std::array<std::string_view, 5> with_graph = {"name", "gpu", "node_power", "source", "graph"};
  value.expect_only(known);
  ClusterSpec cluster;
  cluster.name = value.at("name").string();
  cluster.source = value.at("source").string();
  const JsonReader gpu = value.at("gpu");
  const std::string spelling = gpu.string();
  try {
    cluster.gpu = find_gpu(spelling).id;
  } catch (const ConfigError& error) {
    if (error.exit_code() != static_cast<int>(InputProblem::usage)) throw;
    gpu.fail(error.what());
  }
  if (const auto power = value.find("node_power")) cluster.node_power_watts = power->watts();
  if (const auto graph = value.find("graph")) {
    for (const std::string& key : value.keys()) {
      if (std::find(with_graph.begin(), with_graph.end(), key) == with_graph.end()) {
        value.at(key).fail("cannot stand beside a graph, which says it");
      }
    }
    read_graph(*graph, cluster);
    return cluster;
  }
  cluster.gpus_per_node = count(value.at("gpus_per_node"), 1, 1024);
  read_scale_up(value.at("scale_up"), cluster);
  read_host(value.at("host"), cluster);
  if (const auto nic = value.find("nic")) read_nic(*nic, cluster);
  if (const auto fabric = value.find("fabric")) read_fabric(*fabric, cluster);
  const JsonReader nodes = value.at("nodes");
  return with_nodes(std::move(cluster), nodes.integer_in(1, most_gpus), nodes);
}

ClusterSpec read_cluster_file(const std::filesystem::path& path) {
  const nlohmann::ordered_json document = parse_json_file(path);
  return read_cluster(JsonReader(document, input_name(path)));
}

}  // namespace moesim
