// moesim-calibrate from its arguments to its files, on a bench that is not a GPU.

#include "program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "measured_file.h"
#include "nccl_library.h"

namespace moesim::calibrate {

namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

/// Times every case as a microsecond per call so far.
class CountingBench : public Bench {
 public:
  CountingBench(std::vector<std::string>& asked, std::size_t stop_after) : asked_(asked), stop_after_(stop_after) {
    provenance_.gpu = "NVIDIA \"Test\", 80GB";
    provenance_.date = "2026-11-24";
  }
  const Provenance& provenance() const override { return provenance_; }
  int gpus() const override { return 1; }
  std::vector<KernelChoice> kernels() const override { return all_kernels(); }
  Outcome measure(const Case& measured) override {
    if (asked_.size() == stop_after_) return Failure{Failure::Kind::device_lost, "unplugged"};
    asked_.push_back(key_of(measured));
    if (wrong && measured.kernel == "wgmma") return Failure{Failure::Kind::wrong_result, "a wrong number"};
    Measured result;
    result.times.resize(
        times_of(measured.family),
        {.median = 1e-6 * static_cast<double>(asked_.size()), .spread = 0.01, .repeats = 20, .outliers = 0});
    return result;
  }
  bool wrong = false;

 private:
  std::vector<std::string>& asked_;
  std::size_t stop_after_;
  Provenance provenance_;
};

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "moesim calibrate XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const char* file) const { return (folder_ / file).string(); }
  int run(const std::vector<std::string>& words, std::size_t stop_after = 1 << 20, bool wrong = false) {
    return run_program(words, [&](const Options&) -> std::variant<std::unique_ptr<Bench>, NoBench> {
      auto bench = std::make_unique<CountingBench>(asked_, stop_after);
      bench->wrong = wrong;
      return bench;
    });
  }

  fs::path folder_;
  std::vector<std::string> asked_;
};

TEST_F(Program, WritesARowForEveryCase) {
  const std::size_t cases = cases_of(Family::quantize, all_kernels(), 1).size();
  EXPECT_EQ(run({"kernels", "--op", "quantize", "-o", path("q.csv")}), 0);
  const std::string text = text_of(path("q.csv"));
  EXPECT_EQ(lines(text), cases + 1);
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "kernel,m,k,latency_us,gpu,provider,version,spread,date,driver,repeats,outliers,sm_clock_MHz");
  EXPECT_NE(text.find("\ncompute_scale,1,1536,1,\"NVIDIA \"\"Test\"\", 80GB\",ours,,0.01,2026-11-24,,20,0,\n"),
            std::string::npos)
      << text.substr(0, 400);
}

TEST_F(Program, GivesEveryOperatorATableOfItsOwn) {
  EXPECT_EQ(run({"kernels", "--op", "quantize", "--op", "mla_bmm", "-o", path("my.csv")}), 0);
  EXPECT_TRUE(fs::exists(path("my.quantize.csv")));
  EXPECT_TRUE(fs::exists(path("my.mla_bmm.csv")));
  EXPECT_FALSE(fs::exists(path("my.csv")));
}

TEST_F(Program, GoesOnWhereItWasStopped) {
  const std::vector<std::string> words{"kernels", "--op", "quantize", "-o", path("q.csv")};
  const std::size_t cases = cases_of(Family::quantize, all_kernels(), 1).size();
  EXPECT_EQ(run(words, 10), 1) << "the device was lost";
  EXPECT_EQ(lines(text_of(path("q.csv"))), 11u);
  EXPECT_EQ(run(words), 4) << "not over a table that is there";
  // A kill in the middle of a row: the row is measured again.
  const std::string before = text_of(path("q.csv"));
  std::ofstream(path("q.csv"), std::ios::app) << "compute_scale,409";
  std::vector<std::string> resumed = words;
  resumed.push_back("--resume");
  EXPECT_EQ(run(resumed), 0);
  const std::string after = text_of(path("q.csv"));
  EXPECT_EQ(after.substr(0, before.size()), before);
  EXPECT_EQ(lines(after), cases + 1);
  EXPECT_EQ(asked_.size(), cases);
  EXPECT_EQ(std::set<std::string>(asked_.begin(), asked_.end()).size(), cases) << "no case twice, none left out";
  EXPECT_EQ(run(resumed), 0);
  EXPECT_EQ(asked_.size(), cases) << "nothing was left to do";
}

TEST_F(Program, RefusesATableThatIsNotItsOwn) {
  std::ofstream(path("q.csv")) << "a,b\n1,2\n";
  EXPECT_EQ(run({"kernels", "--op", "quantize", "-o", path("q.csv"), "--resume"}), 4);
  EXPECT_EQ(text_of(path("q.csv")), "a,b\n1,2\n");
  EXPECT_EQ(run({"kernels", "--op", "quantize", "-o", path("no/such/folder/q.csv")}), 4);
}

