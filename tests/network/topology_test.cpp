#include "network/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <map>
#include <set>
#include <sstream>

#include "network/sample_topologies.h"

namespace moesim {
namespace {

std::vector<ClusterSpec> all_shapes() {
  return {nvswitch_nodes(1, FabricKind::none),
          nvswitch_nodes(4, FabricKind::rail_fat_tree),
          nvswitch_nodes(9, FabricKind::leaf_spine),
          rack_nodes(20),
          mesh_nodes(3),
          pcie_nodes(5),
          four_nics_a_gpu(9),
          bridged_pairs()};
}

/// Kinds of the vertices of a path, both ends included.
std::vector<VertexKind> kinds(const Topology& topology, GpuId a, GpuId b) {
  std::vector<VertexKind> list = {VertexKind::gpu};
  for (const LinkId link : topology.path(a, b)) {
    list.push_back(topology.vertices()[topology.links()[link.value].to].kind);
  }
  return list;
}

std::set<std::string> names(const Topology& topology, GpuId a, GpuId b) {
  std::set<std::string> list;
  for (const LinkId link : topology.path(a, b)) {
    list.insert(topology.vertices()[topology.links()[link.value].to].name);
  }
  return list;
}

TEST(Paths, RunFromTheOneGpuToTheOtherThroughNoVertexTwiceAndNoThirdGpu) {
  for (const ClusterSpec& cluster : all_shapes()) {
    const Topology topology(cluster);
    for (std::uint32_t a = 0; a < topology.gpu_count(); ++a) {
      for (std::uint32_t b = 0; b < topology.gpu_count(); ++b) {
        std::uint32_t at = a;
        std::set<std::uint32_t> seen = {a};
        for (const LinkId id : topology.path(GpuId{a}, GpuId{b})) {
          const Link& link = topology.links()[id.value];
          ASSERT_EQ(link.from, at);
          at = link.to;
          ASSERT_TRUE(seen.insert(at).second) << topology.vertices()[at].name << " twice from " << a << " to " << b;
          ASSERT_TRUE(at == b || topology.vertices()[at].kind != VertexKind::gpu);
        }
        ASSERT_EQ(at, b);
      }
    }
  }
}

TEST(Paths, HaveAsManyHopsBackAsForth) {
  for (const ClusterSpec& cluster : all_shapes()) {
    const Topology topology(cluster);
    for (std::uint32_t a = 0; a < topology.gpu_count(); ++a) {
      for (std::uint32_t b = 0; b < a; ++b) {
        ASSERT_EQ(topology.path(GpuId{a}, GpuId{b}).size(), topology.path(GpuId{b}, GpuId{a}).size());
      }
    }
  }
}

TEST(Paths, InsideANodeTakeTheSwitchAndNotThePcieSwitchOfEqualLength) {
  ClusterSpec cluster = nvswitch_nodes(1, FabricKind::none);
  cluster.pcie_switches = 4;  // GPUs 0 and 1 share one: two hops that way, too
  const Topology topology(cluster);
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{1}), (std::vector{VertexKind::gpu, VertexKind::nvswitch, VertexKind::gpu}));
}

TEST(Paths, OnOneRailCrossOneLeafAndBetweenRailsTheSpine) {
  const Topology topology(nvswitch_nodes(4, FabricKind::rail_fat_tree));
  using enum VertexKind;
  EXPECT_EQ(kinds(topology, GpuId{3}, GpuId{8 + 3}), (std::vector{gpu, pcie_switch, nic, leaf, nic, pcie_switch, gpu}));
  EXPECT_EQ(kinds(topology, GpuId{3}, GpuId{8 + 5}),
            (std::vector{gpu, pcie_switch, nic, leaf, spine, leaf, nic, pcie_switch, gpu}));
}

TEST(Paths, UseTheNicOfEachEnd) {
  const Topology topology(nvswitch_nodes(2, FabricKind::rail_fat_tree));
  for (std::uint32_t i = 0; i < 8; ++i) {
    for (std::uint32_t j = 0; j < 8; ++j) {
      const std::set<std::string> through = names(topology, GpuId{i}, GpuId{8 + j});
      EXPECT_TRUE(through.contains("nic" + std::to_string(i)));
      EXPECT_TRUE(through.contains("nic" + std::to_string(8 + j)));
    }
  }
}

