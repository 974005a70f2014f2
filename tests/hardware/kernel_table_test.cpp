// The fitted profiles against the measured tables they come from (aiconfigurator 095f58a5), in the state of a benchmark
// loop (small weights stay in L2). Rows are the whole tables: the profile's own residuals are on held-out halves, and
// with about ten constants for thousands of rows the two agree. Bounds are on the median absolute percentage error.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "calibration/kernel_prediction.h"
#include "config/read_kernel_table.h"
#include "config/read_profile.h"
#include "datasheet_gpus.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

bool tables_exist() {
  return std::filesystem::exists(std::string(MOESIM_SHARED_DATA) + "/kernels");
}
#define MOESIM_NEEDS_TABLES() \
  if (!tables_exist()) GTEST_SKIP() << "measured kernel tables are not here"

/// What predicts the rows of a test.
struct Predictor {
  GpuSpec gpu;
  KernelProfile profile;
};

Predictor cost(const GpuSpec& gpu, const std::string& profile) {
  return {gpu, read_kernel_profile_file(std::string(MOESIM_SOURCE_DIR) + "/calibrate/profiles/" + profile + ".json")};
}

using Wanted = std::function<bool(const KernelSample&)>;

/// Prints the errors of the wanted samples of a table and returns their median.
double table_error(const Predictor& predictor, KernelOp op, const std::string& file, const std::string& what,
                   const Wanted& wanted) {
  const std::vector<std::string> paths{std::string(MOESIM_SHARED_DATA) + "/kernels/" + file};
  KernelTableOptions options;
  options.op = op;
  const KernelSamples all = read_kernel_tables(paths, options);
  std::vector<const KernelSample*> samples;
  for (const KernelSample& sample : all.samples) {
    if (wanted(sample)) samples.push_back(&sample);
  }
  const std::vector<double> seconds = predict_kernels(samples, predictor.gpu, predictor.profile);
  std::vector<double> errors;
  double sum = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    errors.push_back(std::abs(seconds[i] / samples[i]->measured - 1));
    sum += errors.back();
  }
  std::sort(errors.begin(), errors.end());
  if (errors.empty()) return INFINITY;
  std::printf("  %-50s %6zu rows, median %5.1f %%, mean %5.1f %%, p90 %5.1f %%\n", (file + " " + what).c_str(),
              errors.size(), 100 * errors[errors.size() / 2], 100 * sum / static_cast<double>(errors.size()),
              100 * errors[errors.size() * 9 / 10]);
  return errors[errors.size() / 2];
}

double section_error(const Predictor& predictor, KernelOp op, const std::string& file, const std::string& section) {
  return table_error(predictor, op, file, section, [&](const KernelSample& s) { return s.section == section; });
}

double gemm_error(const Predictor& predictor, const std::string& file, const std::string& type) {
  return section_error(predictor, KernelOp::gemm, file, "gemm/" + type);
}

/// Tuned rows only: best software version, at most 1.5 times the best of all backends, shards of 64 columns or more.
double moe_error(const Predictor& predictor, const std::string& file, const std::string& type) {
  return section_error(predictor, KernelOp::moe, file, "moe/" + type);
}

/// Heads of 128. Beyond 32 query heads a KV head TensorRT-LLM falls back to a kernel up to 20 times slower.
double decode_error(const Predictor& predictor, const std::string& file, const std::string& cache) {
  const std::string section = "attention_decode/bf16/" + cache + "/128";
  return table_error(predictor, KernelOp::attn_decode, file, section, [&](const KernelSample& s) {
    const AttentionShape& shape = std::get<TimedAttention>(s.timed).shape;
    return s.section == section && shape.query_heads <= 32 * shape.kv_heads;
  });
}

double prefill_error(const Predictor& predictor, const std::string& file) {
  return section_error(predictor, KernelOp::attn_prefill, file, "attention_prefill/bf16/bf16/128");
}

double latent_error(const Predictor& predictor, const std::string& file, KernelOp op) {
  return table_error(predictor, op, file, "cache bf16", [](const KernelSample& s) {
    return std::get<TimedAttention>(s.timed).shape.kv_cache == DataType::bf16;
  });
}

/// The absorption products of MLA in bf16: a batch of one small product a head.
double batched_error(const Predictor& predictor, const std::string& file) {
  return table_error(predictor, KernelOp::mla_bmm, file, "batches",
                     [](const KernelSample& s) { return s.section == "mla_bmm/bf16"; });
}

TEST(KernelTables, BatchedProductsArePredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(batched_error(cost(testing::h100(), "h100_sxm-trtllm"), "mla_bmm_h100_sxm_trtllm-1.3.0rc20.csv"), 0.05);
  EXPECT_LT(batched_error(cost(testing::b200(), "b200_sxm-trtllm"), "mla_bmm_b200_sxm_trtllm-1.3.0rc20.csv"), 0.06);
  EXPECT_LT(batched_error(cost(testing::a100(), "a100_sxm-trtllm"), "mla_bmm_a100_sxm_trtllm-1.0.0.csv"), 0.09);
}

TEST(KernelTables, MixedBatchesOfOneKernelArePredicted) {
  MOESIM_NEEDS_TABLES();
  const auto chunk_too = [](const KernelSample& s) { return std::get<TimedAttention>(s.timed).one_kernel; };
  const Predictor predictor = cost(testing::rtx_pro_6000(), "rtx_pro_6000_server-trtllm");
  for (const char* model : {"llama3.1-8b", "qwen3-30b-a3b"}) {
    EXPECT_LT(
        table_error(predictor, KernelOp::attn_mixed,
                    std::string("llmservingsim_attention_mixed_rtxpro6000_") + model + ".csv", "mixed", chunk_too),
        0.08);
  }
}

