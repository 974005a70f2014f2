// Kernels of a run that its profile holds no measurement of.

#include "execution/stand_ins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "config/model_catalog.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_profile.h"

namespace moesim {
namespace {

struct PricedRun {
  ModelSpec model = read_model_file(find_model_by_name("DeepSeek-V3").value());
  GpuSpec gpu = find_gpu("h100_sxm");
  KernelProfile profile = select_kernel_profile("auto", "h100_sxm", EnginePreset::sglang).profile;
  ExecutionSpec spec;

  PricedRun() {
    spec.plan = vllm_plan(1, 1, 16, true);
    spec.activation = DataType::fp8;
  }
  std::vector<std::string> lines() const { return stand_ins(model, KernelCost(gpu, profile), spec); }
};

bool holds(const std::vector<std::string>& lines, std::string_view text) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

template <class Sections>
void call_measured(Sections& sections) {
  for (auto& section : sections) section.origin.derived_from.clear();
}

/// Every section as if it had been measured for this very engine.
void call_measured(KernelProfile& p) {
  call_measured(p.gemm);
  call_measured(p.mla_bmm);
  call_measured(p.moe);
  call_measured(p.grouped_masked);
  call_measured(p.grouped_contiguous);
  call_measured(p.attention_decode);
  call_measured(p.attention_prefill);
  call_measured(p.attention_mixed);
  call_measured(p.mla_decode);
  call_measured(p.mla_prefill);
  if (p.quantize_scale) p.quantize_scale->origin.derived_from.clear();
  for (PassSection* const pass : {&p.quantize_convert, &p.memory_pass, &p.recurrent_state}) {
    pass->origin.derived_from.clear();
  }
  p.chunked_scan.origin.derived_from.clear();
}

TEST(StandIns, AreNoneWhereEverySectionWasMeasured) {
  PricedRun run;
  call_measured(run.profile);
  EXPECT_EQ(run.lines(), std::vector<std::string>());
}

TEST(StandIns, NameTheSectionsThatTheBackendUsesAndNoOthers) {
  PricedRun run;
  call_measured(run.profile);
  for (auto& section : run.profile.moe) section.origin.derived_from = "fused of another";
  for (auto& section : run.profile.grouped_masked) section.origin.derived_from = "masked of another";
  for (auto& section : run.profile.grouped_contiguous) section.origin.derived_from = "contiguous of another";
  EXPECT_EQ(run.lines(), std::vector<std::string>{"moe/fp8_block: fused of another"});
  run.spec.backend = MoeBackend::deepep_high_throughput;
  EXPECT_EQ(run.lines(), std::vector<std::string>{"grouped_contiguous/fp8_block: contiguous of another"});
  run.spec.decode_backend = MoeBackend::deepep_low_latency;
  EXPECT_EQ(run.lines(), (std::vector<std::string>{"grouped_contiguous/fp8_block: contiguous of another",
                                                   "grouped_masked/fp8_block: masked of another"}));
  run.spec.plan = vllm_plan(16, 1, 1, true);  // tensor parallel: nothing is exchanged, whatever the backend
  EXPECT_EQ(run.lines(), std::vector<std::string>{"moe/fp8_block: fused of another"});
}

TEST(StandIns, JoinSectionsOfOneReason) {
  PricedRun run;
  call_measured(run.profile);
  for (auto& section : run.profile.gemm) section.origin.derived_from = "of another";
  run.profile.memory_pass.origin.derived_from = "of another";
  const std::vector<std::string> lines = run.lines();
  ASSERT_EQ(lines.size(), 1U);
  for (const char* const section : {"memory_pass", "gemm/fp8_block", "gemm/bf16"}) {
    EXPECT_TRUE(holds(lines, section)) << section;
  }
  EXPECT_FALSE(holds(lines, "gemm/nvfp4"));
}

TEST(StandIns, NameAnotherHeadSizeAndCache) {
  PricedRun run;
  call_measured(run.profile);
  run.model = read_model_file(find_model_by_name("Qwen3-30B-A3B").value());
  run.spec.activation = DataType::bf16;
  for (MixerSpec& mixer : run.model.mixers) mixer.key_dim = mixer.value_dim = 96;
  run.spec.kv_cache = DataType::fp8;
  for (auto& section : run.profile.attention_decode) section.kv_cache = DataType::bf16;
  const std::vector<std::string> lines = run.lines();
  EXPECT_TRUE(holds(lines, "no section of heads of 96: the nearest stands in"));
  EXPECT_TRUE(holds(lines, "no section of a fp8 cache"));
}

}  // namespace
}  // namespace moesim