TEST(Paths, ShareANicAmongTheGpusOfOnePcieSwitch) {
  const Topology topology(pcie_nodes(2));
  // 4 NICs for 8 GPUs: GPU g of a node has NIC g / 2.
  EXPECT_TRUE(names(topology, GpuId{4}, GpuId{8}).contains("nic2"));
  EXPECT_TRUE(names(topology, GpuId{5}, GpuId{8}).contains("nic2"));
  EXPECT_TRUE(names(topology, GpuId{6}, GpuId{8}).contains("nic3"));
}

TEST(Paths, ReachANicOfTheOtherSocketThroughBothSockets) {
  ClusterSpec cluster = pcie_nodes(2);
  cluster.nics_per_node = 1;
  cluster.pcie_switches = 0;
  const Topology topology(cluster);
  using enum VertexKind;
  EXPECT_EQ(kinds(topology, GpuId{7}, GpuId{8}), (std::vector{gpu, host, host, nic, leaf, nic, host, gpu}));
}

TEST(Paths, OfAPcieBoxCrossAsManyHostBridgesAsTheBoxHas) {
  const Topology topology(pcie_nodes(1));
  using enum VertexKind;
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{1}), (std::vector{gpu, pcie_switch, gpu}));
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{2}), (std::vector{gpu, pcie_switch, host, pcie_switch, gpu}));
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{4}), (std::vector{gpu, pcie_switch, host, host, pcie_switch, gpu}));
}

TEST(Paths, OfBridgedPairsAreDirectInsideAPairOnly) {
  const Topology topology(bridged_pairs());
  using enum VertexKind;
  EXPECT_EQ(kinds(topology, GpuId{2}, GpuId{3}), (std::vector{gpu, gpu}));
  EXPECT_EQ(kinds(topology, GpuId{1}, GpuId{2}), (std::vector{gpu, pcie_switch, host, pcie_switch, gpu}));
  EXPECT_EQ(topology.domain_of(GpuId{2}), topology.domain_of(GpuId{3}));
  EXPECT_NE(topology.domain_of(GpuId{1}), topology.domain_of(GpuId{2}));
}

TEST(Paths, StayInTheScaleUpDomainAcrossNodesAndLeaveItOnlyForAnotherRack) {
  const Topology topology(rack_nodes(20));
  using enum VertexKind;
  EXPECT_EQ(topology.node_of(GpuId{71}), NodeId{17});
  EXPECT_EQ(topology.domain_of(GpuId{71}), 0U);
  EXPECT_EQ(topology.domain_of(GpuId{72}), 1U);
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{71}), (std::vector{gpu, nvswitch, gpu}));
  EXPECT_EQ(kinds(topology, GpuId{0}, GpuId{72}), (std::vector{gpu, host, nic, leaf, nic, host, gpu}));
}

TEST(Paths, AreTheSameWhicheverNodesTheyConnect) {
  // Nodes of one leaf are alike: moving both ends by a node changes names only.
  const Topology topology(nvswitch_nodes(4, FabricKind::rail_fat_tree));
  for (std::uint32_t a = 0; a < 8; ++a) {
    for (std::uint32_t b = 8; b < 24; ++b) {
      EXPECT_EQ(kinds(topology, GpuId{a}, GpuId{b}), kinds(topology, GpuId{a + 8}, GpuId{b + 8}));
      Duration here, there;
      for (const LinkId l : topology.path(GpuId{a}, GpuId{b})) here += topology.links()[l.value].rate.latency;
      for (const LinkId l : topology.path(GpuId{a + 8}, GpuId{b + 8})) there += topology.links()[l.value].rate.latency;
      EXPECT_EQ(here, there);
    }
  }
}

