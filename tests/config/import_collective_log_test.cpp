// Logs of nccl-tests.

#include "config/import_collective_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "config/json_reader.h"
#include "config/line_reader.h"
#include "config/read_cluster.h"
#include "report/collective_log_csv.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

class NcclTests : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim-nccl-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  NcclTestLog read(const std::string& text, const std::string& collective = "") const {
    std::ofstream(folder_ / "log.txt") << text;
    return read_nccl_tests(folder_ / "log.txt", collective);
  }
  std::string error_of(const std::string& text, const std::string& collective = "") const {
    try {
      read(text, collective);
    } catch (const ConfigError& error) {
      return std::string(error.what()).substr(folder_.string().size() + 1);
    }
    return "no error";
  }
  fs::path folder_;
};

constexpr const char* whole_log = R"(# nccl-tests version 2.19.6 nccl-headers=22809 nccl-library=22809
# Collective test starting: alltoall_perf
# nThread 1 nGpus 1 minBytes 1048576 maxBytes 2097152 step: 2(factor) warmup iters: 1 iters: 20 agg iters: 1 validation: 1 graph: 0 unalign: 0
#
# Using devices
#  Rank  0 Group  0 Pid    100 on         h0 device  0 [0000:1a:00] NVIDIA H200
#  Rank  1 Group  0 Pid    101 on         h0 device  1 [0000:2a:00] NVIDIA H200
#  Rank  2 Group  0 Pid    100 on         h1 device  0 [0000:1a:00] NVIDIA H200
#  Rank  3 Group  0 Pid    101 on         h1 device  1 [0000:2a:00] NVIDIA H200
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)
           0             0     float    none      -1     0.30    0.00    0.00       0     0.26    0.00    0.00     N/A
     1048576         65536     float    none      -1    32.10   32.67   24.50       0    31.90   32.87   24.65     N/A
     2097152        131072     float    none      -1  1.2e+02   17.48   13.11       0   118.00   17.77   13.33     N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 28.67
)";

TEST_F(NcclTests, AreReadWithHeadRanksAndVersion) {
  const NcclTestLog log = read(whole_log);
  EXPECT_EQ(log.collective, "alltoall");
  EXPECT_EQ(log.library, "NCCL");
  EXPECT_EQ(log.version, "2.28.9");
  EXPECT_EQ(log.gpu, "NVIDIA H200");
  EXPECT_EQ(log.ranks, 4);
  EXPECT_EQ(log.nodes, 2);
  EXPECT_EQ(log.gpus_per_node, 2);
  ASSERT_EQ(log.rows.size(), 2U);
  EXPECT_EQ(log.rows[0].bytes, 1048576);
  EXPECT_EQ(log.rows[0].time, 32.10);
  EXPECT_EQ(log.rows[0].inplace_time, 31.90);
  EXPECT_EQ(log.rows[1].time, 120);
  EXPECT_EQ(nccl_tests_csv(log, "mine", std::nullopt),
            "log_id,system,gpu,intra_link,inter_link,nodes,gpus_per_node,ranks,library,lib_version,collective,bytes,"
            "dtype,time_us,algbw_GBps,busbw_GBps,inplace_time_us,source_id\n"
            "log,mine,NVIDIA H200,,,2,2,4,NCCL,2.28.9,alltoall,1048576,float,32.1,32.67,24.5,31.9,\n"
            "log,mine,NVIDIA H200,,,2,2,4,NCCL,2.28.9,alltoall,2097152,float,120,17.48,13.11,118,\n");
}

TEST_F(NcclTests, OfLaunchersAreTheSameAsWithoutTheirPrefixes) {
  const NcclTestLog plain = read(whole_log);
  for (const char* prefix : {"0: ", "[1,0]<stdout>:", "    "}) {
    std::istringstream lines(whole_log);
    std::string text;
    for (std::string line; std::getline(lines, line);) text += prefix + line + "\n";
    const NcclTestLog log = read(text);
    EXPECT_EQ(nccl_tests_csv(log, "", std::nullopt), nccl_tests_csv(plain, "", std::nullopt)) << prefix;
  }
}

