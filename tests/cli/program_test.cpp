// The program from outside: exit codes, what goes where, whole error lines.

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/command.h"
#include "config/json_reader.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

class Program : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string(MOESIM_BINARY).empty()) GTEST_SKIP() << "the program is not part of this build";
    folder_ = fs::temp_directory_path() / ("moesim-cli-" + std::to_string(getpid()) + "-" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / "s.json") << R"({
      "model": "Mixtral-8x7B", "cluster": "dgx-h100", "engine": {"tensor_parallel_size": 8},
      "workload": {"arrivals": {"kind": "poisson", "rate": "12 /s"},
                   "input_tokens": {"kind": "constant", "mean": 100},
                   "output_tokens": {"kind": "constant", "mean": 10}, "requests": 20}})";
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// Runs in the test's folder.
  Outcome run(const std::string& arguments, const std::string& before = "") {
    const std::string command =
        "cd " + folder_.string() + " && " + before + " " + MOESIM_BINARY + " " + arguments + " >out.txt 2>err.txt";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text("out.txt"), text("err.txt")};
  }
  std::string text(const std::string& name) const {
    std::ifstream in(folder_ / name);
    std::stringstream all;
    all << in.rdbuf();
    return all.str();
  }

  fs::path folder_;
};

#define EXPECT_FAILURE(outcome, code, line)        \
  do {                                             \
    const Outcome got = outcome;                   \
    EXPECT_EQ(got.exit_code, code);                \
    EXPECT_EQ(got.err, std::string(line) + "\n");  \
    EXPECT_EQ(got.out, "");                        \
    EXPECT_FALSE(fs::exists(folder_ / "results")); \
  } while (false)

TEST_F(Program, PrintsTheBlockAndWritesItsFiles) {
  const Outcome outcome = run("run s.json");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(outcome.out.starts_with("============ Serving Benchmark Result ============\n")) << outcome.out;
  EXPECT_NE(outcome.out.find("\nSuccessful requests:                     20        \n"), std::string::npos);
  EXPECT_NE(outcome.err.find("s: 100 %\n"), std::string::npos);
  EXPECT_EQ(outcome.err.find('\r'), std::string::npos);  // no animation without a terminal
  const auto json = nlohmann::json::parse(text("results/s/result.json"));
  EXPECT_EQ(json["completed"], 20);
  EXPECT_EQ(json["total_output_tokens"], 200);
  EXPECT_TRUE(text("results/s/requests.csv").starts_with("request_id,"));
}

TEST_F(Program, GivesTheSameBytesForTheSameSeed) {
  const Outcome first = run("run s.json --json --quiet -o a");
  const Outcome second = run("run s.json --json --quiet -o b --set /strides=true");
  const Outcome other = run("run s.json --json --quiet -o c --seed 2");
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.err, "");
  EXPECT_EQ(first.out, text("a/result.json"));
  EXPECT_EQ(text("a/requests.csv"), text("b/requests.csv"));
  EXPECT_NE(text("a/requests.csv"), text("c/requests.csv"));
  // Neither strides nor the way in which the seed is given show in a result.
  EXPECT_EQ(run("run s.json --json --quiet -o d --set /strides=false").out, first.out);
  EXPECT_EQ(run("run s.json --json --quiet -o e --set /seed=2").out, other.out);
}

TEST_F(Program, ReplicationsGiveIntervalsThatHoldOnAnyNumberOfThreads) {
  EXPECT_EQ(run("run s.json --quiet -o plain").exit_code, 0);
  EXPECT_FALSE(nlohmann::json::parse(text("plain/result.json")).contains("uncertainty"));
  EXPECT_EQ(run("run s.json --quiet --replications 6 -j 1 -o one").exit_code, 0);
  EXPECT_EQ(run("run s.json --quiet --replications 6 -j 3 -o three").exit_code, 0);
  EXPECT_EQ(text("one/result.json"), text("three/result.json"));
  EXPECT_EQ(text("one/replications.jsonl"), text("three/replications.jsonl"));
  const nlohmann::json result = nlohmann::json::parse(text("one/result.json"));
  EXPECT_EQ(result["uncertainty"]["replications"], 6);
  for (const char* key : {"output_throughput", "mean_ttft_ms", "mean_tpot_ms"}) {
    const nlohmann::json& interval = result["uncertainty"]["figures"][key];
    EXPECT_LT(interval["low"], interval["median"]) << key;
    EXPECT_LT(interval["median"], interval["high"]) << key;
    EXPECT_LT(interval["low"], result[key]) << key;
    EXPECT_GT(interval["high"], result[key]) << key;
  }
}

