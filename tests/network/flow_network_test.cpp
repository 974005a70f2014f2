#include "network/flow_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "network/naive_sharing.h"
#include "network/sharing_cases.h"

namespace moesim {
namespace {

constexpr std::int64_t second = 1'000'000'000'000;

// t = n bytes / C, to the next picosecond of a rate of whole 2^-12 B/s.
TEST(FlowNetwork, SharesOneLinkEqually) {
  for (const int n : {1, 2, 8, 64}) {
    const auto finish = finishes({4.096e9}, std::vector<PlannedFlow>(n, {0, {0}, 1'000'000}));
    for (const std::int64_t f : finish) EXPECT_EQ(f, n * std::int64_t{244'140'625});
  }
}

// One long flow over n links and one short flow on each: all get C / 2.
TEST(FlowNetwork, SharesAParkingLotInHalves) {
  const std::uint32_t n = 6;
  std::vector<double> capacities(n, 1e9);
  FlowNetwork network(links_of(capacities));
  std::vector<std::uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  std::vector<FlowId> flows{network.start(at(0), all, {1'000'000})};
  for (std::uint32_t l = 0; l < n; ++l) flows.push_back(network.start(at(0), std::vector{l}, {1'000'000}));
  for (const FlowId flow : flows) EXPECT_EQ(network.rate(flow).value, 0.5e9);
}

// a over x and y, b over x; x has 10, y has 4: a gets 4, b the other 6. When a has ended b gets 10.
TEST(FlowNetwork, GivesWhatOneFlowCannotUseToOthers) {
  FlowNetwork network(links_of({10, 4}));
  const FlowId a = network.start(at(0), std::vector<std::uint32_t>{0, 1}, {8});
  const FlowId b = network.start(at(0), std::vector<std::uint32_t>{0}, {32});
  EXPECT_EQ(network.rate(a).value, 4);
  EXPECT_EQ(network.rate(b).value, 6);
  EXPECT_EQ(network.next_time(), at(2 * second));
  std::vector<FlowId> finished;
  network.advance(at(second), finished);
  EXPECT_EQ(network.carried(0), 10);
  EXPECT_EQ(network.carried(1), 4);
  network.advance(at(2 * second), finished);
  EXPECT_EQ(finished, std::vector{a});
  EXPECT_EQ(network.rate(b).value, 10);
  EXPECT_EQ(network.next_time(), at(4 * second));
  EXPECT_EQ(network.peak_rate(0), 10);
  EXPECT_EQ(network.peak_rate(1), 4);
}

// A sends {X: 2, P: 1, Q: 1} and B the same through unit ports. No port has more than 4 bytes, yet: all six flows begin
// at 1/3; at time 3 those to P and Q end and leave 1 of 2 bytes for X, whose port gives each 1/2 for 2 more.
TEST(FlowNetwork, EndsAfterTheBoundOfTheBusiestPort) {
  std::vector<PlannedFlow> plan;
  for (const std::uint32_t from : {0u, 1u}) {
    plan.push_back({0, {from, 2}, 2});
    plan.push_back({0, {from, 3}, 1});
    plan.push_back({0, {from, 4}, 1});
  }
  // 1200 divides by 3 and by 2, so that no rate is rounded.
  const auto finish = finishes(std::vector<double>(5, 1200), plan);
  EXPECT_EQ(*std::max_element(finish.begin(), finish.end()), (5 * second + 1199) / 1200);
}

TEST(FlowNetwork, AgreesWithFillingFromScratchToThePicosecond) {
  for (std::uint64_t number = 0; number < 600; ++number) {
    const RandomCase c(number);
    ASSERT_EQ(finishes(c.capacities, c.plan), naive_finishes(c.capacities, c.plan)) << "case " << number;
  }
}

// At every moment: no link carries more than its capacity, and every flow crosses a link that is full (but for less
// than one unit of 2^-12 B/s a flow) and on which no flow is faster.
TEST(FlowNetwork, GivesEveryFlowABottleneckAtEveryMoment) {
  for (std::uint64_t number = 0; number < 300; ++number) {
    const RandomCase c(number + 1'000'000);
    FlowNetwork network(links_of(c.capacities));
    std::vector<std::pair<FlowId, const PlannedFlow*>> active;
    std::vector<FlowId> finished;
    std::vector<double> carried(c.capacities.size(), 0);
    std::size_t next = 0;
    while (next < c.plan.size() || !active.empty()) {
      const Instant start = next < c.plan.size() ? at(c.plan[next].start) : Instant::never();
      if (network.next_time() <= start) {
        finished.clear();
        network.advance(network.next_time(), finished);
        std::erase_if(active, [&](const auto& f) {
          return std::find(finished.begin(), finished.end(), f.first) != finished.end();
        });
      } else {
        for (; next < c.plan.size() && at(c.plan[next].start) == start; ++next) {
          const PlannedFlow& f = c.plan[next];
          active.emplace_back(network.start(start, f.links, {f.bytes}, f.count), &f);
        }
      }
      std::vector<double> load(c.capacities.size(), 0), fastest = load, flows = load;
      for (const auto& [id, f] : active)
        for (const std::uint32_t l : f->links) {
          load[l] += network.rate(id).value * f->count;
          flows[l] += f->count;
          fastest[l] = std::max(fastest[l], network.rate(id).value);
        }
      for (std::uint32_t l = 0; l < load.size(); ++l) {
        EXPECT_LE(load[l], std::rint(c.capacities[l] * 4096) / 4096);
        EXPECT_GE(network.peak_rate(l), load[l]);
        EXPECT_GE(network.carried(l), carried[l]);
        carried[l] = network.carried(l);
      }
      for (const auto& [id, f] : active) {
        bool has_bottleneck = false;
        for (const std::uint32_t l : f->links)
          has_bottleneck |= load[l] > c.capacities[l] - (flows[l] + 1) / 4096 && network.rate(id).value == fastest[l];
        ASSERT_TRUE(has_bottleneck) << "case " << number << " flow " << id.value;
      }
    }
  }
}

// Many flows a port, some in large groups: 10 senders to 40 receivers, half of the flows also over one of 3 trunks.
TEST(FlowNetwork, AgreesWithFillingFromScratchOnWideTraffic) {
  for (std::uint64_t number = 0; number < 3; ++number) {
    Stream stream(number, "test/flow_network/wide");
    std::vector<double> capacities;
    for (std::uint32_t l = 0; l < 10 + 150; ++l) capacities.push_back(1e9 * (1 + stream.uniform()));
    std::vector<PlannedFlow> plan;
    for (std::uint32_t from = 0; from < 10; ++from)
      for (std::uint32_t to = 0; to < 40; ++to) {
        PlannedFlow flow{0, {from, 40 + to}, 1'000 + static_cast<std::int64_t>(stream.below(100'000'000))};
        if (stream.below(2) == 0) flow.links.push_back(140 + static_cast<std::uint32_t>(stream.below(3)));
        flow.count = 1 + 150 * static_cast<std::uint32_t>(stream.below(3));
        plan.push_back(flow);
      }
    ASSERT_EQ(finishes(capacities, plan), naive_finishes(capacities, plan)) << "case " << number;
  }
}

TEST(FlowNetwork, DependsNeitherOnTheOrderOfStartsNorOnTheNumbersOfLinks) {
  for (std::uint64_t number = 0; number < 200; ++number) {
    const RandomCase c(number);
    Stream stream(number, "test/flow_network/shuffle");
    const auto shuffled = [&](std::size_t n) {
      std::vector<std::size_t> order(n);
      std::iota(order.begin(), order.end(), 0);
      for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
      return order;
    };
    const auto link = shuffled(c.capacities.size()), flow = shuffled(c.plan.size());
    std::vector<double> capacities(c.capacities.size());
    for (std::size_t l = 0; l < link.size(); ++l) capacities[link[l]] = c.capacities[l];
    std::vector<PlannedFlow> plan(c.plan.size());
    for (std::size_t f = 0; f < flow.size(); ++f) {
      plan[flow[f]] = c.plan[f];
      for (std::uint32_t& l : plan[flow[f]].links) l = static_cast<std::uint32_t>(link[l]);
      std::reverse(plan[flow[f]].links.begin(), plan[flow[f]].links.end());
    }
    const auto finish = finishes(c.capacities, c.plan), again = finishes(capacities, plan);
    for (std::size_t f = 0; f < flow.size(); ++f) ASSERT_EQ(finish[f], again[flow[f]]) << "case " << number;
  }
}

TEST(FlowNetwork, TreatsAGroupAsItsFlowsOneByOne) {
  for (std::uint64_t number = 0; number < 100; ++number) {
    const RandomCase c(number);
    std::vector<PlannedFlow> single;
    for (PlannedFlow f : c.plan) {
      const std::uint32_t count = std::exchange(f.count, 1);
      single.insert(single.end(), count, f);
    }
    const auto finish = finishes(c.capacities, c.plan), one_by_one = finishes(c.capacities, single);
    std::size_t i = 0;
    for (std::size_t f = 0; f < c.plan.size(); ++f)
      for (std::uint32_t j = 0; j < c.plan[f].count; ++j) ASSERT_EQ(one_by_one[i++], finish[f]) << "case " << number;
  }
}

// Every port has one flow to each other port, all equal: one finish for all of them, and no rounding drives them apart.
TEST(FlowNetwork, EndsEqualFlowsOfAnAllToAllTogether) {
  const std::uint32_t n = 23;
  FlowNetwork network(links_of(std::vector<double>(2 * n, 50e9)));
  for (std::uint32_t a = 0; a < n; ++a)
    for (std::uint32_t b = 0; b < n; ++b)
      if (a != b) network.start(at(0), std::vector{a, n + b}, {1'000'003});
  std::vector<FlowId> finished;
  network.advance(network.next_time(), finished);
  EXPECT_EQ(finished.size(), n * (n - 1));
  EXPECT_EQ(network.next_time(), Instant::never());
}

// A start at the picosecond of a finish, told before it, does not put the finish off.
TEST(FlowNetwork, EndsWhatEndsNowAlsoAfterAStart) {
  FlowNetwork network(links_of({1e9, 1e9}));
  const FlowId a = network.start(at(0), std::vector<std::uint32_t>{0, 1}, {1'000});
  const Instant end = network.next_time();
  EXPECT_EQ(end.ps(), 1'000'000);
  const FlowId b = network.start(end, std::vector<std::uint32_t>{1}, {1'000});
  const FlowId c = network.start(end, std::vector<std::uint32_t>{0}, {500});
  EXPECT_EQ(network.next_time(), end);
  std::vector<FlowId> finished;
  network.advance(end, finished);
  EXPECT_EQ(finished, std::vector{a});
  EXPECT_EQ(network.next_time().ps(), 1'500'000);
  network.advance(network.next_time(), finished);
  network.advance(network.next_time(), finished);
  EXPECT_EQ(finished, (std::vector{a, c, b}));
  EXPECT_EQ(network.carried(0), 1500);
  EXPECT_EQ(network.carried(1), 2000);
}

// What two changes in a small part cost does not depend on how much else is in flight or idle.
TEST(FlowNetwork, LeavesUntouchedPartsAlone) {
  std::vector<std::uint64_t> work;
  for (const std::uint32_t others : {0u, 100u, 1100u}) {
    FlowNetwork network(links_of(std::vector<double>(4 + 4 * others, 1e9)));
    for (std::uint32_t i = 0; i < others; ++i) network.start(at(0), std::vector{4 + 4 * i, 5 + 4 * i}, {1'000'000'000});
    for (std::uint32_t l = 0; l < 3; ++l) network.start(at(0), std::vector{l, l + 1}, {1'000'000'000});
    const std::uint64_t before = network.work();
    network.start(at(1000), std::vector<std::uint32_t>{0, 1}, {1'000});
    std::vector<FlowId> finished;
    network.advance(network.next_time(), finished);
    EXPECT_EQ(finished.size(), 1u);
    work.push_back(network.work() - before);
  }
  EXPECT_LT(work[0], 30u);
  EXPECT_EQ(work[0], work[1]);
  EXPECT_EQ(work[0], work[2]);
}

TEST(FlowNetwork, ReusesTheNumberOfARemovedLinkWithFreshCounters) {
  FlowNetwork network(links_of({1e9}));
  const std::uint32_t port = network.add_link({5e8});
  network.start(at(0), std::vector<std::uint32_t>{0, port}, {1'000});
  std::vector<FlowId> finished;
  network.advance(network.next_time(), finished);
  EXPECT_EQ(network.carried(port), 1000);
  EXPECT_EQ(network.peak_rate(port), 5e8);
  network.remove_link(port);
  EXPECT_EQ(network.add_link({2e9}), port);
  EXPECT_EQ(network.carried(port), 0);
  EXPECT_EQ(network.peak_rate(port), 0);
  const Instant start = at(3 * second);
  const FlowId flow = network.start(start, std::vector<std::uint32_t>{0, port}, {1'000});
  EXPECT_EQ(network.rate(flow).value, 1e9);
  EXPECT_EQ((network.next_time() - start).ps(), 1'000'000);
}

}  // namespace
}  // namespace moesim
