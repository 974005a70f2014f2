// Several equal paths, and rails.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "network/sample_topologies.h"
#include "network/topology.h"

namespace moesim {
namespace {

ClusterSpec hashed_spines(std::int32_t spines, FabricKind fabric = FabricKind::rail_fat_tree) {
  ClusterSpec cluster = nvswitch_nodes(8, fabric);
  cluster.spines = spines;
  cluster.multipath = Multipath::hash;
  return cluster;
}

std::vector<VertexKind> kinds(const Topology& topology, std::span<const LinkId> path) {
  std::vector<VertexKind> list;
  for (const LinkId link : path) list.push_back(topology.vertices()[topology.links()[link.value].to].kind);
  return list;
}

bool crosses(const Topology& topology, std::span<const LinkId> path, VertexKind kind) {
  const std::vector<VertexKind> list = kinds(topology, path);
  return std::find(list.begin(), list.end(), kind) != list.end();
}

std::string spine_of(const Topology& topology, std::span<const LinkId> path) {
  for (const LinkId link : path) {
    const Vertex& to = topology.vertices()[topology.links()[link.value].to];
    if (to.kind == VertexKind::spine) return to.name;
  }
  return "";
}

std::vector<LinkId> list(std::span<const LinkId> path) {
  return {path.begin(), path.end()};
}

/// Follows the links from a to b; false where one does not start at the end of the one before.
bool is_walk(const Topology& topology, std::span<const LinkId> path, GpuId a, GpuId b) {
  std::uint32_t at = a.value;
  for (const LinkId id : path) {
    if (topology.links()[id.value].from != at) return false;
    at = topology.links()[id.value].to;
  }
  return at == b.value;
}

TEST(SplitPaths, AreOneTrunkHoweverManySpinesShareIt) {
  ClusterSpec four = nvswitch_nodes(8, FabricKind::rail_fat_tree);
  four.spines = 4;
  const Topology trunk(nvswitch_nodes(8, FabricKind::rail_fat_tree)), spread(four);
  ASSERT_EQ(trunk.links().size(), spread.links().size());
  for (std::uint64_t flow : {0, 1, 7}) {
    EXPECT_EQ(list(spread.path(GpuId{0}, GpuId{9}, flow)), list(trunk.path(GpuId{0}, GpuId{9})));
  }
  EXPECT_EQ(spread.paths(GpuId{0}, GpuId{9}).size(), 1U);
}

TEST(HashedPaths, CrossOneOfTheSpinesWhoseLinksShareTheUplink) {
  const Topology hashed(hashed_spines(4)), trunk(nvswitch_nodes(8, FabricKind::rail_fat_tree));
  double one = 0, all = 0, whole = 0;
  for (const Link& link : hashed.links()) {
    if (link.kind != LinkKind::fabric) continue;
    one = link.rate.bandwidth.value;
    all += one;
  }
  for (const Link& link : trunk.links()) {
    if (link.kind == LinkKind::fabric) whole += link.rate.bandwidth.value;
  }
  EXPECT_DOUBLE_EQ(all, whole);
  EXPECT_DOUBLE_EQ(one, 32 * 50e9 / 4);  // 32 ports of a non-blocking leaf over 4 spines
  EXPECT_NEAR(hashed.bisection_bandwidth().value, trunk.bisection_bandwidth().value, 1000);
}

TEST(HashedPaths, OfAPairAreAsManyAsTheSpinesAndAFlowKeepsItsOwn) {
  const Topology topology(hashed_spines(4));
  const auto paths = topology.paths(GpuId{0}, GpuId{9});
  ASSERT_EQ(paths.size(), 4U);
  std::set<std::string> spines;
  for (const auto& path : paths) {
    EXPECT_TRUE(is_walk(topology, path, GpuId{0}, GpuId{9}));
    EXPECT_EQ(path.size(), paths.front().size());
    spines.insert(spine_of(topology, path));
  }
  EXPECT_EQ(spines.size(), 4U);
  for (std::uint64_t flow = 0; flow < 100; ++flow) {
    const std::span<const LinkId> path = topology.path(GpuId{0}, GpuId{9}, flow);
    EXPECT_NE(std::find(paths.begin(), paths.end(), list(path)), paths.end());
    EXPECT_EQ(path.data(), topology.path(GpuId{0}, GpuId{9}, flow).data());
  }
  EXPECT_EQ(list(topology.path(GpuId{0}, GpuId{9}, 0)), list(topology.path(GpuId{0}, GpuId{9})));
  // One leaf away there is one path.
  EXPECT_EQ(topology.paths(GpuId{0}, GpuId{8}).size(), 1U);
  EXPECT_EQ(list(topology.path(GpuId{0}, GpuId{8}, 5)), list(topology.path(GpuId{0}, GpuId{8})));
}

TEST(HashedPaths, FallOnEverySpineAlikeForTheFlowsOfAPairAndForThePairsOfAFlow) {
  const Topology topology(hashed_spines(8));
  const auto even = [](const std::map<std::string, int>& counts, double total) {
    ASSERT_EQ(counts.size(), 8U);
    // Five standard deviations of a binomial of n trials with p = 1/8.
    const double mean = total / 8, deviation = std::sqrt(total / 8 * 7 / 8);
    for (const auto& [spine, count] : counts) EXPECT_NEAR(count, mean, 5 * deviation) << spine;
  };
  for (const auto& [a, b] : {std::pair{0U, 9U}, {9U, 0U}, {17U, 63U}}) {
    std::map<std::string, int> counts;
    for (std::uint64_t flow = 0; flow < 8000; ++flow) {
      ++counts[spine_of(topology, topology.path(GpuId{a}, GpuId{b}, flow))];
    }
    even(counts, 8000);
  }
  std::map<std::string, int> counts;
  int pairs = 0;
  for (std::uint32_t a = 0; a < 64; ++a) {
    for (std::uint32_t b = 0; b < 64; ++b) {
      if (a / 8 == b / 8 || a % 8 == b % 8) continue;
      ++counts[spine_of(topology, topology.path(GpuId{a}, GpuId{b}, 3))];
      ++pairs;
    }
  }
  even(counts, pairs);
}

TEST(RailPaths, OfTwoRailsForwardOverNvlinkAndLeaveTheSpineAlone) {
  const Topology topology(nvswitch_nodes(4, FabricKind::rail_fat_tree));
  const GpuId a{3}, b{8 + 5};
  EXPECT_TRUE(crosses(topology, topology.path(a, b), VertexKind::spine));
  EXPECT_EQ(topology.rail_proxy(a, b), GpuId{5});
  const std::span<const LinkId> path = topology.rail_path(a, b);
  EXPECT_TRUE(is_walk(topology, path, a, b));
  using enum VertexKind;
  EXPECT_EQ(kinds(topology, path), (std::vector{nvswitch, gpu, pcie_switch, nic, leaf, nic, pcie_switch, gpu}));
  EXPECT_EQ(path.data(), topology.rail_path(a, b).data());
}

TEST(RailPaths, PutNoByteOfAnAllToAllOnTheSpineWhereDirectOnesPutSevenEighths) {
  const Topology topology(nvswitch_nodes(4, FabricKind::rail_fat_tree));
  int direct = 0, by_rail = 0, between_nodes = 0;
  for (std::uint32_t a = 0; a < 32; ++a) {
    for (std::uint32_t b = 0; b < 32; ++b) {
      if (a / 8 == b / 8) continue;
      ++between_nodes;
      direct += crosses(topology, topology.path(GpuId{a}, GpuId{b}), VertexKind::spine);
      by_rail += crosses(topology, topology.rail_path(GpuId{a}, GpuId{b}), VertexKind::spine);
    }
  }
  EXPECT_EQ(direct * 8, between_nodes * 7);
  EXPECT_EQ(by_rail, 0);
}

TEST(RailPaths, AreTheOrdinaryOnesOnOneRailInOneNodeAndWithoutRailsOrNvlink) {
  const Topology rails(nvswitch_nodes(4, FabricKind::rail_fat_tree));
  EXPECT_EQ(list(rails.rail_path(GpuId{3}, GpuId{11})), list(rails.path(GpuId{3}, GpuId{11})));
  EXPECT_EQ(list(rails.rail_path(GpuId{3}, GpuId{5})), list(rails.path(GpuId{3}, GpuId{5})));
  const Topology plain(nvswitch_nodes(9, FabricKind::leaf_spine));
  EXPECT_EQ(list(plain.rail_path(GpuId{3}, GpuId{69})), list(plain.path(GpuId{3}, GpuId{69})));
  ClusterSpec pcie = pcie_nodes(4);
  pcie.fabric = FabricKind::rail_fat_tree;
  const Topology without(pcie);
  EXPECT_EQ(without.rail_proxy(GpuId{0}, GpuId{15}), GpuId{0});
}

TEST(RailPaths, OfRacksForwardInsideTheTray) {
  const Topology topology(rack_nodes(36));
  for (const std::uint32_t a : {0U, 7U, 70U}) {
    for (std::uint32_t b = 72; b < 144; ++b) {
      const GpuId proxy = topology.rail_proxy(GpuId{a}, GpuId{b});
      EXPECT_EQ(topology.node_of(proxy), topology.node_of(GpuId{a}));
      EXPECT_EQ(proxy.value % 4, b % 4);
    }
  }
}

TEST(RailPaths, BeyondTheNodesOfALeafCrossTheSpineThatTheFlowChooses) {
  ClusterSpec cluster = hashed_spines(4);
  cluster.leaf_ports = 4;  // two groups of 4 nodes
  const Topology topology(cluster);
  std::set<std::string> spines;
  for (std::uint64_t flow = 0; flow < 50; ++flow) {
    const std::span<const LinkId> path = topology.rail_path(GpuId{0}, GpuId{41}, flow);
    EXPECT_TRUE(is_walk(topology, path, GpuId{0}, GpuId{41}));
    spines.insert(spine_of(topology, path));
  }
  EXPECT_EQ(spines.size(), 4U);
}

}  // namespace
}  // namespace moesim
