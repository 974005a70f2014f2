// Which measured kernels a run is made of.

#include <gtest/gtest.h>

#include <algorithm>

#include "hardware/kernel_cost.h"
#include "support/serving_setup.h"

namespace moesim {
namespace {

/// A small batch of a MoE model on eight GPUs; the last token of the last request.
Instant end_of_run(const ServingSetup& setup) {
  Instant end;
  for (const RequestRecord& record : setup.run().requests) end = std::max(end, record.last_token);
  return end;
}

ServingSetup experts_on_eight(MoeBackend backend) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = backend;
  setup.requests = equal_requests(16, 64, 8);
  return setup;
}

template <class Sections>
void slow_down(Sections& sections) {
  for (auto& section : sections) section.fixed = Duration::microseconds(5000);
}

/// Which of the families of expert kernels a run contains: its end moves with them.
struct Uses {
  bool fused = false, masked = false, contiguous = false;
};
Uses uses_of(MoeBackend backend) {
  const ServingSetup plain = experts_on_eight(backend);
  const Instant end = end_of_run(plain);
  ServingSetup fused = plain, masked = plain, contiguous = plain;
  slow_down(fused.kernels.moe);
  slow_down(masked.kernels.grouped_masked);
  slow_down(contiguous.kernels.grouped_contiguous);
  return {end_of_run(fused) != end, end_of_run(masked) != end, end_of_run(contiguous) != end};
}

// The measured fused op contains permute and un-permute; under DeepEP the exchange does both.
TEST(KernelTablesOfARun, AllGatherBackendsTakeTheFusedOp) {
  for (const MoeBackend backend : {MoeBackend::allgather_reducescatter, MoeBackend::naive}) {
    const Uses uses = uses_of(backend);
    EXPECT_TRUE(uses.fused) << name(backend);
    EXPECT_FALSE(uses.masked) << name(backend);
    EXPECT_FALSE(uses.contiguous) << name(backend);
  }
}

TEST(KernelTablesOfARun, DeepEpTakesTheGroupedGemmOfItsLayout) {
  const Uses low = uses_of(MoeBackend::deepep_low_latency);
  EXPECT_TRUE(low.masked);
  EXPECT_FALSE(low.fused);
  EXPECT_FALSE(low.contiguous);
  const Uses high = uses_of(MoeBackend::deepep_high_throughput);
  EXPECT_TRUE(high.contiguous);
  EXPECT_FALSE(high.fused);
  EXPECT_FALSE(high.masked);
}

TEST(KernelTablesOfARun, TensorParallelExpertsTakeTheFusedOp) {
  ServingSetup plain = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  plain.engine.plan = vllm_plan(8, 1, 1, false);
  plain.requests = equal_requests(4, 64, 8);
  ServingSetup fused = plain, grouped = plain;
  slow_down(fused.kernels.moe);
  slow_down(grouped.kernels.grouped_masked);
  slow_down(grouped.kernels.grouped_contiguous);
  EXPECT_GT(end_of_run(fused), end_of_run(plain));
  EXPECT_EQ(end_of_run(grouped), end_of_run(plain));
}

// Other layers evict the weights of a layer: what a benchmark loop finds in L2, a run reads from memory.
TEST(KernelTablesOfARun, WarmCachesOfBenchmarkLoopsAreOff) {
  const ServingSetup plain = experts_on_eight(MoeBackend::allgather_reducescatter);
  ServingSetup warm = plain;
  constexpr CacheGain gain{.gain = 6, .share = 100};  // seven times the bandwidth up to 100 L2 sizes
  for (GemmSection& section : warm.kernels.gemm) section.cache = gain;
  for (MoeSection& section : warm.kernels.moe) section.cache = gain;
  for (DecodeAttentionSection& section : warm.kernels.attention_decode) section.cache = gain;
  for (PassSection* section : {&warm.kernels.quantize_convert, &warm.kernels.memory_pass}) section->cache = gain;
  if (warm.kernels.quantize_scale) warm.kernels.quantize_scale->cache = gain;
  EXPECT_EQ(end_of_run(warm), end_of_run(plain));
  // A loop over one product does feel it.
  const GemmShape product{.m = 16, .n = 4096, .k = 4096};
  EXPECT_LT(KernelCost(plain.gpu, warm.kernels, CacheState::replayed).gemm(product),
            KernelCost(plain.gpu, warm.kernels).gemm(product));
}

}  // namespace
}  // namespace moesim
