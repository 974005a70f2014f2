#include "network/topology.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <boost/graph/filtered_graph.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <cmath>
#include <limits>
#include <ostream>

#include "core/check.h"

namespace moesim {

namespace {

/// Weight of a link: hops decide, then the sum of the times of one petabyte, which stay below one hop in any path over
/// links of at least 1 MB/s.
using Weight = std::uint64_t;
constexpr Weight hop_weight = Weight{1} << 48;
constexpr Weight unreached = std::numeric_limits<Weight>::max();

struct EdgeWeight {
  Weight weight = 0;
};
using Network = boost::compressed_sparse_row_graph<boost::directedS, boost::no_property, EdgeWeight>;

/// A flag for each vertex.
using VertexSet = std::vector<char>;

/// Edges that a path from `source` may take when only the vertices of `inside` lie between its ends.
struct StartsInside {
  const Network* network = nullptr;
  std::size_t source = 0;
  const char* inside = nullptr;

  bool operator()(const Network::edge_descriptor& edge) const {
    const std::size_t from = boost::source(edge, *network);
    return from == source || inside[from];
  }
};

BytesPerSecond reachable(const LinkClass& rate) {
  return rate.bandwidth * rate.efficiency;
}

Weight weight_of(const LinkClass& rate) {
  return hop_weight + static_cast<Weight>(std::llround(1e15 / std::max(reachable(rate).value, 1e6)));
}

/// All paths up to this many GPUs are made with the topology.
constexpr std::uint32_t eager_gpus = 1024;

constexpr std::uint32_t no_vertex = std::numeric_limits<std::uint32_t>::max();

/// Paths from one GPU to all others, one after the other.
struct PathRow {
  std::vector<std::uint32_t> first;  ///< of each target, and the end
  std::vector<LinkId> links;
};

}  // namespace

std::string_view name(VertexKind kind) {
  switch (kind) {
    case VertexKind::gpu:
      return "gpu";
    case VertexKind::nvswitch:
      return "nvswitch";
    case VertexKind::pcie_switch:
      return "pcie_switch";
    case VertexKind::host:
      return "cpu";
    case VertexKind::nic:
      return "nic";
    case VertexKind::leaf:
      return "leaf";
    case VertexKind::spine:
      return "spine";
  }
  return "";
}

std::string_view name(LinkKind kind) {
  switch (kind) {
    case LinkKind::scale_up:
      return "scale_up";
    case LinkKind::pcie:
      return "pcie";
    case LinkKind::nic:
      return "nic";
    case LinkKind::fabric:
      return "fabric";
  }
  return "";
}

struct Topology::Graph {
  ClusterSpec cluster;
  std::uint32_t gpus = 0;
  std::vector<Vertex> vertices;
  std::vector<Link> links;
  std::vector<std::vector<std::uint32_t>> links_to;  ///< of each vertex, ascending
  Network network;
  std::vector<Weight> weights;            ///< of each link
  VertexSet inner;                        ///< switches and sockets inside nodes and domains
  VertexSet switches_of_fabric;           ///< leaves and the spine
  std::vector<std::uint32_t> nic_of_gpu;  ///< vertex
  std::vector<std::uint32_t> leaves;      ///< vertices
  std::uint32_t spine = no_vertex;
  std::vector<std::uint32_t> leaf_link;             ///< nic vertex -> leaf, by vertex; no_vertex elsewhere
  std::vector<std::uint32_t> leaf_index;            ///< of a leaf vertex in `leaves`
  std::vector<std::vector<LinkId>> exits;           ///< GPU -> its NIC
  std::vector<std::vector<LinkId>> between_leaves;  ///< leaves x leaves
  mutable std::vector<PathRow> rows;                ///< empty `first`: not made yet

  explicit Graph(const ClusterSpec& spec) : cluster(spec) {
    gpus = static_cast<std::uint32_t>(cluster.nodes) * static_cast<std::uint32_t>(cluster.gpus_per_node);
    MOESIM_CHECK(gpus > 0, "a cluster of {} nodes with {} GPUs each", cluster.nodes, cluster.gpus_per_node);
    for (std::uint32_t g = 0; g < gpus; ++g) add_vertex(VertexKind::gpu, fmt::format("gpu{}", g));
    nic_of_gpu.assign(gpus, no_vertex);
    add_scale_up();
    for (std::uint32_t n = 0; n < static_cast<std::uint32_t>(cluster.nodes); ++n) add_node(n);
    add_fabric();
    index_links();
    find_exits();
    find_leaf_paths();
    rows.resize(gpus);
    if (gpus <= eager_gpus) {
      for (std::uint32_t g = 0; g < gpus; ++g) make_row(g);
    }
  }

