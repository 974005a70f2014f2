// What runs put on single links, and the lanes of links in a timeline.

#include "serving/network_use.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "support/serving_setup.h"

namespace moesim {
namespace {

double bytes_of(const ServingOutcome& outcome, const std::string& kind) {
  double sum = 0;
  for (const LinkUse& link : outcome.links) sum += link.kind == kind ? link.bytes : 0;
  return sum;
}

ServingSetup experts_on_eight() {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.plan = vllm_plan(1, 1, 8, true);
  setup.engine.all2all_backend = MoeBackend::deepep_low_latency;
  setup.requests = equal_requests(16, 100, 20);
  return setup;
}

TEST(NetworkUse, LinksAddUpToTheirKinds) {
  for (const RoutingResolution resolution : {RoutingResolution::counts, RoutingResolution::token}) {
    ServingSetup setup = experts_on_eight();
    setup.routing.resolution = resolution;
    const ServingOutcome outcome = setup.run();
    ASSERT_EQ(outcome.network.size(), 1u);  // one node: scale-up only
    EXPECT_EQ(outcome.links.size(), 16u);   // up and down of each GPU
    EXPECT_EQ(outcome.links_left_out, 0);
    EXPECT_NEAR(bytes_of(outcome, "scale_up") / outcome.network[0].bytes, 1, 1e-12);
    double utilization = 0, peak = 0;
    for (const LinkUse& link : outcome.links) {
      utilization += link.utilization / 16;
      peak = std::max(peak, link.peak);
    }
    EXPECT_NEAR(utilization / outcome.network[0].utilization, 1, 1e-12);
    EXPECT_GE(peak, outcome.network[0].peak);
    EXPECT_TRUE(std::is_sorted(outcome.links.begin(), outcome.links.end(),
                               [](const LinkUse& a, const LinkUse& b) { return a.utilization > b.utilization; }));
  }
}

// Tensor-parallel all-reduce of Llama-3.1-8B over 2 GPUs: behind the embedding, each attention and each FFN, 65 a step
// of tokens x 4096 x 2 bytes, of which 2 (n - 1) / n cross each port; the logits of 128,256 words are gathered. 4
// requests at once of 100 tokens and then one token each: 400 + 4 x 9 tokens, and as many rows as sequences x 10.
TEST(NetworkUse, TensorParallelPortsCarryTheirAllReduces) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.plan = vllm_plan(2, 1, 1, false);
  setup.engine.cuda_graphs = false;
  setup.requests = equal_requests(4, 100, 10);
  const ServingOutcome outcome = setup.run();
  ASSERT_EQ(outcome.links.size(), 4u);
  const double reduced = 65.0 * (400 + 4 * 9) * 4096 * 2;
  const double gathered = 4.0 * 10 * 128256 * 2 / 2;
  for (const LinkUse& link : outcome.links) EXPECT_NEAR(link.bytes, reduced + gathered, 1);
}

// Engines follow each other on the GPUs, stages inside an engine too: 2 engines x 2 stages x 2 ranks on 8 GPUs.
TEST(NetworkUse, EnginesAndStagesHaveGpusOfTheirOwn) {
  ServingSetup setup = serving_setup("Llama-3.1-8B", "dgx-h100");
  setup.engine.plan = vllm_plan(2, 2, 1, false);
  setup.engine.replicas = 2;
  setup.requests = equal_requests(4, 100, 10);
  const ServingOutcome outcome = setup.run();
  std::map<std::string, double> sent, received;
  for (const LinkUse& link : outcome.links) {
    if (link.from.starts_with("gpu")) sent[link.from] = link.bytes;
    if (link.to.starts_with("gpu")) received[link.to] = link.bytes;
  }
  EXPECT_EQ(sent.size(), 8u);
  // The first stage of each engine (GPUs 0, 1 and 4, 5) sends hidden states on to the second besides its all-reduces.
  for (const char* pair : {"01", "45"}) {
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string first = std::string("gpu") + pair[i],
                        second = std::string("gpu") + static_cast<char>(pair[i] + 2);
      EXPECT_GT(sent[first], received[first]);
      EXPECT_GT(received[second], sent[second]);
      EXPECT_NEAR(sent[first] - received[first], received[second] - sent[second], 1);
    }
  }
}

// The bytes under the lane of a link are those of the whole window; lanes begin and end at zero.
TEST(LinkLanes, HoldTheBytesOfTheirLinks) {
  for (const MoeBackend backend : {MoeBackend::deepep_low_latency, MoeBackend::allgather_reducescatter}) {
    ServingSetup setup = experts_on_eight();
    setup.engine.all2all_backend = backend;
    std::vector<TraceEvent> events;
    ServingObserver observer;
    observer.trace = &events;
    const ServingOutcome outcome = setup.run(observer);
    ASSERT_LE(outcome.steps, 32);  // every step is in the sample
    std::map<std::string, double> area, rate;
    std::map<std::string, Instant> since;
    for (const TraceEvent& event : events) {
      if (!event.link_bytes_per_second) continue;
      EXPECT_GE(event.start, since[event.name]);
      area[event.name] += rate[event.name] * (event.start - since[event.name]).seconds();
      rate[event.name] = *event.link_bytes_per_second;
      since[event.name] = event.start;
    }
    EXPECT_EQ(area.size(), 16u);
    for (const LinkUse& link : outcome.links) {
      const std::string lane = link.from + "->" + link.to;
      EXPECT_NEAR(area[lane] / link.bytes, 1, 1e-6) << lane;
      EXPECT_EQ(rate[lane], 0) << lane;
    }
  }
}

TEST(LinkLanes, AreAtMostSixteen) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100", 2);
  setup.engine.plan = vllm_plan(1, 1, 16, true);
  setup.engine.all2all_backend = MoeBackend::deepep_high_throughput;
  setup.requests = equal_requests(16, 100, 5);
  std::vector<TraceEvent> events;
  ServingObserver observer;
  observer.trace = &events;
  const ServingOutcome outcome = setup.run(observer);
  std::set<std::string> lanes;
  for (const TraceEvent& event : events) {
    if (event.link_bytes_per_second) lanes.insert(event.name);
  }
  EXPECT_EQ(lanes.size(), 16u);
  EXPECT_TRUE(lanes.contains(outcome.links[0].from + "->" + outcome.links[0].to));
  EXPECT_EQ(outcome.links.size(), 64u);
  EXPECT_GT(outcome.links_left_out, 0);
}

}  // namespace
}  // namespace moesim
