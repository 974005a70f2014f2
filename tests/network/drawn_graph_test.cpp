// Clusters that their file draws as a graph.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "network/sample_topologies.h"
#include "network/topology.h"

namespace moesim {
namespace {

constexpr LinkClass fast{{100e9}, 1, Duration::nanoseconds(100)}, slow{{10e9}, 1, Duration::nanoseconds(100)};

ClusterSpec cluster_with(ClusterGraph graph, Multipath multipath = Multipath::split) {
  ClusterSpec cluster;
  cluster.name = "drawn";
  cluster.gpu = "h100_sxm";
  cluster.graph = std::move(graph);
  cluster.multipath = multipath;
  sum_up_graph(cluster);
  return cluster;
}

/// The graph of tiers, as if a file had drawn it.
ClusterSpec drawn(const ClusterSpec& tiers) {
  const Topology topology(tiers);
  ClusterGraph graph;
  graph.vertices.assign(topology.vertices().begin(), topology.vertices().end());
  graph.links.assign(topology.links().begin(), topology.links().end());
  graph.cables = graph.links.size() / 2;
  return cluster_with(std::move(graph), tiers.multipath);
}

std::vector<std::string> names(const Topology& topology, std::span<const LinkId> path) {
  std::vector<std::string> list;
  for (const LinkId link : path) list.push_back(topology.vertices()[topology.links()[link.value].to].name);
  return list;
}

/// Two nodes of two GPUs on a socket with one NIC each; both NICs reach both leaves.
ClusterGraph two_planes() {
  ClusterGraph graph;
  for (int g = 0; g < 4; ++g) graph.add(VertexKind::gpu, "g" + std::to_string(g), g / 2);
  const std::uint32_t left = graph.add(VertexKind::leaf, "left"), right = graph.add(VertexKind::leaf, "right");
  for (int n = 0; n < 2; ++n) {
    const std::uint32_t cpu = graph.add(VertexKind::host, "c" + std::to_string(n), n);
    const std::uint32_t nic = graph.add(VertexKind::nic, "n" + std::to_string(n), n);
    for (std::uint32_t g = 0; g < 2; ++g) {
      graph.connect(static_cast<std::uint32_t>(2 * n) + g, cpu, LinkKind::pcie, fast);
    }
    graph.connect(cpu, nic, LinkKind::pcie, fast);
    graph.connect(nic, left, LinkKind::nic, fast);
    graph.connect(nic, right, LinkKind::nic, fast);
  }
  return graph;
}

TEST(DrawnGraph, OfTiersHasTheirPathsPlacesAndBisection) {
  for (const ClusterSpec& tiers :
       {nvswitch_nodes(1, FabricKind::none), nvswitch_nodes(4, FabricKind::rail_fat_tree),
        nvswitch_nodes(9, FabricKind::leaf_spine), rack_nodes(20), mesh_nodes(3), pcie_nodes(5), bridged_pairs()}) {
    const Topology expected(tiers), topology(drawn(tiers));
    EXPECT_EQ(topology.cluster().nodes, tiers.nodes);
    EXPECT_EQ(topology.cluster().gpus_per_node, tiers.gpus_per_node);
    EXPECT_EQ(topology.cluster().scale_up_domain, std::min<std::int32_t>(tiers.scale_up_domain, 72));
    EXPECT_EQ(topology.cluster().scale_up, tiers.scale_up);
    ASSERT_EQ(topology.gpu_count(), expected.gpu_count());
    for (std::uint32_t a = 0; a < topology.gpu_count(); ++a) {
      EXPECT_EQ(topology.node_of(GpuId{a}), expected.node_of(GpuId{a}));
      EXPECT_EQ(topology.domain_of(GpuId{a}), expected.domain_of(GpuId{a}));
      for (std::uint32_t b = 0; b < topology.gpu_count(); ++b) {
        ASSERT_EQ(names(topology, topology.path(GpuId{a}, GpuId{b})),
                  names(expected, expected.path(GpuId{a}, GpuId{b})))
            << a << " to " << b;
      }
    }
    EXPECT_NEAR(topology.bisection_bandwidth().value, expected.bisection_bandwidth().value, 1000);
  }
}

TEST(DrawnGraph, KnowsEveryEqualPathAndTakesTheFirstOrAHashedOne) {
  const Topology split(cluster_with(two_planes())), hash(cluster_with(two_planes(), Multipath::hash));
  const auto paths = split.paths(GpuId{0}, GpuId{3});
  ASSERT_EQ(paths.size(), 2U);
  EXPECT_EQ(names(split, paths[0]), (std::vector<std::string>{"c0", "n0", "left", "n1", "c1", "g3"}));
  EXPECT_EQ(names(split, paths[1]), (std::vector<std::string>{"c0", "n0", "right", "n1", "c1", "g3"}));
  std::set<std::vector<std::string>> taken;
  for (std::uint64_t flow = 0; flow < 40; ++flow) {
    EXPECT_EQ(names(split, split.path(GpuId{0}, GpuId{3}, flow)), names(split, paths[0]));
    taken.insert(names(hash, hash.path(GpuId{0}, GpuId{3}, flow)));
  }
  EXPECT_EQ(taken.size(), 2U);
}

TEST(DrawnGraph, PrefersFewerHopsToMoreBandwidthAndAmongEqualHopsMoreBandwidth) {
  ClusterGraph graph;
  for (int g = 0; g < 2; ++g) graph.add(VertexKind::gpu, "g" + std::to_string(g), 0);
  const std::uint32_t a = graph.add(VertexKind::pcie_switch, "narrow"), b = graph.add(VertexKind::pcie_switch, "wide");
  for (std::uint32_t g = 0; g < 2; ++g) {
    graph.connect(g, a, LinkKind::pcie, slow);
    graph.connect(g, b, LinkKind::pcie, fast);
  }
  EXPECT_EQ(names(Topology(cluster_with(graph)), Topology(cluster_with(graph)).path(GpuId{0}, GpuId{1})).front(),
            "wide");
  ClusterGraph direct = graph;
  direct.connect(0, 1, LinkKind::scale_up, slow);
  EXPECT_EQ(Topology(cluster_with(direct)).path(GpuId{0}, GpuId{1}).size(), 1U);
}

TEST(DrawnGraph, ForwardsThroughAGpuOnlyWhereThereIsNoOtherWay) {
  ClusterGraph ring;
  for (int g = 0; g < 4; ++g) ring.add(VertexKind::gpu, "g" + std::to_string(g), 0);
  for (std::uint32_t g = 0; g < 4; ++g) ring.connect(g, (g + 1) % 4, LinkKind::scale_up, fast);
  EXPECT_EQ(Topology(cluster_with(ring)).path(GpuId{0}, GpuId{2}).size(), 2U);
  EXPECT_EQ(Topology(cluster_with(ring)).paths(GpuId{0}, GpuId{2}).size(), 2U);
  ClusterGraph with_host = ring;
  const std::uint32_t cpu = with_host.add(VertexKind::host, "c", 0), far = with_host.add(VertexKind::host, "d", 0);
  with_host.connect(0, cpu, LinkKind::pcie, slow);
  with_host.connect(cpu, far, LinkKind::pcie, slow);
  with_host.connect(2, far, LinkKind::pcie, slow);
  EXPECT_EQ(Topology(cluster_with(with_host)).path(GpuId{0}, GpuId{2}).size(), 3U);
}

TEST(DrawnGraph, SharesTheNearestNicsAmongTheGpusThatAreEquallyNear) {
  // Two GPUs and two NICs on one switch, in each of two nodes, one leaf: NIC i serves GPU i.
  ClusterGraph graph;
  for (int g = 0; g < 4; ++g) graph.add(VertexKind::gpu, "g" + std::to_string(g), g / 2);
  const std::uint32_t leaf = graph.add(VertexKind::leaf, "leaf");
  for (std::uint32_t n = 0; n < 2; ++n) {
    const std::uint32_t pcie =
        graph.add(VertexKind::pcie_switch, "p" + std::to_string(n), static_cast<std::int32_t>(n));
    for (std::uint32_t i = 0; i < 2; ++i) {
      graph.connect(2 * n + i, pcie, LinkKind::pcie, fast);
      const std::uint32_t nic = graph.add(VertexKind::nic, "n" + std::to_string(2 * n + i));
      graph.connect(nic, pcie, LinkKind::pcie, fast);
      graph.connect(nic, leaf, LinkKind::nic, fast);
    }
  }
  const Topology topology(cluster_with(graph));
  EXPECT_EQ(names(topology, topology.path(GpuId{0}, GpuId{3})),
            (std::vector<std::string>{"p0", "n0", "leaf", "n3", "p1", "g3"}));
  EXPECT_EQ(names(topology, topology.path(GpuId{1}, GpuId{2})),
            (std::vector<std::string>{"p0", "n1", "leaf", "n2", "p1", "g2"}));
}

TEST(DrawnGraph, CountsNodesByWhatHangsTogetherWhereNobodySays) {
  ClusterGraph graph = two_planes();
  for (Vertex& vertex : graph.vertices) vertex.node = -1;
  const ClusterSpec cluster = cluster_with(graph);
  EXPECT_EQ(cluster.nodes, 2);
  EXPECT_EQ(cluster.gpus_per_node, 2);
  EXPECT_EQ(gpu_count(cluster), 4);
}

TEST(DrawnGraph, NamesTwoGpusWithoutAPath) {
  ClusterGraph graph = two_planes();
  EXPECT_FALSE(unconnected(graph).has_value());
  graph.add(VertexKind::gpu, "lonely");
  std::rotate(graph.vertices.begin() + 4, graph.vertices.end() - 1, graph.vertices.end());
  for (Link& link : graph.links) {
    link.from += link.from >= 4;
    link.to += link.to >= 4;
  }
  EXPECT_EQ(unconnected(graph), (std::pair<std::uint32_t, std::uint32_t>{0, 4}));
  // A link of one direction lets one GPU be reached and not answer.
  graph.links.push_back({0, 4, LinkKind::scale_up, fast});
  EXPECT_EQ(unconnected(graph), (std::pair<std::uint32_t, std::uint32_t>{4, 0}));
}

TEST(DrawnGraph, ForwardsOnTheRailOfTheTargetsLeaf) {
  const Topology topology(drawn(nvswitch_nodes(4, FabricKind::rail_fat_tree)));
  EXPECT_EQ(topology.rail_proxy(GpuId{3}, GpuId{13}), GpuId{5});
  const std::vector<std::string> through = names(topology, topology.rail_path(GpuId{3}, GpuId{13}));
  EXPECT_EQ(std::count(through.begin(), through.end(), "spine"), 0);
  EXPECT_EQ(through[1], "gpu5");
}

}  // namespace
}  // namespace moesim