  std::uint32_t node_of(std::uint32_t gpu) const { return gpu / static_cast<std::uint32_t>(cluster.gpus_per_node); }
  std::uint32_t domain_of(std::uint32_t gpu) const { return gpu / static_cast<std::uint32_t>(cluster.scale_up_domain); }

  std::uint32_t add_vertex(VertexKind kind, std::string label) {
    vertices.push_back({std::move(label), kind});
    return static_cast<std::uint32_t>(vertices.size() - 1);
  }
  /// Both directions.
  void connect(std::uint32_t a, std::uint32_t b, LinkKind kind, const LinkClass& rate) {
    links.push_back({a, b, kind, rate});
    links.push_back({b, a, kind, rate});
  }

  void add_scale_up() {
    const auto domain = static_cast<std::uint32_t>(cluster.scale_up_domain);
    if (domain < 2 || cluster.scale_up == ScaleUpKind::pcie) return;
    LinkClass to_peer = cluster.scale_up_link;
    to_peer.bandwidth.value /= domain - 1;
    for (std::uint32_t first = 0; first < gpus; first += domain) {
      const std::uint32_t end = std::min(first + domain, gpus);
      if (cluster.scale_up == ScaleUpKind::switched) {
        const std::uint32_t hub = add_vertex(VertexKind::nvswitch, fmt::format("nvswitch{}", first / domain));
        for (std::uint32_t g = first; g < end; ++g) connect(g, hub, LinkKind::scale_up, cluster.scale_up_link);
      } else {
        for (std::uint32_t a = first; a < end; ++a) {
          for (std::uint32_t b = a + 1; b < end; ++b) connect(a, b, LinkKind::scale_up, to_peer);
        }
      }
    }
  }

  /// NIC vertices of a node: one a NIC, or one a GPU where a GPU has several.
  std::uint32_t nic_vertices() const {
    return static_cast<std::uint32_t>(std::min(cluster.nics_per_node, cluster.gpus_per_node));
  }

  void add_node(std::uint32_t node) {
    const auto per_node = static_cast<std::uint32_t>(cluster.gpus_per_node);
    const auto sockets = static_cast<std::uint32_t>(cluster.sockets);
    const auto switches = static_cast<std::uint32_t>(cluster.pcie_switches);
    const std::uint32_t nics = nic_vertices();
    std::vector<std::uint32_t> host(sockets), pcie(switches);
    for (std::uint32_t s = 0; s < sockets; ++s) {
      host[s] = add_vertex(VertexKind::host, fmt::format("cpu{}", node * sockets + s));
      for (std::uint32_t other = 0; other < s; ++other) {
        connect(host[other], host[s], LinkKind::pcie, cluster.socket_link);
      }
    }
    for (std::uint32_t s = 0; s < switches; ++s) {
      pcie[s] = add_vertex(VertexKind::pcie_switch, fmt::format("pcie_switch{}", node * switches + s));
      connect(pcie[s], host[s * sockets / switches], LinkKind::pcie, cluster.pcie_uplink);
    }
    // Item i of n hangs on the PCIe switch, or socket, of its share of the node.
    const auto anchor = [&](std::uint32_t i, std::uint32_t n) {
      return switches > 0 ? pcie[i * switches / n] : host[i * sockets / n];
    };
    // On a box without scale-up links, what GPUs of one switch reach of each other is a measured class of its own.
    const LinkClass& gpu_link = cluster.scale_up == ScaleUpKind::pcie ? cluster.scale_up_link : cluster.host_link;
    for (std::uint32_t i = 0; i < per_node; ++i) {
      connect(node * per_node + i, anchor(i, per_node), LinkKind::pcie, gpu_link);
    }
    for (std::uint32_t i = 0; i < nics; ++i) {
      const std::uint32_t nic = add_vertex(VertexKind::nic, fmt::format("nic{}", node * nics + i));
      LinkClass slot = cluster.host_link;
      slot.latency = Duration();  // the NIC's own latency holds it
      connect(nic, anchor(i, nics), LinkKind::pcie, slot);
      for (std::uint32_t g = 0; g < per_node; ++g) {
        if (g * nics / per_node == i) nic_of_gpu[node * per_node + g] = nic;
      }
    }
  }

