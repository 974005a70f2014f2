// Kernel profiles as files: what is written is read back.

#include "report/kernel_profile_json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/json_reader.h"
#include "config/read_profile.h"

namespace moesim {
namespace {

std::filesystem::path roofline_file() {
  return product_root() / "calibrate/profiles/roofline.json";
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The roofline with sections of every family as a fit would leave them: odd constants, knots, errors, an origin.
struct Fitted {
  KernelProfile profile = read_kernel_profile_file(roofline_file());
  std::vector<KernelFit> fits;

  Fitted() {
    const std::pair<KernelOp, const char*> keys[] = {{KernelOp::gemm, "gemm/fp8_block"},
                                                     {KernelOp::moe, "moe/nvfp4"},
                                                     {KernelOp::moe_wideep, "grouped_masked/fp8_block"},
                                                     {KernelOp::attn_decode, "attention_decode/bf16/bf16/256"},
                                                     {KernelOp::attn_prefill, "attention_prefill/bf16/bf16/128"},
                                                     {KernelOp::mla_prefill, "mla_prefill/bf16/bf16/absorbed"},
                                                     {KernelOp::quantize, "quantize_scale"},
                                                     {KernelOp::linear_attention, "chunked_scan"}};
    for (const auto& [op, key] : keys) {
      KernelFit fit;
      fit.section = kernel_section(op, key, profile, "hopper");
      double inside = 0.31;
      for (const KernelConstant& constant : fit.section->constants) {
        constant.set(profile, constant.low + inside * (constant.high - constant.low));
        inside = inside > 0.8 ? 0.17 : inside + 0.1234567;
      }
      if (fit.section->set_block) fit.section->set_block(profile, 128);
      if (KernelResidual* residual = fit.section->residual(profile)) {
        *residual = {.x = {-1.25, 3, 7.5}, .y = {0, 6}, .factor = {1, 1.0321, 0.8, 1.2, 0.9999, 1.5}};
      }
      SectionOrigin& origin = fit.section->origin(profile);
      origin = {.source = "fitted: test",
                .provider = "vllm",
                .licence = "none",
                .gpu = "h100_sxm",
                .fit_range = "m 1 to 8",
                .derived_from = "",
                .date = "2026-11-24",
                .residuals = FitResiduals{0.0312, 0.1, -0.01, 20, 20, "folds"},
                .errors = {{SizeRegime::small, 12, 0.05, 0.04, 0.1, 0.01, 0.06},
                           {SizeRegime::large, 8, 0.02, 0.02, 0.03, -0.01, 0.02}}};
      fits.push_back(std::move(fit));
    }
  }
};

KernelProfile read_back(const std::string& text) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("moesim_written_" + std::to_string(getpid()) + ".json");
  std::ofstream(file) << text;
  KernelProfile profile = read_kernel_profile_file(file);
  std::filesystem::remove(file);
  return profile;
}

TEST(KernelProfileJson, IsReadBackAsItWasFitted) {
  const Fitted fitted;
  KernelProfile written = fitted.profile;
  KernelProfile read = read_back(
      kernel_profile_json(fitted.profile, fitted.fits, {.base = text_of(roofline_file()), .date = "2026-11-24"}));
  constexpr auto block = static_cast<std::size_t>(DataType::fp8_block);
  EXPECT_EQ(read.gemm[block].tiles, TileChoice::narrow);
  EXPECT_EQ(read.gemm[block].promotion, 1);
  EXPECT_EQ(read.grouped_masked[block].tiles, TileChoice::narrow);
  EXPECT_EQ(read.grouped_masked[block].promotion, 1);
  for (const KernelFit& fit : fitted.fits) {
    const std::string& key = fit.section->key;
    const auto section = kernel_section(fit.section->op, key, read, "hopper");
    ASSERT_TRUE(section) << key;
    for (std::size_t i = 0; i < section->constants.size(); ++i) {
      const double was = fit.section->constants[i].get(written);
      EXPECT_NEAR(section->constants[i].get(read) / was, 1, 2e-4) << key << ' ' << section->constants[i].key;
    }
    if (section->get_block) {
      EXPECT_EQ(section->get_block(read), 128);
    }
    if (const KernelResidual* residual = section->residual(read)) {
      EXPECT_TRUE(*residual == *fit.section->residual(written)) << key;
    }
    const SectionOrigin &a = section->origin(read), &b = fit.section->origin(written);
    EXPECT_EQ(a.source, b.source);
    EXPECT_EQ(a.date, b.date);
    EXPECT_EQ(a.derived_from, "");
    ASSERT_TRUE(a.residuals);
    EXPECT_EQ(a.residuals->median_ape, 0.0312);
    ASSERT_EQ(a.errors.size(), 2u);
    EXPECT_EQ(a.errors[1].regime, SizeRegime::large);
    EXPECT_EQ(a.errors[1].log_sd, 0.02);
  }
  EXPECT_EQ(read.date, "2026-11-24");
}

TEST(KernelProfileJson, KeepsWhatWasNotFitted) {
  const Fitted fitted;
  const auto before = nlohmann::json::parse(text_of(roofline_file()));
  const auto after = nlohmann::json::parse(
      kernel_profile_json(fitted.profile, fitted.fits, {.base = text_of(roofline_file()), .date = "2026-11-24"}));
  EXPECT_EQ(after["gemm"]["bf16"], before["gemm"]["bf16"]);
  EXPECT_EQ(after["gemm"]["fp16"], before["gemm"]["fp16"]);  // still the same as bf16
  EXPECT_FALSE(after["gemm"]["fp8_block"].contains("same_as"));
  EXPECT_EQ(after["memory_pass"], before["memory_pass"]);
  EXPECT_EQ(after["name"], before["name"]);
  EXPECT_EQ(after["attention_decode"].size(), before["attention_decode"].size() + 1);  // head size 256 is new
}

// An A100 runs fp8 weights as bf16: measured fp8 kernels of an H100 do not stand in for that.
TEST(KernelProfileJson, AStandInDoesNotReplaceAnotherTypesConstants) {
  Fitted fitted;
  for (const KernelFit& fit : fitted.fits) fit.section->origin(fitted.profile).derived_from = "another GPU's";
  const auto after = nlohmann::json::parse(
      kernel_profile_json(fitted.profile, fitted.fits, {.base = text_of(roofline_file()), .date = "2026-11-24"}));
  EXPECT_EQ(after["gemm"]["fp8_block"]["same_as"], "fp8");
  EXPECT_EQ(after["quantize_scale"]["origin"]["derived_from"], "another GPU's");
}

TEST(KernelProfileJson, AFreshFileSaysWhatItTookFromElsewhere) {
  Fitted fitted;
  fitted.profile.name = "h100_sxm-ours";
  fitted.profile.gpu = "h100_sxm";
  fitted.profile.provider = "ours";
  fitted.profile.source = "fitted to mine.csv";
  const KernelProfile read = read_back(kernel_profile_json(
      fitted.profile, fitted.fits, {.base = text_of(roofline_file()), .date = "2026-11-24", .fresh = true}));
  EXPECT_EQ(read.name, "h100_sxm-ours");
  EXPECT_EQ(read.provider, "ours");
  EXPECT_TRUE(read.also_for.empty());
  EXPECT_NE(read.memory_pass.origin.derived_from.find("roofline"), std::string::npos);
  EXPECT_EQ(read.quantize_scale->origin.derived_from, "");
}

// The same fits give the same bytes, whatever the file held in their place before.
TEST(KernelProfileJson, IsTheSameWhenWrittenOverItself) {
  const Fitted fitted;
  const std::string once =
      kernel_profile_json(fitted.profile, fitted.fits, {.base = text_of(roofline_file()), .date = "2026-11-24"});
  EXPECT_EQ(kernel_profile_json(fitted.profile, fitted.fits, {.base = once, .date = "2026-11-24"}), once);
}

}  // namespace
}  // namespace moesim
