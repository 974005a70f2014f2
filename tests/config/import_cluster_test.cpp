// Topology files of other tools as clusters.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/import_graphml.h"
#include "config/import_topology_matrix.h"
#include "config/import_topology_xml.h"
#include "config/json_reader.h"
#include "config/read_cluster.h"
#include "network/topology.h"
#include "report/cluster_file.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

class ImportedCluster : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim-import-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  /// The message with the folder cut off.
  std::string error_of(const std::function<void()>& action) const {
    try {
      action();
    } catch (const ConfigError& error) {
      std::string line = error.what();
      const std::string prefix = folder_.string() + "/";
      if (line.starts_with(prefix)) line.erase(0, prefix.size());
      return line;
    }
    return "no error";
  }
  fs::path folder_;
};

std::map<VertexKind, int> counts(const ClusterSpec& cluster) {
  std::map<VertexKind, int> list;
  for (const Vertex& vertex : cluster.graph->vertices) ++list[vertex.kind];
  return list;
}

/// Names of the vertices of a path behind its start.
std::vector<std::string> names(const Topology& topology, std::uint32_t a, std::uint32_t b) {
  std::vector<std::string> list;
  for (const LinkId link : topology.path(GpuId{a}, GpuId{b})) {
    list.push_back(topology.vertices()[topology.links()[link.value].to].name);
  }
  return list;
}

ImportOptions of_gpu(const std::string& gpu, std::int64_t nodes = 1) {
  ImportOptions options;
  options.gpu = gpu;
  options.nodes = nodes;
  return options;
}

/// Written, read again, written again.
void expect_round_trip(const ClusterSpec& cluster) {
  const std::string text = cluster_file_text(cluster);
  const nlohmann::ordered_json document = nlohmann::ordered_json::parse(text);
  EXPECT_EQ(cluster_file_text(read_cluster(JsonReader(document, "imported.json"))), text);
}

/// Two sockets; below each a switch whose ports lead to a GPU and a NIC of two ports of 200 Gbit/s.
constexpr const char* two_switches = R"(<system version="1">
  <!-- a <pci> in a comment -->
  <cpu numaid="0" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:17:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:18:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
        <pci busid="0000:19:00.0" class="0x030200" vendor="0x10de" device="0x2330" link_speed="16.0 GT/s PCIe" link_width="16">
          <gpu dev="0" sm="90" rank="0" gdr="1">
            <nvlink target="0000:05:00.0" count="10" tclass="0x068000"/>
            <nvlink target="0000:06:00.0" count="8" tclass="0x068000"/>
          </gpu>
        </pci>
      </pci>
      <pci busid="0000:1a:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
        <nic>
          <net name="mlx5_0" dev="0" speed="200000" port="1"/>
          <net name="mlx5_1" dev="1" speed="200000" port="2"/>
        </nic>
      </pci>
    </pci>
  </cpu>
  <cpu numaid="1" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:27:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:29:00.0" class="0x030200" vendor="0x10de" device="0x2330" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="1" sm="90" rank="1" gdr="1">
          <nvlink target="0000:05:00.0" count="10" tclass="0x068000"/>
          <nvlink target="0000:06:00.0" count="8" tclass="0x068000"/>
        </gpu>
      </pci>
      <pci busid="0000:2a:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
        <nic><net name="mlx5_2" dev="2" speed="400000" port="1"/></nic>
      </pci>
    </pci>
  </cpu>
</system>
)";

