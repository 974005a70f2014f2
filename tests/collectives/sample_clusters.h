#pragma once
// Clusters of the tests, from the datasheets of their makers, and the shipped profiles for them.

#include <string>
#include <vector>

#include "collectives/collective_cost.h"
#include "config/read_collective_profile.h"
#include "network/topology.h"

namespace moesim {

inline BytesPerSecond gigabytes_per_second(double rate) {
  return {rate * 1e9};
}

/// DGX H100 and relatives: 8 GPUs behind NVSwitch at `scale_up` GB/s, one 400G NIC a GPU, rails. Efficiencies as in the
/// shipped clusters.
inline ClusterSpec hgx(std::int32_t nodes, double scale_up = 450) {
  ClusterSpec cluster;
  cluster.name = "hgx";
  cluster.gpu = "h100_sxm";
  cluster.nodes = nodes;
  cluster.gpus_per_node = cluster.scale_up_domain = cluster.nics_per_node = 8;
  cluster.scale_up_link.bandwidth = gigabytes_per_second(scale_up);
  cluster.scale_up_link.efficiency = scale_up == 450 ? 0.81 : scale_up == 300 ? 0.78 : 0.76;
  cluster.nic.bandwidth = gigabytes_per_second(50);
  cluster.nic.efficiency = 0.93;
  cluster.host_link.bandwidth = gigabytes_per_second(63);
  cluster.fabric = nodes > 1 ? FabricKind::rail_fat_tree : FabricKind::none;
  cluster.leaf_ports = 32;
  return cluster;
}

/// The same with links that reach their line rate, for closed forms.
inline ClusterSpec ideal_hgx(std::int32_t nodes) {
  ClusterSpec cluster = hgx(nodes);
  cluster.scale_up_link.efficiency = cluster.nic.efficiency = 1;
  return cluster;
}

inline GpuSpec gpu_named(const std::string& id, const std::string& architecture) {
  GpuSpec gpu;
  gpu.id = id;
  gpu.architecture = architecture;
  return gpu;
}

inline CollectiveProfile shipped_profile(const ClusterSpec& cluster, const std::string& gpu = "h100_sxm",
                                         const std::string& architecture = "hopper") {
  return collective_profile_for(std::string(MOESIM_SOURCE_DIR) + "/calibrate/profiles", gpu_named(gpu, architecture),
                                cluster);
}

inline GpuGroup first_gpus(std::uint32_t n) {
  GpuGroup group;
  for (std::uint32_t i = 0; i < n; ++i) group.push_back(GpuId{i});
  return group;
}

}  // namespace moesim
