#pragma once
// The cluster as a graph of GPUs, switches, NICs and directed links. The only place that knows Boost.Graph.

#include <cstddef>
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
/// Number of LinkKind enumerators: totals are arrays indexed by kind of link.
inline constexpr std::size_t kLinkKinds = static_cast<std::size_t>(LinkKind::fabric) + 1;
std::string_view name(VertexKind kind);
std::string_view name(LinkKind kind);

struct Vertex {
  std::string name;  ///< gpu0, nvswitch0, pcie_switch0, cpu0, nic0, leaf0, spine
  VertexKind kind = VertexKind::gpu;
};

/// One direction of a cable or bus. Links 2 i and 2 i + 1 are the two directions of one.
struct Link {
  std::uint32_t from = 0, to = 0;  ///< vertex indices
  LinkKind kind = LinkKind::scale_up;
  LinkClass rate;
};

/// Simplifications: the switches of one scale-up domain are one vertex, and so are all spines, each link to it being
/// the sum of the parallel cables (ignores collisions of equal-cost paths). NICs that serve one GPU are one vertex and
/// share its bytes evenly.
class Topology {
 public:
  /// The cluster has passed `read_cluster`: a domain that ends inside a node divides it, and so on.
  explicit Topology(const ClusterSpec& cluster);
  ~Topology();
  Topology(Topology&&) noexcept;
  Topology& operator=(Topology&&) noexcept;

  const ClusterSpec& cluster() const;
  std::uint32_t gpu_count() const;
  NodeId node_of(GpuId gpu) const;
  /// GPUs that share a scale-up domain have the same number.
  std::uint32_t domain_of(GpuId gpu) const;

  /// The first `gpu_count()` vertices are the GPUs in order of their ids.
  std::span<const Vertex> vertices() const;
  std::span<const Link> links() const;

  /// Links from a to b, fewest hops first, then least sum of 1 / (bandwidth x efficiency), then lowest links. Within a
  /// domain or a node they stay inside it; else they go through the NIC that serves `a`, that NIC's leaf (and the
  /// spine, when the NIC of `b` is on another leaf) and the NIC that serves `b`. No path passes through a third GPU.
  /// Empty for a == b. Valid as long as the topology. Up to 1024 GPUs all paths are made with the topology; above,
  /// those of one source are made at its first use, so that one thread at a time may ask.
  std::span<const LinkId> path(GpuId a, GpuId b) const;

  /// Maximum flow from the GPUs of the first half of the nodes (of the GPUs, in one node) to the others, one way, line
  /// rate times efficiency, over the links that paths between the halves use. The tiers being symmetric, this is the
  /// bisection of a cluster whose leaves are full. 0 for one GPU.
  BytesPerSecond bisection_bandwidth() const;

  /// Graph exports: vertex `name,kind`, edge `gbps` (line rate, GB/s one way) and `lat_us`. Both directions are
  /// written.
  void write_dot(std::ostream& out) const;
  void write_graphml(std::ostream& out) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

/// The links (counted once for each direction) of one kind and rate.
struct LinkClassSummary {
  LinkKind kind = LinkKind::scale_up;
  std::size_t links = 0;
  BytesPerSecond line_rate;
  double efficiency = 1;
  Duration latency;
};

/// In order of first appearance.
std::vector<LinkClassSummary> summarize_links(const Topology& topology);

}  // namespace moesim
