#include <gtest/gtest.h>

#include <algorithm>
#include <boost/tokenizer.hpp>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/json_reader.h"
#include "config/read_cluster.h"
#include "config/read_gpu.h"
#include "network/topology.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::pair<std::string, int> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return {error.what(), error.exit_code()};
  }
  return {"no error", 0};
}

std::vector<fs::path> cluster_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(product_root() / "topologies" / "cluster")) {
    files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

ClusterSpec shipped_cluster(const std::string& stem) {
  return read_cluster_file(product_root() / "topologies" / "cluster" / (stem + ".json"));
}

/// A shipped file as a document that a test may spoil.
ordered_json document_of(const std::string& folder, const std::string& stem) {
  return parse_json_file(product_root() / "topologies" / folder / (stem + ".json"));
}

std::pair<std::string, int> cluster_error(const ordered_json& document) {
  return error_of([&] { read_cluster(JsonReader(document, "box.json")); });
}

/// Writes `document` as the file `gpu.json` of a folder of its own and reads it.
std::pair<std::string, int> gpu_error(const ordered_json& document) {
  const fs::path file = fs::temp_directory_path() / "moesim_hardware_files" / "gpu.json";
  fs::create_directories(file.parent_path());
  std::ofstream(file) << document.dump();
  auto [line, code] = error_of([&] { read_gpu_file(file); });
  fs::remove_all(file.parent_path());
  const std::string path = file.string();
  if (line.starts_with(path)) line.replace(0, path.size(), "gpu.json");
  return {line, code};
}

TEST(GpuFiles, AllReadAndAreAtLeastThirty) {
  const std::vector<GpuSpec> gpus = read_gpus();
  EXPECT_GE(gpus.size(), 30U);
  for (const GpuSpec& gpu : gpus) {
    EXPECT_FALSE(gpu.source.empty()) << gpu.id;
    // A card with less than 1 GiB or bandwidth below 50 GB/s is a slip of a unit.
    EXPECT_GT(gpu.memory.gibibytes(), 1) << gpu.id;
    EXPECT_GT(gpu.memory_bandwidth.value, 50e9) << gpu.id;
    // No vendor's narrower format is slower, but for the int8 that Blackwell Ultra gave up.
    EXPECT_GE(gpu.bf16.value, gpu.fp32.value * 0.99) << gpu.id;
    if (gpu.fp8.value > 0) {
      EXPECT_GE(gpu.fp8.value, gpu.bf16.value) << gpu.id;
    }
    if (gpu.fp4.value > 0) {
      EXPECT_GE(gpu.fp4.value, gpu.fp8.value) << gpu.id;
    }
    // Nobody measures more than the peak.
    EXPECT_LE(gpu.bf16_measured.value, gpu.bf16.value) << gpu.id;
    EXPECT_LE(gpu.fp8_measured.value, gpu.fp8.value) << gpu.id;
  }
}

TEST(GpuFiles, NameNoGpuTwice) {
  std::map<std::string, std::string> owner;
  for (const GpuSpec& gpu : read_gpus()) {
    std::set<std::string> keys = {gpu_key(gpu.id)};
    for (const std::string& alias : gpu.aliases) keys.insert(gpu_key(alias));
    for (const std::string& key : keys) {
      const auto [place, fresh] = owner.emplace(key, gpu.id);
      EXPECT_TRUE(fresh) << key << " names " << place->second << " and " << gpu.id;
    }
  }
}

TEST(GpuFiles, AgreeWithDatasheets) {
  // NVIDIA H100 SXM datasheet: 3.35 TB/s, 1,979 TFLOPS bf16 and 3,958 fp8 with sparsity, NVLink 900 GB/s both ways,
  // 700 W, 132 SMs, 50 MB L2.
  const GpuSpec h100 = find_gpu("h100_sxm");
  EXPECT_EQ(h100.memory_bandwidth.value, 3350e9);
  EXPECT_NEAR(h100.bf16.value, 1979e12 / 2, 1e12);
  EXPECT_NEAR(h100.fp8.value, 3958e12 / 2, 1e12);
  EXPECT_EQ(h100.scale_up.value, 450e9);
  EXPECT_EQ(h100.power_watts, 700);
  EXPECT_EQ(h100.multiprocessors, 132);
  EXPECT_EQ(h100.l2.value, 50 << 20);
  EXPECT_EQ(h100.memory.value, std::int64_t{81559} << 20);
  // NVIDIA A100 80GB SXM: 2,039 GB/s, 312 TFLOPS bf16, 624 TOPS int8, no fp8, 600 GB/s both ways.
  const GpuSpec a100 = find_gpu("a100_sxm");
  EXPECT_EQ(a100.memory_bandwidth.value, 2039e9);
  EXPECT_EQ(a100.bf16.value, 312e12);
  EXPECT_EQ(a100.int8.value, 624e12);
  EXPECT_EQ(a100.fp8.value, 0);
  EXPECT_EQ(a100.scale_up.value, 300e9);
  EXPECT_EQ(a100.memory.value, std::int64_t{80} << 30);
  // AMD MI300X: 5.3 TB/s, 1,307.4 TFLOPS bf16, 7 links of 64 GB/s.
  const GpuSpec mi300x = find_gpu("mi300x");
  EXPECT_EQ(mi300x.memory_bandwidth.value, 5300e9);
  EXPECT_EQ(mi300x.scale_up.value, 7 * mi300x.scale_up_peer.value);
  // NVIDIA L40S: 48 GB, 864 GB/s, 362 TFLOPS bf16, no NVLink.
  const GpuSpec l40s = find_gpu("l40s");
  EXPECT_EQ(l40s.memory_bandwidth.value, 864e9);
  EXPECT_EQ(l40s.bf16.value, 362e12);
  EXPECT_EQ(l40s.scale_up.value, 0);
  // NVIDIA B200: 2.25 PFLOPS bf16, 9 PFLOPS fp4, 1.8 TB/s NVLink both ways.
  const GpuSpec b200 = find_gpu("b200_sxm");
  EXPECT_EQ(b200.bf16.value, 2250e12);
  EXPECT_EQ(b200.fp4.value, 9000e12);
  EXPECT_EQ(b200.scale_up.value, 900e9);
}

TEST(GpuFiles, PriceIsTheMidpointOfTheRange) {
  // The file of the H800 lists 2 to 2 USD, that of the A100 40 GB 0.8 to 2.74.
  EXPECT_DOUBLE_EQ(find_gpu("h800").price_usd_per_hour, 2);
  EXPECT_DOUBLE_EQ(find_gpu("a100_sxm_40gb").price_usd_per_hour, (0.8 + 2.74) / 2);
  EXPECT_EQ(find_gpu("a40").price_usd_per_hour, 0);
}

TEST(GpuNames, IgnoreCaseAndSeparators) {
  for (const char* spelling : {"h100_sxm", "H100", "H100-SXM-80GB", "nvidia h100 80gb hbm3", "H100 SXM"}) {
    EXPECT_EQ(find_gpu(spelling).id, "h100_sxm") << spelling;
  }
  EXPECT_EQ(find_gpu("rtx4090").id, "rtx_4090");
  EXPECT_EQ(find_gpu("RTX-4090-24GB").id, "rtx_4090");
  EXPECT_EQ(find_gpu("A100-SXM4-80GB").id, "a100_sxm");
  EXPECT_EQ(find_gpu("A100-SXM4-40GB").id, "a100_sxm_40gb");
}

TEST(GpuNames, ThatAreUnknownBringNearOnes) {
  EXPECT_EQ(error_of([] { find_gpu("h100_sxn"); }),
            std::pair(std::string("unknown GPU \"h100_sxn\"; near names: h100_sxm, h100_nvl, h100_pcie"), 2));
  EXPECT_EQ(error_of([] { find_gpu("Ascend-910C"); }),
            std::pair(std::string("unknown GPU \"Ascend-910C\"; the ids are the files of topologies/gpu"), 2));
  EXPECT_EQ(error_of([] { find_gpu(""); }).second, 2);
  EXPECT_EQ(error_of([] { find_gpu("../../etc/passwd"); }).second, 2);
}

TEST(GpuNames, CoverEveryGpuOfTheMeasuredServingResults) {
  const fs::path table = fs::path(MOESIM_SHARED_DATA) / "e2e" / "serving.csv";
  std::ifstream in(table);
  if (!in) GTEST_SKIP() << table.string() << " is not here";
  // No file describes these: hardware that nobody published figures for, or no single known GPU.
  const std::set<std::string> unresolved = {"",
                                            "not stated",
                                            "not in excerpt",
                                            "mixed",
                                            "Ascend-910C",
                                            "Ascend-910C die",
                                            "H100 (assumed; not stated in table)",
                                            "unspecified 8-GPU node (likely H200/B200)"};
  std::string line;
  std::getline(in, line);
  const auto fields = [](const std::string& text) {
    const boost::tokenizer<boost::escaped_list_separator<char>> cells(
        text, boost::escaped_list_separator<char>("", ",", "\""));
    return std::vector<std::string>(cells.begin(), cells.end());
  };
  const std::vector<std::string> header = fields(line);
  std::set<std::string> known;
  for (const GpuSpec& gpu : read_gpus()) {
    known.insert(gpu_key(gpu.id));
    for (const std::string& alias : gpu.aliases) known.insert(gpu_key(alias));
  }
  std::size_t resolved = 0;
  while (std::getline(in, line)) {
    const std::vector<std::string> row = fields(line);
    for (const char* column : {"gpu", "gpu_class"}) {
      const auto place = std::ranges::find(header, column);
      ASSERT_NE(place, header.end());
      const std::string& spelling = row.at(static_cast<std::size_t>(place - header.begin()));
      if (unresolved.contains(spelling) || spelling.starts_with("mixed:")) continue;
      EXPECT_TRUE(known.contains(gpu_key(spelling))) << spelling;
      ++resolved;
    }
  }
  EXPECT_GT(resolved, 4000U);
}

TEST(GpuFileErrors, SayWhereAndWhatWasExpected) {
  const ordered_json good = document_of("gpu", "h100_sxm");
  ordered_json bad = good;
  bad["memry"] = "80 GiB";
  EXPECT_EQ(gpu_error(bad), std::pair(std::string("gpu.json: /memry: unknown field; did you mean memory?"), 4));
  bad = good;
  bad["memory_bandwidth"] = 3350;
  EXPECT_TRUE(gpu_error(bad).first.starts_with("gpu.json: /memory_bandwidth: expected ")) << gpu_error(bad).first;
  bad = good;
  bad["price"]["high"] = "1 USD";
  EXPECT_EQ(gpu_error(bad),
            std::pair(std::string("gpu.json: /price/high: expected at least the low price of 1.3 USD, got 1 USD"), 4));
  bad = good;
  bad["scale_up_peer"] = "451 GB/s";
  EXPECT_EQ(gpu_error(bad),
            std::pair(std::string("gpu.json: /scale_up_peer: expected at most scale_up, the sum over all peers"), 4));
  bad = good;
  bad.erase("source");
  EXPECT_EQ(gpu_error(bad).second, 4);
  bad = good;
  bad["bf16"] = "0 TFLOPS";
  EXPECT_EQ(gpu_error(bad), std::pair(std::string("gpu.json: /bf16: expected a rate above 0"), 4));
}

TEST(MatrixPeak, FallsBackToTheNextWiderFormat) {
  const GpuSpec a100 = find_gpu("a100_sxm"), h100 = find_gpu("h100_sxm"), b200 = find_gpu("b200_sxm");
  EXPECT_EQ(matrix_peak(a100, DataType::fp8).value, 312e12);
  EXPECT_EQ(matrix_peak(a100, DataType::int8).value, 624e12);
  EXPECT_EQ(matrix_peak(h100, DataType::nvfp4).value, h100.fp8.value);
  EXPECT_EQ(matrix_peak(h100, DataType::fp8_block).value, h100.fp8.value);
  EXPECT_EQ(matrix_peak(b200, DataType::mxfp4).value, 9000e12);
  // Weight-only formats multiply in 16 bits.
  EXPECT_EQ(matrix_peak(h100, DataType::int4).value, h100.bf16.value);
  EXPECT_EQ(matrix_peak(h100, DataType::fp32).value, 67e12);
}

TEST(ClusterFiles, AllReadAndConnectEveryPairOfGpus) {
  const std::vector<fs::path> files = cluster_files();
  EXPECT_GE(files.size(), 14U);
  for (const fs::path& file : files) {
    const ClusterSpec cluster = read_cluster_file(file);
    EXPECT_FALSE(cluster.source.empty()) << file;
    const Topology topology(cluster);
    const std::uint32_t last = topology.gpu_count() - 1;
    for (std::uint32_t g = 0; g < last; ++g) EXPECT_FALSE(topology.path(GpuId{g}, GpuId{last}).empty()) << file;
  }
}

TEST(ClusterFiles, GiveTheScaleUpLinksOfTheirGpu) {
  for (const fs::path& file : cluster_files()) {
    const ClusterSpec cluster = read_cluster_file(file);
    const GpuSpec gpu = find_gpu(cluster.gpu);
    if (cluster.scale_up_domain > 1) {
      EXPECT_EQ(cluster.scale_up_link.bandwidth, gpu.scale_up) << file;
    }
    EXPECT_EQ(cluster.host_link.bandwidth, gpu.host_link) << file;
    EXPECT_EQ(cluster.gpu, gpu.id) << file;
  }
}

TEST(ClusterFiles, HaveSourcesForEverySection) {
  for (const fs::path& file : cluster_files()) {
    const ordered_json document = parse_json_file(file);
    for (const auto& [key, section] : document.items()) {
      if (!section.is_object()) continue;
      EXPECT_TRUE(section.contains("source")) << file << " /" << key;
    }
  }
}

TEST(ClusterFiles, HaveTheBisectionOfTheirSystems) {
  // 4 x 450 GB/s x 0.81.
  EXPECT_NEAR(Topology(shipped_cluster("dgx-h100")).bisection_bandwidth().value, 1458e9, 1e6);
  // 16 links of 64 GB/s x 0.745.
  EXPECT_NEAR(Topology(shipped_cluster("mi300x-platform")).bisection_bandwidth().value, 16 * 64e9 * 0.745, 1e6);
  // 36 x 900 GB/s x 0.8.
  EXPECT_NEAR(Topology(shipped_cluster("gb200-nvl72")).bisection_bandwidth().value, 25920e9, 1e6);
  // 32 nodes: 16 x 8 x 50 GB/s x 0.93.
  EXPECT_NEAR(Topology(shipped_cluster("superpod-h100")).bisection_bandwidth().value, 5952e9, 1e6);
  // 16 nodes, 4 to 1: 8 x 8 x 50 GB/s x 0.92 / 4.
  EXPECT_NEAR(Topology(shipped_cluster("leaf-spine-h100-4to1")).bisection_bandwidth().value, 736e9, 1e6);
  // 8 ranks of L40S reach 1.2 to 1.65 GB/s through the sockets.
  const double l40s = Topology(shipped_cluster("l40s-pcie-8")).bisection_bandwidth().value;
  EXPECT_GT(l40s, 1.1e9);
  EXPECT_LT(l40s, 1.7e9);
}

TEST(ClusterNodes, CanBeAnotherNumberWhereThereIsAFabric) {
  const ordered_json number = 4;
  const JsonReader where(number, "chat.json", "/nodes");
  EXPECT_EQ(with_nodes(shipped_cluster("dgx-h100"), 4, where).nodes, 4);
  EXPECT_EQ(Topology(with_nodes(shipped_cluster("gb200-nvl72"), 36, where)).domain_of(GpuId{72}), 1U);
  EXPECT_EQ(error_of([&] { with_nodes(shipped_cluster("single-h100"), 4, where); }),
            std::pair(std::string("chat.json: /nodes: 4 nodes of One H100 SXM in a box of its own have no network "
                                  "between them; add a section fabric"),
                      5));
  EXPECT_EQ(error_of([&] { with_nodes(shipped_cluster("dgx-h100"), 0, where); }),
            std::pair(std::string("chat.json: /nodes: expected 1 to 8192 nodes of 8 GPUs, got 0"), 4));
  EXPECT_EQ(error_of([&] { with_nodes(shipped_cluster("dgx-h100"), 8193, where); }).second, 4);
  EXPECT_EQ(error_of([&] { with_nodes(shipped_cluster("dgx-h100"), INT64_MAX, where); }).second, 4);
}

TEST(ClusterErrors, SayWhereAndWhatWasExpected) {
  const ordered_json good = document_of("cluster", "dgx-h100");
  ASSERT_EQ(cluster_error(good).first, "no error");
  ordered_json bad = good;
  bad["gpu"] = "h100_smx";
  EXPECT_EQ(
      cluster_error(bad),
      std::pair(std::string("box.json: /gpu: unknown GPU \"h100_smx\"; near names: h100_sxm, h100_nvl, h100_pcie"), 4));
  bad = good;
  bad["scale_up"]["domain"] = 6;
  EXPECT_EQ(cluster_error(bad),
            std::pair(std::string("box.json: /scale_up/domain: expected a divisor or a multiple of gpus_per_node (8), "
                                  "got 6"),
                      4));
  bad = good;
  bad["nic"]["per_node"] = 3;
  EXPECT_EQ(
      cluster_error(bad),
      std::pair(std::string("box.json: /nic/per_node: expected a divisor or a multiple of gpus_per_node (8), got 3"),
                4));
  bad = good;
  bad["nic"]["bandwith"] = "400 Gbit/s";
  EXPECT_EQ(cluster_error(bad),
            std::pair(std::string("box.json: /nic/bandwith: unknown field; did you mean bandwidth?"), 4));
  bad = good;
  bad["scale_up"]["efficiency"] = 1.5;
  EXPECT_EQ(cluster_error(bad),
            std::pair(std::string("box.json: /scale_up/efficiency: expected a number from 0.001 to 1, got 1.5"), 4));
  bad = good;
  bad["host"]["pcie_switches"] = 3;
  EXPECT_EQ(cluster_error(bad),
            std::pair(std::string("box.json: /host/pcie_switches: expected a multiple of sockets (2)"), 4));
  bad = good;
  bad["scale_up"]["kind"] = "torus";
  EXPECT_EQ(cluster_error(bad).second, 4);
  bad = good;
  bad.erase("nic");
  EXPECT_EQ(cluster_error(bad), std::pair(std::string("box.json: /fabric/kind: a fabric needs a section nic"), 4));
  bad = good;
  bad.erase("fabric");
  bad["nodes"] = 2;
  EXPECT_EQ(cluster_error(bad), std::pair(std::string("box.json: /nodes: 2 nodes of NVIDIA DGX H100 have no network "
                                                      "between them; add a section fabric"),
                                          5));
}

}  // namespace
}  // namespace moesim
