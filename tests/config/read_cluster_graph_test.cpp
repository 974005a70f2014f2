// The fields `graph`, `spines` and `multipath` of a cluster file.

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "config/json_reader.h"
#include "config/read_cluster.h"
#include "network/topology.h"
#include "report/cluster_file.h"

namespace moesim {
namespace {

using nlohmann::ordered_json;

std::string error_of(const ordered_json& document) {
  try {
    read_cluster(JsonReader(document, "box.json"));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// Two GPUs at a switch; a socket that both hang on.
ordered_json small() {
  return ordered_json::parse(R"({
    "name": "two", "gpu": "H100", "source": "none",
    "graph": {
      "vertices": [{"name": "sw", "kind": "nvswitch"}, {"name": "a", "kind": "gpu", "node": 0},
                   {"name": "b", "kind": "gpu", "node": 0}, {"name": "c", "kind": "cpu", "node": 0}],
      "links": [{"from": "a", "to": "sw", "bandwidth": "450 GB/s", "efficiency": 0.8, "latency": "0.3 us"},
                {"from": "b", "to": "sw", "bandwidth": "450 GB/s", "latency": "0.3 us"},
                {"from": "a", "to": "c", "bandwidth": "63 GB/s", "latency": "1 us"},
                {"from": "b", "to": "c", "bandwidth": "63 GB/s", "latency": "1 us"}]}})");
}

TEST(ClusterGraph, IsReadWithGpusFirstAndKindsByItsEnds) {
  const ordered_json document = small();
  const ClusterSpec cluster = read_cluster(JsonReader(document, "box.json"));
  EXPECT_EQ(cluster.gpu, "h100_sxm");
  EXPECT_EQ(cluster.nodes, 1);
  EXPECT_EQ(cluster.gpus_per_node, 2);
  EXPECT_EQ(cluster.scale_up_domain, 2);
  EXPECT_EQ(cluster.scale_up, ScaleUpKind::switched);
  EXPECT_EQ(cluster.scale_up_link.bandwidth.value, 450e9);
  const Topology topology(cluster);
  EXPECT_EQ(topology.vertices()[0].name, "a");
  EXPECT_EQ(topology.links().size(), 8U);
  EXPECT_EQ(topology.links()[0].kind, LinkKind::scale_up);
  EXPECT_EQ(topology.links()[0].rate.efficiency, 0.8);
  EXPECT_EQ(topology.links()[2].rate.efficiency, 1);
  EXPECT_EQ(topology.links()[4].kind, LinkKind::pcie);
}

TEST(ClusterGraph, IsWrittenAsTheFileItWasReadFrom) {
  ordered_json document = small();
  document["graph"]["links"].push_back(
      {{"from", "a"}, {"to", "b"}, {"bandwidth", "1 GB/s"}, {"latency", "2 us"}, {"kind", "pcie"}, {"one_way", true}});
  document["graph"]["multipath"] = "hash";
  const ClusterSpec cluster = read_cluster(JsonReader(document, "box.json"));
  const std::string text = cluster_file_text(cluster);
  const ordered_json again = ordered_json::parse(text);
  const ClusterSpec back = read_cluster(JsonReader(again, "again.json"));
  EXPECT_EQ(cluster_file_text(back), text);
  EXPECT_EQ(back.multipath, Multipath::hash);
  EXPECT_EQ(back.graph->cables, 4U);
  ASSERT_EQ(back.graph->links.size(), 9U);
  EXPECT_EQ(back.graph->links[8].kind, LinkKind::pcie);
}

TEST(ClusterGraph, ErrorsNameFileAndPointer) {
  const auto spoiled = [](const std::function<void(ordered_json&)>& spoil) {
    ordered_json document = small();
    spoil(document);
    return error_of(document);
  };
  EXPECT_EQ(spoiled([](ordered_json& d) { d["graph"]["links"][1]["to"] = "swi"; }),
            "box.json: /graph/links/1/to: no vertex is called \"swi\"; did you mean sw?");
  EXPECT_EQ(spoiled([](ordered_json& d) { d["graph"]["links"][1]["to"] = "b"; }),
            "box.json: /graph/links/1/to: a link to where it comes from");
  EXPECT_EQ(spoiled([](ordered_json& d) { d["graph"]["vertices"][2]["name"] = "a"; }),
            "box.json: /graph/vertices/2/name: \"a\" names another vertex already");
  EXPECT_EQ(spoiled([](ordered_json& d) { d["graph"]["vertices"][2].erase("node"); }),
            "box.json: /graph/vertices: some GPUs have a node and some have none; expected all or none");
  EXPECT_EQ(spoiled([](ordered_json& d) { d["graph"]["links"] = ordered_json::array(); }),
            "box.json: /graph/links: no path from a to b; expected every GPU to reach every other one");
  EXPECT_EQ(spoiled([](ordered_json& d) { d["nodes"] = 2; }),
            "box.json: /nodes: cannot stand beside a graph, which says it");
  EXPECT_EQ(spoiled([](ordered_json& d) {
              d["graph"]["vertices"].erase(1);
              d["graph"]["vertices"].erase(1);
            }),
            "box.json: /graph/vertices: expected at least one vertex of kind gpu");
  const std::string kind = spoiled([](ordered_json& d) { d["graph"]["vertices"][0]["kind"] = "nvlink"; });
  EXPECT_TRUE(kind.starts_with("box.json: /graph/vertices/0/kind: ")) << kind;
  const std::string rate = spoiled([](ordered_json& d) { d["graph"]["links"][0]["bandwidth"] = 450; });
  EXPECT_TRUE(rate.starts_with("box.json: /graph/links/0/bandwidth: ")) << rate;
}

TEST(ClusterGraph, KeepsItsNumberOfNodes) {
  const ordered_json document = small(), two = 2, one = 1;
  const ClusterSpec cluster = read_cluster(JsonReader(document, "box.json"));
  EXPECT_EQ(with_nodes(cluster, 1, JsonReader(one, "x", "/nodes")).nodes, 1);
  EXPECT_THROW(with_nodes(cluster, 2, JsonReader(two, "x", "/nodes")), ConfigError);
}

TEST(Fabric, TakesSpinesAndTheWayOverThem) {
  ordered_json document = parse_json_file(product_root() / "topologies" / "cluster" / "superpod-h100.json");
  EXPECT_EQ(read_cluster(JsonReader(document, "pod.json")).multipath, Multipath::split);
  document["fabric"]["spines"] = 16;
  document["fabric"]["multipath"] = "hash";
  const ClusterSpec cluster = read_cluster(JsonReader(document, "pod.json"));
  EXPECT_EQ(cluster.spines, 16);
  EXPECT_EQ(Topology(cluster).paths(GpuId{0}, GpuId{9}).size(), 16U);
  document["fabric"]["spines"] = 0;
  EXPECT_TRUE(error_of(document).starts_with("box.json: /fabric/spines: "));
}

}  // namespace
}  // namespace moesim
