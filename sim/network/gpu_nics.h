#pragma once
// Which NICs serve which GPU of a cluster that its file draws as a graph.

#include <cstdint>
#include <vector>

#include "network/cluster_graph.h"
#include "network/shortest_paths.h"

namespace moesim {

/// NIC vertices of each GPU: the nearest over `inside` that have a cable (any, where none has). GPUs that are equally
/// near to the same m NICs share them evenly in order: of n GPUs the i-th has those from i m / n on, at least one.
std::vector<std::vector<std::uint32_t>> nics_of_gpus(const ClusterGraph& graph, const ShortestPaths& search,
                                                     const VertexSet& inside);

}  // namespace moesim
