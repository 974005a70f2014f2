// Perturbed profiles: by how much, where, and that intervals from them hold a truth drawn the same way.

#include "hardware/cost_perturbation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "config/read_profile.h"
#include "datasheet_gpus.h"
#include "hardware/kernel_cost.h"
#include "metrics/uncertainty.h"

namespace moesim {
namespace {

KernelProfile shipped(const std::string& name) {
  return read_kernel_profile_file(std::string(MOESIM_SOURCE_DIR) + "/calibrate/profiles/" + name + ".json");
}

/// 90 % of the errors are within 20 %.
SectionOrigin measured_on(const std::string& gpu) {
  SectionOrigin origin;
  origin.gpu = gpu;
  origin.residuals.emplace().p90_ape = 0.2;
  return origin;
}

const GemmShape kSmall{.m = 16, .n = 4096, .k = 4096}, kLarge{.m = 8192, .n = 4096, .k = 4096};
const AttentionShape kHeads{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};

/// A step of a dense layer and one of experts.
double step_seconds(const KernelCost& kernels) {
  Duration time = kernels.gemm(kSmall) + kernels.gemm(kLarge) + kernels.decode_attention(kHeads, {64, 64 * 2000});
  time += kernels.prefill_attention(kHeads, std::vector<PrefillWork>{{2048, 2048, 2048.0 * 1024.5}});
  time += kernels.memory_pass(Bytes{4'000'000}) + kernels.quantize(512, 4096, DataType::fp8);
  const MoeCost experts =
      MoeCost::fused(kernels, {.hidden = 4096, .intermediate = 14336, .local_experts = 8, .top_k = 2});
  time += experts(
      {.tokens = 256, .local_tokens = 256, .rows = 512, .active = 8, .padded_rows = {512, 512, 512, 1024, 2048}});
  return time.seconds();
}

TEST(CostPerturbation, OfZerosChangesNoTime) {
  const KernelProfile profile = shipped("h100_sxm-vllm");
  const KernelCost as_read(testing::h100(), profile);
  const KernelCost zero(testing::h100(), perturbed(profile, {}, testing::h100()));
  EXPECT_EQ(as_read.gemm(kSmall), zero.gemm(kSmall));
  EXPECT_EQ(step_seconds(as_read), step_seconds(zero));
}

TEST(CostPerturbation, MovesItsOwnFamilyAndRegimeByItsDeviation) {
  const KernelProfile profile = shipped("h100_sxm-vllm");
  KernelPerturbation one;
  one.normal[static_cast<std::size_t>(KernelFamily::gemm)][static_cast<std::size_t>(SizeRegime::small)] = 1;
  const KernelCost as_read(testing::h100(), profile);
  const KernelCost moved(testing::h100(), perturbed(profile, one, testing::h100()));
  const auto bf16 = static_cast<std::size_t>(DataType::bf16);
  const double sd = log_sd(profile.gemm[bf16].origin, SizeRegime::small, "h100_sxm");
  EXPECT_GT(sd, 0.01);
  EXPECT_NEAR(std::log(moved.gemm(kSmall) / as_read.gemm(kSmall)), sd, 1e-6);
  EXPECT_EQ(moved.gemm(kLarge), as_read.gemm(kLarge));
  EXPECT_EQ(moved.decode_attention(kHeads, {8, 8000}), as_read.decode_attention(kHeads, {8, 8000}));
}

TEST(CostPerturbation, IsWiderOnAnotherGpuAndForStandIns) {
  const SectionOrigin own = measured_on("h100_sxm");
  SectionOrigin stand_in = own;
  stand_in.derived_from = "the efficiencies of another type";
  const double here = log_sd(own, SizeRegime::small, "h100_sxm");
  EXPECT_NEAR(here, std::log(1.2) / 1.645, 1e-9);
  EXPECT_NEAR(log_sd(own, SizeRegime::small, "h200_sxm"), std::hypot(here, kTransferLogSd), 1e-9);
  EXPECT_NEAR(log_sd(stand_in, SizeRegime::small, "h100_sxm"), std::hypot(here, kRooflineLogSd), 1e-9);
  SectionOrigin roofline;
  roofline.gpu = "any";
  EXPECT_EQ(log_sd(roofline, SizeRegime::small, "any"), kRooflineLogSd);
}

TEST(CostPerturbation, ErrorsOfTheRegimeComeFirst) {
  SectionOrigin origin = measured_on("h100_sxm");
  RegimeErrors large;
  large.regime = SizeRegime::large;
  large.log_sd = 0.04;
  origin.errors.push_back(large);
  EXPECT_EQ(log_sd(origin, SizeRegime::large, "h100_sxm"), 0.04);
  // No row of this size: as far off as all rows, and as a roofline may be elsewhere.
  EXPECT_NEAR(log_sd(origin, SizeRegime::small, "h100_sxm"), std::hypot(std::log(1.2) / 1.645, 0.22), 1e-9);
}

TEST(CostPerturbation, IsDrawnBySeedGpuFamilyAndRegime) {
  const KernelPerturbation a = KernelPerturbation::draw(1, "h100_sxm"), again = KernelPerturbation::draw(1, "h100_sxm");
  EXPECT_EQ(a.normal, again.normal);
  EXPECT_NE(a.normal[0][0], a.normal[0][1]);
  EXPECT_NE(a.normal[0][0], a.normal[1][0]);
  EXPECT_NE(a.normal[0][0], KernelPerturbation::draw(2, "h100_sxm").normal[0][0]);
  EXPECT_NE(a.normal[0][0], KernelPerturbation::draw(1, "b200_sxm").normal[0][0]);
}

TEST(CostPerturbation, IntervalsHoldASyntheticTruthNineTimesOfTen) {
  // A truth drawn like the replications: coverage of the interval of 19 of them, 1,500 trials (standard error 0.8 %).
  // The larger of compute and memory everywhere, since other exponents are prepared anew for every profile.
  KernelProfile profile = shipped("h100_sxm-vllm");
  for (auto& section : profile.gemm) section.norm = INFINITY;
  for (auto& section : profile.moe) section.norm = INFINITY;
  for (auto& section : profile.grouped_masked) section.norm = INFINITY;
  for (auto& section : profile.grouped_contiguous) section.norm = INFINITY;
  for (auto* sections : {&profile.attention_decode, &profile.mla_decode}) {
    for (auto& section : *sections) section.norm = INFINITY;
  }
  for (auto* sections : {&profile.attention_prefill, &profile.mla_prefill}) {
    for (auto& section : *sections) section.norm = INFINITY;
  }
  profile.chunked_scan.norm = INFINITY;
  const GpuSpec gpu = testing::h100();
  constexpr int trials = 1500, replications = 19;
  std::uint64_t seed = 1;
  const auto drawn = [&] {
    return step_seconds(KernelCost(gpu, perturbed(profile, KernelPerturbation::draw(seed++, gpu.id), gpu)));
  };
  int held = 0;
  for (int i = 0; i < trials; ++i) {
    const double truth = drawn();
    std::vector<double> values;
    for (int r = 0; r < replications; ++r) values.push_back(drawn());
    const Interval interval = prediction_interval_90(values);
    held += interval.low <= truth && truth <= interval.high ? 1 : 0;
  }
  EXPECT_GE(held, 0.88 * trials);
  EXPECT_LE(held, 0.92 * trials);
}

}  // namespace
}  // namespace moesim