TEST_F(ImportedCluster, OfNcclHasTheFilesSwitchesLinksAndRates) {
  const ClusterSpec cluster = import_nccl_topology(file("topo.xml", two_switches), ImportOptions{});
  EXPECT_EQ(cluster.gpu, "h100_sxm");  // PCI id 10de:2330
  EXPECT_EQ(counts(cluster), (std::map<VertexKind, int>{{VertexKind::gpu, 2},
                                                        {VertexKind::nvswitch, 1},
                                                        {VertexKind::pcie_switch, 2},
                                                        {VertexKind::host, 2},
                                                        {VertexKind::nic, 2}}));
  const Topology topology(cluster);
  EXPECT_EQ(names(topology, 0, 1), (std::vector<std::string>{"nvswitch0", "gpu1"}));
  // 18 links of 25 GB/s, 20.6 of them reached.
  const Link& nvlink = topology.links()[topology.path(GpuId{0}, GpuId{1})[0].value];
  EXPECT_DOUBLE_EQ(nvlink.rate.bandwidth.value, 450e9);
  EXPECT_DOUBLE_EQ(nvlink.rate.efficiency, 20.6 / 25);
  for (const Link& link : topology.links()) {
    // 16 GT/s x 16 lanes / 8 bits x 128/130, through a port of 32 GT/s.
    if (link.from == 0 && link.kind == LinkKind::pcie) {
      EXPECT_NEAR(link.rate.bandwidth.value, 31.508e9, 1e6);
    }
    if (link.from == 1 && link.kind == LinkKind::pcie) {
      EXPECT_NEAR(link.rate.bandwidth.value, 63.015e9, 1e6);
    }
  }
  expect_round_trip(cluster);
}

TEST_F(ImportedCluster, OfSeveralNodesIsJoinedByTheNicsOfTheFile) {
  ImportOptions options = of_gpu("H200", 3);
  const fs::path path = file("topo.xml", two_switches);
  const ClusterSpec rails = import_nccl_topology(path, options);
  EXPECT_EQ(rails.gpu, "h200_sxm");
  EXPECT_EQ(rails.nodes, 3);
  EXPECT_EQ(rails.gpus_per_node, 2);
  EXPECT_EQ(counts(rails)[VertexKind::leaf], 2);
  const Topology topology(rails);
  EXPECT_EQ(names(topology, 0, 2),
            (std::vector<std::string>{"pcie_switch0", "nic0", "leaf0", "nic2", "pcie_switch2", "gpu2"}));
  EXPECT_EQ(topology.rail_proxy(GpuId{0}, GpuId{3}), GpuId{1});
  for (const Link& link : topology.links()) {
    if (link.kind == LinkKind::nic) {
      EXPECT_DOUBLE_EQ(link.rate.bandwidth.value, 50e9);  // 2 x 200 or 400 Gbit/s
    }
    if (link.kind == LinkKind::fabric) {
      EXPECT_DOUBLE_EQ(link.rate.bandwidth.value, 150e9);  // three NICs
    }
  }
  options.fabric = FabricKind::leaf_spine;
  EXPECT_EQ(counts(import_nccl_topology(path, options))[VertexKind::leaf], 1);
  expect_round_trip(rails);
}

TEST_F(ImportedCluster, OfABadXmlFileSaysFileAndLine) {
  const auto message = [&](const std::string& text, ImportOptions options = {}) {
    const fs::path path = file("t.xml", text);
    return error_of([&] { import_nccl_topology(path, options); });
  };
  EXPECT_EQ(
      message("<graphs version=\"1\">\n</graphs>\n"),
      "t.xml:1: a graph file of NCCL (<graphs>), which holds its rings and trees; expected a topology (<system>), "
      "as NCCL_TOPO_DUMP_FILE writes it");
  EXPECT_EQ(message("\n<topology/>"), "t.xml:2: <topology>; expected <system>, NCCL's topology");
  EXPECT_EQ(message("no markup"), "t.xml:1: no XML element; expected an XML file");
  EXPECT_TRUE(message("<system>\n<cpu>\n</system>").starts_with("t.xml:3: not XML: "));
  EXPECT_EQ(message("<system>\n  <cpu/>\n</system>"), "t.xml:1: no GPU; expected <pci> of class 0x0302.. or 0x1200..");
  std::string text = two_switches;
  text.replace(text.find("16.0 GT/s"), 9, "fast GT/s");
  EXPECT_EQ(message(text), "t.xml:6: link_speed=\"fast GT/s PCIe\"; expected a number");
  text = two_switches;
  while (text.find("0x2330") != std::string::npos) text.replace(text.find("0x2330"), 6, "0xffff");
  EXPECT_EQ(message(text), "t.xml:6: does not say which GPU this is (PCI id 0x10de:0xffff); give --gpu NAME");
  while (text.find("speed=\"200000\"") != std::string::npos) text.erase(text.find("speed=\"200000\""), 14);
  EXPECT_EQ(message(text, of_gpu("h100_sxm", 2)),
            "t.xml: does not say how fast its NICs are; give --nic-rate, for example \"400 Gbit/s\"");
}

