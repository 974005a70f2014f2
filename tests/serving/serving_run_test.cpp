#include "serving/serving_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/random.h"
#include "support/serving_setup.h"

namespace moesim {
namespace {

/// Poisson arrivals with lengths uniform up to the given ones.
std::vector<Request> random_requests(std::size_t n, double rate, std::uint64_t input, std::uint64_t output) {
  Stream stream(7, "test/requests");
  std::vector<Request> requests;
  double t = 0;
  for (std::size_t i = 0; i < n; ++i) {
    t += stream.exponential() / rate;
    requests.push_back({Instant::at(Duration::from_seconds(t)), static_cast<std::int32_t>(1 + stream.below(input)),
                        static_cast<std::int32_t>(1 + stream.below(output))});
  }
  return requests;
}

ServingSetup dense_setup() {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.host = default_host_times(EnginePreset::vllm);
  setup.requests = random_requests(300, 30, 2000, 200);
  return setup;
}

ServingSetup moe_setup() {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  setup.engine.host = default_host_times(EnginePreset::vllm);
  setup.requests = random_requests(200, 60, 1500, 100);
  return setup;
}

void expect_equal_outcomes(const ServingOutcome& a, const ServingOutcome& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.breakdown.parts, b.breakdown.parts);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.memory[0].kv_blocks_mean, b.memory[0].kv_blocks_mean);
  ASSERT_EQ(a.requests.size(), b.requests.size());
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    ASSERT_EQ(a.requests[i].first_token, b.requests[i].first_token) << i;
    ASSERT_EQ(a.requests[i].last_token, b.requests[i].last_token) << i;
  }
}

TEST(ServingRun, EveryTokenAskedForComesOut) {
  for (const ServingSetup& setup : {dense_setup(), moe_setup()}) {
    const ServingOutcome outcome = setup.run();
    std::int64_t asked = 0, gaps = 0;
    for (const RequestRecord& r : outcome.requests) {
      EXPECT_EQ(r.outcome, RequestOutcome::finished);
      EXPECT_LE(r.arrival, r.queued);
      EXPECT_LE(r.queued, r.scheduled);
      EXPECT_LT(r.scheduled, r.first_token);
      EXPECT_LE(r.first_token, r.last_token);
      asked += r.output_tokens;
    }
    gaps = outcome.token_gaps.count();
    // Every token but the first of a request closes a gap.
    EXPECT_EQ(gaps, asked - static_cast<std::int64_t>(outcome.requests.size()));
  }
}

TEST(ServingRun, StridesChangeNoByte) {
  for (ServingSetup setup : {dense_setup(), moe_setup()}) {
    const ServingOutcome with = setup.run();
    setup.strides = false;
    expect_equal_outcomes(with, setup.run());
  }
}

TEST(ServingRun, StridesChangeNoByteOnSeveralReplicasUnderPressure) {
  for (const Balancing balancing : {Balancing::round_robin, Balancing::least_loaded}) {
    ServingSetup setup = dense_setup();
    setup.engine.replicas = 3;
    setup.engine.balancing = balancing;
    setup.engine.gpu_memory_utilization = 0.25;  // a pool small enough to preempt
    setup.engine.max_num_batched_tokens = 2048;
    setup.requests = random_requests(600, 300, 2000, 300);
    const ServingOutcome with = setup.run();
    EXPECT_GT(with.preemptions, 0);
    setup.strides = false;
    expect_equal_outcomes(with, setup.run());
  }
}

TEST(ServingRun, StridesChangeNoByteInAClosedLoop) {
  for (const std::int32_t replicas : {1, 3}) {
    ServingSetup setup = dense_setup();
    setup.engine.replicas = replicas;
    setup.arrivals.kind = ArrivalKind::closed;
    setup.arrivals.concurrency = 20;
    for (Request& r : setup.requests) r.arrival = Instant();
    const ServingOutcome with = setup.run();
    setup.strides = false;
    expect_equal_outcomes(with, setup.run());
  }
}

TEST(ServingRun, SameSeedSameRunOtherSeedOtherDraws) {
  ServingSetup setup = moe_setup();
  const ServingOutcome first = setup.run();
  expect_equal_outcomes(first, setup.run());
  setup.seed = 2;
  EXPECT_NE(setup.run().fingerprint, first.fingerprint);
}

