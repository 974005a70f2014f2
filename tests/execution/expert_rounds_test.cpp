// Kernels by kind of step, and exchanges that go in rounds.

#include <gtest/gtest.h>

#include <numeric>

#include "config/model_catalog.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_profile.h"
#include "execution/expert_step.h"

namespace moesim {
namespace {

/// DeepSeek-V3 on two nodes, EP16, with 16 experts that every token chooses: nothing is left to chance.
struct Rig {
  Rig() {
    model = read_model_file(find_model_by_name("DeepSeek-V3").value());
    model.moe.experts = model.moe.top_k = 16;
    model.moe.groups = model.moe.top_groups = 1;
    cluster = read_cluster_file(product_root() / "topologies/cluster/dgx-h100.json");
    cluster.nodes = 2;
    spec.plan = vllm_plan(1, 1, 16, true);
    spec.backend = MoeBackend::deepep_low_latency;
    spec.activation = DataType::fp8;
  }
  ExpertTimes time(const std::vector<RankBatch>& ranks) {
    const GpuSpec gpu = find_gpu(cluster.gpu);
    const Topology topology(cluster);
    const KernelCost kernels(gpu, select_kernel_profile("auto", gpu.id, EnginePreset::sglang).profile);
    const CollectiveProfile collectives = collective_profile_for(product_root() / "calibrate/profiles", gpu, cluster);
    RoutingSpec routing;
    routing.popularity.kind = PopularityKind::uniform;
    routing.resolution = spec.resolution;
    const Router router(model.moe, 1, routing, 1);
    ExpertStep step(model, kernels, topology, collectives, spec, router, 1);
    step.start(ranks);
    const ExpertTimes times = step.time(0, 0);
    rounds = step.rounds();
    backend = step.backend();
    rows.assign(step.rank_rows().begin(), step.rank_rows().end());
    counts.assign(step.counts().begin(), step.counts().end());
    rank_0 = step.rank_time(0);
    shown = 0;
    shown_tokens = 0;
    step.show_traffic(0, 0, [&](std::size_t, const RoutedTraffic& moved) {
      ++shown;
      shown_tokens += std::accumulate(moved.tokens.begin(), moved.tokens.end(), std::int64_t{0});
    });
    return times;
  }

  ModelSpec model;
  ClusterSpec cluster;
  ExecutionSpec spec;
  std::int64_t rounds = 0, shown = 0, shown_tokens = 0;
  MoeBackend backend = MoeBackend::none;
  std::vector<std::int64_t> rows;
  std::vector<std::uint32_t> counts;
  Duration rank_0;
};

std::vector<RankBatch> decoding(std::int64_t tokens) {
  RankBatch batch;
  batch.tokens = batch.decode_sequences = tokens;
  return std::vector<RankBatch>(16, batch);
}

// 2.5 x the limit: two full rounds and a half one, each with its latency and its own read of the weights.
TEST(ExpertRounds, LargeStepTakesTheSumOfItsRounds) {
  for (const RoutingResolution resolution :
       {RoutingResolution::counts, RoutingResolution::matrix, RoutingResolution::token}) {
    Rig setup;
    setup.spec.resolution = resolution;
    const ExpertTimes full = setup.time(decoding(64)), half = setup.time(decoding(32));
    EXPECT_EQ(setup.rounds, 1);
    const ExpertTimes at_once = setup.time(decoding(160));
    setup.spec.max_dispatch_tokens = 64;
    const ExpertTimes times = setup.time(decoding(160));
    EXPECT_EQ(setup.rounds, 3);
    EXPECT_EQ(times.dispatch, full.dispatch * 2 + half.dispatch);
    EXPECT_EQ(times.combine, full.combine * 2 + half.combine);
    EXPECT_EQ(times.experts.slowest, full.experts.slowest * 2 + half.experts.slowest);
    EXPECT_EQ(setup.rank_0, times.experts.slowest);  // all ranks are alike
    EXPECT_EQ(times.experts.waiting(), Duration());
    EXPECT_GT(times.experts.slowest, at_once.experts.slowest);  // the weights are read three times
    // Every token still reaches every expert once.
    EXPECT_EQ(setup.counts, std::vector<std::uint32_t>(16, 16 * 160));
    EXPECT_EQ(setup.rows, std::vector<std::int64_t>(16, 16 * 160));
    EXPECT_EQ(setup.shown, 3);
    EXPECT_EQ(setup.shown_tokens, 16 * 160);
  }
}

TEST(ExpertRounds, TheRankWithMostTokensSetsTheirNumber) {
  Rig setup;
  setup.spec.max_dispatch_tokens = 64;
  std::vector<RankBatch> ranks = decoding(1);
  ranks[5].tokens = ranks[5].decode_sequences = 129;
  setup.time(ranks);
  EXPECT_EQ(setup.rounds, 3);
  EXPECT_EQ(setup.counts, std::vector<std::uint32_t>(16, 15 + 129));
}

TEST(ExpertRounds, NormalKernelsHaveNone) {
  Rig setup;
  setup.spec.backend = MoeBackend::deepep_high_throughput;
  setup.spec.max_dispatch_tokens = 64;
  setup.time(decoding(160));
  EXPECT_EQ(setup.rounds, 1);
}

// SGLang's auto: one prompt on any rank and all use the normal kernels.
TEST(ExpertStep, KernelsFollowTheKindOfStep) {
  Rig setup;
  setup.spec.backend = MoeBackend::deepep_low_latency;
  const ExpertTimes low = setup.time(decoding(64));
  setup.spec.backend = MoeBackend::deepep_high_throughput;
  const ExpertTimes normal = setup.time(decoding(64));
  setup.spec.decode_backend = MoeBackend::deepep_low_latency;
  const ExpertTimes decode = setup.time(decoding(64));
  EXPECT_EQ(setup.backend, MoeBackend::deepep_low_latency);
  EXPECT_EQ(decode.dispatch, low.dispatch);
  EXPECT_EQ(decode.experts.slowest, low.experts.slowest);
  std::vector<RankBatch> mixed = decoding(64);
  mixed[9].decode_sequences -= 10;
  mixed[9].prefill.push_back({10, 0});
  const ExpertTimes with_prompt = setup.time(mixed);
  EXPECT_EQ(setup.backend, MoeBackend::deepep_high_throughput);
  EXPECT_EQ(with_prompt.dispatch, normal.dispatch);
  EXPECT_EQ(with_prompt.experts.slowest, normal.experts.slowest);
  EXPECT_NE(low.dispatch, normal.dispatch);
}

}  // namespace
}  // namespace moesim
