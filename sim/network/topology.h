#pragma once
// The cluster as a graph of GPUs, switches, NICs and directed links. The only place that knows Boost.Graph.

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "network/cluster_spec.h"

namespace moesim {

enum class VertexKind { gpu, nvswitch, pcie_switch, host, nic, leaf, spine };
enum class LinkKind { scale_up, pcie, nic, fabric };
std::string_view name(VertexKind kind);
std::string_view name(LinkKind kind);

struct Vertex {
  std::string name;  ///< gpu0, nvswitch0, nic0, leaf0 ...
  VertexKind kind = VertexKind::gpu;
};

/// One direction of a cable or bus.
struct Link {
  std::uint32_t from = 0, to = 0;  ///< vertex indices
  LinkKind kind = LinkKind::scale_up;
  LinkClass rate;
};

class Topology {
 public:
  explicit Topology(const ClusterSpec& cluster);
  ~Topology();
  Topology(Topology&&) noexcept;
  Topology& operator=(Topology&&) noexcept;

  const ClusterSpec& cluster() const;
  std::uint32_t gpu_count() const;
  NodeId node_of(GpuId gpu) const;
  /// GPUs that share a scale-up domain have the same number.
  std::uint32_t domain_of(GpuId gpu) const;

  std::span<const Vertex> vertices() const;
  std::span<const Link> links() const;

  /// Links from a to b, fewest hops first and then most bandwidth; between domains through the NIC that serves `a`
  /// (rail i to rail i) and the NIC that serves `b`. Empty for a == b. Valid as long as the topology.
  std::span<const LinkId> path(GpuId a, GpuId b) const;

  /// Smallest bandwidth over all cuts of the GPUs into two equal halves by node (by GPU in one node), one way, line
  /// rate times efficiency. Computed as a maximum flow between the first and the second half.
  BytesPerSecond bisection_bandwidth() const;

  /// Graph exports: node `name,kind`, edge `gbps` (GB/s one way) and `lat_us`.
  void write_dot(std::ostream& out) const;
  void write_graphml(std::ostream& out) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace moesim