TEST_F(Program, ReplicationsGoOnAfterAKill) {
  EXPECT_EQ(run("run s.json --quiet --replications 5 -o whole").exit_code, 0);
  const std::string all = text("whole/replications.jsonl");
  const std::size_t second = all.find('\n', all.find('\n') + 1) + 1;
  fs::create_directories(folder_ / "torn");
  // Two whole lines, a third cut off, and one of another scenario.
  std::ofstream(folder_ / "torn/replications.jsonl")
      << all.substr(0, second + 40) << "\n"
      << R"({"key":"other","replication":4,"figures":{"duration":1}})" << "\n";
  EXPECT_EQ(run("run s.json --quiet --replications 5 -o torn").exit_code, 0);
  EXPECT_EQ(text("torn/replications.jsonl"), all);
  EXPECT_EQ(text("torn/result.json"), text("whole/result.json"));
  EXPECT_EQ(run("run s.json --replications 1").exit_code, 2);
  EXPECT_EQ(run("run s.json --replications many").exit_code, 2);
}

TEST_F(Program, HelpsWithoutArguments) {
  const Outcome outcome = run("");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.out.find("moesim run scenarios/quickstart.json"), std::string::npos);
  EXPECT_EQ(outcome.out.find("sweep"), std::string::npos);  // not built: not listed
  for (const Command* command : commands()) {
    const Outcome help = run(std::string(command->name) + " --help");
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_TRUE(help.out.starts_with("Example:  ")) << help.out;
  }
}

TEST_F(Program, AnswersWrongUsageWithTwo) {
  EXPECT_FAILURE(run("rn s.json"), 2, "moesim: unknown command rn; did you mean run?; see moesim --help");
  EXPECT_FAILURE(run("sweep s.json"), 2, "moesim: sweep is not built yet");
  EXPECT_FAILURE(run("plan"), 2, "moesim: plan is not built yet");
  EXPECT_FAILURE(run("run s.json --quite"), 2,
                 "moesim: run: unknown option --quite; did you mean --quiet?; see moesim run --help");
  EXPECT_FAILURE(run("run"), 2, "moesim: run: SCENARIO is missing; see moesim run --help");
  EXPECT_FAILURE(run("run s.json t.json"), 2, "moesim: run: unexpected argument t.json; see moesim run --help");
  EXPECT_FAILURE(run("run s.json --seed two"), 2, "moesim: --seed two: expected a whole number");
  EXPECT_FAILURE(run("run s.json --seed"), 2, "moesim: run: --seed needs a value: --seed N; see moesim run --help");
  EXPECT_FAILURE(run("run ''"), 2, "moesim: run: SCENARIO is an empty word; see moesim run --help");
  EXPECT_FAILURE(run("run s.json -o ''"), 2, "moesim: --output \"\": expected a name");
  EXPECT_FAILURE(run("describe model Mixtral-8x7B --dot g.dot"), 2,
                 "moesim: describe: --dot belongs to cluster, not to model");
  EXPECT_FAILURE(run("describe trace -"), 2, "moesim: describe: trace - needs --format NAME");
  EXPECT_FAILURE(run("run s.json --replications one"), 2,
                 "moesim: --replications one: expected a whole number from 2 to 100000");
  EXPECT_FAILURE(
      run("describe modle x"), 2,
      "moesim: describe: expected one of model, gpu, cluster, scenario, trace, got modle; did you mean model?; "
      "see moesim describe --help");
  EXPECT_FAILURE(run("run s.json --set /mode=training"), 2,
                 "moesim: --set: /mode: mode training is not built yet; leave it out");
}

