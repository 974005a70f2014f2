#include "serving/link_lanes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "serving/network_use.h"

namespace moesim {

namespace {

/// A collective starts or ends on a link.
struct RateChange {
  Instant time;
  double bytes_per_second = 0;
  int collectives = 0;  ///< + 1 or - 1
};

/// Every collective of a traced step that reaches into the window: `see(start, duration, bytes)`.
template <class See>
void for_each_collective(const std::vector<std::unique_ptr<Replica>>& replicas, StepCost& cost, Instant from,
                         Instant to, See&& see) {
  for (const auto& replica : replicas) {
    for (const TracedStep& step : replica->traced_steps()) {
      cost.show_link_traffic(step.batches, step.draw, replica->first_gpu(),
                             [&](Duration start, Duration duration, const LinkBytes& bytes) {
                               const Instant begin = step.start + start, end = begin + duration;
                               if (begin < to && end > from) see(begin, duration, bytes);
                             });
    }
  }
}

std::vector<LinkId> busiest_links(const std::map<LinkId, double>& bytes, const Topology& topology) {
  std::vector<std::pair<double, LinkId>> order;
  for (const auto& [link, sum] : bytes) {
    order.emplace_back(-sum / topology.links()[link.value].rate.bandwidth.value, link);
  }
  std::sort(order.begin(), order.end());
  if (order.size() > kMostLanes) order.resize(kMostLanes);
  std::vector<LinkId> links;
  for (const auto& [busy, link] : order) links.push_back(link);
  return links;
}

}  // namespace

std::vector<TraceEvent> link_lanes(const std::vector<std::unique_ptr<Replica>>& replicas, StepCost& cost, Instant from,
                                   Instant to) {
  const Topology& topology = cost.topology();
  std::map<LinkId, double> sums;
  for_each_collective(replicas, cost, from, to, [&](Instant, Duration, const LinkBytes& bytes) {
    for (const LinkId link : bytes.used()) sums[link] += bytes[link];
  });
  const std::vector<LinkId> links = busiest_links(sums, topology);
  std::vector<std::vector<RateChange>> changes(links.size());
  for_each_collective(replicas, cost, from, to, [&](Instant begin, Duration duration, const LinkBytes& bytes) {
    for (std::size_t i = 0; i < links.size(); ++i) {
      if (bytes[links[i]] == 0) continue;
      const double rate = bytes[links[i]] / duration.seconds();
      changes[i].push_back({begin, rate, 1});
      changes[i].push_back({begin + duration, -rate, -1});
    }
  });
  std::vector<TraceEvent> events;
  for (std::size_t i = 0; i < links.size(); ++i) {
    std::stable_sort(changes[i].begin(), changes[i].end(),
                     [](const RateChange& a, const RateChange& b) { return a.time < b.time; });
    double rate = 0;
    int running = 0;
    for (std::size_t c = 0; c < changes[i].size(); ++c) {
      running += changes[i][c].collectives;
      rate = running == 0 ? 0 : rate + changes[i][c].bytes_per_second;
      if (c + 1 < changes[i].size() && changes[i][c + 1].time == changes[i][c].time) continue;
      TraceEvent event;
      event.name = link_name(topology, links[i]);
      event.start = changes[i][c].time;
      event.link_bytes_per_second = rate;
      events.push_back(std::move(event));
    }
  }
  return events;
}

}  // namespace moesim
