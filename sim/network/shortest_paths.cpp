#include "network/shortest_paths.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <boost/graph/filtered_graph.hpp>
#include <cmath>

#include "core/check.h"

namespace moesim {

namespace {

using Weight = ShortestPaths::Weight;

struct EdgeWeight {
  Weight weight = 0;
};
using Csr = boost::compressed_sparse_row_graph<boost::directedS, boost::no_property, EdgeWeight>;

/// Edges that a path from `source` may take when only the vertices of `inside` lie between its ends.
struct StartsInside {
  const Csr* network = nullptr;
  std::size_t source = 0;
  const char* inside = nullptr;

  bool operator()(const Csr::edge_descriptor& edge) const {
    const std::size_t from = boost::source(edge, *network);
    return from == source || inside[from];
  }
};

Weight weight_of(const LinkClass& rate) {
  constexpr Weight hop_weight = Weight{1} << 48;
  return hop_weight + static_cast<Weight>(std::llround(1e15 / std::max(reachable(rate).value, 1e6)));
}

}  // namespace

VertexSet vertices_of(const ClusterGraph& graph, std::span<const VertexKind> kinds) {
  VertexSet set;
  for (const Vertex& vertex : graph.vertices) {
    set.push_back(std::find(kinds.begin(), kinds.end(), vertex.kind) != kinds.end());
  }
  return set;
}

struct ShortestPaths::Network {
  const ClusterGraph* graph = nullptr;
  Csr edges;
  std::vector<Weight> weights;                       ///< of each link
  std::vector<std::vector<std::uint32_t>> links_to;  ///< of each vertex, ascending

  /// The links into `at` that lie on a path of least distance, ascending.
  template <class Take>
  void each_last(std::uint32_t source, std::uint32_t at, const VertexSet& inside, const std::vector<Weight>& distance,
                 Take take) const {
    for (const std::uint32_t i : links_to[at]) {
      const std::uint32_t from = graph->links[i].from;
      if ((from == source || inside[from]) && distance[from] != unreached &&
          distance[from] + weights[i] == distance[at] && !take(i)) {
        return;
      }
    }
  }

  void extend(std::uint32_t source, std::uint32_t at, const VertexSet& inside, const std::vector<Weight>& distance,
              std::size_t limit, Path& tail, std::vector<Path>& paths) const {
    if (at == source) {
      paths.emplace_back(tail.rbegin(), tail.rend());
      return;
    }
    each_last(source, at, inside, distance, [&](std::uint32_t i) {
      tail.push_back(LinkId{i});
      extend(source, graph->links[i].from, inside, distance, limit, tail, paths);
      tail.pop_back();
      return paths.size() < limit;
    });
  }
};

ShortestPaths::ShortestPaths(const ClusterGraph& graph) : network_(std::make_unique<Network>()) {
  network_->graph = &graph;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ends;
  std::vector<EdgeWeight> edge_weights;
  network_->links_to.resize(graph.vertices.size());
  for (std::uint32_t i = 0; i < graph.links.size(); ++i) {
    const Link& link = graph.links[i];
    network_->weights.push_back(weight_of(link.rate));
    ends.emplace_back(link.from, link.to);
    edge_weights.push_back({network_->weights.back()});
    network_->links_to[link.to].push_back(i);
  }
  network_->edges =
      Csr(boost::edges_are_unsorted_multi_pass, ends.begin(), ends.end(), edge_weights.begin(), graph.vertices.size());
}

ShortestPaths::~ShortestPaths() = default;
ShortestPaths::ShortestPaths(ShortestPaths&&) noexcept = default;

void ShortestPaths::distances(std::uint32_t source, const VertexSet& inside, std::vector<Weight>& distance) const {
  const Csr& edges = network_->edges;
  distance.resize(num_vertices(edges));
  const boost::filtered_graph<Csr, StartsInside> view(edges, StartsInside{&edges, source, inside.data()});
  boost::dijkstra_shortest_paths(
      view, source,
      boost::weight_map(get(&EdgeWeight::weight, edges))
          .distance_map(boost::make_iterator_property_map(distance.begin(), get(boost::vertex_index, edges))));
}

void ShortestPaths::append(std::uint32_t source, std::uint32_t target, const VertexSet& inside,
                           const std::vector<Weight>& distance, Path& path) const {
  MOESIM_CHECK(distance[target] != unreached, "no path from {} to {}", network_->graph->vertices[source].name,
               network_->graph->vertices[target].name);
  const auto start = static_cast<std::ptrdiff_t>(path.size());
  for (std::uint32_t at = target; at != source;) {
    network_->each_last(source, at, inside, distance, [&](std::uint32_t i) {
      path.push_back(LinkId{i});
      return false;
    });
    at = network_->graph->links[path.back().value].from;
  }
  std::reverse(path.begin() + start, path.end());
}

std::vector<Path> ShortestPaths::all(std::uint32_t source, std::uint32_t target, const VertexSet& inside,
                                     const std::vector<Weight>& distance, std::size_t limit) const {
  std::vector<Path> paths;
  if (distance[target] == unreached) return paths;
  Path tail;
  network_->extend(source, target, inside, distance, limit, tail, paths);
  return paths;
}

}  // namespace moesim
