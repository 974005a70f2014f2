#pragma once
// Max-min sharing written as its definition says, every rate from scratch at every change: what the tests compare with.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "network/sharing_cases.h"

namespace moesim {

/// Rates in 2^-12 B/s. All rise together; the links that cannot give one more unit to each of their rising flows stop
/// them, all such links at once.
inline std::vector<std::int64_t> naive_rates(const std::vector<double>& capacities,
                                             const std::vector<const PlannedFlow*>& flows) {
  std::vector<std::int64_t> rate(flows.size(), -1);
  for (std::size_t stopped = 0; stopped < flows.size();) {
    std::vector<std::int64_t> left(capacities.size()), rising(capacities.size());
    for (std::size_t l = 0; l < capacities.size(); ++l) left[l] = std::llrint(capacities[l] * 4096);
    for (std::size_t f = 0; f < flows.size(); ++f)
      for (const std::uint32_t l : flows[f]->links) {
        if (rate[f] >= 0)
          left[l] -= rate[f] * flows[f]->count;
        else
          rising[l] += flows[f]->count;
      }
    std::int64_t level = INT64_MAX;
    for (std::size_t l = 0; l < capacities.size(); ++l)
      if (rising[l] > 0) level = std::min(level, left[l] / rising[l]);
    const std::vector<std::int64_t> before = rate;
    for (std::size_t f = 0; f < flows.size(); ++f) {
      if (before[f] >= 0) continue;
      for (const std::uint32_t l : flows[f]->links)
        if (left[l] / rising[l] == level) rate[f] = level;
      if (rate[f] >= 0) ++stopped;
    }
  }
  return rate;
}

/// The finish of every flow in ps.
inline std::vector<std::int64_t> naive_finishes(const std::vector<double>& capacities,
                                                const std::vector<PlannedFlow>& plan) {
  __extension__ typedef __int128 Wide;
  std::vector<std::int64_t> finish(plan.size(), -1);
  std::vector<Wide> left(plan.size());
  for (std::size_t f = 0; f < plan.size(); ++f) left[f] = static_cast<Wide>(plan[f].bytes) * 4096 * 1'000'000'000'000;
  for (std::int64_t now = 0;;) {
    std::vector<std::size_t> active;
    std::vector<const PlannedFlow*> flows;
    std::int64_t next = INT64_MAX;
    for (std::size_t f = 0; f < plan.size(); ++f) {
      if (finish[f] >= 0) continue;
      if (plan[f].start > now) {
        next = std::min(next, plan[f].start);
      } else {
        active.push_back(f);
        flows.push_back(&plan[f]);
      }
    }
    const std::vector<std::int64_t> rate = naive_rates(capacities, flows);
    for (std::size_t i = 0; i < active.size(); ++i)
      next = std::min(next, now + static_cast<std::int64_t>((left[active[i]] + rate[i] - 1) / rate[i]));
    if (next == INT64_MAX) return finish;
    for (std::size_t i = 0; i < active.size(); ++i) {
      left[active[i]] -= static_cast<Wide>(next - now) * rate[i];
      if (left[active[i]] <= 0) finish[active[i]] = next;
    }
    now = next;
  }
}

}  // namespace moesim