TEST_F(Program, AnswersBadInputWithItsCode) {
  EXPECT_FAILURE(run("run absent.json"), 3, "moesim: absent.json: no such file");
  EXPECT_FAILURE(run("run s.json --set x"), 4,
                 "moesim: --set x: expected POINTER=VALUE such as /engine/max_num_seqs=64");
  EXPECT_FAILURE(run("run s.json --set /engine/max_num_sqs=3"), 4,
                 "moesim: --set: /engine/max_num_sqs: unknown field; did you mean /engine/max_num_seqs?");
  EXPECT_FAILURE(run("run s.json --set /workload/arrivals/rate=12"), 4,
                 "moesim: --set: /workload/arrivals/rate: expected a rate such as \"12 /s\", got 12");
  EXPECT_FAILURE(run("run s.json --set /engine/replicas=3"), 5,
                 "moesim: s.json: /engine: tensor 8 x pipeline 1 x data 1 x 3 replicas = 24 GPUs, but 1 node of NVIDIA "
                 "DGX H100 have 8; set /nodes to 3");
}

TEST_F(Program, ReadsAScenarioFromStandardInput) {
  // The same requests as from the file, named after where they come from.
  EXPECT_EQ(run("run s.json --quiet -o a").exit_code, 0);
  const Outcome outcome = run("run - --quiet", "cat s.json |");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(text("results/stdin/requests.csv"), text("a/requests.csv"));
  const auto json = nlohmann::json::parse(text("results/stdin/result.json"));
  EXPECT_EQ(json["provenance"]["input_hashes"]["stdin"],
            nlohmann::json::parse(text("a/result.json"))["provenance"]["input_hashes"]["s.json"]);
}

TEST_F(Program, DescribesWhatStandardInputHolds) {
  const std::string root = product_root().string();
  EXPECT_EQ(nlohmann::json::parse(run("describe scenario - --json", "cat s.json |").out)["plan"]["tp"], 8);
  EXPECT_EQ(run("describe model - --json", "cat " + root + "/models/Mixtral-8x7B-v0.1.json |").exit_code, 0);
  EXPECT_EQ(run("describe gpu - --json", "cat " + root + "/topologies/gpu/h100_sxm.json |").exit_code, 0);
  EXPECT_EQ(run("describe cluster - --json", "cat " + root + "/topologies/cluster/dgx-h100.json |").exit_code, 0);
  const Outcome trace = run("describe trace - --format csv --json",
                            "printf 'arrival_s,input_tokens,output_tokens\\n0,10,2\\n1,30,4\\n' |");
  EXPECT_EQ(nlohmann::json::parse(trace.out)["requests"], 2) << trace.err;
  const Outcome empty = run("run - </dev/null");
  EXPECT_EQ(empty.exit_code, 4);
  EXPECT_EQ(empty.err, "moesim: stdin: is empty; expected a JSON object\n");
}

TEST_F(Program, TriesTheOutputFolderBeforeItRuns) {
  std::ofstream(folder_ / "taken") << "a file";
  const Outcome outcome = run("run s.json -o taken/below");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(outcome.err, "moesim: taken/below: cannot be written: Not a directory\n");  // no progress before it
  const Outcome trace = run("run s.json --trace taken/t.json");
  EXPECT_EQ(trace.exit_code, 3);
  EXPECT_FALSE(fs::exists(folder_ / "results"));
}

TEST_F(Program, SaysWhenStandardOutputTakesNoMore) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  const std::string command = "cd " + folder_.string() + " && " + MOESIM_BINARY + " --version >/dev/full 2>err.txt";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(text("err.txt"), "moesim: standard output cannot be written: No space left on device\n");
}