/// GPUs and NICs that each XML file of the shared data shows.
TEST_F(ImportedCluster, OfEverySharedNcclFileHasItsGpusAndNics) {
  const fs::path topo = fs::path(MOESIM_SHARED_DATA) / "comm" / "topo";
  if (!fs::exists(topo)) GTEST_SKIP() << "the shared tables are absent";
  struct Case {
    const char* name;
    const char* gpu;
    int gpus, nics;
    std::int32_t domain;
  };
  for (const Case& c : {Case{"aws_g5_a10g_pcie", "a10", 8, 1, 1},
                        {"aws_p4d_a100_efa", "", 8, 4, 8},
                        {"azure_ncv4_a100_pcie_4gpu", "", 4, 1, 1},
                        {"azure_ndv4_a100_8gpu_8ib", "a100_sxm_40gb", 8, 8, 8},
                        {"azure_ndv5_h100_8gpu_8ib", "h100_sxm", 8, 8, 8},
                        {"oci_b4_a100_flattened", "a100_sxm_40gb", 8, 8, 8},
                        {"oci_h100_16nic", "", 8, 8, 8},
                        {"rccl_8p_pcie_model", "mi210", 8, 1, 1},
                        {"rccl_mi300x_8gpu_model", "", 8, 8, 8}}) {
    const ClusterSpec cluster = import_nccl_topology(topo / (std::string(c.name) + ".xml"), of_gpu(c.gpu));
    EXPECT_EQ(counts(cluster)[VertexKind::gpu], c.gpus) << c.name;
    EXPECT_EQ(counts(cluster)[VertexKind::nic], c.nics) << c.name;
    EXPECT_EQ(cluster.scale_up_domain, c.domain) << c.name;
    EXPECT_GT(Topology(cluster).bisection_bandwidth().value, 0) << c.name;
    expect_round_trip(cluster);
  }
  EXPECT_NE(error_of([&] {
              import_nccl_topology(topo / "azure_ncv4_graph.xml", ImportOptions{});
            }).find("azure_ncv4_graph.xml:1: a graph file of NCCL"),
            std::string::npos);
}

constexpr const char* matrix =
    "\t\x1b[4mGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
    "GPU0\t X \tNV12\tPIX\tSYS\t0-47\t0\t\tN/A\n"
    "GPU1\tNV12\t X \tSYS\tPIX\t48-95\t1\t\tN/A\n"
    "NIC0\tPIX\tSYS\t X \tSYS\n"
    "NIC1\tSYS\tPIX\tSYS\t X \n"
    "\nLegend:\n\n  X    = Self\n\nNIC Legend:\n\n  NIC0: mlx5_0\n  NIC1: mlx5_1\n";

TEST_F(ImportedCluster, OfAMatrixHasItsSwitchesAndNvlinkCounts) {
  const ClusterSpec cluster = import_topology_matrix(file("topo.txt", matrix), of_gpu("a100_pcie"));
  EXPECT_EQ(counts(cluster),
            (std::map<VertexKind, int>{
                {VertexKind::gpu, 2}, {VertexKind::pcie_switch, 2}, {VertexKind::host, 2}, {VertexKind::nic, 2}}));
  const Topology topology(cluster);
  EXPECT_EQ(names(topology, 0, 1), (std::vector<std::string>{"gpu1"}));  // a bridge
  EXPECT_DOUBLE_EQ(topology.links()[topology.path(GpuId{0}, GpuId{1})[0].value].rate.bandwidth.value, 12 * 25e9);
  ImportOptions options = of_gpu("a100_pcie", 2);
  options.nic_rate = BytesPerSecond{25e9};
  const Topology two(import_topology_matrix(file("topo.txt", matrix), options));
  EXPECT_EQ(names(two, 1, 3),
            (std::vector<std::string>{"pcie_switch1", "nic1", "leaf1", "nic3", "pcie_switch3", "gpu3"}));
  expect_round_trip(cluster);
}

