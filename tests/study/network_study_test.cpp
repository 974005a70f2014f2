// Scenarios of mode network: what is read, what runs side by side, what is refused.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/json_reader.h"
#include "report/network_text.h"
#include "study/network_study.h"
#include "study/network_traffic.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

class NetworkScenarios : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("network_scenarios_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  NetworkScenario read(const std::string& program, const std::string& nodes = "2") {
    const fs::path file = folder_ / "n.json";
    std::ofstream(file) << R"({"mode": "network", "cluster": "dgx-h100", "nodes": )" << nodes << R"(, "program": )"
                        << program << "}";
    return read_network_scenario(file, {});
  }
  std::string problem(const std::string& program) {
    try {
      read(program);
    } catch (const ConfigError& error) {
      const std::string text = error.what();
      return text.substr(text.find("n.json: ") + 8);
    }
    return "none";
  }
  fs::path folder_;
};

TEST_F(NetworkScenarios, TasksAreTimedAloneAndTogether) {
  const NetworkScenario scenario = read(R"([
    {"name": "a", "collective": "all_gather", "algorithm": "ring", "ranks": "0-15:8", "bytes": "1 GB"},
    {"name": "b", "collective": "all_gather", "algorithm": "ring", "ranks": [0, 8], "bytes": "1 GB"},
    {"name": "far", "collective": "all_gather", "algorithm": "ring", "ranks": "1,9", "bytes": "1 GB"},
    {"name": "later", "collective": "all_gather", "algorithm": "ring", "ranks": "2,10", "bytes": "1 GB", "start": "1 s"}])");
  const NetworkResult result = simulate_network(scenario);
  ASSERT_EQ(result.tasks.size(), 4u);
  // Both on one NIC: twice the bytes at what the NIC reaches, over one's bytes at the share that the protocol takes.
  const double share = scenario.collectives.network.share;
  EXPECT_NEAR(result.tasks[0].slowdown(), 2 * share, 0.02);
  EXPECT_EQ(result.tasks[0].finish, result.tasks[1].finish);
  EXPECT_DOUBLE_EQ(result.tasks[2].slowdown(), 1);
  EXPECT_DOUBLE_EQ(result.tasks[3].slowdown(), 1);
  EXPECT_EQ(result.tasks[3].start, Instant::at(Duration::seconds(1)));
  EXPECT_EQ(result.end, result.tasks[3].finish);
  // Two rings of two ranks: half of the buffer each way of each.
  EXPECT_EQ(result.links.front().from.substr(0, 3), "nic");
  EXPECT_DOUBLE_EQ(result.links.front().bytes, 1e9);
  EXPECT_LE(result.links.front().peak, 0.93 + 1e-9);
}

TEST_F(NetworkScenarios, GatesLoadTheirRanks) {
  const NetworkScenario scenario = read(R"([{"exchange": "deepep_low_latency", "ranks": "all", "tokens": 128,
    "hidden": 7168, "experts": 256, "top_k": 8, "popularity": {"kind": "zipf", "exponent": 0.9}}])");
  const auto& task = std::get<ExchangeTask>(scenario.tasks[0].what);
  EXPECT_EQ(task.payload, Bytes{2 * 7168});
  const Topology topology(scenario.cluster);
  const DrawnTraffic drawn = draw_traffic(task, topology, 1, exchange_rounds(task)[0]);
  std::int64_t rows = 0, sent = 0;
  for (const std::int64_t r : drawn.counts.rows) rows += r;
  EXPECT_EQ(rows, 16 * 128 * 8);
  for (const Bytes message : row_messages(task, drawn)) sent += message.value / task.payload.value;
  for (std::size_t r = 0; r < 16; ++r) rows -= drawn.counts.pair_rows[r * 17];
  EXPECT_EQ(sent, rows);  // none to itself
  EXPECT_GT(drawn.busiest_rank(), 1.3);
  EXPECT_EQ(network_json(simulate_network(scenario)), network_json(simulate_network(scenario)));
}

TEST_F(NetworkScenarios, EveryExchangeOfRunsIsOneOfPrograms) {
  const auto task = [&](const std::string& fields) {
    const NetworkScenario scenario =
        read(R"([{"ranks": "0-7", "tokens": 600, "hidden": 7168, "experts": 256, "top_k": 8, )" + fields + "}]");
    return simulate_network(scenario).tasks[0];
  };
  // All tokens of all ranks gathered, as the collective of as many bytes; routing does not matter.
  const NetworkScenario gather = read(R"([{"collective": "all_gather", "ranks": "0-7", "bytes": "68812800 B"},
                                          {"collective": "reduce_scatter", "ranks": "0-7", "bytes": "68812800 B"}])");
  const NetworkResult whole = simulate_network(gather);  // 8 x 600 x 7168 x 2 bytes
  EXPECT_EQ(task(R"("exchange": "allgather_reducescatter")").alone, whole.tasks[0].alone);
  EXPECT_EQ(task(R"("exchange": "none", "direction": "combine")").alone, whole.tasks[1].alone);
  EXPECT_GT(task(R"("exchange": "naive")").alone, whole.tasks[0].alone);
  EXPECT_EQ(task(R"("exchange": "flashinfer")").what, task(R"("exchange": "flashinfer_nvlink_one_sided")").what);
  // 600 tokens in rounds of 256 (vLLM's default): 256, 256, 88. Each pays its latency.
  const auto rounds = task(R"("exchange": "deepep_low_latency")"),
             once = task(R"("exchange": "deepep_low_latency", "max_dispatch_tokens_per_rank": 600)");
  EXPECT_NE(rounds.what.find(", 3 rounds"), std::string::npos) << rounds.what;
  EXPECT_EQ(once.what.find("rounds"), std::string::npos);
  EXPECT_EQ(rounds.transfers, 3 * once.transfers);
  EXPECT_GT(rounds.alone, once.alone);
  EXPECT_EQ(problem(R"([{"exchange": "deepep", "ranks": "all", "tokens": 1, "hidden": 8, "experts": 16, "top_k": 2}])"),
            "/program/0/exchange: deepep stands for deepep_high_throughput and deepep_low_latency; name one of them");
  EXPECT_EQ(problem(R"([{"exchange": "mori", "ranks": "all", "tokens": 1, "hidden": 8, "experts": 16, "top_k": 2}])"),
            "/program/0/exchange: mori is not built yet");
  EXPECT_EQ(problem(R"([{"exchange": "nccl", "max_dispatch_tokens_per_rank": 9, "ranks": "all", "tokens": 1,
                         "hidden": 8, "experts": 16, "top_k": 2}])"),
            "/program/0/max_dispatch_tokens_per_rank: nccl does not go in rounds");
}

