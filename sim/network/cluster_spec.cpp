#include "network/cluster_spec.h"

#include <algorithm>

namespace moesim {

namespace {

std::int32_t largest_count(const std::vector<GpuPlace>& places, std::uint32_t GpuPlace::* number) {
  std::vector<std::int32_t> counts;
  for (const GpuPlace& place : places) {
    counts.resize(std::max<std::size_t>(counts.size(), place.*number + 1));
    ++counts[place.*number];
  }
  return *std::max_element(counts.begin(), counts.end());
}

}  // namespace

void sum_up_graph(ClusterSpec& cluster) {
  const ClusterGraph& graph = *cluster.graph;
  const std::vector<GpuPlace> places = gpu_places(graph);
  std::uint32_t nodes = 0;
  for (const GpuPlace& place : places) nodes = std::max(nodes, place.node + 1);
  cluster.nodes = static_cast<std::int32_t>(nodes);
  cluster.gpus_per_node = largest_count(places, &GpuPlace::node);
  cluster.scale_up_domain = largest_count(places, &GpuPlace::domain);
  const auto count = [&](VertexKind kind) {
    return static_cast<std::int32_t>(std::count_if(graph.vertices.begin(), graph.vertices.end(),
                                                   [&](const Vertex& vertex) { return vertex.kind == kind; }));
  };
  cluster.scale_up = count(VertexKind::nvswitch) > 0 ? ScaleUpKind::switched
                     : cluster.scale_up_domain > 1   ? ScaleUpKind::mesh
                                                     : ScaleUpKind::pcie;
  cluster.sockets = std::max(1, count(VertexKind::host) / cluster.nodes);
  cluster.pcie_switches = count(VertexKind::pcie_switch) / cluster.nodes;
  cluster.nics_per_node = count(VertexKind::nic) / cluster.nodes;
  cluster.spines = std::max(1, count(VertexKind::spine));
  cluster.fabric = count(VertexKind::leaf) > 0 ? FabricKind::leaf_spine : FabricKind::none;
  for (auto link = graph.links.rbegin(); link != graph.links.rend(); ++link) {
    if (link->kind == LinkKind::nic) cluster.nic = link->rate;
    if (link->kind == LinkKind::pcie && link->from == 0) cluster.host_link = link->rate;
    if (link->kind == LinkKind::scale_up && link->from == 0) cluster.scale_up_link = link->rate;
  }
  double scale_up = 0;
  for (const Link& link : graph.links) {
    if (link.kind == LinkKind::scale_up && link.from == 0) scale_up += link.rate.bandwidth.value;
  }
  cluster.scale_up_link.bandwidth = {scale_up};
}

}  // namespace moesim
