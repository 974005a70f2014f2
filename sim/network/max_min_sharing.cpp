#include "network/max_min_sharing.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "core/check.h"

namespace moesim {
namespace {

constexpr Rate unlimited = std::numeric_limits<Rate>::max();

}  // namespace

std::uint32_t MaxMinSharing::add_link(Rate capacity) {
  MOESIM_CHECK(capacity > 0, "a link of capacity {} x 2^-12 B/s", capacity);
  std::uint32_t link;
  if (free_links_.empty()) {
    link = static_cast<std::uint32_t>(links_.size());
    links_.emplace_back();
    flows_on_.emplace_back();
    pairs_.add_link();
    if (link % LinkPairs::width == 0) {
      level_.resize(link + LinkPairs::width);
      elsewhere_.resize(link + LinkPairs::width);
      top_.resize(link + LinkPairs::width);
      for (Marks* marks : {&waits_, &idle_, &touched_}) marks->words.push_back(0);
    }
  } else {
    link = free_links_.back();
    free_links_.pop_back();
  }
  links_[link] = Link{.capacity = capacity};
  level_[link] = capacity;
  elsewhere_[link] = 0;
  top_[link] = 0;
  idle_.set(link);
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
    std::vector<std::uint32_t>& flows = flows_on_[path[i]];
    hops_[flows_[flow].first + i] = {path[i], static_cast<std::uint32_t>(flows.size())};
    flows.push_back(flow);
    link.count += weight;
    if (!link.entered) entered_.push_back(path[i]);
    link.entered = true;
  }
  return flow;
}