TEST_F(Program, LeavesNothingHalfWrittenOfATraceWhoseEndIsGarbage) {
  {
    std::ofstream trace(folder_ / "t.csv");
    trace << "arrival_s,input_tokens,output_tokens\n";
    for (int i = 0; i < 1000; ++i) trace << i << ",10,2\n";
    trace << "?!";
  }
  const Outcome outcome = run("run s.json --set /workload/trace=t.csv --set /workload/format=csv");
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_TRUE(outcome.err.starts_with("moesim: t.csv:1002")) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
  EXPECT_FALSE(fs::exists(folder_ / "results"));
}

TEST_F(Program, WritesNothingWhenItIsInterrupted) {
  // timeout answers 124 itself when it had to send the signal; without --foreground it would send it twice.
  const Outcome outcome = run("run s.json --quiet --set /workload/requests=3000000", "timeout --foreground -s INT 1.2");
  EXPECT_TRUE(outcome.exit_code == 130 || outcome.exit_code == 124) << outcome.exit_code;
  EXPECT_EQ(outcome.out, "");
  EXPECT_FALSE(fs::exists(folder_ / "results"));
}

TEST_F(Program, WritesATimelineOfTheWindow) {
  const Outcome outcome = run("run s.json --quiet --trace t.json --trace-window 0s:100ms");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(text("t.json"));
  int bars = 0;
  for (const auto& event : json["traceEvents"]) bars += event["ph"] == "X";
  EXPECT_GT(bars, 100);
  EXPECT_EQ(run("run s.json --trace-window 0s:1s").err, "moesim: --trace-window needs --trace FILE\n");
}

TEST_F(Program, ComparesOnTheRequestsOfTheFirst) {
  std::ofstream(folder_ / "b.json") << text("s.json").replace(text("s.json").find("Mixtral-8x7B"), 12, "Llama-3-70B");
  const Outcome outcome = run("compare s.json b.json --quiet");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("B against A: "), std::string::npos);
  EXPECT_NE(outcome.out.find("a GPU reads "), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(text("results/s-vs-b/compare.json"))["results"].size(), 2u);
}

TEST_F(Program, DescribesInTextAndJson) {
  const auto model = nlohmann::json::parse(run("describe model Mixtral-8x7B --json").out);
  EXPECT_EQ(model["kv_bytes_per_token"], 131072);  // 32 layers x 2 x 8 heads x 128 x 2 bytes
  EXPECT_EQ(model["parameters"]["total"], 46702792704);
  EXPECT_EQ(model["moe"]["experts"], 8);
  const auto gpu = nlohmann::json::parse(run("describe gpu H100 --json").out);
  EXPECT_EQ(gpu["id"], "h100_sxm");
  const Outcome cluster = run("describe cluster dgx-h100 --nodes 2 --json --dot g.dot --graphml g.xml");
  EXPECT_EQ(nlohmann::json::parse(cluster.out)["gpus"], 16);
  EXPECT_NE(text("g.dot").find("graph"), std::string::npos);
  EXPECT_NE(text("g.xml").find("graphml"), std::string::npos);
  const auto scenario = nlohmann::json::parse(run("describe scenario s.json --json").out);
  EXPECT_EQ(scenario["plan"]["tp"], 8);
  EXPECT_GT(scenario["memory_per_gpu"]["kv_capacity_tokens"], 1000000);
  std::ofstream(folder_ / "t.csv") << "arrival_s,input_tokens,output_tokens\n0,10,2\n1,30,4\n2,20,6\n";
  const auto trace = nlohmann::json::parse(run("describe trace t.csv --json").out);
  EXPECT_EQ(trace["requests"], 3);
  EXPECT_EQ(trace["rate_per_s"], 1.0);
  EXPECT_EQ(trace["input_tokens"]["mean"], 20.0);
}

