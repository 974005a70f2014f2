#include "serving/network_use.h"

#include <algorithm>
#include <map>
#include <utility>

namespace moesim {

std::string link_name(const Topology& topology, LinkId link) {
  const Link& ends = topology.links()[link.value];
  return topology.vertices()[ends.from].name + "->" + topology.vertices()[ends.to].name;
}

NetworkUse network_use(const std::vector<std::unique_ptr<Replica>>& replicas, const Topology& topology, Instant end) {
  std::map<LinkId, LinkTotals> totals;
  CarriedBytes bytes{}, peak{}, rate{};
  for (const auto& replica : replicas) {
    const NetworkTotals& sampled = replica->network();
    if (sampled.tokens == 0) continue;
    const double scale = static_cast<double>(replica->totals().step_tokens) / static_cast<double>(sampled.tokens);
    for (const auto& [link, own] : sampled.links) {
      LinkTotals& sum = totals[link];
      sum.bytes += own.bytes * scale;
      sum.peak_per_second += own.peak_per_second;
      bytes[static_cast<std::size_t>(topology.links()[link.value].kind)] += own.bytes * scale;
    }
    for (std::size_t i = 0; i < peak.size(); ++i) peak[i] += sampled.peak_per_second[i];
  }
  NetworkUse use;
  if (end == Instant()) return use;
  for (const LinkClassSummary& links : summarize_links(topology)) {
    rate[static_cast<std::size_t>(links.kind)] += links.line_rate.value * static_cast<double>(links.links);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] <= 0 || rate[i] <= 0) continue;
    use.classes.push_back({std::string(name(static_cast<LinkKind>(i))), bytes[i], bytes[i] / (rate[i] * end.seconds()),
                           peak[i] / rate[i]});
  }
  std::vector<std::pair<double, LinkId>> order;
  for (const auto& [link, sum] : totals) {
    order.emplace_back(-sum.bytes / topology.links()[link.value].rate.bandwidth.value, link);
  }
  std::sort(order.begin(), order.end());
  if (order.size() > kMostLinks) {
    use.links_left_out = static_cast<std::int64_t>(order.size() - kMostLinks);
    order.resize(kMostLinks);
  }
  for (const auto& [busy, link] : order) {
    const Link& ends = topology.links()[link.value];
    const double line_rate = ends.rate.bandwidth.value;
    const LinkTotals& sum = totals[link];
    use.links.push_back({topology.vertices()[ends.from].name, topology.vertices()[ends.to].name,
                         std::string(name(ends.kind)), sum.bytes, sum.bytes / (line_rate * end.seconds()),
                         sum.peak_per_second / line_rate});
  }
  return use;
}

}  // namespace moesim
