#include "network/topology.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "core/check.h"
#include "network/expand_tiers.h"
#include "network/gpu_nics.h"
#include "network/shortest_paths.h"

namespace moesim {

namespace {

/// All paths up to this many GPUs are made with the topology.
constexpr std::uint32_t eager_gpus = 1024;
/// Equal paths that a drawn graph is searched for.
constexpr std::size_t most_equal_paths = 64;

/// Paths from one GPU to all others, one after the other.
struct PathRow {
  std::vector<std::uint32_t> first;  ///< of each target, and the end
  Path links;
};

/// What may lie between the ends of a path: switches and sockets of nodes and domains; those of the network; all but
/// GPUs; anything.
enum class Between { inner, network, all_but_gpus, anything };
constexpr std::size_t betweens = static_cast<std::size_t>(Between::anything) + 1;

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// One of n > 0, from the high bits of the hash.
std::uint32_t hashed(std::uint32_t a, std::uint32_t b, std::uint64_t flow, std::size_t n) {
  const std::uint64_t h = mixed(mixed((std::uint64_t{a} << 32) | b) ^ mixed(~flow));
  return static_cast<std::uint32_t>(((h >> 32) * n) >> 32);
}

/// Key of a path: GPUs below 2^17, choices below 2^29.
std::uint64_t path_key(std::uint32_t a, std::uint32_t b, std::size_t choice, bool by_rail) {
  return (std::uint64_t{a} << 47) | (std::uint64_t{b} << 30) | (choice << 1) | (by_rail ? 1 : 0);
}

}  // namespace

struct Topology::Graph {
  ClusterSpec cluster;
  ExpandedTiers tiers;
  ClusterGraph& graph = tiers.graph;
  std::uint32_t gpus = 0;
  std::vector<GpuPlace> places;
  std::vector<std::vector<std::uint32_t>> gpus_of_node;
  std::unique_ptr<ShortestPaths> search;
  std::array<VertexSet, betweens> between;
  std::vector<std::vector<std::uint32_t>> nics;   ///< vertices that serve each GPU
  std::vector<std::vector<Path>> exits, entries;  ///< between each GPU and each of its NICs
  mutable std::vector<PathRow> rows;              ///< empty `first`: not made yet
  mutable std::unordered_map<std::uint64_t, Path> chosen;
  mutable std::unordered_map<std::uint64_t, std::vector<Path>> equal;  ///< of a drawn graph under `hash`
  /// Distances of the last source that was asked for, for each set of vertices.
  struct Reach {
    std::uint32_t source = no_vertex;
    std::vector<ShortestPaths::Weight> distance;
  };
  mutable std::array<Reach, betweens> reach;

  explicit Graph(const ClusterSpec& spec) : cluster(spec) {
    if (cluster.graph) {
      graph = *cluster.graph;
    } else {
      tiers = expand_tiers(cluster);
    }
    gpus = graph.gpus();
    MOESIM_CHECK(gpus > 0 && gpus <= 1U << 17, "a cluster of {} GPUs", gpus);
    search = std::make_unique<ShortestPaths>(graph);
    find_sets();
    find_places();
    find_nics();
    rows.resize(gpus);
    if (gpus <= eager_gpus) {
      for (std::uint32_t g = 0; g < gpus; ++g) make_row(g);
    }
  }

  void find_sets() {
    using enum VertexKind;
    constexpr std::array inner = {nvswitch, pcie_switch, host};
    constexpr std::array network = {leaf, spine};
    constexpr std::array all_but_gpus = {nvswitch, pcie_switch, host, nic, leaf, spine};
    constexpr std::array anything = {gpu, nvswitch, pcie_switch, host, nic, leaf, spine};
    between = {vertices_of(graph, inner), vertices_of(graph, network), vertices_of(graph, all_but_gpus),
               vertices_of(graph, anything)};
  }

  void find_places() {
    if (cluster.graph) {
      places = gpu_places(graph);
    } else {
      for (std::uint32_t g = 0; g < gpus; ++g) {
        places.push_back({g / static_cast<std::uint32_t>(cluster.gpus_per_node),
                          g / static_cast<std::uint32_t>(cluster.scale_up_domain)});
      }
    }
    for (std::uint32_t g = 0; g < gpus; ++g) {
      gpus_of_node.resize(std::max<std::size_t>(gpus_of_node.size(), places[g].node + 1));
      gpus_of_node[places[g].node].push_back(g);
    }
  }