TEST(KernelTables, GemmOfH100IsPredicted) {
  MOESIM_NEEDS_TABLES();
  const Predictor kernels = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "bf16"), 0.06);
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "fp8"), 0.05);
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "fp8_block"), 0.13);
  EXPECT_LT(gemm_error(cost(testing::h100(), "h100_sxm-vllm"), "gemm_h100_sxm_vllm-0.24.0.csv", "bf16"), 0.08);
}

TEST(KernelTables, GemmOfOtherGpusIsPredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(gemm_error(cost(testing::a100(), "a100_sxm-sglang"), "gemm_a100_sxm_sglang-0.5.10.csv", "bf16"), 0.08);
  const Predictor b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "bf16"), 0.08);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "fp8"), 0.06);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "fp8_block"), 0.08);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "nvfp4"), 0.08);
  EXPECT_LT(gemm_error(cost(testing::l40s(), "l40s-trtllm"), "gemm_l40s_trtllm-1.3.0rc20.csv", "bf16"), 0.13);
}

TEST(KernelTables, FusedExpertsOfH100ArePredicted) {
  MOESIM_NEEDS_TABLES();
  const Predictor trtllm = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "bf16"), 0.07);
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "fp8"), 0.09);
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "fp8_block"), 0.08);
  const Predictor vllm = cost(testing::h100(), "h100_sxm-vllm");
  EXPECT_LT(moe_error(vllm, "moe_h100_sxm_vllm.csv", "bf16"), 0.08);
  EXPECT_LT(moe_error(vllm, "moe_h100_sxm_vllm.csv", "fp8_block"), 0.08);
  const Predictor sglang = cost(testing::h100(), "h100_sxm-sglang");
  EXPECT_LT(moe_error(sglang, "moe_h100_sxm_sglang.csv", "bf16"), 0.08);
  EXPECT_LT(moe_error(sglang, "moe_h100_sxm_sglang.csv", "fp8_block"), 0.08);
}

TEST(KernelTables, FusedExpertsOfOtherGpusArePredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(moe_error(cost(testing::a100(), "a100_sxm-trtllm"), "moe_a100_sxm_trtllm.csv", "bf16"), 0.08);
  const Predictor b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(moe_error(b200, "moe_b200_sxm_trtllm.csv", "bf16"), 0.08);
  EXPECT_LT(moe_error(b200, "moe_b200_sxm_trtllm.csv", "fp8_block"), 0.08);
  EXPECT_LT(moe_error(cost(testing::b200(), "b200_sxm-vllm"), "moe_b200_sxm_vllm.csv", "nvfp4"), 0.10);
  EXPECT_LT(moe_error(cost(testing::l40s(), "l40s-trtllm"), "moe_l40s_trtllm.csv", "bf16"), 0.08);
}

TEST(KernelTables, DecodeAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  const Predictor vllm = cost(testing::h100(), "h100_sxm-vllm");
  EXPECT_LT(decode_error(vllm, "attn_decode_h100_sxm_vllm-0.24.0.csv", "bf16"), 0.08);
  EXPECT_LT(decode_error(vllm, "attn_decode_h100_sxm_vllm-0.24.0.csv", "fp8"), 0.08);
  EXPECT_LT(decode_error(cost(testing::h100(), "h100_sxm-trtllm"), "attn_decode_h100_sxm_trtllm-1.3.0rc20.csv", "bf16"),
            0.14);
  EXPECT_LT(decode_error(cost(testing::b200(), "b200_sxm-trtllm"), "attn_decode_b200_sxm_trtllm-1.3.0rc20.csv", "bf16"),
            0.07);
  EXPECT_LT(decode_error(cost(testing::a100(), "a100_sxm-vllm"), "attn_decode_a100_sxm_vllm-0.14.0.csv", "bf16"), 0.13);
}

TEST(KernelTables, PrefillAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(prefill_error(cost(testing::h100(), "h100_sxm-vllm"), "attn_prefill_h100_sxm_vllm-0.24.0.csv"), 0.09);
  EXPECT_LT(prefill_error(cost(testing::h100(), "h100_sxm-sglang"), "attn_prefill_h100_sxm_sglang-0.5.14.csv"), 0.08);
  EXPECT_LT(prefill_error(cost(testing::b200(), "b200_sxm-trtllm"), "attn_prefill_b200_sxm_trtllm-1.3.0rc20.csv"),
            0.11);
  EXPECT_LT(prefill_error(cost(testing::a100(), "a100_sxm-vllm"), "attn_prefill_a100_sxm_vllm-0.14.0.csv"), 0.11);
}

TEST(KernelTables, LatentAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  const Predictor sglang = cost(testing::h100(), "h100_sxm-sglang"), trtllm = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(latent_error(sglang, "mla_decode_h100_sxm_sglang-0.5.14.csv", KernelOp::mla_decode), 0.09);
  EXPECT_LT(latent_error(trtllm, "mla_decode_h100_sxm_trtllm-1.3.0rc20.csv", KernelOp::mla_decode), 0.10);
  EXPECT_LT(latent_error(sglang, "mla_prefill_h100_sxm_sglang-0.5.14.csv", KernelOp::mla_prefill), 0.08);
  EXPECT_LT(latent_error(trtllm, "mla_prefill_h100_sxm_trtllm-1.3.0rc20.csv", KernelOp::mla_prefill), 0.10);
  const Predictor b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(latent_error(b200, "mla_decode_b200_sxm_trtllm-1.3.0rc20.csv", KernelOp::mla_decode), 0.12);
  EXPECT_LT(latent_error(b200, "mla_prefill_b200_sxm_trtllm-1.3.0rc20.csv", KernelOp::mla_prefill), 0.08);
}

}  // namespace
}  // namespace moesim