TEST(Paths, OfALargeClusterAreThoseOfASmallOne) {
  // 130 nodes have 1040 GPUs, more than are prepared at once; 5 groups of 32 nodes a rail.
  const Topology large(nvswitch_nodes(130, FabricKind::rail_fat_tree));
  const Topology small(nvswitch_nodes(2, FabricKind::rail_fat_tree));
  EXPECT_EQ(kinds(large, GpuId{0}, GpuId{8}), kinds(small, GpuId{0}, GpuId{8}));
  EXPECT_EQ(kinds(large, GpuId{0}, GpuId{9}), kinds(small, GpuId{0}, GpuId{9}));
  // The same rail beyond the 32 nodes of a leaf: over the spine.
  EXPECT_EQ(large.path(GpuId{0}, GpuId{32 * 8}).size(), 8U);
  const std::span<const LinkId> first = large.path(GpuId{0}, GpuId{1039});
  EXPECT_EQ(first.data(), large.path(GpuId{0}, GpuId{1039}).data());
}

TEST(Bisection, OfOneSwitchIsHalfTheGpusTimesTheirLinks) {
  // 4 x 450 GB/s x 0.8
  const Topology topology(nvswitch_nodes(1, FabricKind::none));
  EXPECT_NEAR(topology.bisection_bandwidth().value, 4 * 450e9 * 0.8, 1);
}

TEST(Bisection, OfAFullMeshIsItsSixteenLinksAcross) {
  // 4 x 4 pairs of 448 / 7 = 64 GB/s x 0.75
  const Topology topology(mesh_nodes(1));
  EXPECT_NEAR(topology.bisection_bandwidth().value, 16 * 64e9 * 0.75, 16);
}

TEST(Bisection, OfARailOptimisedFatTreeIsFull) {
  // Half of the NICs of 64 nodes: 32 x 8 x 50 GB/s x 0.9, although each rail has two leaves.
  const Topology topology(nvswitch_nodes(64, FabricKind::rail_fat_tree));
  EXPECT_NEAR(topology.bisection_bandwidth().value, 32 * 8 * 50e9 * 0.9, 100);
}

TEST(Bisection, OfAnOversubscribedLeafSpineIsThatShareOfTheFull) {
  // 16 nodes on 4 leaves: half of the NICs are 8 x 8 x 50 GB/s x 0.9.
  const double full = 8 * 8 * 50e9 * 0.9;
  for (const double oversubscription : {1.0, 2.0, 4.0, 3.0}) {
    ClusterSpec cluster = nvswitch_nodes(16, FabricKind::leaf_spine);
    cluster.oversubscription = oversubscription;
    EXPECT_NEAR(Topology(cluster).bisection_bandwidth().value, full / oversubscription, 100) << oversubscription;
  }
}

TEST(Bisection, OfAScaleUpDomainOverNodesIsThatOfItsSwitch) {
  // 36 x 900 GB/s x 0.8
  EXPECT_NEAR(Topology(rack_nodes(18)).bisection_bandwidth().value, 36 * 900e9 * 0.8, 100);
}

TEST(Bisection, OfAPcieBoxIsTheSocketInterconnect) {
  // 30 GB/s x 0.05
  EXPECT_NEAR(Topology(pcie_nodes(1)).bisection_bandwidth().value, 1.5e9, 1);
}

TEST(Bisection, OfOneGpuIsNone) {
  ClusterSpec cluster;
  EXPECT_EQ(Topology(cluster).bisection_bandwidth().value, 0);
}

TEST(Links, OfSeveralNicsOfAGpuAreOneWithTheSumOfTheirRates) {
  const Topology topology(four_nics_a_gpu(2));
  for (const LinkId id : topology.path(GpuId{0}, GpuId{8})) {
    const Link& link = topology.links()[id.value];
    if (link.kind == LinkKind::nic) {
      EXPECT_EQ(link.rate.bandwidth.value, 4 * 12.5e9);
    }
  }
}

TEST(Links, ComeInPairsOfOppositeDirections) {
  for (const ClusterSpec& cluster : all_shapes()) {
    const Topology topology(cluster);
    ASSERT_EQ(topology.links().size() % 2, 0U);
    for (std::size_t i = 0; i < topology.links().size(); i += 2) {
      EXPECT_EQ(topology.links()[i].from, topology.links()[i + 1].to);
      EXPECT_EQ(topology.links()[i].to, topology.links()[i + 1].from);
    }
  }
}