void MaxMinSharing::remove_flow(std::uint32_t flow) {
  const std::uint32_t owner = owner_[flow], weight = flows_[flow].weight;
  MOESIM_CHECK(owner != nobody, "flow {} is removed before its rate was found", flow);
  const auto rate = static_cast<std::uint64_t>(level_[owner]);
  links_[owner].lost = true;
  for (const Hop& hop : path(flow)) {
    Link& link = links_[hop.link];
    link.count -= weight;
    if (hop.link == owner) {
      link.owned -= weight;
    } else {
      elsewhere_[hop.link] -= rate * weight;
      pairs_.remove(owner, hop.link, weight, flow);
    }
    std::vector<std::uint32_t>& flows = flows_on_[hop.link];
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
  changes_.loads.clear();
  changes_.flows.clear();
  ++solve_;
  risen_.clear();
  risen_below_ = 0;
  for (const std::uint32_t link : entered_)
    // An equal share of all is the least that its new level can be.
    if (!waits_.has(link)) line_up(link, std::min(level_[link], links_[link].capacity / links_[link].count));
  entered_.clear();
  do {
    while (!waiting_.empty()) {
      const std::uint32_t link = waiting_.pop();
      if (!waiting_.empty()) pairs_.prefetch(waiting_.first());  // all rows together are more than a near cache holds
      look_at(link);
    }
    look_at_touched();
  } while (!waiting_.empty());
  return changes_;
}

void MaxMinSharing::wait(std::uint32_t link) {
  if (waits_.has(link)) return;
  if (idle_.has(link))
    touch(link / 64, Marks::bit(link));
  else
    line_up(link, level_[link]);
}

void MaxMinSharing::line_up(std::uint32_t link, Rate level) {
  waits_.set(link);
  waiting_.push(level, link);
}

void MaxMinSharing::touch(std::size_t word, std::uint64_t links) {
  if (touched_.words[word] == 0) touched_words_.push_back(static_cast<std::uint32_t>(word));
  touched_.words[word] |= links;
}

/// Puts those in line whose flows do not all stop elsewhere.
void MaxMinSharing::look_at_touched() {
  for (const std::uint32_t word : touched_words_) {
    for (std::uint64_t rest = std::exchange(touched_.words[word], 0); rest != 0; rest &= rest - 1) {
      const std::uint32_t link = word * 64 + static_cast<std::uint32_t>(std::countr_zero(rest));
      if (links_[link].capacity - static_cast<Rate>(elsewhere_[link]) >= links_[link].count)
        changes_.loads.push_back(link);
      else if (!waits_.has(link))
        line_up(link, level_[link]);
    }
  }
  touched_words_.clear();
}

void MaxMinSharing::look_at(std::uint32_t link) {
  Link& l = links_[link];
  waits_.clear(link);
  ++work_;
  if (l.seen != solve_) {
    l.seen = solve_;
    changes_.links.emplace_back(link, level_[link]);
  }
  if (l.entered) return give_and_take(link);
  const Rate level = unchallenged_level(link);
  if (l.lost) {
    // Its level rises. When it passes many others, it is better to give them flows than to have each take its own.
    l.lost = false;
    std::size_t passed = 0;
    for (const LinkPairs::Block& block : pairs_.onto(link))
      for (std::uint64_t rest = block.present; rest != 0; rest &= rest - 1)
        passed += level_[block.number * 64 + static_cast<std::size_t>(std::countr_zero(rest))] < level ? 1 : 0;
    if (passed > 4) return give_and_take(link);
  }
  if (level == 0) return take(link);
  set_level(link, level);
  if (l.owned == 0) idle_.set(link);
}

/// The level if every flow stops where it is owned; 0 where flows that are owned elsewhere might stop here instead.
/// They do not where each of them is slower by more units than there are flows: then one unit more for each was left at
/// every lower level.
Rate MaxMinSharing::unchallenged_level(std::uint32_t link) {
  const Link& l = links_[link];
  const auto left = static_cast<Rate>(static_cast<std::uint64_t>(l.capacity) - elsewhere_[link]);
  if (l.owned == 0) return left >= l.count ? l.capacity : 0;
  const Rate level = left / l.owned;
  top_[link] = top(link, level - l.count);
  return level > top_[link] + l.count ? level : 0;
}

/// A bound of the rates of the flows that others own, from those levels that rose: it may be too high below `level`.
Rate MaxMinSharing::top(std::uint32_t link, Rate level) {
  Rate top = std::max(top_[link], risen_below_);
  for (std::size_t i = 0; i < risen_.size();) {
    const auto [other, height] = risen_[i];
    if (height < level || (height > top && pairs_.meet(other, link))) top = std::max(top, height);
    if (height < level) {
      risen_below_ = std::max(risen_below_, height);
      risen_[i] = risen_.back();
      risen_.pop_back();
    } else {
      ++i;
    }
  }
  return top;
}

/// Sets the level with a look at the owners of all flows, and takes the flows that run above it.
void MaxMinSharing::take(std::uint32_t link) {
  const Link& l = links_[link];
  idle_.clear(link);
  const auto left = static_cast<Rate>(static_cast<std::uint64_t>(l.capacity) - elsewhere_[link]);
  // To take flows only raises the level, but for less than one unit a flow: owners below this floor keep theirs.
  const Rate floor = l.owned > 0 ? left / l.owned - l.count : 0;
  limit_.clear();
  limit_weight_.clear();
  near_.clear();
  Rate top = 0;
  Rate elsewhere = static_cast<Rate>(elsewhere_[link]);
  pairs_.each_owner(link, [&, levels = level_.data()](std::uint32_t owner) {
    const Rate limit = levels[owner];
    if (limit < floor) {
      top = std::max(top, limit);
    } else {
      near_.push_back(owner);
      limit_.push_back(limit);
      limit_weight_.push_back(pairs_.pair(owner, link).weight);
      elsewhere -= limit * limit_weight_.back();
    }
  });
  limit_.push_back(unlimited);
  limit_weight_.push_back(l.owned);
  const Rate level = water_level(link, elsewhere);
  set_level(link, level);
  under_review_ = link;
  std::int64_t taken = 0;  // still to be found
  for (std::size_t i = 0; i < near_.size(); ++i) {
    if (limit_[i] <= level)
      top = std::max(top, limit_[i]);
    else if (const std::uint32_t flow = pairs_.pair(near_[i], link).flows; is_all_of(flow, near_[i], link))
      hand_over(flow, link);
    else
      taken += limit_weight_[i];
  }
  const std::vector<std::uint32_t>& flows = flows_on_[link];
  for (std::size_t i = 0; taken > 0; ++i)
    if (level_[owner_[flows[i]]] > level) {
      taken -= flows_[flows[i]].weight;
      hand_over(flows[i], link);
    }
  under_review_ = nobody;
  top_[link] = top;
}

/// Whether `flow` is one over `link` and the only one there that `owner` owns.
bool MaxMinSharing::is_all_of(std::uint32_t flow, std::uint32_t owner, std::uint32_t link) const {
  if (flow >= flows_.size() || owner_[flow] != owner || flows_[flow].weight != pairs_.pair(owner, link).weight)
    return false;
  for (const Hop& hop : path(flow))
    if (hop.link == link) return true;
  return false;
}

/// The same flow by flow: also gives away the flows that another link stops below the level, and finds owners for new
/// flows.
void MaxMinSharing::give_and_take(std::uint32_t link) {
  links_[link].entered = links_[link].lost = false;
  idle_.clear(link);
  under_review_ = link;
  const std::vector<std::uint32_t>& flows = flows_on_[link];
  limit_.resize(flows.size());
  limit_weight_.resize(flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    std::uint32_t lowest = owner_[flows[i]];
    if (lowest == link || lowest == nobody) lowest = lowest_other(flows[i], link);
    limit_[i] = lowest == nobody ? unlimited : level_[lowest];
    limit_weight_[i] = flows_[flows[i]].weight;
  }
  const Rate level = water_level(link, 0);
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
  top_[link] = top;
  under_review_ = nobody;
}

/// The level at which flows stop that the rest of their paths allows `limit_`, beside others that take `elsewhere`, by
/// Newton's method on the concave sum of min(limit, level), from the left: flows below a level that is surely not too
/// high stop elsewhere, and what they leave raises the level of the others.
Rate MaxMinSharing::water_level(std::uint32_t link, Rate elsewhere) const {
  const Link& l = links_[link];
  const std::size_t size = limit_.size();
  // From wherever it starts, one step leads to the left of the solution, but for less than one unit a flow of ties and
  // the rounding of this first sum, which may be far above the capacity.
  const Rate start = level_[link];
  double sum = static_cast<double>(elsewhere), others = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const bool stops = limit_[i] < start;
    const auto weight = static_cast<double>(limit_weight_[i]);
    sum += stops ? static_cast<double>(limit_[i]) * weight : 0;
    others += stops ? 0 : weight;
  }
  const double left = static_cast<double>(l.capacity) * (1 - 1e-9) - sum * (1 + 1e-9);
  Rate level = left > 0 && others > 0 ? static_cast<Rate>(left / others) - l.count : 0;
  for (std::int64_t before = -1;;) {
    Rate below = elsewhere;
    std::int64_t above = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const bool stops = limit_[i] < level;
      below += stops ? limit_[i] * limit_weight_[i] : 0;
      above += stops ? 0 : limit_weight_[i];
    }
    if (above == 0) return l.capacity;
    level = (l.capacity - below) / above;
    MOESIM_CHECK(level > 0, "{} flows share {} x 2^-12 B/s of link {}", l.count, l.capacity, link);
    if (above == before) return level;
    before = above;
  }
}