TEST_F(Program, ImportsAClusterThatDescribeAndRunTake) {
  EXPECT_EQ(run("describe cluster dgx-h100 --graphml g.xml --svg d/g.svg").exit_code, 0);
  EXPECT_TRUE(text("d/g.svg").starts_with("<svg "));
  EXPECT_EQ(run("import graphml g.xml --gpu H100 -o drawn.json").exit_code, 0);
  const auto drawn = nlohmann::json::parse(run("describe cluster drawn.json --json").out);
  const auto tiers = nlohmann::json::parse(run("describe cluster dgx-h100 --json").out);
  EXPECT_EQ(drawn["gpus"], 8);
  EXPECT_EQ(drawn["links"], tiers["links"]);
  EXPECT_EQ(drawn["bisection_bandwidth_bytes_per_s"], tiers["bisection_bandwidth_bytes_per_s"]);
  // The same graph, the same times.
  const auto result = [&](const std::string& cluster) {
    return nlohmann::json::parse(run("run s.json --json --quiet --set /cluster=" + cluster).out);
  };
  const auto by_graph = result("drawn.json"), by_tiers = result("dgx-h100");
  EXPECT_EQ(by_graph["fingerprint"], by_tiers["fingerprint"]);
  EXPECT_EQ(by_graph["mean_tpot_ms"], by_tiers["mean_tpot_ms"]);
  EXPECT_EQ(run("run s.json --set /cluster=drawn.json --set /nodes=2").exit_code, 5);
}

TEST_F(Program, ImportsALogFromStandardInput) {
  std::ofstream(folder_ / "log")
      << "  2147483648  536870912  float  sum  -1  51406  41.78  78.33  0  51406  41.77  78.33  0\n";
  const Outcome outcome = run("import nccl-tests - --cluster dgx-h100 < log");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(
      outcome.out.find("\nstdin,dgx-h100,h100_sxm,switched 450 GB/s,8x400G,2,8,16,NCCL,,all_reduce,2147483648,float,"),
      std::string::npos)
      << outcome.out;
}

/// A log of 16 ranks, as its bandwidths tell, in which b bytes take base + b / rate: microseconds and GB/s.
std::string log_of(double base, double rate, int rows = 12) {
  std::string text = "# Collective test starting: all_reduce_perf\n";
  for (std::int64_t bytes = 1024, i = 0; i < rows; bytes *= 8, ++i) {
    const double time = base + static_cast<double>(bytes) / (rate * 1e3),
                 algbw = static_cast<double>(bytes) / time / 1e3;
    text +=
        fmt::format("{0} {1} float sum -1 {2} {3} {4} 0 {2} {3} {4} 0\n", bytes, bytes / 4, time, algbw, 1.875 * algbw);
  }
  return text;
}

TEST_F(Program, FitsALogOfEveryClusterWithANetworkInOneLine) {
  std::ofstream(folder_ / "log") << log_of(40, 100, 11);
  int networks = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(MOESIM_SOURCE_DIR) / "topologies" / "cluster")) {
    const std::string name = entry.path().stem().string();
    const auto cluster = nlohmann::json::parse(std::ifstream(entry.path()), nullptr, true, true);
    if (!cluster.contains("nic")) continue;
    const std::string made = "import nccl-tests log --cluster " + name + " | " + MOESIM_BINARY + " fit - --op nccl -q ";
    const Outcome own = run(made + "-o own.json");
    ASSERT_EQ(own.exit_code, 0) << name << ": " << own.err;
    if (name.find("h100") != std::string::npos || name.starts_with("aws")) {
      // The columns of the table say as much as the file.
      const Outcome told = run(made + "--cluster " + name + " -o told.json");
      EXPECT_EQ(own.out.substr(0, own.out.find("own.json")), told.out.substr(0, told.out.find("told.json"))) << name;
    }
    const auto profile = nlohmann::json::parse(text("own.json"));
    EXPECT_TRUE(profile.contains("network") || profile.contains("ring")) << name;
    networks += profile.contains("network");
  }
  EXPECT_GT(networks, 15);
}

