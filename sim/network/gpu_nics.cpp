#include "network/gpu_nics.h"

#include <algorithm>
#include <map>

namespace moesim {

namespace {

std::vector<std::uint32_t> cabled_nics(const ClusterGraph& graph) {
  std::vector<std::uint32_t> all, cabled;
  std::vector<char> has_cable(graph.vertices.size(), 0);
  for (const Link& link : graph.links) {
    if (link.kind == LinkKind::nic) has_cable[link.from] = has_cable[link.to] = 1;
  }
  for (std::uint32_t v = 0; v < graph.vertices.size(); ++v) {
    if (graph.vertices[v].kind != VertexKind::nic) continue;
    all.push_back(v);
    if (has_cable[v]) cabled.push_back(v);
  }
  return cabled.empty() ? all : cabled;
}

}  // namespace

std::vector<std::vector<std::uint32_t>> nics_of_gpus(const ClusterGraph& graph, const ShortestPaths& search,
                                                     const VertexSet& inside) {
  const std::vector<std::uint32_t> nics = cabled_nics(graph);
  std::map<std::vector<std::uint32_t>, std::vector<std::uint32_t>> sharing;  // nearest NICs -> GPUs
  std::vector<ShortestPaths::Weight> distance;
  for (std::uint32_t g = 0; g < graph.gpus(); ++g) {
    search.distances(g, inside, distance);
    ShortestPaths::Weight least = ShortestPaths::unreached;
    for (const std::uint32_t nic : nics) least = std::min(least, distance[nic]);
    if (least == ShortestPaths::unreached) continue;
    std::vector<std::uint32_t> nearest;
    std::copy_if(nics.begin(), nics.end(), std::back_inserter(nearest),
                 [&](std::uint32_t nic) { return distance[nic] == least; });
    sharing[nearest].push_back(g);
  }
  std::vector<std::vector<std::uint32_t>> served(graph.gpus());
  for (const auto& [near, gpus] : sharing) {
    const std::size_t m = near.size(), n = gpus.size();
    for (std::size_t i = 0; i < n; ++i) {
      const auto first = static_cast<std::ptrdiff_t>(i * m / n);
      const auto end = std::max(static_cast<std::ptrdiff_t>((i + 1) * m / n), first + 1);
      served[gpus[i]].assign(near.begin() + first, near.begin() + end);
    }
  }
  return served;
}

}  // namespace moesim
