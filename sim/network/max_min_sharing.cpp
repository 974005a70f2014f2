#include "network/max_min_sharing.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "core/check.h"

namespace moesim {
namespace {

constexpr Rate unlimited = std::numeric_limits<Rate>::max();

/// The place of `x`; without an early exit, so that compilers compare several at once.
std::size_t place_of(const std::vector<std::uint32_t>& values, std::uint32_t x) {
  std::uint32_t place = UINT32_MAX;
  const auto size = static_cast<std::uint32_t>(values.size());
  for (std::uint32_t i = 0; i < size; ++i) place = values[i] == x ? i : place;
  return place;
}

}  // namespace

std::uint32_t MaxMinSharing::add_link(Rate capacity) {
  MOESIM_CHECK(capacity > 0, "a link of capacity {} x 2^-12 B/s", capacity);
  std::uint32_t link;
  if (free_links_.empty()) {
    link = static_cast<std::uint32_t>(links_.size());
    links_.emplace_back();
    members_.emplace_back();
  } else {
    link = free_links_.back();
    free_links_.pop_back();
  }
  Link fresh;
  fresh.capacity = fresh.level = capacity;
  fresh.waits = links_[link].waits;  // a removed link may still wait in line
  links_[link] = fresh;
  return link;
}

void MaxMinSharing::remove_link(std::uint32_t link) {
  MOESIM_CHECK(links_[link].count == 0, "link {} is removed with {} flows on it", link, links_[link].count);
  free_links_.push_back(link);
}

std::uint32_t MaxMinSharing::add_flow(std::span<const std::uint32_t> path, std::uint32_t weight) {
  MOESIM_CHECK(!path.empty() && weight > 0, "a flow over {} links of weight {}", path.size(), weight);
  if (free_flows_.size() <= path.size()) free_flows_.resize(path.size() + 1);
  std::vector<std::uint32_t>& free = free_flows_[path.size()];
  std::uint32_t flow;
  if (free.empty()) {
    flow = static_cast<std::uint32_t>(flows_.size());
    flows_.push_back(
        {.first = static_cast<std::uint32_t>(hops_.size()), .hops = static_cast<std::uint32_t>(path.size())});
    owner_.push_back(nobody);
    hops_.resize(hops_.size() + path.size());
  } else {
    flow = free.back();
    free.pop_back();
  }
  flows_[flow].weight = weight;
  owner_[flow] = nobody;
  for (std::size_t i = 0; i < path.size(); ++i) {
    Link& link = links_[path[i]];
    std::vector<std::uint32_t>& flows = members_[path[i]].flows;
    hops_[flows_[flow].first + i] = {path[i], static_cast<std::uint32_t>(flows.size())};
    flows.push_back(flow);
    link.count += weight;
    link.review = true;
    if (!link.entered) entered_.push_back(path[i]);
    link.entered = true;
  }
  return flow;
}

void MaxMinSharing::remove_flow(std::uint32_t flow) {
  const std::uint32_t owner = owner_[flow], weight = flows_[flow].weight;
  MOESIM_CHECK(owner != nobody, "flow {} is removed before its rate was found", flow);
  const auto rate = static_cast<std::uint64_t>(links_[owner].level);
  links_[owner].review = true;  // its level will rise: better to give flows away than to have them taken one by one
  for (const Hop& hop : path(flow)) {
    Link& link = links_[hop.link];
    link.count -= weight;
    if (hop.link == owner) {
      link.owned -= weight;
    } else {
      link.elsewhere -= rate * weight;
      uncount_pair(owner, hop.link, weight);
    }
    std::vector<std::uint32_t>& flows = members_[hop.link].flows;
    const std::uint32_t last = flows.back();
    flows[hop.place] = last;
    flows.pop_back();
    for (Hop& moved : path(last))
      if (moved.link == hop.link) moved.place = hop.place;
    wait(hop.link);
  }
  owner_[flow] = nobody;
  free_flows_[flows_[flow].hops].push_back(flow);
}

const MaxMinSharing::Changes& MaxMinSharing::solve() {
  changes_.links.clear();
  changes_.flows.clear();
  ++solve_;
  for (const std::uint32_t link : entered_) {
    Link& l = links_[link];
    l.entered = false;
    if (l.waits) continue;
    l.waits = true;
    // An equal share of all is the least that its new level can be.
    waiting_.emplace_back(l.count > 0 ? std::min(l.level, l.capacity / l.count) : l.level, link);
    std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
  }
  entered_.clear();
  while (!waiting_.empty()) {
    std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    const std::uint32_t link = waiting_.back().second;
    waiting_.pop_back();
    look_at(link);
  }
  return changes_;
}

void MaxMinSharing::wait(std::uint32_t link) {
  Link& l = links_[link];
  if (l.waits) return;
  l.waits = true;
  waiting_.emplace_back(l.level, link);
  std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
}

void MaxMinSharing::look_at(std::uint32_t link) {
  Link& l = links_[link];
  l.waits = false;
  ++work_;
  if (l.seen != solve_) {
    l.seen = solve_;
    changes_.links.emplace_back(link, l.level);
  }
  if (l.review) return review(link);
  const auto left = static_cast<Rate>(static_cast<std::uint64_t>(l.capacity) - l.elsewhere);
  // If every flow owned elsewhere is slower by more units than there are flows, then none of them stops here: at any
  // lower level at least one unit was left for each.
  if (l.owned == 0) {
    if (left >= l.count) return set_level(link, l.capacity);
  } else {
    const Rate level = left / l.owned;
    if (level > l.top + l.count) return set_level(link, level);
  }
  review(link);
}

/// The same with a look at every flow: finds the level from what the rest of each path allows, gives away the flows
/// that another link holds below it and takes those that run above it.
void MaxMinSharing::review(std::uint32_t link) {
  Link& l = links_[link];
  l.review = false;
  under_review_ = link;
  gather(link);
  const Rate level = water_level(l);
  MOESIM_CHECK(level > 0, "{} flows share {} x 2^-12 B/s of link {}", l.count, l.capacity, link);
  const std::vector<std::uint32_t>& flows = members_[link].flows;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const std::uint32_t owner = owner_[flows[i]];
    if (limit_[i] < level && (owner == link || owner == nobody)) hand_over(flows[i], lowest_other(flows[i], link));
  }
  set_level(link, level);
  Rate top = 0;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const std::uint32_t owner = owner_[flows[i]];
    if (owner == link) continue;
    if (limit_[i] > level || owner == nobody)
      hand_over(flows[i], link);
    else
      top = std::max(top, limit_[i]);
  }
  l.top = top;
  under_review_ = nobody;
}

