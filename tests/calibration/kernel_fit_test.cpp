// Fits of kernel profiles: synthetic rows of which the truth is known.

#include "calibration/kernel_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibration/kernel_prediction.h"
#include "config/json_reader.h"
#include "config/read_profile.h"
#include "hardware/datasheet_gpus.h"

namespace moesim {
namespace {

KernelProfile roofline() {
  return read_kernel_profile_file(product_root() / "calibrate/profiles/roofline.json");
}

std::string shape_name(std::int64_t n, std::int64_t k) {
  return "n " + std::to_string(n) + " k " + std::to_string(k);
}

/// Products of 24 (n, k) at 11 sizes, timed by `truth` with caches as in a benchmark loop.
std::vector<KernelSample> products(const GpuSpec& gpu, const KernelProfile& truth) {
  std::vector<KernelSample> samples;
  for (const std::int64_t n : {1024, 1536, 2048, 4096, 6144, 8192}) {
    for (const std::int64_t k : {512, 2048, 5120, 14336}) {
      for (std::int64_t m = 1; m <= 16384; m *= m < 64 ? 4 : 2) {
        KernelSample sample;
        sample.provider = "vllm";
        sample.section = "gemm/bf16";
        sample.shape = shape_name(n, k);
        sample.timed = TimedGemm{.shape = {.m = m, .n = n, .k = k}, .quantizes = false};
        samples.push_back(std::move(sample));
      }
    }
  }
  SampleList list;
  for (const KernelSample& sample : samples) list.push_back(&sample);
  const std::vector<double> seconds = predict_kernels(list, gpu, truth);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].measured = seconds[i];
  return samples;
}

SampleList pointers(const std::vector<KernelSample>& samples) {
  SampleList list;
  for (const KernelSample& sample : samples) list.push_back(&sample);
  return list;
}

GemmSection& bf16(KernelProfile& profile) {
  return profile.gemm[static_cast<std::size_t>(DataType::bf16)];
}

KernelProfile truth_of_products() {
  KernelProfile truth = roofline();
  GemmSection& gemm = bf16(truth);
  gemm.fixed = Duration::nanoseconds(3700);
  gemm.tile_half = 11;
  gemm.compute = 0.82;
  gemm.memory = 0.71;
  gemm.norm = 2.2;
  gemm.tiles_for_bandwidth = 1.7;
  gemm.split = Duration::nanoseconds(900);
  gemm.cache = {};
  return truth;
}

// The rows follow the form exactly: constants that give other times are kept only by the pull to typical values, which
// 168 rows outweigh.
TEST(KernelFit, FindsTheConstantsThatMadeTheRows) {
  const GpuSpec gpu = testing::h100();
  const KernelProfile truth = truth_of_products();
  const std::vector<KernelSample> samples = products(gpu, truth);
  KernelProfile profile = roofline();
  const KernelFit fit = fit_and_validate(gpu, KernelOp::gemm, "gemm/bf16", pointers(samples), profile);
  EXPECT_EQ(fit.problem, "");
  EXPECT_EQ(fit.shapes, 24u);
  EXPECT_EQ(fit.law.size(), samples.size());  // every row is scored once
  EXPECT_LT(errors_of(fit.law).mape, 0.02);
  EXPECT_GT(errors_of(fit.before).mape, 0.05);
  EXPECT_NEAR(bf16(profile).fixed.microseconds(), 3.7, 0.1);
  EXPECT_NEAR(bf16(profile).memory, 0.71, 0.02);
  EXPECT_NEAR(bf16(profile).compute, 0.82, 0.03);
}

// All rows above 512 take 1.3 times as long as the form says: a smooth factor of m can tell, no constant can.
TEST(KernelFit, KeepsAFactorBetweenKnotsWhereUnseenShapesGainByIt) {
  const GpuSpec gpu = testing::h100();
  std::vector<KernelSample> samples = products(gpu, truth_of_products());
  for (KernelSample& sample : samples) {
    if (std::get<TimedGemm>(sample.timed).shape.m < 32) sample.measured *= 1.4;
  }
  KernelProfile profile = roofline();
  const KernelFit fit = fit_and_validate(gpu, KernelOp::gemm, "gemm/bf16", pointers(samples), profile);
  EXPECT_EQ(fit.residuals, Residuals::fitted);
  EXPECT_LT(errors_of(fit.corrected).mape, 0.97 * errors_of(fit.law).mape);
  const KernelResidual& residual = bf16(profile).residual;
  EXPECT_FALSE(residual.empty());
  EXPECT_LE(residual.factor.size(), kMostResidualKnots);
}

/// One chunk a call, by kernels with tiles of `rows` rows of one head.
std::vector<KernelSample> prompts(const GpuSpec& gpu, std::int64_t rows) {
  KernelProfile truth = roofline();
  truth.attention_prefill = {truth.attention_prefill.front()};
  PrefillAttentionSection& section = truth.attention_prefill.front();
  section.tile_rows = rows;
  section.packing = QueryPacking::heads;
  section.residual = {};
  section.cache = {};
  std::vector<KernelSample> samples;
  for (const auto& [query_heads, kv_heads] : {std::pair{32, 8}, {64, 8}, {16, 2}, {40, 8}, {28, 4}, {48, 8}}) {
    for (const std::int64_t tokens : {1, 8, 24, 48, 96, 160, 320, 640, 1280, 2560, 5120}) {
      KernelSample sample;
      sample.op = KernelOp::attn_prefill;
      sample.provider = "vllm";
      sample.section = "attention_prefill/bf16/bf16/128";
      sample.shape = std::to_string(query_heads) + "/" + std::to_string(kv_heads);
      TimedAttention timed;
      timed.shape.query_heads = query_heads;
      timed.shape.kv_heads = kv_heads;
      timed.shape.key_dim = timed.shape.value_dim = 128;
      const double pairs = static_cast<double>(tokens) * static_cast<double>(tokens + 1) / 2;
      timed.prefill = {{.new_tokens = tokens, .keys = tokens, .pairs = pairs}};
      sample.timed = timed;
      samples.push_back(std::move(sample));
    }
  }
  const std::vector<double> seconds = predict_kernels(pointers(samples), gpu, truth);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].measured = seconds[i];
  return samples;
}

