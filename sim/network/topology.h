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
#include "network/cluster_graph.h"
#include "network/cluster_spec.h"

namespace moesim {

/// Simplifications of tiers: the switches of one scale-up domain are one vertex. Under `Multipath::split` all spines
/// are one vertex, too, each link to it being the sum of the parallel cables, which is what spraying packets over them
/// gives. NICs that serve one GPU are one vertex and share its bytes evenly. A cluster that its file draws
/// (`ClusterSpec::graph`) is taken as it is drawn.
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
  /// domain or a node they stay inside it; else they go through the NIC that serves `a`, that NIC's leaf (and a spine,
  /// when the NIC of `b` is on another leaf) and the NIC that serves `b`. No path passes through a third GPU, unless a
  /// drawn graph has no other. Under `Multipath::hash` the path of flow 0.
  /// Empty for a == b. Valid as long as the topology. Up to 1024 GPUs all these paths are made with the topology;
  /// above, those of one source are made at its first use, so that one thread at a time may ask.
  std::span<const LinkId> path(GpuId a, GpuId b) const;

  /// The path of one flow between the two, by `ClusterSpec::multipath`. `split`: path(a, b). `hash`: that of the equal
  /// paths (`paths`) which a hash of (a, b, flow) chooses, each equally likely; other numbers of the GPUs give another
  /// choice of the same distribution. Valid as long as the topology; one thread at a time may ask.
  std::span<const LinkId> path(GpuId a, GpuId b, std::uint64_t flow) const;

  /// All equal paths from a to b: over each spine, or, in a drawn graph, those of equal hops and bandwidths (at most
  /// 64).
  std::vector<std::vector<LinkId>> paths(GpuId a, GpuId b) const;

  /// The GPU that sends for `a` to `b` where bytes stay on rails: it shares a node and a scale-up domain with `a`, and
  /// its NIC is on the rail of `b` (NCCL's PXN, DeepEP's forwarding over NVLink) [nccl]. A rail is the NIC's place in
  /// its node in a rail_fat_tree, the NIC's leaf in a drawn graph. `a` itself where both are on one rail, in one node
  /// or one domain, or where there is no such GPU (leaf_spine, no scale-up links). Of several the one in the place that
  /// `b` has among the GPUs of its rail and node.
  GpuId rail_proxy(GpuId a, GpuId b) const;

  /// path(a, p) and then path(p, b, flow) for p = rail_proxy(a, b): NVLink from a to p, p's NIC, the leaf of the rail,
  /// b's NIC. On one rail it is path(a, b, flow). Which of the two to take is the caller's choice. Valid as long as the
  /// topology; one thread at a time may ask.
  std::span<const LinkId> rail_path(GpuId a, GpuId b, std::uint64_t flow = 0) const;

  /// Maximum flow from the GPUs of the first half of the nodes (of the GPUs, in one node) to the others, one way, line
  /// rate times efficiency, over the links that all equal paths between the halves use. The tiers being symmetric, this
  /// is the bisection of a cluster whose leaves are full. 0 for one GPU.
  BytesPerSecond bisection_bandwidth() const;

  /// Graph exports: vertex `name,kind`, edge `gbps` (line rate, GB/s one way) and `lat_us`; GraphML has `node`,
  /// `efficiency` and `link_kind`, too. Both directions are written.
  void write_dot(std::ostream& out) const;
  void write_graphml(std::ostream& out) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

/// Calls see(links, i, n) for each of the n ways over which bytes from a to b spread in equal parts: all equal paths of
/// a drawn graph under `Multipath::split`, else the one path of `flow` (the trunk of expanded tiers is the sum of its
/// cables).
template <class See>
void for_each_way(const Topology& topology, GpuId a, GpuId b, std::uint64_t flow, See&& see) {
  if (!topology.cluster().graph || topology.cluster().multipath == Multipath::hash) {
    see(topology.path(a, b, flow), std::size_t{0}, std::size_t{1});
    return;
  }
  const std::vector<std::vector<LinkId>> ways = topology.paths(a, b);
  for (std::size_t i = 0; i < ways.size(); ++i) see(std::span<const LinkId>(ways[i]), i, ways.size());
}

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