/// What the rest of its path allows each flow of the link, and its weight.
void MaxMinSharing::gather(std::uint32_t link) {
  const std::vector<std::uint32_t>& flows = members_[link].flows;
  limit_.resize(flows.size());
  limit_weight_.resize(flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const std::uint32_t owner = owner_[flows[i]];
    std::uint32_t lowest = owner;
    if (owner == link || owner == nobody) lowest = lowest_other(flows[i], link);
    limit_[i] = lowest == nobody ? unlimited : links_[lowest].level;
    limit_weight_[i] = flows_[flows[i]].weight;
  }
}

/// Newton's method on the concave sum of min(limit, level), from the left: flows below a level that is surely not too
/// high stop elsewhere, and what they leave raises the level of the others.
Rate MaxMinSharing::water_level(const Link& link) const {
  const std::size_t flows = limit_.size();
  // From wherever it starts, one step leads to the left of the solution, but for less than one unit a flow of ties and
  // the rounding of this first sum, which may be far above the capacity.
  double sum = 0, others = 0;
  for (std::size_t i = 0; i < flows; ++i) {
    const bool stops = limit_[i] < link.level;
    const auto weight = static_cast<double>(limit_weight_[i]);
    sum += stops ? static_cast<double>(limit_[i]) * weight : 0;
    others += stops ? 0 : weight;
  }
  const double left = static_cast<double>(link.capacity) * (1 - 1e-9) - sum * (1 + 1e-9);
  Rate level = left > 0 && others > 0 ? static_cast<Rate>(left / others) - link.count : 0;
  for (std::int64_t before = -1;;) {
    Rate below = 0;
    std::int64_t above = 0;
    for (std::size_t i = 0; i < flows; ++i) {
      const bool stops = limit_[i] < level;
      below += stops ? limit_[i] * limit_weight_[i] : 0;
      above += stops ? 0 : limit_weight_[i];
    }
    if (above == 0) return link.capacity;
    level = (link.capacity - below) / above;
    if (above == before) return level;
    before = above;
  }
}