// The rows of a tile are a choice that no gradient finds.
TEST(KernelFit, FindsTheTilesThatMadeTheRows) {
  const GpuSpec gpu = testing::h100();
  for (const std::int64_t rows : {64, 128, 256}) {
    const std::vector<KernelSample> samples = prompts(gpu, rows);
    KernelProfile profile = roofline();
    const KernelFit fit =
        fit_and_validate(gpu, KernelOp::attn_prefill, "attention_prefill/bf16/bf16/128", pointers(samples), profile);
    EXPECT_EQ(fit.problem, "");
    const auto fitted = std::find_if(
        profile.attention_prefill.begin(), profile.attention_prefill.end(),
        [](const auto& s) { return s.head_dim == 128 && s.math == DataType::bf16 && s.kv_cache == DataType::bf16; });
    ASSERT_NE(fitted, profile.attention_prefill.end());
    EXPECT_EQ(fitted->tile_rows, rows);
  }
}

TEST(KernelFit, FoldsNeverShareAShape) {
  const GpuSpec gpu = testing::h100();
  const std::vector<KernelSample> samples = products(gpu, roofline());
  const std::vector<std::size_t> folds = shape_folds(pointers(samples));
  std::map<std::string, std::set<std::size_t>> folds_of_shape;
  std::map<std::size_t, std::size_t> rows;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    folds_of_shape[samples[i].shape].insert(folds[i]);
    ++rows[folds[i]];
  }
  for (const auto& [shape, own] : folds_of_shape) EXPECT_EQ(own.size(), 1u) << shape;
  EXPECT_EQ(rows.size(), 5u);
  // Folds do not depend on the order of the rows, nor on their times.
  std::vector<KernelSample> turned(samples.rbegin(), samples.rend());
  for (KernelSample& sample : turned) sample.measured *= 2;
  std::vector<std::size_t> turned_folds = shape_folds(pointers(turned));
  std::reverse(turned_folds.begin(), turned_folds.end());
  EXPECT_EQ(folds, turned_folds);
}

TEST(KernelFit, TenShapesOrFewerHaveAFoldEach) {
  std::vector<KernelSample> samples(30);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].shape = "model " + std::to_string(i % 9);
  const std::vector<std::size_t> folds = shape_folds(pointers(samples));
  EXPECT_EQ(std::set<std::size_t>(folds.begin(), folds.end()).size(), 9u);
}