// Nothing in a run depends on absolute time: the gates draw by step.
TEST(ServingRun, ShiftedArrivalsShiftEveryTimeExactly) {
  for (ServingSetup setup : {dense_setup(), moe_setup()}) {
    const ServingOutcome before = setup.run();
    const Duration shift = Duration::seconds(1234);
    for (Request& r : setup.requests) r.arrival = r.arrival + shift;
    const ServingOutcome after = setup.run();
    for (std::size_t i = 0; i < before.requests.size(); ++i) {
      ASSERT_EQ(before.requests[i].first_token + shift, after.requests[i].first_token);
      ASSERT_EQ(before.requests[i].last_token + shift, after.requests[i].last_token);
    }
  }
}

// Little's law on the run itself: the time integral of the number of requests present equals the sum of their times in
// the system, and so mean number = rate x mean time. The integral is taken from the events in order of time.
TEST(ServingRun, LittlesLawHoldsExactly) {
  const ServingOutcome outcome = dense_setup().run();
  std::vector<std::pair<std::int64_t, int>> events;
  __extension__ __int128 times = 0;
  for (const RequestRecord& r : outcome.requests) {
    events.emplace_back(r.arrival.ps(), 1);
    events.emplace_back(r.last_token.ps(), -1);
    times += r.latency().ps();
  }
  std::sort(events.begin(), events.end());
  __extension__ __int128 area = 0;
  std::int64_t present = 0, last = 0;
  for (const auto& [at, change] : events) {
    area += static_cast<__int128>(present) * (at - last);
    present += change;
    last = at;
  }
  EXPECT_TRUE(area == times);
}

TEST(ServingRun, BreakdownFillsTheWholeTimeOfEveryEngine) {
  const ServingSetup setup = dense_setup();
  const ServingOutcome outcome = setup.run();
  Instant end;
  for (const RequestRecord& r : outcome.requests) end = std::max(end, r.last_token);
  EXPECT_EQ(outcome.breakdown.total() + setup.engine.host.detokenize, end - Instant());
}

// A batch-1 decode step of a dense model reads every weight once: not faster than bytes / peak bandwidth, and not
// slower than bytes / (em x peak) plus the fixed cost of every kernel. Llama-3.1-8B: 8.03e9 parameters without the
// embedding table (0.53e9) in bf16 = 15.0 GB at 3.35 TB/s = 4.48 ms. em >= 0.75 and about 12 kernels a layer of at most
// 8 us each.
TEST(ServingRun, DenseDecodeStepLiesBetweenBandwidthAndOverheads) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.requests = equal_requests(1, 16, 101);
  const ServingOutcome outcome = setup.run();
  const RequestRecord& r = outcome.requests[0];
  const double step = r.tpot_seconds();
  const double bytes = 2 * (8.030e9 - 0.525e9);
  EXPECT_GT(step, bytes / 3.35e12);
  EXPECT_LT(step, bytes / (0.75 * 3.35e12) + 32 * 12 * 8e-6);
}

// The same of Mixtral-8x7B at TP8: 12.75e9 active parameters without the embedding over 8 GPUs, but each step reads the
// two experts of its one token only. Above: what eight GPUs need for the active bytes, and for kernels and 65
// all-reduces of at most 15 us.
TEST(ServingRun, MoeDecodeStepReadsTheActiveExpertsOnly) {
  ServingSetup setup = serving_setup("Mixtral-8x7B-v0.1", "dgx-h100");
  setup.engine.plan = vllm_plan(8, 1, 1, false);
  setup.requests = equal_requests(1, 16, 101);
  const double step = setup.run().requests[0].tpot_seconds();
  const double active = 2 * 12.75e9 / 8;
  EXPECT_GT(step, active / 3.35e12);
  EXPECT_LT(step, active / (0.7 * 3.35e12) + 32 * (16 * 8e-6 + 30e-6) + 65 * 15e-6);
}

