#pragma once
// Bytes that a pattern of traffic puts on every link of the real paths, and the time of its busiest link.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"
#include "network/topology.h"

namespace moesim {

/// Shares of what links can reach (line rate x efficiency), by kind of link. 0 leaves the kind out.
struct LinkShares {
  double scale_up = 0, pcie = 0, nic = 0, fabric = 0;
};

/// The GPUs of a group by scale-up domain (or machine, where that is larger), each in the order of their ids.
struct GroupNodes {
  std::vector<std::vector<GpuId>> gpus;
  std::vector<std::uint32_t> node_of_rank;   ///< in the order of the group
  std::vector<std::uint32_t> index_in_node;  ///< of every rank of the group

  std::uint32_t nodes() const { return static_cast<std::uint32_t>(gpus.size()); }
  /// GPUs of the smallest node.
  std::uint32_t smallest() const;
};
GroupNodes group_nodes(const Topology& topology, std::span<const GpuId> group);

/// Whether each of these GPUs has a link of its own to every other one.
bool is_full_mesh(const Topology& topology, std::span<const GpuId> gpus);
/// The GPUs in an order in which each has a link to the next and the last to the first, where the graph has such a ring
/// (a drawn ring, a cube) and it is found in a few thousand steps; else as they come.
std::vector<GpuId> ring_of_neighbours(const Topology& topology, const std::vector<GpuId>& gpus);

class LinkLoads {
 public:
  explicit LinkLoads(const Topology& topology) : topology_(&topology), bytes_(topology.links().size()) {}

  /// `amount` more bytes on every link from a to b.
  void add(GpuId a, GpuId b, double amount);
  /// The same by the rail of b (`Topology::rail_path`).
  void add_on_rails(GpuId a, GpuId b, double amount);
  /// Seconds of the busiest link when every load is multiplied by one byte.
  double seconds_per_byte(const LinkShares& shares) const;
  /// Seconds of the busiest link of each kind for one byte, at line rate x efficiency.
  std::array<double, kLinkKinds> busiest_by_kind() const;
  /// Sum over the links of each kind; a byte counts on every link that it crosses.
  std::array<double, kLinkKinds> total_by_kind() const;
  /// By link.
  std::span<const double> bytes() const { return bytes_; }

 private:
  const Topology* topology_;
  std::vector<double> bytes_;
};

/// One byte of ring traffic (of every rank's busbw bytes). Inside a node the ring runs in order of GPU ids, on a drawn
/// mesh from neighbour to neighbour, or, where all are neighbours, over all pairs alike, as many rings do. Between
/// nodes one channel for each GPU of the smallest node enters and leaves by that GPU's NIC, with `between` bytes in all
/// on each node boundary.
LinkLoads ring_loads(const Topology& topology, const GroupNodes& nodes, double between);
/// Every rank sends 1 / R of a byte to every other rank, across rails over NVLink first, as NCCL does.
LinkLoads all_to_all_loads(const Topology& topology, const GroupNodes& nodes);
/// Every rank sends one byte in equal shares to the others of its own node.
LinkLoads within_node_loads(const Topology& topology, const GroupNodes& nodes);
/// Every rank sends one byte in equal shares to the ranks of other nodes (`same_index`: to those with its own index).
enum class CrossNodePeers { all, same_index };
LinkLoads between_node_loads(const Topology& topology, const GroupNodes& nodes, CrossNodePeers peers);

}  // namespace moesim