TEST_F(NetworkScenarios, RefusalsNameTheFieldAndWhatWasExpected) {
  EXPECT_EQ(problem(R"([])"), "/program: expected at least one collective or transfer");
  EXPECT_EQ(problem(R"([{"name": "x"}])"), "/program/0: expected \"collective\", \"exchange\" or \"transfer\"");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "ranks": "0-16", "bytes": "1 MB"}])"),
            "/program/0/ranks: expected GPUs from 0 to 15, got 16");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "ranks": "0,0", "bytes": "1 MB"}])"),
            "/program/0/ranks: GPU 0 stands twice");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "ranks": "0-", "bytes": "1 MB"}])"),
            "/program/0/ranks: expected GPUs such as \"all\", \"0-7\", \"0-63:8\" (every eighth) or [0, 8], got 0-");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "algorithm": "one_shot", "ranks": "all", "bytes": "1 MB"}])"),
            "/program/0/algorithm: one_shot needs one scale-up domain");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "protocol": "bulk", "ranks": "all", "bytes": "1 MB"}])"),
            "/program/0/protocol: needs an algorithm; with auto the library chooses both");
  EXPECT_EQ(problem(R"([{"collective": "all_reduce", "ranks": "all", "bytes": "1 MB", "byte": 1}])"),
            "/program/0/byte: unknown field; did you mean bytes?");
  EXPECT_EQ(problem(R"([{"transfer": "whole", "from": 3, "to": 3, "layer_bytes": "1 MB"}])"),
            "/program/0/to: expected another GPU than /from");
  EXPECT_EQ(problem(R"([{"exchange": "flashinfer_nvlink_one_sided", "ranks": "all", "tokens": 1, "hidden": 8,
                         "experts": 16, "top_k": 2}])"),
            "/program/0/exchange: needs one scale-up domain");
  EXPECT_EQ(problem(R"([{"exchange": "nccl", "ranks": "all", "tokens": 1, "hidden": 8, "experts": 8, "top_k": 2}])"),
            "/program/0/experts: expected at least one a rank (16)");
}

TEST_F(NetworkScenarios, ShippedOnesRun) {
  for (const char* file : {"network-contention.json", "network-figures.json", "network-skew.json"}) {
    const NetworkScenario scenario = read_network_scenario(fs::path(MOESIM_SOURCE_DIR) / "scenarios" / file, {});
    const NetworkResult result = simulate_network(scenario, RecordRates::yes);
    EXPECT_FALSE(network_text(result).empty());
    EXPECT_FALSE(network_timeline(scenario, result).empty());
    for (const NetworkTaskResult& task : result.tasks) EXPECT_GE(task.slowdown(), 1 - 1e-9) << task.name;
  }
}

TEST_F(NetworkScenarios, SkewSlowsADispatchAsTheBusiestPortSays) {
  // Every rank has the same tokens, so only receivers differ: with NICs as the ports that bind, time over the time of
  // uniform gates is the busiest receiver's rows from other nodes over the mean receiver's, within the latency.
  const NetworkScenario scenario =
      read_network_scenario(fs::path(MOESIM_SOURCE_DIR) / "scenarios" / "network-skew.json", {});
  const NetworkResult result = simulate_network(scenario);
  const Topology topology(scenario.cluster);
  const auto busiest_port = [&](std::size_t i) {
    const auto& task = std::get<ExchangeTask>(scenario.tasks[i].what);
    const DrawnTraffic drawn = draw_traffic(task, topology, scenario.seed, exchange_rounds(task)[0]);
    std::uint64_t most = 0;
    for (std::size_t d = 0; d < 32; ++d) {
      std::uint64_t from_others = 0;
      for (std::size_t s = 0; s < 32; ++s) from_others += s / 8 != d / 8 ? drawn.counts.pair_rows[s * 32 + d] : 0;
      most = std::max(most, from_others);
    }
    return static_cast<double>(most);
  };
  for (std::size_t i = 1; i < result.tasks.size(); ++i) {
    const double ports = busiest_port(i) / busiest_port(0);
    EXPECT_NEAR(result.tasks[i].alone / result.tasks[0].alone, ports, 0.03 * ports) << result.tasks[i].name;
  }
}

}  // namespace
}  // namespace moesim
