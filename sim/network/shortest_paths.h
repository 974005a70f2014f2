#pragma once
// Paths of fewest hops, then least sum of 1 / (bandwidth x efficiency), through a chosen set of vertices.

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/ids.h"
#include "network/cluster_graph.h"

namespace moesim {

/// A flag for each vertex.
using VertexSet = std::vector<char>;
VertexSet vertices_of(const ClusterGraph& graph, std::span<const VertexKind> kinds);

using Path = std::vector<LinkId>;

class ShortestPaths {
 public:
  /// Of a path: hops decide, then the sum of the times of one petabyte, which stays below one hop over links of at
  /// least 1 MB/s.
  using Weight = std::uint64_t;
  static constexpr Weight unreached = std::numeric_limits<Weight>::max();

  /// `graph` outlives it.
  explicit ShortestPaths(const ClusterGraph& graph);
  ~ShortestPaths();
  ShortestPaths(ShortestPaths&&) noexcept;

  /// Distances from `source` to every vertex when only vertices of `inside` lie between the ends of a path.
  void distances(std::uint32_t source, const VertexSet& inside, std::vector<Weight>& distance) const;

  /// The path to `target` by the lowest links among those of least distance. `target` is reached.
  void append(std::uint32_t source, std::uint32_t target, const VertexSet& inside, const std::vector<Weight>& distance,
              Path& path) const;

  /// All paths of least distance, that of `append` first; at most `limit`.
  std::vector<Path> all(std::uint32_t source, std::uint32_t target, const VertexSet& inside,
                        const std::vector<Weight>& distance, std::size_t limit) const;

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace moesim
