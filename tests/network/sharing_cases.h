#pragma once
// Flows with their starts, random sets of them, and their finishes in a `FlowNetwork`.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

#include "core/random.h"
#include "network/flow_network.h"

namespace moesim {

struct PlannedFlow {
  std::int64_t start = 0;  ///< ps
  std::vector<std::uint32_t> links;
  std::int64_t bytes = 0;
  std::uint32_t count = 1;
};

inline std::vector<BytesPerSecond> links_of(const std::vector<double>& capacities) {
  std::vector<BytesPerSecond> links;
  for (const double c : capacities) links.push_back({c});
  return links;
}

inline Instant at(std::int64_t ps) {
  return Instant::at(Duration::picoseconds(ps));
}

/// Runs the plan (starts in the order given within a time) and returns every flow's finish in ps.
inline std::vector<std::int64_t> finishes(const std::vector<double>& capacities, const std::vector<PlannedFlow>& plan) {
  FlowNetwork network(links_of(capacities));
  std::vector<std::size_t> order(plan.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return plan[a].start < plan[b].start; });
  std::vector<std::int64_t> finish(plan.size(), -1);
  std::vector<std::size_t> flow_of;
  std::vector<FlowId> finished;
  for (std::size_t next = 0; next < order.size() || network.next_time() < Instant::never();) {
    const Instant start = next < order.size() ? at(plan[order[next]].start) : Instant::never();
    if (network.next_time() <= start) {
      const Instant now = network.next_time();
      finished.clear();
      network.advance(now, finished);
      EXPECT_FALSE(finished.empty());
      EXPECT_TRUE(std::is_sorted(finished.begin(), finished.end()));
      for (const FlowId flow : finished) finish[flow_of[flow.value]] = now.ps();
    } else {
      for (; next < order.size() && at(plan[order[next]].start) == start; ++next) {
        const PlannedFlow& f = plan[order[next]];
        const FlowId id = network.start(start, f.links, {f.bytes}, f.count);
        EXPECT_EQ(id.value, flow_of.size());
        flow_of.push_back(order[next]);
      }
    }
  }
  for (std::uint32_t link = 0; link < capacities.size(); ++link) {
    double bytes = 0;
    for (const PlannedFlow& f : plan)
      if (std::count(f.links.begin(), f.links.end(), link) > 0) bytes += static_cast<double>(f.bytes) * f.count;
    EXPECT_EQ(network.carried(link), bytes) << "link " << link;
    EXPECT_LE(network.peak_rate(link), std::ceil(capacities[link] * 4096) / 4096);
  }
  return finish;
}

/// Random links and flows. Capacities and sizes come from few values in every other case, so that ties are common.
struct RandomCase {
  explicit RandomCase(std::uint64_t number) {
    Stream stream(number, "test/flow_network");
    const bool ties = number % 2 == 0;
    const std::size_t links = 1 + stream.below(12), flows = 1 + stream.below(40);
    for (std::size_t l = 0; l < links; ++l)
      capacities.push_back(ties ? 1e9 * static_cast<double>(1 + stream.below(3))
                                : 1e8 * std::exp(3 * stream.uniform()));
    std::int64_t now = 0;
    for (std::size_t f = 0; f < flows; ++f) {
      PlannedFlow flow;
      if (stream.below(3) == 0)
        now += static_cast<std::int64_t>(ties ? stream.below(5) * 1'000'000 : stream.below(1'000'000'000));
      flow.start = now;
      std::set<std::uint32_t> chosen;
      for (std::size_t hops = 1 + stream.below(std::min<std::size_t>(links, 4)); chosen.size() < hops;)
        chosen.insert(static_cast<std::uint32_t>(stream.below(links)));
      flow.links.assign(chosen.begin(), chosen.end());
      flow.bytes = ties ? static_cast<std::int64_t>(1 + stream.below(4)) * 1'000
                        : 1 + static_cast<std::int64_t>(stream.below(1'000'000));
      flow.count = 1 + static_cast<std::uint32_t>(stream.below(ties ? 2 : 5));
      plan.push_back(flow);
    }
  }
  std::vector<double> capacities;
  std::vector<PlannedFlow> plan;
};

}  // namespace moesim