TEST_F(ImportedCluster, OfABadMatrixSaysFileAndLine) {
  const auto message = [&](const std::string& from, const std::string& to, const std::string& gpu = "a100_pcie") {
    std::string text = matrix;
    text.replace(text.find(from), from.size(), to);
    const fs::path path = file("m.txt", text);
    return error_of([&] { import_topology_matrix(path, of_gpu(gpu)); });
  };
  EXPECT_EQ(message("NV12\tPIX", "NVX\tPIX"), "m.txt:2: \"NVX\"; expected X, NV#, PIX, PXB, PHB, NODE or SYS");
  EXPECT_EQ(message("NIC1\tSYS\tPIX\tSYS\t X \n", ""), "m.txt:6: ends after 3 of 4 rows of the matrix");
  EXPECT_EQ(message("\t X \tNV12\tPIX\tSYS\t0-47\t0\t\tN/A", "\t X \tNV12"), "m.txt:2: GPU0 has 2 cells; expected 4");
  EXPECT_EQ(message("NV12", "NV12", ""), "m.txt: names no GPU and no rates, which its datasheet gives; add --gpu NAME");
  const fs::path other = file("m.txt", "hello\n");
  EXPECT_EQ(error_of([&] { import_topology_matrix(other, of_gpu("l40s")); }),
            "m.txt:1: no matrix of GPUs; expected the output of nvidia-smi topo -m (or of rocm-smi --showtopo)");
}

TEST_F(ImportedCluster, OfEverySharedMatrixHasItsShape) {
  const fs::path topo = fs::path(MOESIM_SHARED_DATA) / "comm" / "topo";
  if (!fs::exists(topo)) GTEST_SKIP() << "the shared tables are absent";
  struct Case {
    const char* name;
    const char* gpu;
    int gpus, nics, sockets, pcie;
    std::int32_t domain;
    double scale_up;  ///< of a GPU, GB/s
  };
  for (const Case& c : {Case{"nvidia_smi_topo_a100_8gpu", "a100_sxm", 8, 0, 2, 0, 8, 300},
                        {"nvidia_smi_topo_h100_8gpu", "h100_sxm", 8, 0, 2, 0, 8, 450},
                        {"nvidia_smi_topo_pcie_4gpu", "l40s", 4, 0, 4, 0, 1, 0},
                        {"topo_m_a800_8gpu_8nic", "a800_sxm", 8, 8, 2, 8, 8, 200},
                        {"topo_m_gb200_tray_4gpu_6nic", "gb200", 4, 6, 2, 0, 4, 900},
                        {"topo_m_h100_oci_8gpu_8nic", "h100_sxm", 8, 8, 2, 12, 8, 450},
                        {"topo_m_hgx_h20_8gpu_8nic", "h20", 8, 8, 2, 8, 8, 450},
                        {"topo_m_l40s_4gpu_2nic", "l40s", 4, 2, 2, 1, 1, 0},
                        {"rocm_smi_showtopo_mi300x_8gpu", "mi300x", 8, 0, 8, 0, 8, 448}}) {
    const ClusterSpec cluster = import_topology_matrix(topo / (std::string(c.name) + ".txt"), of_gpu(c.gpu));
    EXPECT_EQ(counts(cluster)[VertexKind::gpu], c.gpus) << c.name;
    EXPECT_EQ(counts(cluster)[VertexKind::nic], c.nics) << c.name;
    EXPECT_EQ(counts(cluster)[VertexKind::host], c.sockets) << c.name;
    EXPECT_EQ(counts(cluster)[VertexKind::pcie_switch], c.pcie) << c.name;
    EXPECT_EQ(cluster.scale_up_domain, c.domain) << c.name;
    EXPECT_DOUBLE_EQ(cluster.scale_up_link.bandwidth.value, c.scale_up * 1e9) << c.name;
    expect_round_trip(cluster);
  }
}

