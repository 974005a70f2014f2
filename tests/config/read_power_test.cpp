#include "config/read_power.h"

#include <gtest/gtest.h>

#include "config/read_gpu.h"
#include "config/read_profile.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

TEST(ReadPower, EveryGpuWithABoardPowerHasAModel) {
  for (const GpuSpec& gpu : read_gpus()) {
    const auto power = power_model_of(gpu);
    ASSERT_EQ(power.has_value(), gpu.power_watts > 0) << gpu.id;
    if (!power) continue;
    EXPECT_EQ(power->limit, gpu.power_watts) << gpu.id;
    EXPECT_LT(power->idle + power->awake, power->limit) << gpu.id;
    for (std::size_t i = 0; i < kMathWidths; ++i) EXPECT_GT(power->per_flop[i], 0) << gpu.id;
    EXPECT_LE(power->per_flop[1], power->per_flop[0]) << gpu.id;
    EXPECT_LE(power->per_flop[2], power->per_flop[1]) << gpu.id;
    EXPECT_FALSE(power->source.empty()) << gpu.id;
  }
}

TEST(ReadPower, GpuOfThatGenerationIsScaledByBoardPower) {
  const PowerModel known = *power_model_of(find_gpu("h100_sxm"));
  const PowerModel scaled = *power_model_of(find_gpu("h100_pcie"));  // 350 W of 700 W
  EXPECT_FALSE(known.extrapolated);
  EXPECT_TRUE(scaled.extrapolated);
  EXPECT_DOUBLE_EQ(scaled.idle, known.idle / 2);
  EXPECT_DOUBLE_EQ(scaled.awake, known.awake / 2);
  EXPECT_EQ(scaled.per_flop, known.per_flop);
  EXPECT_EQ(scaled.per_memory_byte, known.per_memory_byte);
}

/// Rate of a square product of bf16 that runs for long: the kernel model's, at the clock that the limit leaves.
double sustained_rate(const GpuSpec& gpu) {
  const KernelProfile profile = select_kernel_profile("auto", gpu.id, EnginePreset::trtllm).profile;
  const KernelCost kernels(gpu, profile);
  const GemmShape shape{.m = 8192, .n = 8192, .k = 8192};
  GpuActivity activity;
  activity.work = work_of(shape);
  activity.seconds = activity.awake_seconds = kernels.gemm(shape).seconds();
  activity.clocked_seconds = activity.seconds * ComputeShare(gpu)(activity.work);
  const double clock = clock_under_limit(*power_model_of(gpu), activity);
  return activity.work.flops[0] / (activity.seconds + activity.clocked_seconds * (1 / clock - 1));
}

// The best product that anyone measured bounds what a GPU sustains.
TEST(ReadPower, SustainedProductIsNearTheBestMeasuredOne) {
  for (const char* name : {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm"}) {
    const GpuSpec gpu = find_gpu(name);
    const double rate = sustained_rate(gpu);
    EXPECT_LT(rate, 1.03 * gpu.bf16_measured.value) << name;
    // The kernels of B200's table reach 86 % of the best product that anyone measured.
    EXPECT_GT(rate, 0.85 * gpu.bf16_measured.value) << name;
  }
}

}  // namespace
}  // namespace moesim
