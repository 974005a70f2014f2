#pragma once
// A cluster as topologies/cluster/*.json gives it: compact tiers, which `Topology` expands, or a graph.

#include <cstdint>
#include <optional>
#include <string>

#include "core/units.h"
#include "network/cluster_graph.h"

namespace moesim {

/// How the GPUs of one scale-up domain reach each other: one non-blocking switch tier (NVSwitch), direct links between
/// all pairs (xGMI mesh; NVLink bridges with a domain of 2), or PCIe through the host (a domain of 1).
enum class ScaleUpKind { switched, mesh, pcie };

/// The network between nodes: none (one node), a rail-optimised fat tree (NIC i of all nodes on leaf i), or plain
/// leaf-spine (all NICs of a node on one leaf).
enum class FabricKind { none, rail_fat_tree, leaf_spine };

/// Which of several equal paths bytes take: all alike (`split`, packets sprayed over them), or one chosen by a hash of
/// source, destination and flow (ECMP), whose collisions then cost.
enum class Multipath { split, hash };

struct ClusterSpec {
  std::string name;
  std::string gpu;  ///< id of topologies/gpu
  std::string source;
  std::int32_t nodes = 1;
  std::int32_t gpus_per_node = 1;
  // Scale-up.
  std::int32_t scale_up_domain = 1;  ///< GPUs that reach each other at scale-up rate; may span nodes (NVL72)
  ScaleUpKind scale_up = ScaleUpKind::switched;
  LinkClass scale_up_link;  ///< all links of one GPU together, one way (mesh: split over the peers)
  // Inside a node. GPUs and NICs are spread evenly, in order, over the PCIe switches, and these over the sockets.
  std::int32_t sockets = 1;
  std::int32_t pcie_switches = 0;  ///< per node; 0: GPUs and NICs hang on their socket
  LinkClass host_link;             ///< PCIe or C2C of one GPU, one way
  LinkClass pcie_uplink;           ///< from a PCIe switch to its socket: what its GPUs share
  LinkClass socket_link;           ///< between two sockets, as one GPU-to-GPU stream sees it
  Bytes host_memory;
  // Between nodes.
  std::int32_t nics_per_node = 0;  ///< divides gpus_per_node or is a multiple of it
  LinkClass nic;                   ///< one NIC, one way
  FabricKind fabric = FabricKind::none;
  std::int32_t leaf_ports = 0;  ///< NIC ports (GPU ports, where a GPU has several NICs) on one leaf switch
  double oversubscription = 1;  ///< downlink to uplink bandwidth of a leaf
  Duration switch_hop;          ///< latency of a link between a leaf and the spine
  std::int32_t spines = 1;      ///< that share the uplinks of each leaf
  Multipath multipath = Multipath::split;
  /// The cluster as its file draws it. The tiers above then only sum it up: nodes, GPUs of the largest node and domain,
  /// rates of the first links of each kind.
  std::optional<ClusterGraph> graph;
  double node_power_watts = 0;
};

/// Sets the tiers of a cluster with a graph to what the graph has.
void sum_up_graph(ClusterSpec& cluster);

/// GPUs of the cluster.
inline std::int64_t gpu_count(const ClusterSpec& cluster) {
  return cluster.graph ? cluster.graph->gpus() : std::int64_t{cluster.nodes} * cluster.gpus_per_node;
}

}  // namespace moesim
