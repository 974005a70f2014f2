#include "parallel/memory_use.h"

#include <gtest/gtest.h>

#include "parallel/sample_models.h"

namespace moesim {
namespace {

TEST(MemoryUse, OneGpuHoldsTheWholeModelOnce) {
  // Mixtral-8x7B has 46.70e9 parameters of 2 bytes.
  const MemoryUse use = memory_use(mixtral_8x7b(), vllm_plan(1, 1, 1, false), gpu_of_80_gib(), {});
  EXPECT_NEAR(use.weights().gigabytes(), 2 * 46.70, 0.02);
  EXPECT_LT(use.cache_capacity.value, 0);
  EXPECT_EQ(use.limit.value, static_cast<std::int64_t>(0.9 * 80 * 1073741824.0));
  EXPECT_EQ(use.limit, use.weights() + use.buffers() + use.cache_capacity);
}

TEST(MemoryUse, LatentsLieOnEveryTensorParallelRank) {
  // 61 x (512 + 64) x 2 bytes, however many ranks share the heads.
  const ModelSpec model = deepseek_v3();
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(1, 1, 1, false), DataType::bf16).value, 70272);
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(8, 1, 1, false), DataType::bf16).value, 70272);
  // Tokens of a node of 8 at TP8: those of one GPU. A naive split of the latents over 8 ranks would hold 8 times more.
  GpuSpec gpu = gpu_of_80_gib();
  gpu.memory = Bytes{180LL << 30};
  const MemoryUse use = memory_use(model, vllm_plan(8, 1, 1, false), gpu, {});
  const std::int64_t naive = use.cache_capacity.value / (70272 / 8);
  EXPECT_GT(use.cache_tokens(), 100000);
  EXPECT_NEAR(static_cast<double>(use.cache_tokens()), static_cast<double>(naive) / 8, 1);
}

TEST(MemoryUse, KeyValueHeadsAreSplitUntilOneIsLeftOnEachRank) {
  // Llama-3-70B: 80 layers x 8 heads x (128 + 128) x 2 bytes = 327,680.
  const ModelSpec model = llama_3_70b();
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(1, 1, 1, false), DataType::bf16).value, 327680);
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(4, 1, 1, false), DataType::bf16).value, 81920);
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(8, 1, 1, false), DataType::bf16).value, 40960);
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(16, 1, 1, false), DataType::bf16).value, 40960);
  EXPECT_EQ(cache_bytes_per_token_per_gpu(model, vllm_plan(4, 4, 1, false), DataType::bf16).value, 20480);
  // Replicated KV projections: at TP16 each rank holds 1/16 of q and o but 1/8 of k and v.
  const MemoryUse at_16 = memory_use(model, vllm_plan(16, 1, 1, false), gpu_of_80_gib(), {});
  const double expected = 80 * 2.0 * (8192.0 * 8192 * 2 / 16 + 8192.0 * 2048 / 8 + 2 * 8192);
  EXPECT_DOUBLE_EQ(static_cast<double>(at_16.attention.value), expected);
}

TEST(MemoryUse, AttentionSharedAndDenseWeightsLieOnEveryDataParallelRank) {
  const ModelSpec model = deepseek_v3();
  const MemoryLimits limits{.redundant_experts = 32};
  const MemoryUse wide = memory_use(model, vllm_plan(1, 1, 32, true), gpu_of_80_gib(), limits);
  const MemoryUse one = memory_use(model, vllm_plan(1, 1, 1, true), gpu_of_80_gib(), {});
  EXPECT_EQ(wide.attention, one.attention);
  EXPECT_EQ(wide.shared, one.shared);
  EXPECT_EQ(wide.dense_ffn, one.dense_ffn);
  EXPECT_EQ(wide.embedding, one.embedding);
  // (256 + 32) / 32 = 9 slots of 256 experts.
  EXPECT_NEAR(static_cast<double>(wide.experts.value) / static_cast<double>(one.experts.value), 9.0 / 256, 1e-9);
}

TEST(MemoryUse, TensorParallelRanksShareEverythingButNormsRouterAndLatentProjections) {
  const ModelSpec model = deepseek_v3();
  const MemoryUse one = memory_use(model, vllm_plan(1, 1, 1, false), gpu_of_80_gib(), {});
  const MemoryUse eight = memory_use(model, vllm_plan(8, 1, 1, false), gpu_of_80_gib(), {});
  EXPECT_NEAR(eight.experts.gigabytes(), one.experts.gigabytes() / 8, 1e-6);
  EXPECT_NEAR(eight.shared.gigabytes(), one.shared.gigabytes() / 8, 1e-6);
  EXPECT_NEAR(eight.embedding.gigabytes(), one.embedding.gigabytes() / 8, 1e-6);
  EXPECT_EQ(eight.router, one.router);
  // q_a and kv_a, 7168 x (1536 + 576) a layer, stay whole: 61 x 15.1e6 x 7/8 bytes more than an eighth.
  const double extra = eight.attention.gigabytes() - one.attention.gigabytes() / 8;
  EXPECT_NEAR(extra, 61.0 * 7168 * 2112 * 7 / 8.0 * 1e-9, 0.003);
}

