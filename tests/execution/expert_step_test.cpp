// The exchange of a MoE layer at each resolution of the gates.

#include "execution/expert_step.h"

#include <gtest/gtest.h>

#include "config/model_catalog.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_profile.h"

namespace moesim {
namespace {

struct Exchange {
  double dispatch = 0, combine = 0;  ///< seconds
};

/// One layer of DeepSeek-V3 on two nodes, EP16, 128 tokens a rank, uniform gates.
Exchange exchange_of(MoeBackend backend, RoutingResolution resolution) {
  const ModelSpec model = read_model_file(find_model_by_name("DeepSeek-V3").value());
  ClusterSpec cluster = read_cluster_file(product_root() / "topologies/cluster/dgx-h100.json");
  cluster.nodes = 2;
  const GpuSpec gpu = find_gpu(cluster.gpu);
  const Topology topology(cluster);
  const KernelCost kernels(gpu, select_kernel_profile("auto", gpu.id, EnginePreset::sglang).profile);
  const CollectiveProfile collectives = collective_profile_for(product_root() / "calibrate/profiles", gpu, cluster);
  RoutingSpec routing;
  routing.popularity.kind = PopularityKind::uniform;
  routing.resolution = resolution;
  const Router router(model.moe, 1, routing, 1);
  ExecutionSpec spec;
  spec.plan = vllm_plan(1, 1, 16, true);
  spec.backend = backend;
  spec.resolution = resolution;
  spec.activation = DataType::fp8;
  RankBatch batch;
  batch.tokens = batch.decode_sequences = 128;
  ExpertStep step(model, kernels, topology, collectives, spec, router, 1);
  step.start(std::vector<RankBatch>(16, batch));
  const ExpertTimes times = step.time(0, 0);
  return {times.dispatch.seconds(), times.combine.seconds()};
}

// Low latency sends every (token, expert) row: 128 x 8 rows of a rank, half of them to the other node, bf16 back:
// 512 x 14,336 B at 50 GB/s (400 Gbit/s) take 147 us at least; dispatch rows have 7,392 B: 76 us.
TEST(ExpertStep, LowLatencyExchangeTakesAtLeastTheLineRateOfItsNic) {
  for (const RoutingResolution resolution :
       {RoutingResolution::counts, RoutingResolution::matrix, RoutingResolution::token}) {
    const Exchange exchange = exchange_of(MoeBackend::deepep_low_latency, resolution);
    EXPECT_GT(exchange.combine, 512 * 14336 / 50e9);
    EXPECT_GT(exchange.dispatch, 512 * 7392 / 50e9);
  }
}

// The expected volume is the same; `matrix` and `token` add the spread of single ports (512 +- 16 rows, the busiest of
// 32 ports about two standard deviations more).
TEST(ExpertStep, ExchangeTimeAgreesAcrossResolutions) {
  for (const MoeBackend backend : {MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput}) {
    const Exchange counts = exchange_of(backend, RoutingResolution::counts);
    for (const RoutingResolution resolution : {RoutingResolution::matrix, RoutingResolution::token}) {
      const Exchange other = exchange_of(backend, resolution);
      EXPECT_NEAR(counts.dispatch / other.dispatch, 1, 0.12) << name(backend);
      EXPECT_NEAR(counts.combine / other.combine, 1, 0.12) << name(backend);
    }
  }
}

}  // namespace
}  // namespace moesim