TEST_F(Program, WritesNoTimeForAWrongResult) {
  EXPECT_EQ(run({"kernels", "--op", "grouped_gemm", "--kernel", "wgmma", "--kernel", "mma_sync", "-o", path("g.csv")},
                1 << 20, true),
            1);
  const std::string text = text_of(path("g.csv"));
  EXPECT_EQ(text.find("wgmma"), std::string::npos);
  EXPECT_NE(text.find("mma_sync"), std::string::npos) << "the other kernels stand in";
  EXPECT_EQ(std::count_if(asked_.begin(), asked_.end(),
                          [](const std::string& key) { return key.find("wgmma") != std::string::npos; }),
            3)
      << "then the kernel is left out";
}

TEST_F(Program, ExitsWithSixWithoutAGpu) {
  int opened = 0;
  const auto none = [&](const Options&) -> std::variant<std::unique_ptr<Bench>, NoBench> {
    ++opened;
    return NoBench{6, "no GPU: the driver sees none"};
  };
  const std::vector<std::string> words{"kernels", "-o", path("k.csv")};
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_program(words, none), 6);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "moesim-calibrate: no GPU: the driver sees none\n");
  EXPECT_EQ(opened, 1);
  EXPECT_TRUE(fs::is_empty(folder_)) << "nothing is written";
}

TEST(BuiltProgram, ExitsWithSixWithoutAGpu) {
  const std::string program = MOESIM_CALIBRATE_BINARY;
  if (program.empty()) GTEST_SKIP() << "built with MOESIM_CALIBRATE=ON only";
  if (fs::exists("/dev/nvidiactl")) GTEST_SKIP() << "there is a GPU";
  const int status = std::system(("'" + program + "' kernels -o /nowhere.csv 2>/dev/null").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 6);
}

std::string refusal(const std::vector<std::string>& words) {
  const auto parsed = parse_options(words, [](const char*) { return std::optional<std::string>(); });
  const auto* refused = std::get_if<Refused>(&parsed);
  return refused == nullptr ? "accepted" : std::to_string(refused->exit_code) + " " + refused->text;
}

TEST(Options, AreRefusedWithOneLine) {
  EXPECT_EQ(refusal({"kernels"}), "2 -o FILE is missing: the table to write");
  EXPECT_EQ(refusal({"kernel", "-o", "x"}), "2 kernel: expected kernels, collectives or memory");
  EXPECT_EQ(refusal({"-o", "x"}), "2 expected one of kernels, collectives, memory; see --help");
  EXPECT_EQ(refusal({"memory", "-o", "x", "--op", "gemm"}), "2 --op gemm: expected one of memory");
  EXPECT_EQ(refusal({"memory", "-o", "x", "--device", "-1"}), "2 --device -1: expected a number from 0");
  EXPECT_EQ(refusal({"memory", "-o", "x", "--dev", "1"}), "2 unrecognised option '--dev'");
  EXPECT_EQ(refusal({"collectives", "-o", "x", "--ranks", "2"}), "2 --rank and --ranks: need --id-file FILE");
  EXPECT_EQ(refusal({"collectives", "-o", "x", "--id-file", "i", "--ranks", "2", "--rank", "2"}),
            "2 --id-file: needs --ranks N of at least 2 and --rank R of 0 to N-1");
  EXPECT_EQ(refusal({"kernels", "-o", "x", "--op", "moe", "--op", "gemm"}), "accepted");
  EXPECT_EQ(refusal({"--help"}).substr(0, 12), "0 Example: m");
}

TEST(Options, TakeThePlaceInAGroupFromTheEnvironment) {
  const auto slurm = [](const char* name) -> std::optional<std::string> {
    const std::string_view variable = name;
    if (variable == "SLURM_PROCID") return "5";
    if (variable == "SLURM_NTASKS") return "16";
    if (variable == "SLURM_LOCALID") return "1";
    return std::nullopt;
  };
  const auto parsed = parse_options(std::vector<std::string>{"collectives", "-o", "x", "--id-file", "i"}, slurm);
  const auto& options = std::get<Options>(parsed);
  ASSERT_TRUE(options.group);
  EXPECT_EQ(options.group->rank, 5);
  EXPECT_EQ(options.group->ranks, 16);
  EXPECT_EQ(options.device, 1);
}

TEST_F(Program, ExchangesTheIdOfAGroupThroughAFile) {
  NcclId id{}, got{};
  for (std::size_t i = 0; i < sizeof id.bytes; ++i) id.bytes[i] = static_cast<char>(i * 3);
  EXPECT_FALSE(read_id_file(path("id"), got, 0));
  ASSERT_TRUE(write_id_file(path("id"), id));
  ASSERT_TRUE(read_id_file(path("id"), got, 0));
  EXPECT_TRUE(std::equal(std::begin(id.bytes), std::end(id.bytes), std::begin(got.bytes)));
  EXPECT_FALSE(write_id_file(path("no/such/folder"), id));
}

}  // namespace

}  // namespace moesim::calibrate