TEST(MemoryUse, EmbeddingAndHeadLieOnTheFirstAndLastStage) {
  const ModelSpec model = llama_3_70b();
  const MemoryUse two_stages = memory_use(model, vllm_plan(4, 2, 1, false), gpu_of_80_gib(), {});
  EXPECT_EQ(two_stages.stage, 1);  // the head's stage also holds the logits
  EXPECT_EQ(two_stages.embedding.value, 0);
  EXPECT_EQ(two_stages.head.value, 128256LL * 8192 / 4 * 2 + 8192 * 2);
  // Tied: the last stage stores the table again.
  ModelSpec tied = model;
  tied.head_weights = 0;
  tied.tied_embeddings = true;
  EXPECT_EQ(memory_use(tied, vllm_plan(4, 2, 1, false), gpu_of_80_gib(), {}).head, two_stages.head);
  EXPECT_EQ(memory_use(tied, vllm_plan(4, 1, 1, false), gpu_of_80_gib(), {}).head.value, 8192 * 2);
}

TEST(MemoryUse, BuffersGrowWithTheTokenBudgetAndTheSequences) {
  const ModelSpec model = llama_3_70b();
  const ParallelPlan plan = vllm_plan(8, 1, 1, false);
  const MemoryUse small = memory_use(model, plan, gpu_of_80_gib(), {.max_batched_tokens = 2048, .max_sequences = 64});
  const MemoryUse large = memory_use(model, plan, gpu_of_80_gib(), {.max_batched_tokens = 8192, .max_sequences = 256});
  EXPECT_EQ(large.activations.value, 4 * small.activations.value);
  EXPECT_EQ(large.logits.value, 10LL * 256 * 128256);
  // 2 x 8192 residual columns and 3 x 28672 / 8 of the FFN, 2 bytes
  EXPECT_EQ(large.activations.value, 8192LL * (2 * 8192 + 3 * 28672 / 8) * 2);
  const MemoryUse eager = memory_use(model, plan, gpu_of_80_gib(), {.cuda_graphs = false});
  EXPECT_EQ(eager.graphs.value, 0);
  EXPECT_GT(large.graphs.value, 0);
}

TEST(FitAdvice, SaysByHowMuchAndWhatWouldFit) {
  const MemoryLimits limits{.max_batched_tokens = 2048, .max_sequences = 64};
  EXPECT_EQ(fit_advice(llama_3_70b(), vllm_plan(8, 1, 1, false), gpu_of_80_gib(), limits), "");
  // 141.1 GB = 131.4 GiB of bf16 weights: two GPUs of 72 GiB hold 65.7 GiB each; fp8 on one: 70.7 GB + bf16 tables.
  const std::string advice = fit_advice(llama_3_70b(), vllm_plan(1, 1, 1, false), gpu_of_80_gib(), limits);
  EXPECT_EQ(advice.find("needs 131.4 GiB of weights and "), 0U) << advice;
  EXPECT_NE(advice.find(" on a GPU of 80.0 GiB x 0.90; fits with tensor_parallel_size 2 or fp8 weights"),
            std::string::npos)
      << advice;
  // Mixtral, 87 GiB at TP1: TP2.
  const std::string mixtral = fit_advice(mixtral_8x7b(), vllm_plan(1, 1, 1, true), gpu_of_80_gib(), limits);
  EXPECT_NE(mixtral.find("fits with tensor_parallel_size 2 or fp8 weights"), std::string::npos) << mixtral;
}

TEST(FitAdvice, NamesOnlyLegalPlans) {
  // 6 query heads: tensor_parallel_size 2 is legal, 4 is not; on a small GPU pipeline stages remain.
  ModelSpec model = llama_3_70b();
  model.mixers[0].query_heads = 6;
  model.mixers[0].kv_heads = 2;
  GpuSpec gpu = gpu_of_80_gib();
  gpu.memory = Bytes{48LL << 30};
  const std::string advice = fit_advice(model, vllm_plan(1, 1, 1, false), gpu, {.max_batched_tokens = 2048});
  EXPECT_NE(advice.find("fits with pipeline_parallel_size 4 or int4 weights"), std::string::npos) << advice;
}

}  // namespace
}  // namespace moesim