  void add_fabric() {
    const std::uint32_t nics = nic_vertices();
    if (cluster.fabric == FabricKind::none || nics == 0) return;
    LinkClass port = cluster.nic;
    port.bandwidth.value *= std::max(1.0, static_cast<double>(cluster.nics_per_node) / cluster.gpus_per_node);
    const auto nodes = static_cast<std::uint32_t>(cluster.nodes);
    const auto ports = static_cast<std::uint32_t>(cluster.leaf_ports);
    const bool rails = cluster.fabric == FabricKind::rail_fat_tree;
    const std::uint32_t nodes_per_leaf = rails ? ports : std::max(1U, ports / nics);
    const std::uint32_t groups = (nodes + nodes_per_leaf - 1) / nodes_per_leaf;
    // Leaves are numbered by group of nodes, then by rail.
    const std::uint32_t rail_count = rails ? nics : 1;
    for (std::uint32_t i = 0; i < groups * rail_count; ++i) {
      leaves.push_back(add_vertex(VertexKind::leaf, fmt::format("leaf{}", i)));
    }
    for (std::uint32_t n = 0; n < nodes; ++n) {
      for (std::uint32_t i = 0; i < nics; ++i) {
        const std::uint32_t nic = nic_of_gpu[first_gpu_of_nic(n, i)];
        connect(nic, leaves[n / nodes_per_leaf * rail_count + (rails ? i : 0)], LinkKind::nic, port);
      }
    }
    if (leaves.size() < 2) return;
    spine = add_vertex(VertexKind::spine, "spine");
    LinkClass uplink = port;
    uplink.bandwidth.value *= (rails ? ports : nodes_per_leaf * nics) / cluster.oversubscription;
    uplink.latency = cluster.switch_hop;
    for (const std::uint32_t leaf : leaves) connect(leaf, spine, LinkKind::fabric, uplink);
  }

  std::uint32_t first_gpu_of_nic(std::uint32_t node, std::uint32_t nic) const {
    const auto per_node = static_cast<std::uint32_t>(cluster.gpus_per_node);
    const std::uint32_t nics = nic_vertices();
    return node * per_node + (nic * per_node + nics - 1) / nics;
  }

  void index_links() {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ends;
    std::vector<EdgeWeight> edge_weights;
    links_to.resize(vertices.size());
    leaf_link.assign(vertices.size(), no_vertex);
    leaf_index.assign(vertices.size(), no_vertex);
    for (std::uint32_t i = 0; i < leaves.size(); ++i) leaf_index[leaves[i]] = i;
    for (const Vertex& vertex : vertices) {
      const VertexKind kind = vertex.kind;
      inner.push_back(kind == VertexKind::nvswitch || kind == VertexKind::pcie_switch || kind == VertexKind::host);
      switches_of_fabric.push_back(kind == VertexKind::leaf || kind == VertexKind::spine);
    }
    for (std::uint32_t i = 0; i < links.size(); ++i) {
      const Link& link = links[i];
      weights.push_back(weight_of(link.rate));
      ends.emplace_back(link.from, link.to);
      edge_weights.push_back({weights.back()});
      links_to[link.to].push_back(i);
      if (link.kind == LinkKind::nic && vertices[link.from].kind == VertexKind::nic) leaf_link[link.from] = i;
    }
    network =
        Network(boost::edges_are_unsorted_multi_pass, ends.begin(), ends.end(), edge_weights.begin(), vertices.size());
  }

  /// Distances from `source` over links that start there or at one of the vertices of `inside`.
  void distances(std::uint32_t source, const VertexSet& inside, std::vector<Weight>& distance) const {
    const boost::filtered_graph<Network, StartsInside> view(network, StartsInside{&network, source, inside.data()});
    boost::dijkstra_shortest_paths(
        view, source,
        boost::weight_map(get(&EdgeWeight::weight, network))
            .distance_map(boost::make_iterator_property_map(distance.begin(), get(boost::vertex_index, network))));
  }

  /// The path to `target` by the lowest links among those of least distance. Appends.
  void trace(std::uint32_t source, std::uint32_t target, const VertexSet& inside, const std::vector<Weight>& distance,
             std::vector<LinkId>& path) const {
    MOESIM_CHECK(distance[target] != unreached, "no path from {} to {}", vertices[source].name, vertices[target].name);
    const auto start = static_cast<std::ptrdiff_t>(path.size());
    for (std::uint32_t at = target; at != source;) {
      const auto last = std::find_if(links_to[at].begin(), links_to[at].end(), [&](std::uint32_t i) {
        const std::uint32_t from = links[i].from;
        return (from == source || inside[from]) && distance[from] != unreached &&
               distance[from] + weights[i] == distance[at];
      });
      path.push_back(LinkId{*last});
      at = links[*last].from;
    }
    std::reverse(path.begin() + start, path.end());
  }

