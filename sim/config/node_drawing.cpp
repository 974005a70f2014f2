#include "config/node_drawing.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "config/json_reader.h"
#include "config/link_rates.h"

namespace moesim {

namespace {

constexpr std::uint32_t leaf_ports = 32;

/// Parts of one machine in a cluster of several: their vertices.
using NodeVertices = std::vector<std::uint32_t>;

/// GPUs of all machines first, then the other parts of each.
std::vector<NodeVertices> add_vertices(const NodeDrawing& node, std::uint32_t nodes, ClusterGraph& graph) {
  std::vector<NodeVertices> vertices(nodes, NodeVertices(node.parts.size()));
  std::vector<std::size_t> numbered(node.parts.size());
  std::iota(numbered.begin(), numbered.end(), std::size_t{0});
  std::stable_sort(numbered.begin(), numbered.end(),
                   [&](std::size_t a, std::size_t b) { return node.parts[a].order < node.parts[b].order; });
  std::array<std::uint32_t, kVertexKinds> next{};
  for (const bool gpus : {true, false}) {
    for (std::uint32_t n = 0; n < nodes; ++n) {
      for (const std::size_t i : numbered) {
        const VertexKind kind = node.parts[i].kind;
        if ((kind == VertexKind::gpu) != gpus) continue;
        const std::uint32_t number = next[static_cast<std::size_t>(kind)]++;
        vertices[n][i] = graph.add(kind, fmt::format("{}{}", name(kind), number), static_cast<std::int32_t>(n));
      }
    }
  }
  return vertices;
}

BytesPerSecond cable_of(const NodeDrawing& node, std::uint32_t nic, const ImportOptions& options) {
  if (node.parts[nic].cable.value > 0) return node.parts[nic].cable;
  if (options.nic_rate) return *options.nic_rate;
  throw ConfigError(
      InputProblem::usage,
      fmt::format("{}: does not say how fast its NICs are; give --nic-rate, for example \"400 Gbit/s\"", node.file));
}

void add_fabric(const NodeDrawing& node, const ImportOptions& options, const std::vector<NodeVertices>& vertices,
                ClusterGraph& graph) {
  std::vector<std::uint32_t> nics = node.all(VertexKind::nic);
  std::stable_sort(nics.begin(), nics.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return node.parts[a].order < node.parts[b].order; });
  if (nics.empty()) {
    throw ConfigError(InputProblem::cannot_go_together,
                      fmt::format("{}: shows no NIC, so that nothing connects {} nodes", node.file, vertices.size()));
  }
  const bool rails = options.fabric == FabricKind::rail_fat_tree;
  const auto nics_per_node = static_cast<std::uint32_t>(nics.size());
  const std::uint32_t nodes_per_leaf = rails ? leaf_ports : std::max(1U, leaf_ports / nics_per_node);
  const std::uint32_t rail_count = rails ? nics_per_node : 1;
  const auto groups = (static_cast<std::uint32_t>(vertices.size()) + nodes_per_leaf - 1) / nodes_per_leaf;
  std::vector<std::uint32_t> leaves(groups * rail_count);
  std::vector<double> down(leaves.size(), 0);
  for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i] = graph.add(VertexKind::leaf, fmt::format("leaf{}", i));
  for (std::uint32_t n = 0; n < vertices.size(); ++n) {
    for (std::uint32_t i = 0; i < nics_per_node; ++i) {
      const std::uint32_t leaf = n / nodes_per_leaf * rail_count + (rails ? i : 0);
      const LinkClass port{cable_of(node, nics[i], options), nic_efficiency, nic_latency};
      graph.connect(vertices[n][nics[i]], leaves[leaf], LinkKind::nic, port);
      down[leaf] += port.bandwidth.value;
    }
  }
  if (leaves.size() < 2) return;
  const std::uint32_t spine = graph.add(VertexKind::spine, "spine");
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    graph.connect(leaves[i], spine, LinkKind::fabric, {{down[i]}, nic_efficiency, switch_latency});
  }
}

}  // namespace

