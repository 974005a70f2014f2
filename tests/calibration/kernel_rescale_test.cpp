// Profiles carried to another GPU by kernels measured on both. The rows are made, so that the ratio is known.

#include "calibration/kernel_rescale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "calibration/kernel_fit.h"
#include "calibration/kernel_prediction.h"
#include "config/json_reader.h"
#include "config/read_gpu.h"
#include "config/read_profile.h"
#include "hardware/cost_perturbation.h"
#include "report/kernel_profile_json.h"

namespace moesim {
namespace {

KernelProfile vllm_on_h100() {
  return read_kernel_profile_file(product_root() / "calibrate/profiles/h100_sxm-vllm.json");
}

/// Products of 3 (n, k) at m = 1 ... 8192, timed as `slowness` x what `profile` says.
struct Measured {
  std::vector<KernelSample> samples;
  SampleList list;

  Measured(const GpuSpec& gpu, const KernelProfile& profile, double slowness, std::int64_t sizes = 14,
           const std::string& section = "gemm/bf16") {
    for (const std::int64_t n : {2048, 6144, 8192}) {
      for (std::int64_t i = 0; i < sizes; ++i) {
        KernelSample sample;
        sample.provider = "ours";
        sample.section = section;
        sample.timed = TimedGemm{.shape = {.m = std::int64_t{1} << i, .n = n, .k = 4096}, .quantizes = false};
        samples.push_back(sample);
      }
    }
    for (const KernelSample& sample : samples) list.push_back(&sample);
    const std::vector<double> seconds = predict_kernels(list, gpu, profile);
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i].measured = slowness * seconds[i];
  }
};

TEST(KernelRescale, GivesAProviderTheRatioThatOurKernelsHave) {
  const GpuSpec here = find_gpu("h200_sxm"), there = find_gpu("h100_sxm");
  // Ours take 1.7 x vLLM's time on the reference and 1.2 x more than that beside the datasheet on the local GPU.
  const KernelProfile before = vllm_on_h100();
  const Measured reference(there, before, 1.7), local(here, before, 1.7 * 1.2);
  KernelProfile after = before;
  const auto ratios = rescale(after, here, local.list, there, reference.list);
  ASSERT_EQ(ratios.size(), 1u);
  const SectionRatio& ratio = ratios.at("gemm/bf16");
  EXPECT_EQ(ratio.problem, "");
  EXPECT_EQ(ratio.rows, 42u);
  EXPECT_NEAR(ratio.log_sd, 0, 1e-9);
  const std::vector<double> old_times = predict_kernels(local.list, here, before);
  const std::vector<double> new_times = predict_kernels(local.list, here, after);
  for (std::size_t i = 0; i < old_times.size(); ++i) EXPECT_NEAR(new_times[i] / old_times[i], 1.2, 2e-3);
  // The GPU stays that of the measurements: results go on saying that they are extrapolated.
  EXPECT_EQ(after.gpu, "h100_sxm");
  EXPECT_EQ(after.provider, "vllm");
}

TEST(KernelRescale, FollowsTheRegime) {
  const GpuSpec here = find_gpu("h200_sxm"), there = find_gpu("h100_sxm");
  const KernelProfile before = vllm_on_h100();
  const Measured reference(there, before, 1);
  Measured local(here, before, 1);
  for (KernelSample& sample : local.samples) {
    if (size_regime(sample) == SizeRegime::large) sample.measured *= 1.5;
  }
  KernelProfile after = before;
  const auto ratios = rescale(after, here, local.list, there, reference.list);
  const RegimeFactors& factor = ratios.at("gemm/bf16").factor;
  EXPECT_NEAR(factor[0], 1, 1e-9);
  EXPECT_NEAR(factor[1], 1, 1e-9);
  EXPECT_NEAR(factor[2], 1.5, 1e-9);
}

TEST(KernelRescale, TakesTheFastestOfSeveralKernelsOfAShape) {
  const GpuSpec here = find_gpu("h200_sxm"), there = find_gpu("h100_sxm");
  const KernelProfile before = vllm_on_h100();
  const Measured reference(there, before, 1), local(here, before, 1), slower(here, before, 9);
  SampleList both = slower.list;
  both.insert(both.end(), local.list.begin(), local.list.end());
  KernelProfile after = before;
  const SectionRatio ratio = rescale(after, here, both, there, reference.list).at("gemm/bf16");
  EXPECT_EQ(ratio.rows, 42u);
  EXPECT_NEAR(ratio.factor[0], 1, 1e-9);
}

TEST(KernelRescale, NeedsRowsOfBothAndASectionThatTheProviderMeasured) {
  const GpuSpec here = find_gpu("h200_sxm"), there = find_gpu("h100_sxm");
  const KernelProfile before = vllm_on_h100();
  const Measured reference(there, before, 1), few(here, before, 1, 2);
  KernelProfile after = before;
  EXPECT_NE(rescale(after, here, few.list, there, reference.list).at("gemm/bf16").problem, "");
  // vLLM's fp8 products are trtllm's: nothing of vLLM's own to carry.
  const Measured fp8_there(there, before, 1, 14, "gemm/fp8"), fp8_here(here, before, 2, 14, "gemm/fp8");
  EXPECT_NE(rescale(after, here, fp8_here.list, there, fp8_there.list).at("gemm/fp8").problem, "");
  for (std::size_t t = 0; t < kDataTypes; ++t) EXPECT_EQ(after.gemm[t].factor, kUnperturbed);
}

TEST(KernelRescale, WidensTheErrorsByTheSpreadAndAcrossArchitectures) {
  const GpuSpec h200 = find_gpu("h200_sxm"), b200 = find_gpu("b200_sxm"), there = find_gpu("h100_sxm");
  const KernelProfile before = vllm_on_h100();
  const Measured reference(there, before, 1);
  const auto sd = [](const KernelProfile& p) {
    return p.gemm[static_cast<std::size_t>(DataType::bf16)].origin.errors.at(0).log_sd;
  };
  KernelProfile near = before, far = before;
  const Measured local(h200, before, 1), other(b200, before, 1);
  rescale(near, h200, local.list, there, reference.list);
  rescale(far, b200, other.list, there, reference.list);
  EXPECT_NEAR(sd(near), sd(before), 1e-12);
  EXPECT_NEAR(sd(far), std::sqrt(sd(before) * sd(before) + 0.37 * 0.37), 1e-12);
}

TEST(KernelRescale, TheFactorIsReadBackAndPerturbedOnTop) {
  KernelProfile profile = vllm_on_h100();
  KernelFit fit;
  fit.section = kernel_section(KernelOp::gemm, "gemm/bf16", profile);
  fit.section->factor(profile) = {1.25, 1.5, 0.75};
  const std::filesystem::path source = product_root() / "calibrate/profiles/h100_sxm-vllm.json";
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "rescaled_profile_test.json";
  std::ofstream(file) << kernel_profile_json(
      profile, std::span(&fit, 1),
      {.base = (std::ostringstream() << std::ifstream(source).rdbuf()).str(), .date = "2026-11-25", .fresh = false});
  const KernelProfile read = read_kernel_profile_file(file);
  const auto i = static_cast<std::size_t>(DataType::bf16);
  EXPECT_EQ(read.gemm[i].factor, (RegimeFactors{1.25, 1.5, 0.75}));
  const KernelProfile same = perturbed(read, KernelPerturbation{}, find_gpu("h100_sxm"));
  EXPECT_EQ(same.gemm[i].factor, (RegimeFactors{1.25, 1.5, 0.75}));
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace moesim
