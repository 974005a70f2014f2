#pragma once
// Rates of links that topology tools name without a rate.

#include <optional>
#include <string_view>

#include "network/cluster_graph.h"

namespace moesim {

/// One NVLink of a compute capability (80 for sm_80), one way: line rate of the generation (25 GB/s for NVLink 2 to 4,
/// 50 for 5), and the share of it that NCCL's model reaches (18.0, 20.0, 20.6, 40.1 GB/s for sm 60, 70/80, 90,
/// 100; 12.0 for sm 86) [nccl].
LinkClass nvlink_rate(int compute_capability);
/// Of an architecture as topologies/gpu names it; nothing where it has no NVLink that is known here.
std::optional<int> compute_capability(std::string_view architecture);

/// PCIe of `transfers` GT/s and `lanes`, one way: 8b/10b coding up to 5 GT/s, 128b/130b above. Reaches 0.87 at 32 GT/s
/// and above (55 of 63 GB/s, pinned copy), 0.83 at 16 (26 of 31.5), 0.76 below (NCCL's 12 of 15.75 GB/s) [nccl].
LinkClass pcie_rate(double transfers, double lanes);
/// The same efficiency for a line rate of 16 lanes.
LinkClass pcie_rate_of(BytesPerSecond line_rate);

/// Between two sockets in NCCL's model [nccl]: 16 GB/s AMD, 22 from Sapphire Rapids on (model 143), 10 Skylake (85),
/// else 6; 32 POWER9, 6 Arm.
LinkClass socket_rate(std::string_view arch, std::string_view vendor, int model);

/// Latencies of the shipped clusters; the same as there, estimates.
inline constexpr Duration scale_up_latency = Duration::nanoseconds(300), pcie_latency = Duration::nanoseconds(350),
                          pcie_uplink_latency = Duration::nanoseconds(200), socket_latency = Duration::nanoseconds(300),
                          nic_latency = Duration::nanoseconds(650), switch_latency = Duration::nanoseconds(250);
/// Share of a NIC's line rate that collectives reach (46 to 48 of 50 GB/s, public nccl-tests logs).
inline constexpr double nic_efficiency = 0.93;

}  // namespace moesim