  void find_nics() {
    if (cluster.graph) {
      nics = nics_of_gpus(graph, *search, between[static_cast<std::size_t>(Between::inner)]);
      find_leaves();
    } else {
      nics.resize(gpus);
      for (std::uint32_t g = 0; g < gpus; ++g) {
        if (tiers.nic_of_gpu[g] != no_vertex) nics[g] = {tiers.nic_of_gpu[g]};
      }
    }
    exits.resize(gpus);
    entries.resize(gpus);
    for (std::uint32_t g = 0; g < gpus; ++g) {
      for (const std::uint32_t nic : nics[g]) {
        exits[g].push_back(inside_path(g, nic));
        if (cluster.graph) continue;
        // In tiers the way in is the way out.
        Path& entry = entries[g].emplace_back(exits[g].back().rbegin(), exits[g].back().rend());
        for (LinkId& link : entry) link.value ^= 1;
      }
    }
    if (cluster.graph) find_entries();
  }

  void find_entries() {
    std::map<std::uint32_t, std::vector<std::uint32_t>> gpus_of_nic;
    for (std::uint32_t g = 0; g < gpus; ++g) {
      entries[g].resize(nics[g].size());
      for (const std::uint32_t nic : nics[g]) gpus_of_nic[nic].push_back(g);
    }
    for (const auto& [nic, served] : gpus_of_nic) {
      for (const std::uint32_t g : served) {
        const auto place = std::find(nics[g].begin(), nics[g].end(), nic) - nics[g].begin();
        entries[g][static_cast<std::size_t>(place)] = inside_path(nic, g);
      }
    }
  }

  /// Of a drawn graph: the rail of a GPU is the first switch of the network that its NIC leads to.
  void find_leaves() {
    tiers.rail_of_gpu.assign(gpus, 0);
    std::vector<std::uint32_t> leaf(graph.vertices.size(), no_vertex);
    for (const Link& link : graph.links) {
      if (graph.vertices[link.from].kind == VertexKind::nic && graph.vertices[link.to].kind == VertexKind::leaf) {
        leaf[link.from] = std::min(leaf[link.from], link.to);
      }
    }
    for (std::uint32_t g = 0; g < gpus; ++g) {
      tiers.rail_of_gpu[g] = nics[g].empty() ? no_vertex : leaf[nics[g].front()];
    }
  }

  const std::vector<ShortestPaths::Weight>& distances(std::uint32_t source, Between set) const {
    Reach& known = reach[static_cast<std::size_t>(set)];
    if (known.source != source) {
      search->distances(source, between[static_cast<std::size_t>(set)], known.distance);
      known.source = source;
    }
    return known.distance;
  }
  bool reaches(std::uint32_t a, std::uint32_t b, Between set) const {
    return distances(a, set)[b] != ShortestPaths::unreached;
  }
  void append(std::uint32_t a, std::uint32_t b, Between set, Path& path) const {
    search->append(a, b, between[static_cast<std::size_t>(set)], distances(a, set), path);
  }
  std::vector<Path> all(std::uint32_t a, std::uint32_t b, Between set) const {
    return search->all(a, b, between[static_cast<std::size_t>(set)], distances(a, set), most_equal_paths);
  }
  /// Between a GPU and a NIC of its own; empty where there is no way.
  Path inside_path(std::uint32_t a, std::uint32_t b) const {
    Path path;
    if (reaches(a, b, Between::inner)) append(a, b, Between::inner, path);
    return path;
  }

  bool together(std::uint32_t a, std::uint32_t b) const {
    return places[a].domain == places[b].domain || places[a].node == places[b].node;
  }

  // --- tiers: every path is known from its ends and its spine -------------------------------------------------------

  std::size_t tier_ways(std::uint32_t a, std::uint32_t b) const {
    return together(a, b) || tiers.leaf_of_gpu[a] == tiers.leaf_of_gpu[b] ? 1 : tiers.spines;
  }

