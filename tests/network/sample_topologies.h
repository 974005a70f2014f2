#pragma once
// Clusters of the tests of network/, one of each shape.

#include "network/cluster_spec.h"

namespace moesim {

/// 8 GPUs behind NVSwitch, each with its own NIC behind its own PCIe switch.
inline ClusterSpec nvswitch_nodes(std::int32_t nodes, FabricKind fabric) {
  ClusterSpec c;
  c.name = "nvswitch nodes";
  c.nodes = nodes;
  c.gpus_per_node = 8;
  c.scale_up_domain = 8;
  c.scale_up_link = {{450e9}, 0.8, Duration::nanoseconds(300)};
  c.sockets = 2;
  c.pcie_switches = 8;
  c.host_link = {{63e9}, 0.9, Duration::nanoseconds(350)};
  c.pcie_uplink = {{63e9}, 0.9, Duration::nanoseconds(200)};
  c.socket_link = {{63e9}, 0.9, Duration::nanoseconds(200)};
  c.nics_per_node = 8;
  c.nic = {{50e9}, 0.9, Duration::nanoseconds(650)};
  c.fabric = fabric;
  c.leaf_ports = 32;
  c.switch_hop = Duration::nanoseconds(250);
  return c;
}

/// 4 GPUs a node, 72 in a domain: 18 nodes.
inline ClusterSpec rack_nodes(std::int32_t nodes) {
  ClusterSpec c = nvswitch_nodes(nodes, FabricKind::rail_fat_tree);
  c.gpus_per_node = 4;
  c.scale_up_domain = 72;
  c.scale_up_link.bandwidth = {900e9};
  c.pcie_switches = 0;
  c.nics_per_node = 4;
  return c;
}

/// 8 GPUs, each with a link of its own to each of the 7 others.
inline ClusterSpec mesh_nodes(std::int32_t nodes) {
  ClusterSpec c = nvswitch_nodes(nodes, FabricKind::rail_fat_tree);
  c.scale_up = ScaleUpKind::mesh;
  c.scale_up_link = {{448e9}, 0.75, Duration::microseconds(3)};
  return c;
}

/// 8 GPUs in pairs on 4 PCIe switches, 2 switches and 2 NICs a socket.
inline ClusterSpec pcie_nodes(std::int32_t nodes) {
  ClusterSpec c = nvswitch_nodes(nodes, FabricKind::leaf_spine);
  c.scale_up = ScaleUpKind::pcie;
  c.scale_up_domain = 1;
  c.scale_up_link = {{31.5e9}, 0.6, Duration::nanoseconds(500)};
  c.pcie_switches = 4;
  c.pcie_uplink = {{31.5e9}, 0.2, Duration::nanoseconds(500)};
  c.socket_link = {{30e9}, 0.05, Duration::nanoseconds(500)};
  c.nics_per_node = 4;
  return c;
}

inline ClusterSpec four_nics_a_gpu(std::int32_t nodes) {
  ClusterSpec c = nvswitch_nodes(nodes, FabricKind::leaf_spine);
  c.nics_per_node = 32;
  c.nic.bandwidth = {12.5e9};
  return c;
}

/// NVLink bridges: pairs that meet other pairs over PCIe.
inline ClusterSpec bridged_pairs() {
  ClusterSpec c = mesh_nodes(1);
  c.fabric = FabricKind::none;
  c.scale_up_domain = 2;
  c.scale_up_link.bandwidth = {300e9};
  c.pcie_switches = 4;
  return c;
}

}  // namespace moesim
