#pragma once
// The compact tiers of a cluster file as a graph.

#include <cstdint>
#include <limits>
#include <vector>

#include "core/ids.h"
#include "network/cluster_spec.h"

namespace moesim {

inline constexpr std::uint32_t no_vertex = std::numeric_limits<std::uint32_t>::max();

/// The graph, and what is known of it because it was built from tiers.
struct ExpandedTiers {
  ClusterGraph graph;
  std::vector<std::uint32_t> nic_of_gpu;   ///< vertex; no_vertex without NICs
  std::vector<std::uint32_t> rail_of_gpu;  ///< the leaf of a group of nodes that serves it; 0 where a node has one
  std::vector<std::uint32_t> leaf_of_gpu;  ///< from 0, by group of nodes, then by rail; no_vertex without a fabric
  std::vector<LinkId> leaf_link;           ///< from the NIC of a GPU to its leaf
  std::vector<LinkId> uplinks;             ///< leaf x spine; empty with one leaf
  std::uint32_t spines = 1;                ///< vertices: one where bytes are spread over all
};

/// The tiers are those of `read_cluster`: a domain that ends inside a node divides it, and so on.
ExpandedTiers expand_tiers(const ClusterSpec& cluster);

}  // namespace moesim