  void append_tier_path(std::uint32_t a, std::uint32_t b, std::size_t way, Path& path) const {
    if (together(a, b)) return append(a, b, Between::inner, path);
    const std::uint32_t from = tiers.leaf_of_gpu[a], to = tiers.leaf_of_gpu[b];
    MOESIM_CHECK(from != no_vertex, "no path from {} to {}", graph.vertices[a].name, graph.vertices[b].name);
    path.insert(path.end(), exits[a].front().begin(), exits[a].front().end());
    path.push_back(tiers.leaf_link[a]);
    if (from != to) {
      path.push_back(tiers.uplinks[from * tiers.spines + way]);
      path.push_back({tiers.uplinks[to * tiers.spines + way].value ^ 1});
    }
    path.push_back({tiers.leaf_link[b].value ^ 1});
    path.insert(path.end(), entries[b].front().begin(), entries[b].front().end());
  }

  // --- a drawn graph ------------------------------------------------------------------------------------------------

  bool over_network(std::uint32_t a, std::uint32_t b) const {
    return !nics[a].empty() && !nics[b].empty() && !entries[b].front().empty() &&
           reaches(nics[a].front(), nics[b].front(), Between::network);
  }

  /// Where the path is searched when NICs do not decide it.
  Between widest_needed(std::uint32_t a, std::uint32_t b) const {
    if (together(a, b) && reaches(a, b, Between::inner)) return Between::inner;
    return reaches(a, b, Between::all_but_gpus) ? Between::all_but_gpus : Between::anything;
  }

  void append_drawn_path(std::uint32_t a, std::uint32_t b, Path& path) const {
    if (widest_needed(a, b) == Between::inner || !over_network(a, b)) return append(a, b, widest_needed(a, b), path);
    path.insert(path.end(), exits[a].front().begin(), exits[a].front().end());
    append(nics[a].front(), nics[b].front(), Between::network, path);
    path.insert(path.end(), entries[b].front().begin(), entries[b].front().end());
  }

  /// Each NIC of the one GPU with one of the other, over every equal way through the network.
  std::vector<Path> drawn_paths(std::uint32_t a, std::uint32_t b) const {
    if (widest_needed(a, b) == Between::inner || !over_network(a, b)) return all(a, b, widest_needed(a, b));
    std::vector<Path> paths;
    for (std::size_t k = 0; k < std::max(nics[a].size(), nics[b].size()); ++k) {
      const std::size_t out = k % nics[a].size(), in = k % nics[b].size();
      const Path &exit = exits[a][out], &entry = entries[b][in];
      if (entry.empty()) continue;
      for (const Path& across : all(nics[a][out], nics[b][in], Between::network)) {
        if (paths.size() == most_equal_paths) return paths;
        Path path = exit;
        path.insert(path.end(), across.begin(), across.end());
        path.insert(path.end(), entry.begin(), entry.end());
        paths.push_back(std::move(path));
      }
    }
    return paths;
  }

  // --- both ---------------------------------------------------------------------------------------------------------

  const std::vector<Path>& equal_paths(std::uint32_t a, std::uint32_t b) const {
    std::vector<Path>& known = equal[path_key(a, b, 0, false)];
    if (known.empty()) known = drawn_paths(a, b);
    return known;
  }

  /// Which of the equal paths a flow takes.
  std::size_t way_of(std::uint32_t a, std::uint32_t b, std::uint64_t flow) const {
    if (cluster.multipath == Multipath::split) return 0;
    return hashed(a, b, flow, cluster.graph ? equal_paths(a, b).size() : tier_ways(a, b));
  }

  void append_way(std::uint32_t a, std::uint32_t b, std::size_t way, Path& path) const {
    if (!cluster.graph) return append_tier_path(a, b, way, path);
    if (cluster.multipath == Multipath::split) return append_drawn_path(a, b, path);
    const Path& taken = equal_paths(a, b)[way];
    path.insert(path.end(), taken.begin(), taken.end());
  }

  void make_row(std::uint32_t a) const {
    PathRow& row = rows[a];
    row.first.reserve(gpus + 1);
    row.links.reserve(static_cast<std::size_t>(gpus) * 6);
    for (std::uint32_t b = 0; b < gpus; ++b) {
      row.first.push_back(static_cast<std::uint32_t>(row.links.size()));
      if (a != b) append_way(a, b, way_of(a, b, 0), row.links);
    }
    row.first.push_back(static_cast<std::uint32_t>(row.links.size()));
  }