std::uint32_t NodeDrawing::add(VertexKind kind, std::int32_t parent, const LinkClass& up) {
  parts.push_back({.kind = kind, .parent = parent, .up = up, .cable = {}});
  return static_cast<std::uint32_t>(parts.size() - 1);
}

std::vector<std::uint32_t> NodeDrawing::all(VertexKind kind) const {
  std::vector<std::uint32_t> list;
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    if (parts[i].kind == kind) list.push_back(i);
  }
  return list;
}

void NodeDrawing::add_datasheet_scale_up(const GpuSpec& gpu, ScaleUpKind kind) {
  const std::vector<std::uint32_t> gpus = all(VertexKind::gpu);
  if (kind == ScaleUpKind::pcie || gpus.size() < 2) return;
  // The datasheet gives the line rate; what of it is reached is that of the GPU's NVLink, else 0.75 (measured on xGMI:
  // 330 of 448 GB/s).
  const auto capability = compute_capability(gpu.architecture);
  LinkClass rate{gpu.scale_up, capability ? nvlink_rate(*capability).efficiency : 0.75, scale_up_latency};
  if (kind == ScaleUpKind::switched) {
    const std::uint32_t hub = add(VertexKind::nvswitch, -1, {});
    for (const std::uint32_t g : gpus) bonds.push_back({g, hub, LinkKind::scale_up, rate});
    return;
  }
  rate.bandwidth.value = std::min(gpu.scale_up_peer.value, gpu.scale_up.value / static_cast<double>(gpus.size() - 1));
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    for (std::size_t j = i + 1; j < gpus.size(); ++j) bonds.push_back({gpus[i], gpus[j], LinkKind::scale_up, rate});
  }
}

void NodeDrawing::connect_sockets(const LinkClass& rate) {
  const std::vector<std::uint32_t> sockets = all(VertexKind::host);
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    for (std::size_t j = i + 1; j < sockets.size(); ++j)
      bonds.push_back({sockets[i], sockets[j], LinkKind::pcie, rate});
  }
}

ClusterSpec cluster_of_nodes(const NodeDrawing& node, const ImportOptions& options, const GpuSpec& gpu) {
  ClusterSpec cluster;
  const auto nodes = static_cast<std::uint32_t>(options.nodes);
  const std::size_t gpus = node.all(VertexKind::gpu).size();
  cluster.gpu = gpu.id;
  cluster.name = fmt::format("{}{} x {}, from {}", nodes > 1 ? fmt::format("{} nodes of ", nodes) : "", gpus, gpu.name,
                             std::filesystem::path(node.file).filename().string());
  for (const std::string& note : node.notes) cluster.source += (cluster.source.empty() ? "" : "; ") + note;
  ClusterGraph graph;
  const std::vector<NodeVertices> vertices = add_vertices(node, nodes, graph);
  for (const NodeVertices& at : vertices) {
    for (const NodeBond& bond : node.bonds) {
      if (bond.kind == LinkKind::scale_up) graph.connect(at[bond.a], at[bond.b], bond.kind, bond.rate);
    }
    for (std::size_t i = 0; i < node.parts.size(); ++i) {
      const NodePart& part = node.parts[i];
      if (part.parent >= 0) graph.connect(at[i], at[static_cast<std::size_t>(part.parent)], LinkKind::pcie, part.up);
    }
    for (const NodeBond& bond : node.bonds) {
      if (bond.kind != LinkKind::scale_up) graph.connect(at[bond.a], at[bond.b], bond.kind, bond.rate);
    }
  }
  if (nodes > 1) add_fabric(node, options, vertices, graph);
  if (const auto ends = unconnected(graph)) {
    throw ConfigError(InputProblem::bad_data,
                      fmt::format("{}: shows no path from {} to {}", node.file, graph.vertices[ends->first].name,
                                  graph.vertices[ends->second].name));
  }
  cluster.graph = std::move(graph);
  sum_up_graph(cluster);
  return cluster;
}

}  // namespace moesim
