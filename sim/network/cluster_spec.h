#pragma once
// A cluster in compact tiers, as topologies/cluster/*.json gives it; `Topology` expands it into a graph.

#include <cstdint>
#include <optional>
#include <string>

#include "core/units.h"

namespace moesim {

/// How the GPUs of one scale-up domain reach each other: one non-blocking switch tier (NVSwitch), direct links between
/// all pairs (xGMI mesh), direct links between pairs of neighbours only (NVLink bridges), or PCIe through the host.
enum class ScaleUpKind { switched, mesh, pcie };

/// The network between nodes: none (one node), a rail-optimised fat tree (NIC i of all nodes on leaf i), or plain
/// leaf-spine (all NICs of a node on one leaf).
enum class FabricKind { none, rail_fat_tree, leaf_spine };

struct LinkClass {
  BytesPerSecond bandwidth;  ///< line rate of one direction
  double efficiency = 1;     ///< reachable share of it, measured
  Duration latency;          ///< of one traversal
};

struct ClusterSpec {
  std::string name;
  std::string gpu;  ///< id of topologies/gpu
  std::string source;
  std::int32_t nodes = 1;
  std::int32_t gpus_per_node = 1;
  std::int32_t scale_up_domain = 1;  ///< GPUs that reach each other at scale-up rate; may span nodes (NVL72)
  ScaleUpKind scale_up = ScaleUpKind::switched;
  LinkClass scale_up_link;           ///< all links of one GPU together, one way (mesh: split over the peers)
  std::int32_t nics_per_node = 0;
  LinkClass nic;                     ///< one NIC, one way
  LinkClass host_link;               ///< PCIe or C2C of one GPU, one way
  FabricKind fabric = FabricKind::none;
  std::int32_t leaf_ports = 0;       ///< NICs on one leaf switch
  double oversubscription = 1;       ///< downlink to uplink bandwidth of a leaf
  Bytes host_memory;
  double node_power_watts = 0;
};

}  // namespace moesim
