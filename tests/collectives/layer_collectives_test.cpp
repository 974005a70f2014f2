#include "collectives/layer_collectives.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace moesim {
namespace {

ModelSpec small_moe() {
  ModelSpec model;
  model.hidden = 1000;
  model.moe.experts = 64;
  model.moe.top_k = 8;
  return model;
}

/// "all_reduce tensor 100 200000; ...": operation, group, tokens, bytes.
std::string listed(const ParallelPlan& plan, MoeBackend backend, bool moe = true) {
  LayerSpec layer;
  layer.moe = moe;
  layer.dense_width = moe ? 0 : 4000;
  std::string list;
  for (const LayerCollective& call : layer_collectives(plan, backend, small_moe(), layer, 100)) {
    list += fmt::format("{}{} {} {}", list.empty() ? "" : "; ", name(call.operation), name(call.group), call.tokens);
    const bool exchange = call.operation == LayerOperation::dispatch || call.operation == LayerOperation::combine;
    EXPECT_EQ(call.bytes.value, exchange ? 0 : call.tokens * 1000 * 2);
  }
  return list;
}

TEST(LayerCollectives, DenseLayersReduceTwiceOverTheTensorRanks) {
  EXPECT_EQ(listed(vllm_plan(8, 1, 1, false), MoeBackend::none, false), "all_reduce tensor 100; all_reduce tensor 100");
  EXPECT_EQ(listed(vllm_plan(1, 1, 8, false), MoeBackend::none, false), "");
}

TEST(LayerCollectives, OneDataParallelRankEndsTheExpertsInOneAllReduce) {
  // TP 8, experts sliced; the same with experts whole (EP): activations are replicated, no all-to-all either way.
  EXPECT_EQ(listed(vllm_plan(8, 1, 1, false), MoeBackend::none), "all_reduce tensor 100; all_reduce tensor 100");
  EXPECT_EQ(listed(vllm_plan(8, 1, 1, true), MoeBackend::deepep_low_latency),
            "all_reduce tensor 100; all_reduce tensor 100");
  EXPECT_EQ(listed(trtllm_plan(8, 1, 2, 4, false), MoeBackend::none), "all_reduce tensor 100; all_reduce tensor 100");
  EXPECT_EQ(listed(vllm_plan(1, 1, 1, false), MoeBackend::none), "");
}

TEST(LayerCollectives, DataParallelRanksWithExpertsExchangeByTheNamedBackend) {
  EXPECT_EQ(listed(vllm_plan(1, 1, 8, true), MoeBackend::allgather_reducescatter),
            "all_gather expert 800; reduce_scatter expert 800");
  EXPECT_EQ(listed(vllm_plan(1, 1, 8, true), MoeBackend::naive), "broadcast expert 800; all_reduce expert 800");
  EXPECT_EQ(listed(vllm_plan(1, 1, 32, true), MoeBackend::deepep_high_throughput),
            "dispatch expert 3200; combine expert 3200");
  EXPECT_EQ(listed(sglang_plan(16, 1, 16, 16, true), MoeBackend::deepep_low_latency),
            "dispatch expert 1600; combine expert 1600");
}

TEST(LayerCollectives, TensorRanksOfDataParallelRanksSendTheirSliceAndGatherItAgain) {
  EXPECT_EQ(listed(vllm_plan(2, 1, 4, true), MoeBackend::deepep_low_latency),
            "all_reduce tensor 100; dispatch expert 400; combine expert 400; all_gather tensor 100");
}

TEST(LayerCollectives, ExpertsWithoutEpAreSlicedOverTensorAndDataRanks) {
  EXPECT_EQ(listed(vllm_plan(1, 1, 8, false), MoeBackend::deepep_high_throughput),
            "all_gather data 800; reduce_scatter data 800");
  EXPECT_EQ(listed(vllm_plan(2, 1, 4, false), MoeBackend::none),
            "all_reduce tensor 100; all_gather data 400; reduce_scatter data 400; all_reduce tensor 100");
}

TEST(LayerCollectives, IndependentCopiesOfTheExpertsDoNotExchange) {
  // SGLang without DP attention: two copies of 8 ranks.
  EXPECT_EQ(listed(sglang_plan(8, 1, 2, 8, false), MoeBackend::none), "all_reduce tensor 100; all_reduce tensor 100");
}

TEST(LayerCollectives, ExpertTensorParallelismGathersWhatWasDispatched) {
  // Megatron: 16 ranks, tp 1, experts ep 8 x etp 2.
  EXPECT_EQ(listed(megatron_plan(16, 1, 1, 1, 8, 2), MoeBackend::deepep_high_throughput),
            "dispatch expert 1600; all_gather expert_tensor 1600; reduce_scatter expert_tensor 1600; combine expert "
            "1600");
}

TEST(LayerCollectives, BackendsSayWhatTheyNeed) {
  const ModelSpec model = small_moe();
  EXPECT_EQ(backend_problem(MoeBackend::deepep_low_latency, vllm_plan(1, 1, 8, true), model, 1), "");
  EXPECT_EQ(backend_problem(MoeBackend::allgather_reducescatter, vllm_plan(8, 1, 1, true), model, 1), "");
  EXPECT_EQ(backend_problem(MoeBackend::deepep_low_latency, vllm_plan(8, 1, 1, true), model, 1),
            "all2all_backend deepep_low_latency needs experts that several data-parallel ranks share "
            "(data_parallel_size 1)");
  EXPECT_EQ(backend_problem(MoeBackend::pplx, vllm_plan(1, 1, 8, false), model, 1),
            "all2all_backend pplx needs enable_expert_parallel");
  EXPECT_EQ(backend_problem(MoeBackend::flashinfer_nvlink_one_sided, vllm_plan(1, 1, 32, true), model, 4),
            "all2all_backend flashinfer_nvlink_one_sided needs one scale-up domain, the 32 expert-parallel ranks span "
            "4");
}

TEST(LayerCollectives, LowLatencyBuffersHoldATokenBudgetOfEveryExpert) {
  // 2 sets x (send + receive) x 256 experts x 128 tokens x (2 x 7168 + 16) bytes = 1.88 GB.
  ModelSpec model = small_moe();
  model.hidden = 7168;
  model.moe.experts = 256;
  const ParallelPlan plan = vllm_plan(1, 1, 32, true);
  EXPECT_EQ(exchange_buffers(MoeBackend::deepep_low_latency, plan, model, 128, 4).value, 4LL * 256 * 128 * 14352);
  EXPECT_EQ(exchange_buffers(MoeBackend::deepep_high_throughput, plan, model, 128, 4).value, 2LL << 30);
  EXPECT_EQ(exchange_buffers(MoeBackend::allgather_reducescatter, plan, model, 128, 4).value, 0);
}

}  // namespace
}  // namespace moesim