TEST(Links, AreSummedUpByKindAndRate) {
  // Each of 8 GPUs: a link to the switch, to its PCIe switch, from there to a socket, NIC to PCIe switch, NIC to its
  // leaf; two sockets. Directed, so twice as many. The GPU's and the NIC's slots differ in latency.
  const std::vector<LinkClassSummary> classes = summarize_links(Topology(nvswitch_nodes(1, FabricKind::leaf_spine)));
  std::map<LinkKind, std::size_t> links;
  for (const LinkClassSummary& c : classes) links[c.kind] += c.links;
  EXPECT_EQ(links[LinkKind::scale_up], 16U);
  EXPECT_EQ(links[LinkKind::pcie], 16U + 16U + 16U + 2U);
  EXPECT_EQ(links[LinkKind::nic], 16U);
  EXPECT_EQ(links.count(LinkKind::fabric), 0U);
  EXPECT_EQ(classes.front().kind, LinkKind::scale_up);
  EXPECT_EQ(classes.front().line_rate.value, 450e9);
  EXPECT_EQ(classes.front().efficiency, 0.8);
}

TEST(GraphMl, ReadsBackAsTheSameVerticesAndEdges) {
  const Topology topology(nvswitch_nodes(9, FabricKind::leaf_spine));
  std::stringstream text;
  topology.write_graphml(text);
  boost::property_tree::ptree document;
  boost::property_tree::read_xml(text, document);
  const auto& root = document.get_child("graphml");
  std::map<std::string, std::string> keys;  // id -> name
  // attr.name has a dot, which a property_tree path would split.
  for (const auto& [tag, key] : root) {
    if (tag != "key") continue;
    for (const auto& [name, value] : key.get_child("<xmlattr>")) {
      if (name == "attr.name") keys[key.get<std::string>("<xmlattr>.id")] = value.data();
    }
  }
  const auto& graph = root.get_child("graph");
  EXPECT_EQ(graph.get<std::string>("<xmlattr>.edgedefault"), "directed");
  std::map<std::string, std::uint32_t> index;
  std::size_t edges = 0;
  for (const auto& [tag, element] : graph) {
    std::map<std::string, std::string> data;
    for (const auto& [inner, datum] : element) {
      if (inner == "data") data[keys.at(datum.get<std::string>("<xmlattr>.key"))] = datum.data();
    }
    if (tag == "node") {
      const auto i = static_cast<std::uint32_t>(index.size());
      index[element.get<std::string>("<xmlattr>.id")] = i;
      EXPECT_EQ(data.at("name"), topology.vertices()[i].name);
      EXPECT_EQ(data.at("kind"), name(topology.vertices()[i].kind));
    } else if (tag == "edge") {
      const Link& link = topology.links()[edges++];
      EXPECT_EQ(index.at(element.get<std::string>("<xmlattr>.source")), link.from);
      EXPECT_EQ(index.at(element.get<std::string>("<xmlattr>.target")), link.to);
      EXPECT_DOUBLE_EQ(std::stod(data.at("gbps")), link.rate.bandwidth.value / 1e9);
      EXPECT_DOUBLE_EQ(std::stod(data.at("lat_us")), link.rate.latency.microseconds());
    }
  }
  EXPECT_EQ(index.size(), topology.vertices().size());
  EXPECT_EQ(edges, topology.links().size());
}

TEST(Dot, NamesEveryLinkByItsVertices) {
  const Topology topology(nvswitch_nodes(1, FabricKind::none));
  std::stringstream text;
  topology.write_dot(text);
  EXPECT_NE(text.str().find("  gpu0 -> nvswitch0 [gbps=450 lat_us=0.3];\n"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("  nvswitch0 [kind=nvswitch];\n"), std::string::npos);
  std::size_t arrows = 0;
  for (std::string line; std::getline(text, line);) arrows += line.find(" -> ") != std::string::npos;
  EXPECT_EQ(arrows, topology.links().size());
}

}  // namespace
}  // namespace moesim