  void find_exits() {
    exits.resize(gpus);
    if (nic_vertices() == 0) return;
    std::vector<Weight> distance(vertices.size());
    for (std::uint32_t g = 0; g < gpus; ++g) {
      distances(g, inner, distance);
      trace(g, nic_of_gpu[g], inner, distance, exits[g]);
    }
  }

  void find_leaf_paths() {
    between_leaves.resize(leaves.size() * leaves.size());
    std::vector<Weight> distance(vertices.size());
    for (std::size_t a = 0; a < leaves.size(); ++a) {
      distances(leaves[a], switches_of_fabric, distance);
      for (std::size_t b = 0; b < leaves.size(); ++b) {
        trace(leaves[a], leaves[b], switches_of_fabric, distance, between_leaves[a * leaves.size() + b]);
      }
    }
  }

  void make_row(std::uint32_t a) const {
    std::vector<Weight> distance(vertices.size());
    distances(a, inner, distance);
    PathRow& row = rows[a];
    row.first.reserve(gpus + 1);
    row.links.reserve(static_cast<std::size_t>(gpus) * 6);
    for (std::uint32_t b = 0; b < gpus; ++b) {
      row.first.push_back(static_cast<std::uint32_t>(row.links.size()));
      if (a == b) continue;
      if (domain_of(a) == domain_of(b) || node_of(a) == node_of(b)) {
        trace(a, b, inner, distance, row.links);
      } else {
        append_network_path(a, b, row.links);
      }
    }
    row.first.push_back(static_cast<std::uint32_t>(row.links.size()));
  }

  void append_network_path(std::uint32_t a, std::uint32_t b, std::vector<LinkId>& path) const {
    MOESIM_CHECK(!leaves.empty(), "no path from {} to {}", vertices[a].name, vertices[b].name);
    const std::uint32_t up = leaf_link[nic_of_gpu[a]], down = leaf_link[nic_of_gpu[b]];
    const std::vector<LinkId>& across =
        between_leaves[leaf_index[links[up].to] * leaves.size() + leaf_index[links[down].to]];
    path.insert(path.end(), exits[a].begin(), exits[a].end());
    path.push_back(LinkId{up});
    path.insert(path.end(), across.begin(), across.end());
    path.push_back(LinkId{down ^ 1});
    std::for_each(exits[b].rbegin(), exits[b].rend(), [&](LinkId link) { path.push_back(LinkId{link.value ^ 1}); });
  }

  std::span<const LinkId> path(std::uint32_t a, std::uint32_t b) const {
    if (rows[a].first.empty()) make_row(a);
    const PathRow& row = rows[a];
    return std::span(row.links).subspan(row.first[b], row.first[b + 1] - row.first[b]);
  }

  BytesPerSecond bisection() const;
};

BytesPerSecond Topology::Graph::bisection() const {
  if (gpus < 2) return {};
  const std::uint32_t half =
      cluster.nodes > 1 ? static_cast<std::uint32_t>(cluster.nodes / 2 * cluster.gpus_per_node) : gpus / 2;
  std::vector<char> used(links.size(), 0);
  for (std::uint32_t a = 0; a < half; ++a) {
    for (std::uint32_t b = half; b < gpus; ++b) {
      for (const LinkId link : path(a, b)) used[link.value] = 1;
    }
  }

  using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
  using Flow = boost::adjacency_list<
      boost::vecS, boost::vecS, boost::directedS, boost::no_property,
      boost::property<boost::edge_capacity_t, std::int64_t,
                      boost::property<boost::edge_residual_capacity_t, std::int64_t,
                                      boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;
  Flow flow(vertices.size() + 2);
  const std::size_t source = vertices.size(), sink = source + 1;
  const auto capacity = get(boost::edge_capacity, flow);
  const auto reverse = get(boost::edge_reverse, flow);
  const auto add = [&](std::size_t from, std::size_t to, std::int64_t amount) {
    const auto forward = boost::add_edge(from, to, flow).first;
    const auto back = boost::add_edge(to, from, flow).first;
    capacity[forward] = amount;
    capacity[back] = 0;
    reverse[forward] = back;
    reverse[back] = forward;
  };
  std::vector<std::int64_t> leaving(gpus, 0), arriving(gpus, 0);
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (!used[i]) continue;
    const std::int64_t amount = std::llround(reachable(links[i].rate).value);
    add(links[i].from, links[i].to, amount);
    if (links[i].from < gpus) leaving[links[i].from] += amount;
    if (links[i].to < gpus) arriving[links[i].to] += amount;
  }
  for (std::uint32_t g = 0; g < half; ++g) add(source, g, leaving[g]);
  for (std::uint32_t g = half; g < gpus; ++g) add(g, sink, arriving[g]);
  return {static_cast<double>(boost::push_relabel_max_flow(flow, source, sink))};
}

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
  return NodeId{graph_->node_of(gpu.value)};
}
std::uint32_t Topology::domain_of(GpuId gpu) const {
  return graph_->domain_of(gpu.value);
}
std::span<const Vertex> Topology::vertices() const {
  return graph_->vertices;
}
std::span<const Link> Topology::links() const {
  return graph_->links;
}

