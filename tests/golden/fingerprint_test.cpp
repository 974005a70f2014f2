// The order and the times of all domain events of small runs. A change of a number here is a change of results: the
// commit says by how much and why it is right.

#include <gtest/gtest.h>

#include "support/serving_setup.h"

namespace moesim {
namespace {

std::vector<Request> spaced_requests(std::size_t n, std::int32_t input, std::int32_t output) {
  std::vector<Request> requests;
  for (std::size_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::int32_t>(i);
    requests.push_back({Instant::at(Duration::milliseconds(40) * static_cast<std::int64_t>(i)), input + 37 * (k % 7),
                        output + 11 * (k % 5)});
  }
  return requests;
}

TEST(Fingerprint, DenseModelOnOneGpu) {
  ServingSetup setup = serving_setup("Meta-Llama-3.1-8B", "dgx-h100");
  setup.engine.host = default_host_times(EnginePreset::vllm);
  setup.requests = spaced_requests(60, 700, 90);
  EXPECT_EQ(setup.run().fingerprint, 1429453226363689562u);
}

TEST(Fingerprint, DenseModelInPipelineStages) {
  ServingSetup setup = serving_setup("Meta-Llama-3-70B", "dgx-a100");
  setup.engine.plan = vllm_plan(2, 4, 1, false);
  setup.requests = spaced_requests(40, 900, 40);
  EXPECT_EQ(setup.run().fingerprint, 2701094403633441018u);
}

TEST(Fingerprint, MixtralUnderTensorParallelism) {
  ServingSetup setup = serving_setup("Mixtral-8x7B-v0.1", "dgx-h100");
  setup.engine.plan = vllm_plan(8, 1, 1, false);
  setup.requests = spaced_requests(40, 600, 60);
  EXPECT_EQ(setup.run().fingerprint, 9652982153944976030u);
}

TEST(Fingerprint, ExpertParallelRanksThatExchange) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::deepep_low_latency;
  setup.requests = spaced_requests(40, 500, 50);
  EXPECT_EQ(setup.run().fingerprint, 2699404860926965746u);
}

}  // namespace
}  // namespace moesim