void MaxMinSharing::set_level(std::uint32_t link, Rate level) {
  const Rate rise = level - level_[link];
  if (rise == 0) return;
  level_[link] = level;
  if (links_[link].owned == 0) return;
  if (rise > 0) risen_.emplace_back(link, level);
  pairs_.spread(link, rise, elsewhere_.data());
  for (const LinkPairs::Block& block : pairs_.onto(link)) {
    const std::uint64_t idle = idle_.words[block.number];
    if ((block.present & idle & ~touched_.words[block.number]) != 0) touch(block.number, block.present & idle);
    for (std::uint64_t rest = block.present & ~idle & ~waits_.words[block.number]; rest != 0; rest &= rest - 1) {
      const std::uint32_t other = block.number * 64 + static_cast<std::uint32_t>(std::countr_zero(rest));
      line_up(other, level_[other]);
    }
  }
}

void MaxMinSharing::hand_over(std::uint32_t flow, std::uint32_t to) {
  const std::uint32_t from = owner_[flow], weight = flows_[flow].weight;
  if (flows_[flow].seen != solve_) {
    flows_[flow].seen = solve_;
    changes_.flows.emplace_back(flow, from);
  }
  const Rate rate = level_[to], rate_before = from == nobody ? 0 : level_[from];
  owner_[flow] = to;
  if (links_[to].owned == 0) {
    idle_.clear(to);
    if (to != under_review_) top_[to] = unlimited - links_[to].count;  // not known
  }
  for (const Hop& hop : path(flow)) {
    const std::uint32_t link = hop.link;
    if (link == from)
      links_[link].owned -= weight;
    else
      elsewhere_[link] -= static_cast<std::uint64_t>(rate_before) * weight;
    if (link == to) {
      links_[link].owned += weight;
    } else {
      elsewhere_[link] += static_cast<std::uint64_t>(rate) * weight;
      top_[link] = std::max(top_[link], rate);
      pairs_.add(to, link, weight, flow);
    }
    if (from != nobody && link != from) pairs_.remove(from, link, weight, flow);
    // A new owner at the same level changes no rate, and so no level.
    if (rate != rate_before && link != under_review_) wait(link);
  }
}

/// The link of lowest level on the path of the flow, `link` aside; `nobody` where there is none.
std::uint32_t MaxMinSharing::lowest_other(std::uint32_t flow, std::uint32_t link) const {
  std::uint32_t lowest = nobody;
  for (const Hop& hop : path(flow))
    if (hop.link != link && (lowest == nobody || level_[hop.link] < level_[lowest])) lowest = hop.link;
  return lowest;
}

}  // namespace moesim
