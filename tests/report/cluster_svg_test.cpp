#include "report/cluster_svg.h"

#include <gtest/gtest.h>

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <set>
#include <sstream>

#include "config/json_reader.h"
#include "config/read_cluster.h"
#include "report/cluster_layout.h"

namespace moesim {
namespace {

ClusterSpec shipped(const std::string& stem, std::int32_t nodes = 0) {
  ClusterSpec cluster = read_cluster_file(product_root() / "topologies" / "cluster" / (stem + ".json"));
  if (nodes > 0) cluster.nodes = nodes;
  return cluster;
}

/// Elements of a tag, at any depth of a group.
std::size_t count(const std::string& svg, const std::string& tag) {
  std::istringstream in(svg);
  boost::property_tree::ptree tree;
  boost::property_tree::read_xml(in, tree);  // throws where the drawing is not XML
  std::size_t found = 0;
  for (const auto& [name, child] : tree.get_child("svg")) found += name == tag;
  return found;
}

TEST(ClusterSvg, HasALineForEveryCableOfAClusterThatFits) {
  for (const char* stem : {"dgx-h100", "l40s-pcie-8", "mi300x-platform", "gh200", "workstation-rtx4090"}) {
    const Topology topology(shipped(stem));
    const std::string svg = cluster_svg(topology);
    EXPECT_EQ(count(svg, "path"), topology.links().size() / 2) << stem;
    for (const Vertex& vertex : topology.vertices()) {
      EXPECT_NE(svg.find("<title>" + vertex.name + "</title>"), std::string::npos) << stem << " " << vertex.name;
    }
  }
}

TEST(ClusterSvg, ShowsTheFirstNodesAndCountsTheOthers) {
  const Topology topology(shipped("superpod-h100"));
  const std::string svg = cluster_svg(topology);
  EXPECT_NE(svg.find("... x 30 more"), std::string::npos);
  EXPECT_NE(svg.find(">gpu15<"), std::string::npos);
  EXPECT_EQ(svg.find(">gpu16<"), std::string::npos);
  // The legend counts the whole cluster: 256 NICs, both ways.
  EXPECT_NE(svg.find("NIC - leaf (network port): 50 GB/s one way, 93 % reachable, 0.65 us; 512 directed links"),
            std::string::npos);
}

TEST(ClusterSvg, PlacesNoTwoPartsOnEachOther) {
  for (const auto& [stem, nodes] : {std::pair{"dgx-h100", 4},
                                    {"gb200-nvl72", 36},
                                    {"l40s-pcie-8", 3},
                                    {"mi300x-platform", 2},
                                    {"leaf-spine-h100-4to1", 0},
                                    {"gh200", 0}}) {
    const Topology topology(shipped(stem, nodes));
    const ClusterLayout layout = layout_of(topology);
    for (std::size_t a = 0; a < layout.vertices.size(); ++a) {
      if (!layout.vertices[a].shown) continue;
      EXPECT_GE(layout.vertices[a].x - layout.vertices[a].width / 2, 0);
      EXPECT_LE(layout.vertices[a].x + layout.vertices[a].width / 2, layout.width);
      EXPECT_LE(layout.vertices[a].y, layout.height);
      for (std::size_t b = 0; b < a; ++b) {
        if (!layout.vertices[b].shown || layout.vertices[a].y != layout.vertices[b].y) continue;
        EXPECT_GE(std::abs(layout.vertices[a].x - layout.vertices[b].x),
                  (layout.vertices[a].width + layout.vertices[b].width) / 2)
            << stem << " " << topology.vertices()[a].name << " " << topology.vertices()[b].name;
      }
    }
  }
}

TEST(ClusterSvg, ColoursLinksByTheirBusierDirection) {
  const Topology topology(shipped("dgx-h100"));
  std::vector<double> utilization(topology.links().size(), 0);
  utilization[1] = 1;  // the way back of the first cable
  const std::string svg = cluster_svg(topology, utilization);
  std::size_t hot = 0;
  for (std::size_t at = svg.find("stroke=\"#b2182b\""); at != std::string::npos;
       at = svg.find("stroke=\"#b2182b\"", at + 1)) {
    ++hot;
  }
  EXPECT_EQ(hot, 1U);
  EXPECT_NE(svg.find("100.0 % busy"), std::string::npos);
}

TEST(ClusterSvg, EscapesNames) {
  ClusterSpec cluster = shipped("dgx-h100");
  cluster.name = "R&D <east>";
  const std::string svg = cluster_svg(Topology(cluster));
  EXPECT_NE(svg.find("R&amp;D &lt;east&gt;"), std::string::npos);
  EXPECT_GT(count(svg, "rect"), 0U);
}

}  // namespace
}  // namespace moesim
