// `predict` on measured kernels from outside: what it prints, and its exit codes.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "support/program_folder.h"

namespace moesim {
namespace {

class PredictKernels : public ProgramFolder {
 protected:
  int predict(const std::string& arguments) { return run("predict " + arguments); }
};

TEST_F(PredictKernels, ErrorsAreGroupedByGpuProviderAndFormat) {
  write("mine.csv",
        "gpu,provider,dtype,m,n,k,latency_us\n"
        "h100_sxm,vllm,bfloat16,16,4096,4096,16\n"
        "h100_sxm,vllm,bfloat16,4096,4096,4096,220\n"
        "H800,deepgemm,fp8_block,64,4096,4096,30\n"
        "abacus,vllm,bfloat16,64,4096,4096,30\n");
  ASSERT_EQ(predict("mine.csv --op gemm --json --csv rows.csv"), 0) << text("err.txt");
  const auto json = nlohmann::json::parse(text("out.txt"));
  EXPECT_EQ(json["op"], "gemm");
  EXPECT_EQ(json["rows"], 4);
  EXPECT_EQ(json["scored"], 3);
  EXPECT_EQ(json["skipped"], (nlohmann::json{{"unknown GPU", 1}}));
  EXPECT_TRUE(json["warnings"].empty());
  EXPECT_EQ(json["regimes"]["64 to 1023 rows"]["scored"], 1);
  ASSERT_EQ(json["groups"].size(), 2U);
  std::map<std::string, nlohmann::json> groups;
  for (const auto& group : json["groups"]) groups[group["gpu"]] = group;
  EXPECT_EQ(groups["h100_sxm"]["provider"], "vllm");
  EXPECT_EQ(groups["h100_sxm"]["family"], "gemm");
  EXPECT_EQ(groups["h100_sxm"]["dtype"], "bf16");
  EXPECT_EQ(groups["h100_sxm"]["profile"], "h100_sxm-vllm");
  EXPECT_EQ(groups["h100_sxm"]["extrapolated"], false);
  EXPECT_EQ(groups["h800"]["extrapolated"], true);
  EXPECT_EQ(json["extrapolated"], true);
  const std::string rows = text("rows.csv");
  EXPECT_EQ(std::count(rows.begin(), rows.end(), '\n'), 4);
  EXPECT_NE(rows.find("\nmine.csv,3,h100_sxm,vllm,,gemm/bf16,n 4096 k 4096,1024 rows and more,"), std::string::npos)
      << rows;
}

TEST_F(PredictKernels, WithoutScoredRowsTheErrorsAreNull) {
  write("quantize_a100_sxm_vllm.csv", "kernel,m,k,latency_us\nfp8_quantize,8,64,\n");
  ASSERT_EQ(predict("quantize_a100_sxm_vllm.csv --op quantize --json"), 0) << text("err.txt");
  const auto json = nlohmann::json::parse(text("out.txt"));
  EXPECT_EQ(json["scored"], 0);
  EXPECT_TRUE(json["mape"].is_null());
  EXPECT_EQ(json["skipped"]["no time"], 1);
  EXPECT_EQ(json["extrapolated"], false);
}

TEST_F(PredictKernels, NeverWritesOverWhatWasMeasured) {
  const std::string table = "gpu,provider,dtype,m,n,k,latency_us\nh100_sxm,vllm,bfloat16,16,4096,4096,16\n";
  write("mine.csv", table);
  EXPECT_EQ(predict("mine.csv --op gemm --csv ./mine.csv"), 3);
  EXPECT_NE(text("err.txt").find("predict: ./mine.csv: is the measured table"), std::string::npos) << text("err.txt");
  EXPECT_EQ(text("mine.csv"), table);
}

TEST_F(PredictKernels, BadInputHasItsExitCodes) {
  write("gemm_h100_sxm_vllm.csv", "dtype,m,n,k,latency_us\nbfloat16,1,2,3,x\n");
  EXPECT_EQ(predict("gemm_h100_sxm_vllm.csv --op gemm"), 4);
  EXPECT_EQ(text("err.txt"),
            "moesim: gemm_h100_sxm_vllm.csv:2: latency_us: expected a number that is not negative, got x\n");
  EXPECT_EQ(predict("none.csv --op gemm"), 3);
  EXPECT_EQ(predict("gemm_h100_sxm_vllm.csv --op gem"), 2);
  EXPECT_EQ(predict("gemm_h100_sxm_vllm.csv --op gemm --gpu abacus"), 2);
  EXPECT_EQ(predict("gemm_h100_sxm_vllm.csv --op gemm --cluster dgx-h100"), 2);
  EXPECT_EQ(text("err.txt"), "moesim: predict: --cluster is for communication; give --gpu\n");
}

}  // namespace
}  // namespace moesim