TEST_F(ImportedCluster, OfGraphMlHasTheLinksAndPathsOfTheClusterThatWroteIt) {
  for (const char* stem : {"dgx-h100", "gb200-nvl72", "l40s-pcie-8", "mi300x-platform", "leaf-spine-h100-4to1"}) {
    ClusterSpec tiers = read_cluster_file(product_root() / "topologies" / "cluster" / (std::string(stem) + ".json"));
    if (tiers.nodes == 1) tiers.nodes = 2;
    const Topology expected(tiers);
    std::ostringstream text;
    expected.write_graphml(text);
    const Topology topology(import_graphml(file("g.graphml", text.str()), tiers.gpu));
    ASSERT_EQ(topology.links().size(), expected.links().size()) << stem;
    EXPECT_EQ(topology.cluster().graph->cables * 2, expected.links().size()) << stem;
    for (std::size_t i = 0; i < expected.links().size(); ++i) {
      const Link &a = topology.links()[i], &b = expected.links()[i];
      ASSERT_EQ(std::tuple(a.from, a.to, a.kind, a.rate.latency), std::tuple(b.from, b.to, b.kind, b.rate.latency));
      ASSERT_DOUBLE_EQ(a.rate.bandwidth.value, b.rate.bandwidth.value);
      ASSERT_EQ(a.rate.efficiency, b.rate.efficiency);
    }
    for (std::uint32_t a = 0; a < expected.gpu_count(); ++a) {
      for (std::uint32_t b = 0; b < expected.gpu_count(); ++b) {
        ASSERT_EQ(names(topology, a, b), names(expected, a, b)) << stem << " " << a << " " << b;
      }
    }
  }
}

constexpr const char* hand_made = R"(<graphml>
  <key id="k" for="node" attr.name="kind" attr.type="string"/>
  <key id="b" for="edge" attr.name="gbps" attr.type="double"/>
  <key id="l" for="edge" attr.name="lat_us" attr.type="double"/>
  <graph edgedefault="undirected">
    <node id="left"><data key="k">gpu</data></node>
    <node id="right"><data key="k">gpu</data></node>
    <node id="sw"><data key="k">nvswitch</data></node>
    <edge source="left" target="sw"><data key="b">450</data><data key="l">0.3</data></edge>
    <edge source="sw" target="right"><data key="b">450</data><data key="l">0.3</data></edge>
    <edge source="left" target="right" directed="true"><data key="b">1</data><data key="l">9</data></edge>
  </graph>
</graphml>
)";

TEST_F(ImportedCluster, OfGraphMlKeepsIdsMirrorsUndirectedEdgesAndOneWayOnes) {
  const ClusterSpec cluster = import_graphml(file("hand.graphml", hand_made), "H100");
  const Topology topology(cluster);
  EXPECT_EQ(topology.links().size(), 5U);
  EXPECT_EQ(cluster.graph->cables, 2U);
  EXPECT_EQ(cluster.name, "hand");
  EXPECT_EQ(names(topology, 1, 0), (std::vector<std::string>{"sw", "left"}));
  EXPECT_EQ(names(topology, 0, 1), (std::vector<std::string>{"right"}));
  expect_round_trip(cluster);
}

TEST_F(ImportedCluster, OfABadGraphMlSaysFileAndLine) {
  const auto message = [&](const std::string& from, const std::string& to) {
    std::string text = hand_made;
    text.replace(text.find(from), from.size(), to);
    const fs::path path = file("g.graphml", text);
    return error_of([&] { import_graphml(path, "H100"); });
  };
  EXPECT_EQ(message("target=\"right\"", "target=\"wright\""),
            "g.graphml:10: the target \"wright\" of the edge is no node of the file");
  EXPECT_EQ(message("nvswitch", "hub"),
            "g.graphml:8: node sw has the kind \"hub\"; expected gpu, nvswitch, pcie_switch, cpu, nic, leaf, spine");
  EXPECT_EQ(message("id=\"right\"", "id=\"left\""), "g.graphml:7: a second node with the id \"left\"");
  EXPECT_EQ(message("<data key=\"b\">450</data>", ""), "g.graphml:9: no data \"gbps\"");
  EXPECT_EQ(message(">450<", ">fast<"), "g.graphml:9: gbps \"fast\"; expected a number from 0.001 to 1000000000");
  EXPECT_EQ(message("<data key=\"l\">", "<data key=\"z\">"), "g.graphml:9: no <key> has the id \"z\"");
  const fs::path path = file("g.graphml", hand_made);
  EXPECT_EQ(error_of([&] { import_graphml(path, ""); }),
            "g.graphml: a graph does not say which GPU it is of; add --gpu NAME");
}

}  // namespace
}  // namespace moesim
