// Bisection bandwidth as a maximum flow.

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <cmath>

#include "network/topology.h"

namespace moesim {

namespace {

/// Of the nodes, or, in one node, of the GPUs.
bool in_first_half(const Topology& topology, std::uint32_t gpu) {
  const auto nodes = static_cast<std::uint32_t>(topology.cluster().nodes);
  return nodes > 1 ? topology.node_of(GpuId{gpu}).value < nodes / 2 : gpu < topology.gpu_count() / 2;
}

/// A flag for each link that a path from the first half to the second uses.
std::vector<char> used_links(const Topology& topology) {
  std::vector<char> used(topology.links().size(), 0);
  const bool drawn = topology.cluster().graph.has_value();
  for (GpuId a; a.value < topology.gpu_count(); ++a.value) {
    if (!in_first_half(topology, a.value)) continue;
    for (GpuId b; b.value < topology.gpu_count(); ++b.value) {
      if (in_first_half(topology, b.value)) continue;
      for (const LinkId link : topology.path(a, b)) used[link.value] = 1;
      if (!drawn) continue;
      for (const std::vector<LinkId>& path : topology.paths(a, b)) {
        for (const LinkId link : path) used[link.value] = 1;
      }
    }
  }
  return used;
}

/// Of tiers: a leaf that uses one spine uses all, in the same direction.
void use_all_spines(const Topology& topology, std::vector<char>& used) {
  const std::span<const Link> links = topology.links();
  std::vector<char> up(topology.vertices().size(), 0), down(topology.vertices().size(), 0);
  const auto rises = [&](const Link& link) { return topology.vertices()[link.to].kind == VertexKind::spine; };
  for (const bool mark : {true, false}) {
    for (std::size_t i = 0; i < links.size(); ++i) {
      if (links[i].kind != LinkKind::fabric) continue;
      char& leaf = rises(links[i]) ? up[links[i].from] : down[links[i].to];
      if (mark) {
        leaf = leaf || used[i];
      } else {
        used[i] = used[i] || leaf;
      }
    }
  }
}

}  // namespace

BytesPerSecond Topology::bisection_bandwidth() const {
  const std::uint32_t gpus = gpu_count();
  if (gpus < 2) return {};
  const std::span<const Link> links = this->links();
  std::vector<char> used = used_links(*this);
  if (!cluster().graph) use_all_spines(*this, used);

  using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
  using Flow = boost::adjacency_list<
      boost::vecS, boost::vecS, boost::directedS, boost::no_property,
      boost::property<boost::edge_capacity_t, std::int64_t,
                      boost::property<boost::edge_residual_capacity_t, std::int64_t,
                                      boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;
  Flow flow(vertices().size() + 2);
  const std::size_t source = vertices().size(), sink = source + 1;
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
  for (std::uint32_t g = 0; g < gpus; ++g) {
    if (in_first_half(*this, g)) {
      add(source, g, leaving[g]);
    } else {
      add(g, sink, arriving[g]);
    }
  }
  return {static_cast<double>(boost::push_relabel_max_flow(flow, source, sink))};
}

}  // namespace moesim
