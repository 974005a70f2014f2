#pragma once
// Max-min fair rates of flows that cross links with capacities, kept up to date while flows come and go.
//
// Rates are whole numbers of 2^-12 B/s, and the fair ones are defined by filling: all flows rise together, one unit at
// a time; when some links cannot give one more unit to each of their rising flows, all flows of all those links stop
// [bertsekas-gallager, section 6.5.2]. So the rates depend on the flows and the links, not on the order of either.
//
// The level of a link is the rate at which it stops flows: with C its capacity and r the rates that other links allow,
//     level = floor((C - sum of the r < level) / number of the other flows),
// and C when all its flows stop elsewhere. A flow runs at the lowest level on its path; one link with that level owns
// it. Levels that satisfy this are unique (by induction from the lowest one), so a change is followed from link to link
// until nothing moves: links are looked at in the order of their levels, since a level depends on lower ones only.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "network/level_queue.h"
#include "network/link_pairs.h"

namespace moesim {

/// Whole units of 2^-12 B/s: 64 bits hold up to 2 * 10^15 B/s.
using Rate = std::int64_t;
inline constexpr double kRateUnits = 4096;  ///< units in 1 B/s

class MaxMinSharing {
 public:
  static constexpr std::uint32_t nobody = UINT32_MAX;

  /// What one `solve` did. A link or flow appears once, with its value before; where it ends is asked from the class.
  struct Changes {
    std::vector<std::pair<std::uint32_t, Rate>> links;           ///< looked at: link, level before
    std::vector<std::uint32_t> loads;                            ///< not looked at, with another load
    std::vector<std::pair<std::uint32_t, std::uint32_t>> flows;  ///< handed over: flow, owner before or `nobody`
  };

  /// `capacity` > 0. Takes the id of a removed link first.
  std::uint32_t add_link(Rate capacity);
  /// No flow crosses it.
  void remove_link(std::uint32_t link);
  /// `weight` equal flows that count as one. The links of `path` are distinct. Takes the id of a removed flow first.
  std::uint32_t add_flow(std::span<const std::uint32_t> path, std::uint32_t weight);
  /// After a `solve` since it was added.
  void remove_flow(std::uint32_t flow);

  bool solved() const { return waiting_.empty() && entered_.empty() && touched_words_.empty(); }
  /// Makes all levels right. The answer is valid until the next call.
  const Changes& solve();

  // Right after `solve`.
  Rate level(std::uint32_t link) const { return level_[link]; }
  /// Whether it is among the links of `Changes`.
  bool looked_at(std::uint32_t link) const { return links_[link].seen == solve_; }
  std::uint32_t owner(std::uint32_t flow) const { return owner_[flow]; }
  /// Rate of all flows of the link together.
  Rate load(std::uint32_t link) const {
    return static_cast<Rate>(elsewhere_[link]) + links_[link].owned * level_[link];
  }

  std::span<const std::uint32_t> flows_on(std::uint32_t link) const { return flows_on_[link]; }
  std::size_t path_length(std::uint32_t flow) const { return flows_[flow].hops; }
  std::uint32_t link_of(std::uint32_t flow, std::size_t hop) const { return hops_[flows_[flow].first + hop].link; }
  std::uint32_t weight(std::uint32_t flow) const { return flows_[flow].weight; }
  std::size_t link_slots() const { return links_.size(); }
  /// How many times a link was looked at so far.
  std::uint64_t work() const { return work_; }

 private:
  struct Link {
    Rate capacity = 0;
    std::int64_t owned = 0, count = 0;  // flows owned here, all flows (weights)
    std::uint32_t seen = 0;             // the last `solve` that looked at it
    bool entered = false;               // has flows without an owner
    bool lost = false;                  // flows that it owned have ended
  };
  /// A bit by link, in words of the width of the blocks of `pairs_`.
  struct Marks {
    std::vector<std::uint64_t> words;
    static std::uint64_t bit(std::uint32_t link) { return std::uint64_t{1} << link % 64; }
    bool has(std::uint32_t link) const { return (words[link / 64] & bit(link)) != 0; }
    void set(std::uint32_t link) { words[link / 64] |= bit(link); }
    void clear(std::uint32_t link) { words[link / 64] &= ~bit(link); }
  };
  struct Flow {
    std::uint32_t first = 0, hops = 0, weight = 0, seen = 0;
  };
  struct Hop {
    std::uint32_t link = 0, place = 0;  // place: in flows_on_ of the link
  };

  void wait(std::uint32_t link);
  void line_up(std::uint32_t link, Rate level);
  void touch(std::size_t word, std::uint64_t links);
  void look_at_touched();
  void look_at(std::uint32_t link);
  Rate unchallenged_level(std::uint32_t link);
  Rate top(std::uint32_t link, Rate level);
  void take(std::uint32_t link);
  bool is_all_of(std::uint32_t flow, std::uint32_t owner, std::uint32_t link) const;
  void give_and_take(std::uint32_t link);
  Rate water_level(std::uint32_t link, Rate elsewhere) const;
  void set_level(std::uint32_t link, Rate level);
  void hand_over(std::uint32_t flow, std::uint32_t to);
  std::uint32_t lowest_other(std::uint32_t flow, std::uint32_t link) const;
  std::span<Hop> path(std::uint32_t flow) { return {hops_.data() + flows_[flow].first, flows_[flow].hops}; }
  std::span<const Hop> path(std::uint32_t flow) const { return {hops_.data() + flows_[flow].first, flows_[flow].hops}; }

  std::vector<Link> links_;
  // By link, apart from the rest, since a change of one level goes through many of them; in whole blocks of `pairs_`.
  std::vector<Rate> level_;
  std::vector<std::uint64_t> elsewhere_;  // rate of the flows that other links own; modulo 2^64 until all is solved
  std::vector<Rate> top_;  // no flow owned elsewhere is faster, but for levels that rose since it was looked at
  Marks waits_;
  Marks idle_;     // owns no flow and its level is its capacity: it has only to be looked at when its load reaches that
  Marks touched_;  // idle ones whose load may have changed
  std::vector<std::uint32_t> touched_words_;          // of touched_
  std::vector<std::vector<std::uint32_t>> flows_on_;  // by link
  LinkPairs pairs_;
  std::vector<std::uint32_t> free_links_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> owner_;
  std::vector<Hop> hops_;
  std::vector<std::vector<std::uint32_t>> free_flows_;  // by length of path
  std::vector<std::uint32_t> entered_;                  // links with a new flow
  LevelQueue waiting_;
  std::vector<std::uint32_t> near_;         // owners of flows of a link under review
  std::vector<Rate> limit_, limit_weight_;  // of a link under review: what the rest of a path allows, how many flows
  std::uint32_t under_review_ = nobody;
  // Links that own flows and whose levels rose in this `solve`: those about as high as the last link looked at, or
  // higher, and the highest level of the others.
  std::vector<std::pair<std::uint32_t, Rate>> risen_;
  Rate risen_below_ = 0;
  std::uint32_t solve_ = 0;
  std::uint64_t work_ = 0;
  Changes changes_;
};

}  // namespace moesim