TEST_F(Program, FitsTheHopsOfACloudAsItsOwn) {
  // 16 ranks of 8 bytes on EFA wait for two hops and more than InfiniBand; what is fitted there is used there as it is.
  std::ofstream(folder_ / "log") << log_of(400, 90);
  const std::string table = "import nccl-tests log --cluster aws-p5 -o t.csv";
  ASSERT_EQ(run(table).exit_code, 0);
  EXPECT_NE(text("t.csv").find(",32x100G EFA v2,2,8,16,"), std::string::npos) << text("t.csv");
  const fs::path shipped = fs::path(MOESIM_SOURCE_DIR) / "calibrate" / "profiles" / "collectives-default.json";
  ASSERT_EQ(run("fit t.csv --op nccl -q -o my.json --base " + shipped.string()).exit_code, 0);
  EXPECT_FALSE(nlohmann::json::parse(text("my.json"))["network"].contains("transports"));
  const auto error = [&](const std::string& profile) {
    return nlohmann::json::parse(run("predict t.csv --op nccl --json" + profile).out)["median_ape"].get<double>();
  };
  EXPECT_GT(error(""), 0.5);
  EXPECT_LT(error(" --profile my.json"), 0.15);
  // With InfiniBand in the same table, that is fitted and the cloud's rows are counted.
  std::ofstream(folder_ / "both.csv") << text("t.csv") << [&] {
    run("import nccl-tests log --cluster dgx-h100 -o ib.csv");
    return text("ib.csv").substr(text("ib.csv").find('\n') + 1);
  }();
  const Outcome both = run("fit both.csv --op nccl -q -o both.json");
  EXPECT_NE(both.out.find("12 rows not used: a network of its own, EFA v2\n"), std::string::npos) << both.out;
}

TEST_F(Program, RefusesFitsOnFewerPointsThanConstants) {
  const auto fit = [&](int rows) {
    std::ofstream(folder_ / "log") << log_of(40, 100, rows);
    return run(std::string("import nccl-tests log --cluster dgx-h100 | ") + MOESIM_BINARY +
               " fit - --op nccl -q -o my.json");
  };
  EXPECT_FAILURE(fit(1), 4, "moesim: fit: no row can be fitted; 1 x ring: 1 points cannot tell its 5 constants");
  EXPECT_FALSE(fs::exists(folder_ / "my.json"));
  const std::string note = "network: 5 points for 4 constants, fewer than 3 each: the fit follows their noise";
  const Outcome few = fit(5);
  EXPECT_EQ(few.exit_code, 0);
  EXPECT_EQ(few.err, "moesim: note: " + note + "\n");
  EXPECT_EQ(nlohmann::json::parse(text("my.json"))["notes"], nlohmann::json::array({note}));
  const Outcome used = run("run s.json --json --quiet --set /calibration=my.json --set /nodes=2");
  EXPECT_NE(used.out.find(note), std::string::npos) << used.err << used.out;
  // More rows over it, and the note goes.
  std::ofstream(folder_ / "log") << log_of(40, 100, 12);
  run("import nccl-tests log --cluster dgx-h100 -o t.csv");
  std::ofstream(folder_ / "log") << log_of(44, 110, 11);
  run("import nccl-tests log --cluster dgx-h100 --system other -o other.csv");
  EXPECT_EQ(run("fit t.csv other.csv --op nccl -q --base my.json -o more.json").err, "");
  EXPECT_FALSE(nlohmann::json::parse(text("more.json")).contains("notes"));
}