void MaxMinSharing::set_level(std::uint32_t link, Rate level) {
  Link& l = links_[link];
  if (level == l.level) return;
  const auto rise = static_cast<std::uint64_t>(level - l.level);
  l.level = level;
  const Members& members = members_[link];
  for (std::size_t i = 0; i < members.other.size(); ++i) {
    Link& other = links_[members.other[i]];
    other.elsewhere += rise * members.weight[i];
    other.top = std::max(other.top, level);
    wait(members.other[i]);
  }
}

void MaxMinSharing::hand_over(std::uint32_t flow, std::uint32_t to) {
  const std::uint32_t from = owner_[flow], weight = flows_[flow].weight;
  if (flows_[flow].seen != solve_) {
    flows_[flow].seen = solve_;
    changes_.flows.emplace_back(flow, from);
  }
  const Rate rate = links_[to].level, rate_before = from == nobody ? 0 : links_[from].level;
  owner_[flow] = to;
  for (const Hop& hop : path(flow)) {
    Link& link = links_[hop.link];
    if (hop.link == from)
      link.owned -= weight;
    else
      link.elsewhere -= static_cast<std::uint64_t>(rate_before) * weight;
    if (hop.link == to) {
      link.owned += weight;
    } else {
      link.elsewhere += static_cast<std::uint64_t>(rate) * weight;
      link.top = std::max(link.top, rate);
      count_pair(to, hop.link, weight);
    }
    if (from != nobody && hop.link != from) uncount_pair(from, hop.link, weight);
    // A new owner at the same level changes no rate, and so no level.
    if (rate != rate_before && hop.link != under_review_) wait(hop.link);
  }
}

/// The link of lowest level on the path of the flow, `link` aside; `nobody` where there is none.
std::uint32_t MaxMinSharing::lowest_other(std::uint32_t flow, std::uint32_t link) const {
  std::uint32_t lowest = nobody;
  for (const Hop& hop : path(flow))
    if (hop.link != link && (lowest == nobody || links_[hop.link].level < links_[lowest].level)) lowest = hop.link;
  return lowest;
}

void MaxMinSharing::count_pair(std::uint32_t owner, std::uint32_t other, std::uint32_t weight) {
  Members& members = members_[owner];
  const std::size_t place = place_of(members.other, other);
  if (place < members.other.size()) {
    members.weight[place] += weight;
  } else {
    members.other.push_back(other);
    members.weight.push_back(weight);
  }
}

void MaxMinSharing::uncount_pair(std::uint32_t owner, std::uint32_t other, std::uint32_t weight) {
  Members& members = members_[owner];
  const std::size_t place = place_of(members.other, other);
  members.weight[place] -= weight;
  if (members.weight[place] > 0) return;
  members.other[place] = members.other.back();
  members.weight[place] = members.weight.back();
  members.other.pop_back();
  members.weight.pop_back();
}

}  // namespace moesim