  std::span<const LinkId> path(std::uint32_t a, std::uint32_t b) const {
    if (rows[a].first.empty()) make_row(a);
    const PathRow& row = rows[a];
    return std::span(row.links).subspan(row.first[b], row.first[b + 1] - row.first[b]);
  }

  std::span<const LinkId> path(std::uint32_t a, std::uint32_t b, std::uint64_t flow) const {
    if (flow == 0 || a == b) return path(a, b);
    const std::size_t way = way_of(a, b, flow);
    if (way == way_of(a, b, 0)) return path(a, b);
    Path& known = chosen[path_key(a, b, way, false)];
    if (known.empty()) append_way(a, b, way, known);
    return known;
  }

  std::vector<Path> paths(std::uint32_t a, std::uint32_t b) const {
    if (a == b) return {Path()};
    if (cluster.graph) return drawn_paths(a, b);
    std::vector<Path> list(tier_ways(a, b));
    for (std::size_t way = 0; way < list.size(); ++way) append_tier_path(a, b, way, list[way]);
    return list;
  }

  std::uint32_t rail_proxy(std::uint32_t a, std::uint32_t b) const {
    const std::vector<std::uint32_t>& rail = tiers.rail_of_gpu;
    if (together(a, b) || rail[a] == rail[b] || rail[b] == no_vertex) return a;
    std::vector<std::uint32_t> candidates;
    for (const std::uint32_t g : gpus_of_node[places[a].node]) {
      if (rail[g] == rail[b] && places[g].domain == places[a].domain) candidates.push_back(g);
    }
    if (candidates.empty()) return a;
    std::size_t place_of_b = 0;
    for (const std::uint32_t g : gpus_of_node[places[b].node]) place_of_b += g < b && rail[g] == rail[b];
    return candidates[place_of_b % candidates.size()];
  }

  std::span<const LinkId> rail_path(std::uint32_t a, std::uint32_t b, std::uint64_t flow) const {
    const std::uint32_t proxy = rail_proxy(a, b);
    if (proxy == a) return path(a, b, flow);
    Path& known = chosen[path_key(a, b, way_of(proxy, b, flow), true)];
    if (known.empty()) {
      const std::span<const LinkId> forward = path(a, proxy), out = path(proxy, b, flow);
      known.assign(forward.begin(), forward.end());
      known.insert(known.end(), out.begin(), out.end());
    }
    return known;
  }
};

Topology::Topology(const ClusterSpec& cluster) : graph_(std::make_unique<Graph>(cluster)) {}
Topology::~Topology() = default;
Topology::Topology(Topology&&) noexcept = default;
Topology& Topology::operator=(Topology&&) noexcept = default;

const ClusterSpec& Topology::cluster() const {
  return graph_->cluster;
}
std::uint32_t Topology::gpu_count() const {
  return graph_->gpus;
}
NodeId Topology::node_of(GpuId gpu) const {
  return NodeId{graph_->places[gpu.value].node};
}
std::uint32_t Topology::domain_of(GpuId gpu) const {
  return graph_->places[gpu.value].domain;
}
std::span<const Vertex> Topology::vertices() const {
  return graph_->graph.vertices;
}
std::span<const Link> Topology::links() const {
  return graph_->graph.links;
}

std::span<const LinkId> Topology::path(GpuId a, GpuId b) const {
  MOESIM_CHECK(a.value < gpu_count() && b.value < gpu_count(), "path from GPU {} to {} of {}", a.value, b.value,
               gpu_count());
  return graph_->path(a.value, b.value);
}

std::span<const LinkId> Topology::path(GpuId a, GpuId b, std::uint64_t flow) const {
  MOESIM_CHECK(a.value < gpu_count() && b.value < gpu_count(), "path from GPU {} to {} of {}", a.value, b.value,
               gpu_count());
  return graph_->path(a.value, b.value, flow);
}

std::vector<Path> Topology::paths(GpuId a, GpuId b) const {
  return graph_->paths(a.value, b.value);
}

GpuId Topology::rail_proxy(GpuId a, GpuId b) const {
  return GpuId{graph_->rail_proxy(a.value, b.value)};
}

std::span<const LinkId> Topology::rail_path(GpuId a, GpuId b, std::uint64_t flow) const {
  return graph_->rail_path(a.value, b.value, flow);
}

}  // namespace moesim