TEST_F(Program, FitsAProfileOfTheUsersOwnKernels) {
  // Conversions at 2.5 TB/s (75 % of an H100's memory) after 3 us, 3 bytes an element.
  {
    std::ofstream table(folder_ / "t.csv");
    table << "kernel,m,k,latency_us\n";
    for (const int m : {1, 16, 256, 4096, 16384}) {
      for (const int k : {1024, 4096, 8192})
        table << "fp8_quantize," << m << ',' << k << ',' << 3 + m * k * 3 / 2.5e6 << '\n';
    }
  }
  const std::string rows = " t.csv --op quantize --gpu h100_sxm --provider ours ";
  const Outcome fit = run("fit" + rows + "-q -o my.json");
  ASSERT_EQ(fit.exit_code, 0) << fit.err;
  const auto profile = nlohmann::json::parse(text("my.json"));
  EXPECT_EQ(profile["name"], "h100_sxm-ours");
  EXPECT_NEAR(profile["quantize_convert"]["memory"].get<double>(), 2.5 / 3.35, 0.01);
  EXPECT_FALSE(profile["quantize_convert"]["origin"].contains("derived_from"));
  EXPECT_NE(profile["gemm"]["bf16"]["origin"]["derived_from"].get<std::string>().find("taken from"), std::string::npos);
  const auto predicted = nlohmann::json::parse(run("predict" + rows + "--profile my.json --json").out);
  EXPECT_LT(predicted["mape"].get<double>(), 0.02);
  // Again over itself: the same bytes but for what the base was.
  ASSERT_EQ(run("fit" + rows + "-q --base my.json -o again.json").exit_code, 0);
  EXPECT_EQ(nlohmann::json::parse(text("again.json"))["quantize_convert"], profile["quantize_convert"]);
}

TEST_F(Program, RefusesFitsOfKernelsOnFewerRowsThanConstants) {
  std::ofstream(folder_ / "t.csv") << "kernel,m,k,latency_us\nfp8_quantize,1,1024,3\nfp8_quantize,64,1024,3.1\n";
  EXPECT_FAILURE(run("fit t.csv --op quantize --gpu h100_sxm --provider ours -q -o my.json"), 4,
                 "moesim: fit: nothing was fitted: quantize_convert: 2 rows for 4 constants");
  EXPECT_FALSE(fs::exists(folder_ / "my.json"));
}

TEST_F(Program, AFolderInPlaceOfAFileIsAMissingFile) {
  fs::create_directories(folder_ / "d");
  for (const char* command :
       {"run d", "describe cluster d", "describe trace d", "describe model d", "import nccl-tests d",
        "import nccl-topo d", "import nvidia-smi-topo d", "import graphml d --gpu h100_sxm", "predict d --op nccl",
        "fit d --op nccl -o x.json", "validate d", "predict t.csv --op nccl --cluster d",
        "run s.json --set /workload/trace=d --set /workload/format=csv"}) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 3) << command << ": " << outcome.err;
    EXPECT_NE(outcome.err.find("is a folder; expected "), std::string::npos) << command << ": " << outcome.err;
  }
}

TEST_F(Program, ImportRefusesInOneLine) {
  EXPECT_FAILURE(run("import vllm-args x"), 2, "moesim: import: vllm-args is not built yet; see moesim import --help");
  EXPECT_FAILURE(run("import nccl-tests s.json --nodes 2"), 2,
                 "moesim: import: --nodes belongs to nccl-topo nvidia-smi-topo, not to nccl-tests");
  EXPECT_FAILURE(run("import nccl-topo missing.xml"), 3, "moesim: missing.xml: no such file");
  EXPECT_FAILURE(run("import nccl-topo s.json"), 4, "moesim: s.json:1: no XML element; expected an XML file");
  EXPECT_FAILURE(run("import nvidia-smi-topo s.json --gpu l40s --nodes none"), 4,
                 "moesim: import: --nodes: expected a whole number, got \"none\"");
}

/// Two rings that share a NIC, one of 1 GB each, and one that starts behind them.
constexpr const char* network_scenario = R"({"mode": "network", "cluster": "dgx-h100", "nodes": 2, "program": [
  {"name": "first gradients", "collective": "all_gather", "algorithm": "ring", "ranks": "0-15:8", "bytes": "1 GB"},
  {"name": "second", "collective": "all_gather", "algorithm": "ring", "ranks": [0, 8], "bytes": "1 GB"},
  {"name": "late", "collective": "all_reduce", "ranks": "0-7", "bytes": "1 MB", "start": "1 s"}]})";

