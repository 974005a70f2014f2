#include <gtest/gtest.h>

#include "config/read_power.h"
#include "metrics/summary.h"
#include "support/serving_setup.h"

namespace moesim {
namespace {

/// A dense model on one GPU with power counted.
ServingSetup one_gpu(std::size_t requests, std::int32_t input, std::int32_t output) {
  ServingSetup setup = serving_setup("Meta-Llama-3-8B", "single-h100");
  setup.power = power_model_of(setup.gpu);
  setup.requests = equal_requests(requests, input, output);
  return setup;
}

EnergyUse use_of(const ServingSetup& setup, ServingOutcome outcome) {
  RunResult result;
  result.gpus = setup.engine.plan.world() * setup.engine.replicas;
  result.requests = std::move(outcome.requests);
  summarize(result, std::move(outcome.token_gaps), {});
  return energy_use(result, outcome.energy, *setup.power);
}

double end_of(const ServingOutcome& outcome) {
  Instant end;
  for (const RequestRecord& request : outcome.requests) end = std::max(end, request.last_token);
  return end.seconds();
}

TEST(EnergyRun, CountingChangesNoTimeAtLockedClocks) {
  ServingSetup setup = one_gpu(32, 700, 40);
  const ServingOutcome counted = setup.run();
  setup.power.reset();
  const ServingOutcome plain = setup.run();
  EXPECT_EQ(counted.fingerprint, plain.fingerprint);
  EXPECT_EQ(counted.mean_clock, 1);
  EXPECT_GT(counted.energy.total(), 0);
  EXPECT_EQ(plain.energy.total(), 0);
}

// One sequence: every step reads all weights but the embedding once, and a cache of at most 140 tokens beside them.
TEST(EnergyRun, DecodingAloneReadsTheWeightsEveryStep) {
  const ServingSetup setup = one_gpu(1, 40, 100);
  const ServingOutcome outcome = setup.run();
  const double weights = 2.0 * (8.03e9 - 128256.0 * 4096);
  const double floor = setup.power->per_memory_byte * weights * static_cast<double>(outcome.steps);
  EXPECT_GT(outcome.energy.memory, floor);
  EXPECT_LT(outcome.energy.memory, 1.05 * floor);
  // Two flops a parameter and token: 139 tokens are computed.
  EXPECT_NEAR(outcome.energy.compute, setup.power->per_flop[0] * weights * 139, 0.05 * outcome.energy.compute);
}

TEST(EnergyRun, PartsSumToMeanPowerTimesTime) {
  ServingSetup setup = serving_setup("Mixtral-8x7B-v0.1", "dgx-h100");
  setup.engine.plan = vllm_plan(4, 1, 1, true);
  setup.power = power_model_of(setup.gpu);
  setup.requests = equal_requests(40, 300, 30);
  const ServingOutcome outcome = setup.run();
  const double seconds = end_of(outcome);
  const EnergyUse use = use_of(setup, outcome);
  EXPECT_NEAR(use.joules.total(), use.mean_watts_per_gpu * 4 * seconds, 1e-9 * use.joules.total());
  EXPECT_NEAR(use.joules.idle, setup.power->idle * 4 * seconds, 1e-9 * use.joules.idle);
  EXPECT_NEAR(use.joules_per_output_token, use.joules.total() / (40 * 30), 1e-9 * use.joules_per_output_token);
  EXPECT_GT(use.joules.network, 0);
  EXPECT_LT(use.mean_watts_per_gpu, setup.power->limit);
}

TEST(EnergyRun, MeanPowerKeepsTheLimitAtEveryClock) {
  for (const Clocks clocks : {Clocks::locked, Clocks::sustained}) {
    ServingSetup setup = one_gpu(64, 2000, 4);
    setup.clocks = clocks;
    for (const double limit : {700.0, 450.0, 250.0}) {
      setup.power->limit = limit;
      const EnergyUse use = use_of(setup, setup.run());
      EXPECT_LE(use.mean_watts_per_gpu, limit * (1 + 1e-9)) << name(clocks) << " at " << limit;
    }
  }
}

TEST(EnergyRun, SustainedClocksSlowPromptsUnderALowLimit) {
  ServingSetup setup = one_gpu(64, 2000, 2);
  setup.power->limit = 1e4;
  const ServingOutcome locked = setup.run();
  setup.clocks = Clocks::sustained;
  EXPECT_EQ(setup.run().fingerprint, locked.fingerprint);  // nothing reaches the limit
  setup.power->limit = 400;
  const ServingOutcome slow = setup.run();
  EXPECT_LT(slow.mean_clock, 0.95);
  EXPECT_GT(end_of(slow), 1.05 * end_of(locked));
  EXPECT_LT(end_of(slow), end_of(locked) / setup.power->lowest_clock);
  EXPECT_EQ(slow.breakdown.total() > locked.breakdown.total(), true);
}

}  // namespace
}  // namespace moesim
