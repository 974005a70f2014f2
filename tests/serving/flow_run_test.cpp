// Whole runs on the flow network beside the closed forms.

#include <gtest/gtest.h>

#include <algorithm>

#include "support/serving_setup.h"

namespace moesim {
namespace {

double end_of(const ServingOutcome& outcome) {
  Instant end;
  for (const RequestRecord& request : outcome.requests) end = std::max(end, request.last_token);
  return end.seconds();
}

double ratio(ServingSetup setup) {
  setup.engine.network = NetworkModel::closed_form;
  const double closed = end_of(setup.run());
  setup.engine.network = NetworkModel::flow;
  return end_of(setup.run()) / closed;
}

TEST(FlowRun, OneGroupAloneTakesTheClosedForm) {
  // A single tensor-parallel group meets nobody: rounding only.
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.plan = vllm_plan(8, 1, 1, false);
  setup.requests = equal_requests(4, 200, 20);
  EXPECT_NEAR(ratio(setup), 1, 1e-4);
}

TEST(FlowRun, PipelineStagesOnNicsOfTheirOwnTakeTheClosedForm) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100", 2);
  setup.engine.plan = vllm_plan(8, 2, 1, false);
  setup.requests = equal_requests(4, 200, 20);
  EXPECT_NEAR(ratio(setup), 1, 2e-3);
}

TEST(FlowRun, GathersOverTwoNodesTakeTheClosedForm) {
  // Tensor-parallel groups of 4 inside their nodes, all tokens gathered over the 16 ranks.
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100", 2);
  setup.engine.plan = vllm_plan(4, 1, 4, true);
  setup.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  setup.requests = equal_requests(16, 100, 10);
  EXPECT_NEAR(ratio(setup), 1, 5e-3);
}

TEST(FlowRun, ExchangesWithExactPairsAreCloseToTheClosedForm) {
  // Low latency inside a node: ports bind in both models, max-min can only end later.
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::deepep_low_latency;
  setup.routing.resolution = RoutingResolution::token;
  setup.requests = equal_requests(16, 100, 10);
  const double slower = ratio(setup);
  EXPECT_GE(slower, 1 - 1e-6);
  EXPECT_LE(slower, 1.03);
}

TEST(FlowRun, SameSeedSameBytes) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::deepep_high_throughput;
  setup.engine.network = NetworkModel::flow;
  setup.requests = equal_requests(8, 100, 10);
  EXPECT_EQ(setup.run().fingerprint, setup.run().fingerprint);
}

}  // namespace
}  // namespace moesim