TEST_F(Program, DescribesTracesAndComparesNetworkPrograms) {
  std::ofstream(folder_ / "n.json") << network_scenario;
  // The closed form of a task is what run says of it; nothing is simulated.
  const auto plan = nlohmann::json::parse(run("describe scenario n.json --json").out);
  const auto result = nlohmann::json::parse(run("run n.json --json -q --trace all.json").out);
  EXPECT_EQ(plan["cluster"]["gpus"], 16);
  for (std::size_t i = 0; i < 3; ++i) {
    for (const char* key : {"name", "what", "bytes", "ranks", "closed_form_ms"}) {
      EXPECT_EQ(plan["program"][i][key], result["program"][i][key]) << key;
    }
  }
  const std::string text_of = run("describe scenario n.json").out;
  EXPECT_NE(text_of.find("all_gather by ring, bulk"), std::string::npos) << text_of;
  // Lanes are called as the tasks, and a window holds what reaches into it.
  const auto bars = [&](const std::string& file) {
    std::vector<std::string> names;
    const auto trace = nlohmann::json::parse(text(file));
    for (const auto& event : trace["traceEvents"]) {
      EXPECT_FALSE(event["args"].contains("part"));
      if (event["name"] == "thread_name") names.push_back(event["args"]["name"]);
    }
    return names;
  };
  EXPECT_EQ(bars("all.json"), (std::vector<std::string>{"first gradients", "second", "late"}));
  EXPECT_EQ(run("run n.json -q --trace part.json --trace-window 1s:2s").exit_code, 0);
  EXPECT_EQ(bars("part.json"), std::vector<std::string>{"late"});
  // Elements of a list by their number.
  const auto half = nlohmann::json::parse(run("run n.json --json -q --set '/program/1/bytes=\"500 MB\"'").out);
  EXPECT_EQ(half["program"][1]["bytes"], 500000000);
  EXPECT_EQ(run("run n.json --set /program/3/bytes=1").err,
            "moesim: --set: /program/3/bytes: expected one of the 3 elements from 0 on, got 3\n");
  // The program of the first on the cluster of every one: NICs of twice the rate.
  std::ofstream(folder_ / "b.json") << R"({"mode": "network", "cluster": "dgx-b300", "nodes": 2, "program": []})";
  const auto compared = nlohmann::json::parse(run("compare n.json b.json --json -q").out);
  ASSERT_EQ(compared["results"].size(), 2u);
  EXPECT_EQ(compared["results"][1]["program"][0]["name"], "first gradients");
  EXPECT_LT(compared["results"][1]["program"][0]["alone_ms"], compared["results"][0]["program"][0]["alone_ms"]);
  EXPECT_EQ(compared["verdicts"].size(), 1u);
  EXPECT_EQ(run("compare n.json s.json").exit_code, 5);
}

TEST_F(Program, CompletesFromTheOptionTables) {
  const Outcome bash = run("completion bash");
  EXPECT_NE(bash.out.find("--trace-window"), std::string::npos);
  EXPECT_EQ(bash.out.find("vllm-args"), std::string::npos);  // not built
  std::ofstream(folder_ / "try.sh")
      << bash.out
      << "COMP_WORDS=(moesim run --tr); COMP_CWORD=2; _moesim; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(moesim de); COMP_CWORD=1; _moesim; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(moesim describe c); COMP_CWORD=2; _moesim; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(moesim fit t --op deep); COMP_CWORD=4; _moesim; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(moesim predict t --gpu h100_s); COMP_CWORD=4; _moesim; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(moesim fit t --provider v); COMP_CWORD=4; _moesim; echo ${COMPREPLY[@]}\n";
  const std::string command = "cd " + folder_.string() + " && bash try.sh >out.txt 2>err.txt";
  EXPECT_EQ(std::system(command.c_str()), 0) << text("err.txt");
  EXPECT_EQ(text("out.txt"), "--trace --trace-window\ndescribe\ncluster\ndeepep_ll deepep_normal\nh100_sxm\nvllm\n");
  EXPECT_NE(run("completion zsh").out.find("'--trace-window[part of the run in the timeline (0s\\:2s)]:FROM\\:TO:'"),
            std::string::npos);
}

}  // namespace
}  // namespace moesim
