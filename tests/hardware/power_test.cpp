#include "hardware/power.h"

#include <gtest/gtest.h>

#include <cmath>

#include "hardware/datasheet_gpus.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

/// 100 W idle, 100 W awake, 1 pJ/flop in 16 bits, 50 pJ a byte, limit 700 W.
PowerModel round_power() {
  PowerModel power;
  power.limit = 700;
  power.idle = 100;
  power.awake = 100;
  power.per_flop = {1e-12, 0.5e-12, 0.25e-12};
  power.per_memory_byte = 50e-12;
  power.per_link_byte = 40e-12;
  power.lowest_clock = 0.5;
  return power;
}

GpuActivity one_second(double flops, double memory_bytes, double clocked) {
  GpuActivity activity;
  activity.seconds = activity.awake_seconds = 1;
  activity.work.flops[0] = flops;
  activity.work.memory_bytes = memory_bytes;
  activity.clocked_seconds = clocked;
  return activity;
}

TEST(Power, IdleGpuDrawsIdlePowerOnly) {
  GpuActivity nothing;
  nothing.seconds = 3;
  const Energy energy = energy_at(round_power(), nothing, 1);
  EXPECT_DOUBLE_EQ(energy.idle, 300);
  EXPECT_DOUBLE_EQ(energy.total(), 300);
}

// 4 TB/s x 50 pJ = 200 W, beside 100 W idle and 100 W awake; memory has a clock of its own.
TEST(Power, StreamingKernelDrawsItsBytesAtAnyClock) {
  const GpuActivity stream = one_second(0, 4e12, 0);
  EXPECT_DOUBLE_EQ(energy_at(round_power(), stream, 1).total(), 400);
  EXPECT_DOUBLE_EQ(energy_at(round_power(), stream, 0.5).memory, 200);
  EXPECT_EQ(clock_under_limit(round_power(), stream), 1);
}

// 8-bit and 4-bit flops cost a half and a quarter; 1 TB over links 40 J.
TEST(Power, PartsFollowTheirOwnWork) {
  GpuActivity activity;
  activity.work.flops = {1e14, 1e14, 1e14};
  activity.work.link_bytes = 1e12;
  const Energy energy = energy_at(round_power(), activity, 1);
  EXPECT_DOUBLE_EQ(energy.compute, 100 + 50 + 25);
  EXPECT_DOUBLE_EQ(energy.network, 40);
  EXPECT_DOUBLE_EQ(energy.total(), 215);
}

// All of the time follows the clock: P = idle + (awake + J/flop x rate) f^3, so at the limit
// f = ((700 - 100) / (100 + 900))^(1/3), and the time grows by 1 / f.
TEST(Power, DenseProductAtTheLimitRunsAtTheCubeRootOfWhatIsLeft) {
  const GpuActivity product = one_second(900e12, 0, 1);
  const double clock = clock_under_limit(round_power(), product);
  EXPECT_NEAR(clock, std::cbrt(0.6), 1e-5);
  const Energy energy = energy_at(round_power(), product, clock);
  EXPECT_NEAR(energy.total() / (1 / clock), 700, 0.01);
}

TEST(Power, ClockStopsAtTheLowestOne) {
  const PowerModel power = round_power();
  EXPECT_EQ(clock_under_limit(power, one_second(1e17, 0, 1)), power.lowest_clock);
  // Memory alone passes the limit: no clock of the matrix units helps.
  EXPECT_EQ(clock_under_limit(power, one_second(0, 1e14, 0)), power.lowest_clock);
}

TEST(Power, LowerLimitNeverGivesAHigherClock) {
  double last = 1;
  for (double limit = 1200; limit > 300; limit -= 50) {
    PowerModel power = round_power();
    power.limit = limit;
    const double clock = clock_under_limit(power, one_second(700e12, 2e12, 0.7));
    EXPECT_LE(clock, last) << limit;
    last = clock;
  }
  EXPECT_LT(last, 1);
}

// 100 W idle stay; the 1100 W beyond are cut to 600 W in proportion.
TEST(Power, NothingIsDrawnBeyondTheLimit) {
  const Energy asked{100, 100, 800, 150, 50};
  const Energy kept = within_limit(round_power(), asked, 1);
  EXPECT_DOUBLE_EQ(kept.total(), 700);
  EXPECT_DOUBLE_EQ(kept.idle, 100);
  EXPECT_DOUBLE_EQ(kept.compute, 800.0 * 600 / 1100);
  const Energy little{100, 100, 100, 100, 0};
  EXPECT_DOUBLE_EQ(within_limit(round_power(), little, 1).total(), 400);
}

TEST(KernelWork, ProductCountsTwoFlopsAnElementAndEveryOperandOnce) {
  const KernelWork work =
      work_of(GemmShape{.m = 2, .n = 3, .k = 5, .weight = DataType::fp8, .activation = DataType::fp8});
  EXPECT_EQ(work.flops[static_cast<std::size_t>(MathWidth::eight)], 2.0 * 2 * 3 * 5);
  EXPECT_EQ(work.memory_bytes, 2 * 5 + 3 * 5 + 2 * 3 * 2);
}

// Weight-only quantisation multiplies in the activations' format.
TEST(KernelWork, NarrowWeightsUnderWideActivationsMultiplyWide) {
  const KernelWork work = work_of(GemmShape{.m = 1, .n = 1, .k = 32, .weight = DataType::mxfp4});
  EXPECT_EQ(work.flops[static_cast<std::size_t>(MathWidth::sixteen)], 64);
}

// Two sequences of 100 and 300 keys, 8 query heads on 2 KV heads of 128 + 128: 2 x 8 x 256 flops a key, 2 x 256 x 2
// bytes a key in bf16, queries and results of 8 x 256 x 2 bytes a sequence.
TEST(KernelWork, DecodeAttentionReadsEveryVisibleKey) {
  const AttentionShape shape{.query_heads = 8, .kv_heads = 2, .key_dim = 128, .value_dim = 128};
  const KernelWork work = work_of(shape, DecodeWork{2, 400});
  EXPECT_EQ(work.flops[0], 400.0 * 2 * 8 * 256);
  EXPECT_EQ(work.memory_bytes, 400.0 * 2 * 256 * 2 + 2.0 * 8 * 256 * 2);
}

TEST(KernelWork, ExpertsAreLinearInTheirLoad) {
  const ExpertWork work(MoeShape{.hidden = 64, .intermediate = 32, .local_experts = 4, .top_k = 2});
  const ExpertLoad a{.tokens = 10, .local_tokens = 8, .rows = 12, .active = 3};
  const ExpertLoad b{.tokens = 5, .local_tokens = 4, .rows = 7, .active = 4};
  KernelWork apart = work(a);
  apart += work(b);
  const KernelWork together = work({.tokens = 15, .local_tokens = 12, .rows = 19, .active = 7});
  EXPECT_DOUBLE_EQ(apart.flops[0], together.flops[0]);
  EXPECT_DOUBLE_EQ(apart.memory_bytes, together.memory_bytes);
  EXPECT_DOUBLE_EQ(together.flops[0], 19.0 * 2 * 3 * 64 * 32);
}

TEST(ComputeShare, IsOneForProductsAndZeroForStreams) {
  const ComputeShare share(testing::h100());
  EXPECT_GT(share(work_of(GemmShape{.m = 8192, .n = 8192, .k = 8192})), 0.99);
  EXPECT_LT(share(work_of(GemmShape{.m = 1, .n = 8192, .k = 8192})), 1e-3);
  EXPECT_EQ(share(work_of_pass(Bytes{1'000'000})), 0);
}

}  // namespace
}  // namespace moesim