TEST_F(NcclTests, WithABlankHalfKeepTheOther) {
  const NcclTestLog log = read(
      "#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  "
      "#wrong\n"
      "     1048576        262144     float     sum      -1                                      40.00   26.21   39.32 "
      "      0\n"
      "     2097152        524288     float     sum      -1    50.00   41.94   62.91       0\n");
  ASSERT_EQ(log.rows.size(), 2U);
  EXPECT_EQ(log.rows[0].time, std::nullopt);
  EXPECT_EQ(log.rows[0].inplace_time, 40);
  EXPECT_EQ(log.rows[1].time, 50);
  EXPECT_EQ(log.rows[1].inplace_time, std::nullopt);
  EXPECT_EQ(log.collective, "all_reduce");  // 1.5
  EXPECT_EQ(log.ranks, 4);
}

TEST_F(NcclTests, WithoutAHeadTellTheirCollectiveByTheRatioOrAsk) {
  const std::string gather =
      "  8589934592     134217728     float    none      -1    42713  201.11  188.54    N/A    42701  201.16  188.59   "
      " N/A\n";
  EXPECT_TRUE(error_of(gather).starts_with("log.txt: does not name its collective")) << error_of(gather);
  const NcclTestLog log = read(gather, "all_gather");
  EXPECT_EQ(log.ranks, 16);  // 8589934592 / (134217728 x 4)
  const NcclTestLog scatter = read(
      "  8589934592     134217728     float     sum      -1    42713  201.11  188.54      0    42701  201.16  188.59   "
      "   0\n");
  EXPECT_EQ(scatter.collective, "reduce_scatter");
  EXPECT_EQ(error_of(whole_log, "all_gather"), "log.txt: is a log of alltoall, --collective says all_gather");
}

TEST_F(NcclTests, OfACollectiveThatThereIsNotAreRefusedAsUsage) {
  try {
    read(whole_log, "all_redcue");
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_STREQ(error.what(),
                 "import: --collective all_redcue: expected one of all_reduce, all_gather, reduce_scatter, alltoall, "
                 "broadcast, reduce, gather, scatter, send_recv, hypercube; did you mean all_reduce?");
  }
  EXPECT_EQ(read(whole_log, "all_to_all").collective, "alltoall");
  EXPECT_EQ(read(whole_log, "alltoall_perf").collective, "alltoall");
}

TEST_F(NcclTests, WhoseRanksNameNoGpuLeaveItOpen) {
  const NcclTestLog log = read(
      "#  Rank  0 Group  0 Pid 1 on h0 device 0 [0000:1a:00] \n#  Rank  1 Group  0 Pid 1 on h0 device 1 [0000:2a:00]\n"
      "  1024  256  float  sum  -1  12.0  0.09  0.09  0  12.0  0.09  0.09  0\n",
      "all_reduce");
  EXPECT_EQ(log.ranks, 2);
  EXPECT_EQ(log.gpu, "");
}

TEST_F(NcclTests, WhoseRowsContradictEachOtherTellNoRanks) {
  // A bus bandwidth of twice the other, which no number of ranks gives, beside a row of 16 ranks.
  const NcclTestLog log =
      read("  1024  256  float  sum  -1  51406  40.00  90.00  0  51406  41.77  78.33  0\n", "all_reduce");
  EXPECT_EQ(log.ranks, 0);
}

TEST_F(NcclTests, ThatAreBadSayFileAndLine) {
  EXPECT_EQ(error_of("nothing\nhere\n"),
            "log.txt:2: ends without a row of nccl-tests (size, count, type, redop, root, time, algbw, busbw, ...)");
  EXPECT_EQ(error_of("# Collective test starting: all_reduce_perf\n  1024  256  float  sum  -1  12.0\n"),
            "log.txt:2: a row of 6 columns; expected 13");
  EXPECT_EQ(error_of("# Collective test starting: all_reduce_perf\n"
                     "  1024  256  float  sum  -1  12x0  0.09  0.16  0  12.0  0.09  0.16  0\n"),
            "log.txt:2: time \"12x0\"; expected a number");
}