// With four equal pipeline stages four batches are in flight: four times the throughput of one at a time. 80 layers of
// Llama-3-70B over 4 stages; without host time; the first and last stage differ by embedding and head, which the
// tolerance covers. 64 sequences arrive together, 16 a batch.
TEST(ServingRun, FourStagesGiveFourTimesTheThroughputOfOneBatchInFlight) {
  ServingSetup setup = serving_setup("Meta-Llama-3-70B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 4, 1, false);
  setup.engine.max_num_batched_tokens = 16 * 64;
  setup.engine.max_num_seqs = 64;
  setup.requests = equal_requests(64, 64, 800);
  const ServingOutcome four = setup.run();
  setup.requests = equal_requests(16, 64, 800);
  const ServingOutcome one = setup.run();
  const auto end = [](const ServingOutcome& o) {
    Instant last;
    for (const RequestRecord& r : o.requests) last = std::max(last, r.last_token);
    return last.seconds();
  };
  // One batch of 16 passes the pipeline alone; four batches of 16 fill it.
  const double throughput = (64 / end(four)) / (16 / end(one));
  EXPECT_NEAR(throughput, 4.0, 0.25);
}

TEST(ServingRun, AsynchronousSchedulingHidesTheHost) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.requests = equal_requests(4, 16, 201);
  const double device = setup.run().requests[0].tpot_seconds();
  setup.engine.host.step = Duration::milliseconds(2);
  EXPECT_NEAR(setup.run().requests[0].tpot_seconds(), device + 2e-3, 1e-9);
  setup.engine.async_scheduling = true;
  EXPECT_NEAR(setup.run().requests[0].tpot_seconds(), device, 1e-9);
}

// Data-parallel ranks of a dense model do not wait for each other: two ranks serve twice the requests in the same time.
TEST(ServingRun, DenseDataParallelRanksAreIndependent) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.requests = equal_requests(8, 500, 50);
  const ServingOutcome one = setup.run();
  setup.engine.plan = vllm_plan(1, 1, 2, false);
  setup.requests = equal_requests(16, 500, 50);
  const ServingOutcome two = setup.run();
  EXPECT_EQ(one.requests[0].last_token, two.requests[0].last_token);
  EXPECT_EQ(two.steps, 2 * one.steps);
}

// Within a replica the rank with the least 4 x waiting + running takes the next request: eight at once over four ranks
// are two a rank, whatever the policy between replicas.
TEST(ServingRun, DataParallelRanksShareRequestsEvenly) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 4, false);
  setup.engine.replicas = 2;
  setup.requests = equal_requests(16, 500, 50);
  for (const Balancing balancing : {Balancing::round_robin, Balancing::least_loaded}) {
    setup.engine.balancing = balancing;
    std::array<int, 8> by_rank{};
    for (const RequestRecord& r : setup.run().requests) ++by_rank[r.replica * 4 + r.rank];
    EXPECT_EQ(by_rank, (std::array<int, 8>{2, 2, 2, 2, 2, 2, 2, 2}));
  }
}

// All data-parallel ranks of a MoE model step together: one long prompt on one rank delays the tokens of the others.
TEST(ServingRun, MoeRanksStepInLockstep) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  setup.requests = equal_requests(8, 16, 100);
  const ServingOutcome alone = setup.run();
  setup.requests.push_back({Instant::at(Duration::milliseconds(20)), 8000, 2});
  const ServingOutcome disturbed = setup.run();
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_GT(disturbed.requests[i].last_token, alone.requests[i].last_token);
  }
}

TEST(ServingRun, RequestThatCannotEverFitIsRejectedNotLost) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.gpu_memory_utilization = 0.25;
  setup.requests = equal_requests(3, 64, 8);
  setup.requests[1].input_tokens = 100'000'000;
  const ServingOutcome outcome = setup.run();
  EXPECT_EQ(outcome.requests[0].outcome, RequestOutcome::finished);
  EXPECT_EQ(outcome.requests[1].outcome, RequestOutcome::rejected);
  EXPECT_EQ(outcome.requests[2].outcome, RequestOutcome::finished);
}

// A uniform batch of T tokens touches E (1 - (1 - k/E)^T) experts a layer: Qwen3-30B-A3B, E = 128, k = 8, one sequence
// on each of 8 ranks: 128 (1 - (15/16)^8) = 51.6.
TEST(ServingRun, UniformBatchTouchesTheExpectedExperts) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  setup.routing.popularity.kind = PopularityKind::uniform;
  setup.requests = equal_requests(8, 1, 400);  // one sequence a rank: T = 8 in every step
  const ServingOutcome outcome = setup.run();
  double mean = 0;
  for (const ExpertLayerSummary& layer : outcome.experts) mean += layer.distinct_experts / 48;
  const double expected = 128 * (1 - std::pow(1 - 8.0 / 128, 8));
  EXPECT_NEAR(mean, expected, 0.5);
}

}  // namespace
}  // namespace moesim