TEST(KernelFit, RefusesFewerRowsThanConstants) {
  const GpuSpec gpu = testing::h100();
  std::vector<KernelSample> samples = products(gpu, truth_of_products());
  samples.resize(9);  // a GEMM has ten constants
  KernelProfile profile = roofline();
  const KernelFit fit = fit_and_validate(gpu, KernelOp::gemm, "gemm/bf16", pointers(samples), profile);
  EXPECT_EQ(fit.problem, "9 rows for 10 constants");
  // Repeats of a row tell nothing new.
  for (int i = 0; i < 5; ++i) samples.push_back(samples.front());
  EXPECT_EQ(fit_and_validate(gpu, KernelOp::gemm, "gemm/bf16", pointers(samples), profile).problem,
            "9 different rows for 10 constants");
  KernelProfile untouched = roofline();
  EXPECT_EQ(bf16(profile).fixed, bf16(untouched).fixed);
}

TEST(KernelFit, LeavesOutWhatItsSectionDoesNotTake) {
  const GpuSpec gpu = testing::h100();
  std::vector<KernelSample> samples = products(gpu, truth_of_products());
  for (std::size_t i = 0; i < 20; ++i) samples[i].section = "gemm/fp8";
  KernelProfile profile = roofline();
  const KernelFit fit = fit_and_validate(gpu, KernelOp::gemm, "gemm/bf16", pointers(samples), profile);
  EXPECT_EQ(fit.samples.size(), samples.size() - 20);
  EXPECT_EQ(fit_and_validate(gpu, KernelOp::gemm, "gemm/bf17", pointers(samples), profile).problem,
            "no fit takes this section");
}

// A head size that the profile lacks gets a section of its own, next to those that stay as they are.
TEST(KernelSection, AddsAHeadSizeThatTheProfileLacks) {
  KernelProfile profile = roofline();
  const std::size_t before = profile.attention_decode.size();
  const auto section = kernel_section(KernelOp::attn_decode, "attention_decode/bf16/bf16/96", profile);
  ASSERT_TRUE(section);
  ASSERT_EQ(profile.attention_decode.size(), before + 1);
  EXPECT_EQ(profile.attention_decode.back().head_dim, 96);
  section->constants.front().set(profile, 12.5);
  EXPECT_EQ(profile.attention_decode.back().fixed, Duration::nanoseconds(12500));
  EXPECT_NE(profile.attention_decode.front().fixed, Duration::nanoseconds(12500));
}

// Every section that can be fitted has bounds that the reader of profiles accepts, also at their ends.
TEST(KernelSection, BoundsKeepEfficienciesWithinTheDatasheet) {
  const std::pair<KernelOp, const char*> keys[] = {{KernelOp::gemm, "gemm/fp8"},
                                                   {KernelOp::gemm, "gemm/fp8_block"},
                                                   {KernelOp::moe_wideep, "grouped_contiguous/bf16"},
                                                   {KernelOp::moe, "moe/bf16"},
                                                   {KernelOp::moe_wideep, "grouped_masked/fp8_block"},
                                                   {KernelOp::attn_prefill, "attention_prefill/bf16/bf16/128"},
                                                   {KernelOp::mla_decode, "mla_decode/bf16/bf16/576"}};
  for (const auto& [op, key] : keys) {
    KernelProfile profile = roofline();
    const auto section = kernel_section(op, key, profile, "hopper");
    ASSERT_TRUE(section) << key;
    for (const KernelConstant& constant : section->constants) {
      EXPECT_LT(constant.low, constant.typical) << key << ' ' << constant.key;
      EXPECT_LT(constant.typical, constant.high) << key << ' ' << constant.key;
      constant.set(profile, constant.high);
      EXPECT_NEAR(constant.get(profile) / constant.high, 1, 1e-6) << key << ' ' << constant.key;
      const bool efficiency =
          constant.key == "compute" || constant.key == "memory" || constant.key == "activation_memory";
      if (efficiency) {
        EXPECT_LE(constant.high, 1) << key << ' ' << constant.key;
      }
    }
  }
}

// Blackwell scales blocks in its matrix units, and its sections keep the tiles that they had.
TEST(KernelSection, BlockScaledProductsArePromotedOnHopperOnly) {
  constexpr auto block = static_cast<std::size_t>(DataType::fp8_block);
  KernelProfile hopper = roofline(), blackwell = roofline();
  ASSERT_TRUE(kernel_section(KernelOp::gemm, "gemm/fp8_block", hopper, "hopper"));
  ASSERT_TRUE(kernel_section(KernelOp::gemm, "gemm/fp8_block", blackwell, "blackwell"));
  EXPECT_EQ(hopper.gemm[block].tiles, TileChoice::narrow);
  EXPECT_EQ(hopper.gemm[block].promotion, 1);
  EXPECT_EQ(blackwell.gemm[block].tiles, TileChoice::wide);
  EXPECT_EQ(blackwell.gemm[block].promotion, 0);
}

}  // namespace
}  // namespace moesim