TEST_F(NcclTests, OfJsonAreReadWithoutTheEnvironment) {
  const NcclTestLog log = read(R"({"version": 3, "args": ["/opt/nccl-tests/build/all_reduce_perf", "-J", "f.json"],
    "env": {"SECRET": "do not copy"}, "nccl_version": 22809,
    "config": {"nthreads": 1, "ngpus": 2, "devices": [
      {"rank": 0, "group": 0, "pid": 1, "hostname": "h0", "device": 0, "device_info": "NVIDIA H100"},
      {"rank": 1, "group": 0, "pid": 1, "hostname": "h0", "device": 1, "device_info": "NVIDIA H100"}]},
    "results": [{"size": 1024, "count": 256, "type": "float", "redop": "sum", "root": "  -1",
                 "out_of_place": {"time": 10.5, "alg_bw": 0.1, "bus_bw": 0.1, "nwrong": null},
                 "in_place": {"cpu_time": 11, "alg_bw": 0.09, "bus_bw": 0.09, "nwrong": null}}],
    "out_of_bounds": {"count": 0, "okay": "true"}})");
  const std::string csv = nccl_tests_csv(log, "", std::nullopt);
  EXPECT_NE(csv.find("log,,NVIDIA H100,,,1,2,2,NCCL,2.28.9,all_reduce,1024,float,10.5,0.1,0.1,11,\n"),
            std::string::npos)
      << csv;
  EXPECT_EQ(csv.find("SECRET"), std::string::npos);
}

TEST_F(NcclTests, TakeWhatTheyLeaveOpenFromTheCluster) {
  NcclTestLog log = read(
      "  2147483648     536870912     float     sum      -1    51406   41.78   78.33      0    51406   41.77   78.33   "
      "   0\n");
  const ClusterSpec cluster = read_cluster_file(product_root() / "topologies" / "cluster" / "dgx-h100.json");
  complete_from_cluster(log, cluster);
  EXPECT_EQ(log.ranks, 16);
  EXPECT_EQ(log.nodes, 2);
  EXPECT_EQ(log.gpus_per_node, 8);
  const std::string csv = nccl_tests_csv(log, "dgx-h100", cluster);
  EXPECT_NE(csv.find("log,dgx-h100,h100_sxm,switched 450 GB/s,8x400G,2,8,16,NCCL,,all_reduce,2147483648,float,"),
            std::string::npos)
      << csv;
}

/// The rows of one log in a table with these columns: bytes -> the other figures.
std::multimap<std::string, std::vector<std::string>> rows_of(const fs::path& table, const std::string& log) {
  std::multimap<std::string, std::vector<std::string>> rows;
  LineReader lines(table);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  while (lines.next(line)) {
    split_csv(line, fields, storage);
    if (fields.size() > 16 && fields[0] == log) {
      rows.emplace(std::string(fields[11]), std::vector<std::string>(fields.begin(), fields.end()));
    }
  }
  return rows;
}

TEST_F(NcclTests, OfTheSharedLogsGiveTheSharedTable) {
  const fs::path comm = fs::path(MOESIM_SHARED_DATA) / "comm";
  if (!fs::exists(comm)) GTEST_SKIP() << "the shared tables are absent";
  int logs = 0;
  std::size_t compared = 0;
  for (const auto& entry : fs::directory_iterator(comm / "raw")) {
    const std::string stem = entry.path().stem().string();
    if (stem.starts_with("deepep")) {
      EXPECT_THROW(read_nccl_tests(entry.path(), ""), ConfigError);
      continue;
    }
    const auto expected = rows_of(comm / "nccl_tests_logs.csv", stem);
    ASSERT_FALSE(expected.empty()) << stem;
    ++logs;
    NcclTestLog log;
    try {
      log = read_nccl_tests(entry.path(), "");
    } catch (const ConfigError& error) {
      // Cut heads of collectives whose ratio is that of several.
      EXPECT_NE(std::string(error.what()).find("--collective"), std::string::npos) << error.what();
      log = read_nccl_tests(entry.path(), expected.begin()->second[10]);
    }
    std::ofstream(folder_ / "table.csv") << nccl_tests_csv(log, "", std::nullopt);
    const auto found = rows_of(folder_ / "table.csv", stem);
    ASSERT_EQ(found.size(), expected.size()) << stem;
    auto a = found.begin();
    for (auto b = expected.begin(); b != expected.end(); ++a, ++b) {
      for (const std::size_t column : {7, 8, 10, 11, 12}) EXPECT_EQ(a->second[column], b->second[column]) << stem;
      for (const std::size_t column : {13, 14, 15, 16}) {
        // The table rounds some figures to five digits.
        const double figure = std::stod(b->second[column]);
        EXPECT_NEAR(std::stod(a->second[column]), figure, 5e-5 * figure) << stem << " column " << column;
        ++compared;
      }
      if (!b->second[9].empty() && !a->second[9].empty()) {
        EXPECT_EQ(a->second[9], b->second[9]) << stem;
      }
    }
  }
  EXPECT_EQ(logs, 17);
  EXPECT_EQ(compared, 4U * 174U);
}

}  // namespace
}  // namespace moesim