std::span<const LinkId> Topology::path(GpuId a, GpuId b) const {
  MOESIM_CHECK(a.value < gpu_count() && b.value < gpu_count(), "path from GPU {} to {} of {}", a.value, b.value,
               gpu_count());
  return graph_->path(a.value, b.value);
}

BytesPerSecond Topology::bisection_bandwidth() const {
  return graph_->bisection();
}

void Topology::write_dot(std::ostream& out) const {
  fmt::print(out, "digraph cluster {{\n");
  for (const Vertex& vertex : vertices()) fmt::print(out, "  {} [kind={}];\n", vertex.name, name(vertex.kind));
  for (const Link& link : links()) {
    fmt::print(out, "  {} -> {} [gbps={} lat_us={}];\n", vertices()[link.from].name, vertices()[link.to].name,
               link.rate.bandwidth.value / 1e9, link.rate.latency.microseconds());
  }
  fmt::print(out, "}}\n");
}

void Topology::write_graphml(std::ostream& out) const {
  fmt::print(out,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\" "
             "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
             "xsi:schemaLocation=\"http://graphml.graphdrawing.org/xmlns "
             "http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd\">\n"
             "  <key id=\"key0\" for=\"edge\" attr.name=\"gbps\" attr.type=\"double\"/>\n"
             "  <key id=\"key1\" for=\"edge\" attr.name=\"lat_us\" attr.type=\"double\"/>\n"
             "  <key id=\"key2\" for=\"node\" attr.name=\"kind\" attr.type=\"string\"/>\n"
             "  <key id=\"key3\" for=\"node\" attr.name=\"name\" attr.type=\"string\"/>\n"
             "  <graph id=\"G\" edgedefault=\"directed\" parse.nodeids=\"canonical\" parse.edgeids=\"canonical\" "
             "parse.order=\"nodesfirst\">\n");
  for (std::size_t i = 0; i < vertices().size(); ++i) {
    fmt::print(out, "    <node id=\"n{}\"><data key=\"key2\">{}</data><data key=\"key3\">{}</data></node>\n", i,
               name(vertices()[i].kind), vertices()[i].name);
  }
  for (std::size_t i = 0; i < links().size(); ++i) {
    const Link& link = links()[i];
    fmt::print(out,
               "    <edge id=\"e{}\" source=\"n{}\" target=\"n{}\"><data key=\"key0\">{}</data>"
               "<data key=\"key1\">{}</data></edge>\n",
               i, link.from, link.to, link.rate.bandwidth.value / 1e9, link.rate.latency.microseconds());
  }
  fmt::print(out, "  </graph>\n</graphml>\n");
}

std::vector<LinkClassSummary> summarize_links(const Topology& topology) {
  std::vector<LinkClassSummary> classes;
  for (const Link& link : topology.links()) {
    const LinkClass& rate = link.rate;
    const auto same = std::find_if(classes.begin(), classes.end(), [&](const LinkClassSummary& c) {
      return c.kind == link.kind && c.line_rate == rate.bandwidth && c.efficiency == rate.efficiency &&
             c.latency == rate.latency;
    });
    if (same != classes.end()) {
      ++same->links;
    } else {
      classes.push_back({link.kind, 1, rate.bandwidth, rate.efficiency, rate.latency});
    }
  }
  return classes;
}

}  // namespace moesim
