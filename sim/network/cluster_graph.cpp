#include "network/cluster_graph.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "core/check.h"

namespace moesim {

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

namespace {

bool of_network(VertexKind kind) {
  return kind == VertexKind::leaf || kind == VertexKind::spine;
}

bool of_scale_up(VertexKind kind) {
  return kind == VertexKind::gpu || kind == VertexKind::nvswitch;
}

/// Sets of vertices that hang together.
class Components {
 public:
  explicit Components(std::size_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), 0U); }
  std::uint32_t of(std::uint32_t v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }
  /// The lower number stays.
  void join(std::uint32_t a, std::uint32_t b) {
    const std::uint32_t x = of(a), y = of(b);
    parent_[std::max(x, y)] = std::min(x, y);
  }

 private:
  std::vector<std::uint32_t> parent_;
};

/// Whether each vertex can be reached from GPU 0 (`forward`), or reaches it.
std::vector<char> reached(const ClusterGraph& graph, bool forward) {
  std::vector<std::vector<std::uint32_t>> next(graph.vertices.size());
  for (const Link& link : graph.links) {
    next[forward ? link.from : link.to].push_back(forward ? link.to : link.from);
  }
  std::vector<char> seen(graph.vertices.size(), 0);
  std::vector<std::uint32_t> open = {0};
  seen[0] = 1;
  while (!open.empty()) {
    const std::uint32_t at = open.back();
    open.pop_back();
    for (const std::uint32_t v : next[at]) {
      if (!seen[v]) open.push_back(v);
      seen[v] = 1;
    }
  }
  return seen;
}

}  // namespace

LinkKind usual_kind(VertexKind from, VertexKind to) {
  if (of_scale_up(from) && of_scale_up(to)) return LinkKind::scale_up;
  if (of_network(from) && of_network(to)) return LinkKind::fabric;
  if (of_network(from) || of_network(to) || (from == VertexKind::nic && to == VertexKind::nic)) return LinkKind::nic;
  return LinkKind::pcie;
}

std::uint32_t ClusterGraph::add(VertexKind kind, std::string label, std::int32_t node) {
  vertices.push_back({std::move(label), kind, node});
  return static_cast<std::uint32_t>(vertices.size() - 1);
}

void ClusterGraph::connect(std::uint32_t a, std::uint32_t b, LinkKind kind, const LinkClass& rate) {
  MOESIM_CHECK(links.size() == 2 * cables, "a cable after {} links of one direction", links.size() - 2 * cables);
  links.push_back({a, b, kind, rate});
  links.push_back({b, a, kind, rate});
  ++cables;
}

std::uint32_t ClusterGraph::gpus() const {
  const auto other = std::find_if(vertices.begin(), vertices.end(),
                                  [](const Vertex& vertex) { return vertex.kind != VertexKind::gpu; });
  return static_cast<std::uint32_t>(other - vertices.begin());
}

std::vector<GpuPlace> gpu_places(const ClusterGraph& graph) {
  const std::uint32_t gpus = graph.gpus();
  Components machines(graph.vertices.size()), domains(graph.vertices.size());
  for (const Link& link : graph.links) {
    if (link.kind == LinkKind::scale_up) domains.join(link.from, link.to);
    if (link.kind == LinkKind::scale_up || link.kind == LinkKind::pcie) machines.join(link.from, link.to);
  }
  const bool said = std::any_of(graph.vertices.begin(), graph.vertices.begin() + gpus,
                                [](const Vertex& vertex) { return vertex.node >= 0; });
  std::map<std::int64_t, std::uint32_t> nodes, domain_numbers;
  for (std::uint32_t g = 0; g < gpus; ++g) {
    nodes.emplace(said ? graph.vertices[g].node : static_cast<std::int64_t>(machines.of(g)), 0);
  }
  std::uint32_t number = 0;
  for (auto& [key, node] : nodes) node = number++;
  std::vector<GpuPlace> places(gpus);
  for (std::uint32_t g = 0; g < gpus; ++g) {
    places[g].node = nodes.at(said ? graph.vertices[g].node : static_cast<std::int64_t>(machines.of(g)));
    const auto next = static_cast<std::uint32_t>(domain_numbers.size());
    places[g].domain = domain_numbers.try_emplace(domains.of(g), next).first->second;
  }
  return places;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> unconnected(const ClusterGraph& graph) {
  for (const bool forward : {true, false}) {
    const std::vector<char> seen = reached(graph, forward);
    for (std::uint32_t g = 0; g < graph.gpus(); ++g) {
      if (!seen[g]) return forward ? std::pair{0U, g} : std::pair{g, 0U};
    }
  }
  return std::nullopt;
}

}  // namespace moesim
