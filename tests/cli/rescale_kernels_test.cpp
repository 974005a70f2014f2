// `fit --as` from outside: a provider's profile for a GPU on which only other kernels were measured.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "support/program_folder.h"

namespace moesim {
namespace {

class RescaleKernels : public ProgramFolder {
 protected:
  void SetUp() override {
    ProgramFolder::SetUp();
    if (IsSkipped()) return;
    products("h100.csv", "h100_sxm", 1);
    products("h200.csv", "h200_sxm", 1.25);
  }

  /// Large bf16 products of our own at 500 TFLOP/s over `slowness`.
  void products(const std::string& name, const std::string& gpu, double slowness) const {
    std::ostringstream rows;
    rows << "gpu,provider,dtype,m,n,k,latency_us\n";
    for (int i = 0; i < 12; ++i) {
      const double m = 2048 + 512.0 * i;
      rows << gpu << ",ours,bfloat16," << m << ",8192,8192," << slowness * 2 * m * 8192 * 8192 / 500e6 << '\n';
    }
    write(name, rows.str());
  }
};

// H100 and H200 have the same tensor rate, and these products only that: a quarter more time here is a quarter more of
// vLLM's kernels, whatever ours take.
TEST_F(RescaleKernels, CarriesTheRatioToTheProvidersProfile) {
  ASSERT_EQ(run("fit h200.csv --op gemm --as vllm --reference h100.csv -o mine.json"), 0) << text("err.txt");
  const auto profile = nlohmann::json::parse(text("mine.json"));
  EXPECT_EQ(profile["provider"], "vllm");
  EXPECT_EQ(profile["gpu"], "h200_sxm");
  EXPECT_EQ(profile["gemm"]["bf16"]["origin"]["gpu"], "h100_sxm");
  EXPECT_NEAR(profile["gemm"]["bf16"]["factor"][2].get<double>(), 1.25, 0.01);
  EXPECT_FALSE(profile["moe"]["bf16"].contains("factor"));
  ASSERT_EQ(run("predict h200.csv --op gemm --profile mine.json --json"), 0) << text("err.txt");
  EXPECT_EQ(nlohmann::json::parse(text("out.txt"))["extrapolated"], true);
}

TEST_F(RescaleKernels, WithoutAReferenceProductsAreRefused) {
  EXPECT_EQ(run("fit h200.csv --op gemm --as vllm -o mine.json"), 2);
  EXPECT_NE(text("err.txt").find("--reference"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "mine.json"));
}

TEST_F(RescaleKernels, SectionsThatTheTablesLackAreRefused) {
  EXPECT_EQ(run("fit h200.csv --op gemm --section gemm/bf16 --section gemm/fp9 -o mine.json"), 2);
  EXPECT_NE(text("err.txt").find("--section gemm/fp9: the tables hold gemm/bf16"), std::string::npos)
      << text("err.txt");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "mine.json"));
}

TEST_F(RescaleKernels, StreamingPassesNeedNoReferenceAndTouchNothingElse) {
  std::ostringstream out;
  out << "gpu,provider,kernel,bytes,latency_us\n";
  for (int i = 12; i < 30; ++i) {
    const double bytes = static_cast<double>(1 << i);
    out << "h200_sxm,ours,copy," << static_cast<long>(bytes / 2) << ',' << 3 + bytes / 4.0e6 << '\n';
  }
  write("passes.csv", out.str());
  ASSERT_EQ(run("fit passes.csv --op memory_pass --as vllm -o mine.json"), 0) << text("err.txt");
  const auto profile = nlohmann::json::parse(text("mine.json"));
  EXPECT_EQ(profile["provider"], "vllm");
  EXPECT_EQ(profile["memory_pass"]["origin"]["provider"], "ours");
  EXPECT_EQ(profile["memory_pass"]["origin"]["gpu"], "h200_sxm");
  // 4.0 of the 4.8 TB/s of the datasheet.
  EXPECT_NEAR(profile["memory_pass"]["memory"].get<double>(), 4.0 / 4.8, 0.02);
  EXPECT_EQ(profile["gemm"]["bf16"]["origin"]["provider"], "vllm");
}

TEST_F(RescaleKernels, WrongTablesAreNamed) {
  EXPECT_EQ(run("fit h200.csv --op gemm --reference h100.csv -o mine.json"), 2);
  EXPECT_EQ(run("fit h100.csv --op gemm --as vllm --reference h100.csv -o mine.json"), 2);
  EXPECT_NE(text("err.txt").find("both of h100_sxm"), std::string::npos) << text("err.txt");
  EXPECT_EQ(run("fit h200.csv --op gemm --as vllm --reference h200.csv -o mine.json"), 2);
  EXPECT_EQ(run("fit h100.csv --op gemm --as vllm --reference h200.csv -o mine.json"), 2);
  EXPECT_NE(text("err.txt").find("no profile measured on h200_sxm"), std::string::npos) << text("err.txt");
  EXPECT_EQ(run("fit h200.csv --op gemm --as vllm --reference h100.csv"), 2);
  EXPECT_EQ(run("fit h200.csv --op gemm --as vllm --reference nowhere.csv -o mine.json"), 3);
  EXPECT_EQ(run("fit h200.csv --op gemm --as sglang --reference h100.csv -o mine.json"),
            4);  // no such section of its own
  EXPECT_EQ(run("fit h200.csv --op nccl --as vllm --reference h100.csv -o mine.json"), 2);
}

}  // namespace
}  // namespace moesim
