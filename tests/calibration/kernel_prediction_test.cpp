#include "calibration/kernel_prediction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "config/read_gpu.h"
#include "config/read_profile.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

/// A GPU with the profile measured on it, and its kernels as in a benchmark loop.
struct Bench {
  GpuSpec gpu = find_gpu("h100_sxm");
  KernelProfile profile = select_kernel_profile("auto", "h100_sxm", std::string_view("trtllm")).profile;
  KernelCost kernels{gpu, profile, CacheState::replayed};

  template <class Timed>
  double predict(const Timed& timed) const {
    KernelSample sample;
    sample.timed = timed;
    const std::vector<const KernelSample*> samples{&sample};
    return predict_kernels(samples, gpu, profile).at(0);
  }
};

const ExpertLoad kLoad{
    .tokens = 64, .local_tokens = 60, .rows = 100, .active = 10, .padded_rows = {160, 320, 640, 1280, 2560}};
const MoeShape kExperts{.hidden = 4096,
                        .intermediate = 1536,
                        .local_experts = 16,
                        .top_k = 8,
                        .gated = true,
                        .weight = DataType::fp8_block,
                        .activation = DataType::fp8_block};

TEST(KernelPrediction, ProductsAreTheModelsOwnWithTheirQuantisationWhereItIsTimed) {
  const Bench bench;
  const GemmShape shape{
      .m = 100, .n = 4096, .k = 2048, .weight = DataType::fp8, .activation = DataType::fp8, .batch = 1};
  const double product = bench.kernels.gemm(shape).seconds();
  EXPECT_EQ(bench.predict(TimedGemm{shape, false}), product);
  EXPECT_NEAR(bench.predict(TimedGemm{shape, true}),
              product + bench.kernels.quantize(100, 2048, DataType::fp8).seconds(), 1e-11);
}

TEST(KernelPrediction, ExpertsAreFusedOrInTheirLayout) {
  const Bench bench;
  TimedExperts timed;
  timed.shape = kExperts;
  timed.load = kLoad;
  EXPECT_EQ(bench.predict(timed), MoeCost::fused(bench.kernels, kExperts)(kLoad).seconds());
  for (const GroupedLayout layout : {GroupedLayout::masked, GroupedLayout::contiguous}) {
    timed.layout = layout;
    const double both = MoeCost::grouped(bench.kernels, kExperts, layout)(kLoad).seconds();
    EXPECT_EQ(bench.predict(timed), both);
    timed.part = TimedExperts::Part::up;
    const double up = bench.predict(timed);
    timed.part = TimedExperts::Part::down;
    const double down = bench.predict(timed);
    // Gate and up are twice as wide as down is deep; the activation between is in neither.
    EXPECT_GT(up, down);
    EXPECT_GT(down, 0);
    timed.part.reset();
  }
  timed.host = 1e-3;
  EXPECT_GT(bench.predict(timed), 1e-3);
}

TEST(KernelPrediction, AttentionIsDecodeAndPrefillTogether) {
  const Bench bench;
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const DecodeWork decode{16, 16 * 1000};
  const std::vector<PrefillWork> prefill{{512, 512, 512 * 513 / 2.0}};
  const double apart = bench.kernels.decode_attention(shape, decode).seconds() +
                       bench.kernels.prefill_attention(shape, prefill).seconds();
  EXPECT_NEAR(bench.predict(TimedAttention{shape, decode, prefill}), apart, 1e-11);
  EXPECT_EQ(bench.predict(TimedAttention{shape, decode, {}}), bench.kernels.decode_attention(shape, decode).seconds());
}

TEST(KernelPrediction, StreamsAndRecurrencesAreTheModelsOwn) {
  const Bench bench;
  EXPECT_EQ(bench.predict(TimedPass{Bytes{1 << 20}}), bench.kernels.memory_pass(Bytes{1 << 20}).seconds());
  const RecurrentShape shape{.heads = 32, .key_dim = 128, .value_dim = 128, .state = {1 << 21}, .token = {1 << 14}};
  const RecurrentWork work{.decode_sequences = 8};
  EXPECT_EQ(bench.predict(TimedRecurrence{shape, work}), bench.kernels.linear_attention(shape, work).seconds());
  const double both = bench.predict(TimedQuantize{TimedQuantize::Pass::scale, 64, 4096, DataType::fp8}) +
                      bench.predict(TimedQuantize{TimedQuantize::Pass::convert, 64, 4096, DataType::fp8});
  EXPECT_NEAR(both, bench.kernels.quantize(64, 4096, DataType::fp8).seconds(), 1e-11);
}

TEST(KernelPrediction, WhatStandsInIsSaid) {
  const Bench bench;
  KernelSample sample;
  sample.provider = "trtllm";
  sample.section = "gemm/bf16";
  EXPECT_EQ(stand_in(bench.profile, sample, bench.gpu), "");
  EXPECT_EQ(stand_in(bench.profile, sample, find_gpu("h20")), "measured on h100_sxm");
  sample.version = "0.0.1";
  EXPECT_EQ(stand_in(bench.profile, sample, bench.gpu), "another version of trtllm");
  sample.version.clear();
  sample.provider = "deepgemm";
  EXPECT_EQ(stand_in(bench.profile, sample, bench.gpu), "kernels of trtllm");
  sample.provider = "trtllm";
  sample.section = "attention_decode/bf16/bf16/96";
  EXPECT_EQ(stand_in(bench.profile, sample, bench.gpu), "another section of h100_sxm-trtllm");
  sample.section = "gemm/fp16";
  EXPECT_EQ(stand_in(bench.profile, sample, bench.gpu), bench.profile.gemm[2].origin.derived_from);
}

}  // namespace
}  // namespace moesim
