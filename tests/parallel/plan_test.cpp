#include "parallel/plan.h"

#include <gtest/gtest.h>

#include "parallel/sample_models.h"

namespace moesim {
namespace {

TEST(Plan, VllmExpertParallelismSpansTensorAndDataParallelRanks) {
  EXPECT_EQ(vllm_plan(2, 1, 4, true), (ParallelPlan{.dp = 4, .tp = 2, .ep = 8}));
  EXPECT_EQ(vllm_plan(2, 1, 4, false), (ParallelPlan{.dp = 4, .tp = 2, .etp = 8}));
  EXPECT_EQ(vllm_plan(8, 2, 1, false).world(), 16);
}

TEST(Plan, VllmDataParallelWithExpertsIsSglangDpAttentionOverTheSameWorld) {
  // vllm -tp 1 -dp 16 --enable-expert-parallel == sglang --tp 16 --dp 16 --enable-dp-attention --ep 16
  EXPECT_EQ(vllm_plan(1, 1, 16, true), sglang_plan(16, 1, 16, 16, true));
}

TEST(Plan, SglangTensorParallelSizeIsTheWorldOnlyWithDpAttention) {
  const ParallelPlan with = sglang_plan(8, 1, 4, 8, true);
  EXPECT_EQ(with.world(), 8);
  EXPECT_EQ(with.tp, 2);
  const ParallelPlan without = sglang_plan(8, 1, 4, 8, false);
  EXPECT_EQ(without.world(), 32);
  EXPECT_EQ(without.tp, 8);
  EXPECT_EQ(without.edp, 4);
  EXPECT_EQ(without.dp_ranks_per_expert_group(), 1);
}

TEST(Plan, TensorRtLlmFactorsItsWorldIntoMoeTpAndMoeEp) {
  EXPECT_EQ(trtllm_plan(8, 1, 2, 4, false), (ParallelPlan{.tp = 8, .ep = 4, .etp = 2}));
  EXPECT_EQ(trtllm_plan(8, 1, 2, 4, true), (ParallelPlan{.dp = 8, .ep = 4, .etp = 2}));
}

TEST(Plan, MegatronFactorsOneWorldTwice) {
  // 128 GPUs: dense pp 2 x dp 4 x cp 4 x tp 4; experts pp 2 x edp 8 x ep 8 x etp 1.
  const ParallelPlan plan = megatron_plan(128, 4, 2, 4, 8, 1);
  EXPECT_EQ(plan.dp, 4);
  EXPECT_EQ(plan.edp, 8);
  EXPECT_EQ(plan.world(), 128);
}

TEST(Plan, ProblemsNameTheirNumbers) {
  const ModelSpec llama = llama_3_70b();
  EXPECT_EQ(plan_problem(vllm_plan(8, 1, 1, false), llama), "");
  EXPECT_EQ(plan_problem(vllm_plan(48, 1, 1, false), llama), "64 query heads do not divide by tensor_parallel_size 48");
  EXPECT_EQ(plan_problem(vllm_plan(1, 100, 1, false), llama), "80 layers are fewer than pipeline_parallel_size 100");
  EXPECT_EQ(plan_problem(vllm_plan(0, 1, 1, false), llama),
            "parallel degrees pp 1 dp 1 cp 1 tp 0 and expert dp 1 ep 1 tp 0 must all be at least 1");
  EXPECT_EQ(plan_problem({.dp = 2, .tp = 4, .ep = 4}, llama),
            "attention uses dp 2 x cp 1 x tp 4 = 8 ranks of a stage but experts dp 1 x ep 4 x tp 1 = 4");
  EXPECT_EQ(plan_problem(vllm_plan(1, 1, 16, true), mixtral_8x7b()),
            "expert-parallel size 16 exceeds the 8 experts of a layer");
  // 2048 / 32 = 64 columns < one 128-wide block.
  EXPECT_EQ(plan_problem(vllm_plan(32, 1, 1, false), deepseek_v3()),
            "dense FFN width 18432 over tensor_parallel_size 32 leaves 576 columns, which cut the 128-wide blocks of "
            "fp8");
  EXPECT_EQ(plan_problem(vllm_plan(1, 1, 32, false), deepseek_v3()),
            "expert width 2048 over expert tensor-parallel size 32 leaves 64 columns, which cut the 128-wide blocks of "
            "fp8");
  EXPECT_EQ(plan_problem(vllm_plan(8, 1, 4, true), deepseek_v3()), "");
}

TEST(Plan, KeyValueHeadsMayBeReplicatedButNotCut) {
  ModelSpec model = llama_3_70b();
  EXPECT_EQ(plan_problem(vllm_plan(16, 1, 1, false), model), "");  // 8 KV heads on 16 ranks: two copies each
  model.mixers[0].kv_heads = 6;
  EXPECT_EQ(plan_problem(vllm_plan(4, 1, 1, false), model),
            "6 KV heads neither divide by tensor_parallel_size 4 nor into it");
}

// Jamba: 28 of 32 layers are Mamba mixers without heads; the attention layers' 32 query and 8 KV heads decide.
TEST(Plan, MambaMixersDoNotLimitTensorParallelism) {
  ModelSpec hybrid = llama_3_70b();
  hybrid.mixers.push_back({.kind = MixerKind::mamba, .query_heads = 1});
  hybrid.layers.front().mixer = 1;
  EXPECT_EQ(plan_problem(vllm_plan(8, 1, 1, false), hybrid), "");
}

TEST(Plan, RemainderLayersGoToTheStagesBeforeTheLast) {
  const ModelSpec model = deepseek_v3();  // 61 layers
  int next = 0, stage = 0;
  for (const int count : {15, 15, 16, 15}) {
    const LayerRange range = layers_of_stage(model, 4, stage++);
    EXPECT_EQ(range.first, next);
    EXPECT_EQ(range.count, count);
    next += count;
  }
  EXPECT_EQ(next, 61);
  // pp 8: 61 = 8 x 7 + 5: 7 7 8 8 8 8 8 7
  EXPECT_EQ(layers_of_stage(model, 8, 1).count, 7);
  EXPECT_EQ(layers_of_stage(model, 8, 2).count, 8);
  EXPECT_EQ(layers_of_stage(model, 8, 6).count, 8);
  EXPECT_EQ(layers_of_stage(model, 8, 7).count, 7);
  EXPECT_EQ(layers_of_stage(model, 8, 7).first, 54);
}

TEST(Plan, TokensMeetOtherRanksOnlyWhereExpertsSpanDataParallelRanks) {
  EXPECT_EQ(vllm_plan(8, 1, 1, true).dp_ranks_per_expert_group(), 1);
  EXPECT_EQ(vllm_plan(2, 1, 4, true).dp_ranks_per_expert_group(), 4);
  EXPECT_FALSE(sequence_parallel_experts(vllm_plan(8, 1, 1, true)));
  EXPECT_FALSE(sequence_parallel_experts(vllm_plan(1, 1, 8, true)));
  EXPECT_FALSE(sequence_parallel_experts(vllm_plan(2, 1, 4, false)));
  EXPECT_TRUE(sequence_parallel_experts(vllm_plan(2, 1, 4, true)));
}

}  // namespace
}  // namespace moesim
