#include "routing/gate.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

constexpr std::size_t most_experts = 4096;
constexpr std::size_t most_groups = 64;
constexpr std::size_t most_draws = 64;

/// Standard exponential from one word: -log of a uniform (w + 1/2) / 2^32. The logarithm is a table at 256 points of
/// [1, 2) and the series of the rest, below 1e-11 absolute.
class ExponentialTable {
 public:
  ExponentialTable() {
    for (std::size_t i = 0; i < 256; ++i) {
      const double middle = 1 + (static_cast<double>(i) + 0.5) / 256;
      points_[i] = {logarithm(middle), 1 / middle};
    }
  }
  double at(std::uint32_t word) const {
    const auto bits = std::bit_cast<std::uint64_t>(static_cast<double>(word) + 0.5);
    const auto exponent = static_cast<std::int64_t>(bits >> 52) - 1023 - 32;
    const double mantissa = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    const Point& point = points_[(bits >> 44) & 255];
    const double d = mantissa * point.inverse - 1;
    return -(static_cast<double>(exponent) * 0.693147180559945309 + point.log + d * (1 - d * (0.5 - d * (1.0 / 3))));
  }

 private:
  struct Point {
    double log, inverse;
  };
  std::array<Point, 256> points_;
};

const ExponentialTable& exponential_table() {
  static const ExponentialTable table;
  return table;
}

class ExpertSet {
 public:
  bool insert(std::uint32_t e) {
    const std::uint64_t bit = std::uint64_t{1} << (e & 63);
    const bool fresh = (bits_[e >> 6] & bit) == 0;
    bits_[e >> 6] |= bit;
    return fresh;
  }
  void erase(std::uint32_t e) { bits_[e >> 6] &= ~(std::uint64_t{1} << (e & 63)); }

 private:
  std::array<std::uint64_t, most_experts / 64> bits_{};
};

struct Arrival {
  double time = 0;
  std::uint32_t expert = 0;
};

/// The earliest k arrivals, in order of time.
class Earliest {
 public:
  explicit Earliest(std::size_t k) : k_(k) {}
  bool wants(double time) const { return count_ < k_ || time < list_[k_ - 1].time; }
  void insert(Arrival a) {
    if (!wants(a.time)) return;
    std::size_t i = count_ < k_ ? count_++ : k_ - 1;
    for (; i > 0 && list_[i - 1].time > a.time; --i) list_[i] = list_[i - 1];
    list_[i] = a;
  }
  const Arrival& operator[](std::size_t i) const { return list_[i]; }
  std::size_t size() const { return count_; }

 private:
  std::array<Arrival, most_draws> list_;
  std::size_t k_, count_ = 0;
};

/// The `wanted` groups of smallest key, in order of group; ties to the lower group. By rank, without branches.
void best_groups(std::span<const double> key, std::size_t wanted, std::span<std::uint32_t> order) {
  std::size_t found = 0;
  for (std::size_t g = 0; g < key.size(); ++g) {
    std::size_t rank = 0;
    for (std::size_t h = 0; h < g; ++h) rank += key[h] <= key[g] ? 1 : 0;
    for (std::size_t h = g + 1; h < key.size(); ++h) rank += key[h] < key[g] ? 1 : 0;
    order[found] = static_cast<std::uint32_t>(g);
    found += rank < wanted ? 1 : 0;
  }
}

}  // namespace

AliasTable::AliasTable(std::span<const double> weights) : columns_(weights.size()) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> share(weights.size());
  std::vector<std::uint32_t> small, large;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    share[i] = weights[i] / sum * static_cast<double>(weights.size());
    (share[i] < 1 ? small : large).push_back(static_cast<std::uint32_t>(i));
  }
  while (!small.empty() && !large.empty()) {
    const std::uint32_t s = small.back();
    const std::uint32_t l = large.back();
    small.pop_back();
    columns_[s].keep = static_cast<std::uint32_t>(share[s] * 4294967295.0);
    columns_[s].flip = s ^ l;
    share[l] -= 1 - share[s];
    if (share[l] < 1) {
      large.pop_back();
      small.push_back(l);
    }
  }
}

Gate::Gate(const MoeSpec& moe, std::span<const double> weights)
    : top_k_(moe.top_k),
      groups_(moe.groups),
      top_groups_(moe.top_groups),
      score_experts_(moe.group_score_experts),
      weights_(weights.begin(), weights.end()) {
  const auto experts = static_cast<std::int64_t>(weights.size());
  MOESIM_CHECK(experts <= static_cast<std::int64_t>(most_experts) &&
                   groups_ <= static_cast<std::int64_t>(most_groups) && top_k_ <= static_cast<std::int64_t>(most_draws),
               "{} experts in {} groups, top {}", experts, groups_, top_k_);
  if (top_groups_ >= groups_) groups_ = top_groups_ = 1;
  MOESIM_CHECK(groups_ >= 1 && experts % groups_ == 0, "{} experts in {} groups", experts, groups_);
  group_size_ = experts / groups_;
  // Groups scored by more experts than any model's: the plain race.
  if (groups_ > 1 && score_experts_ > 2) concentrated_ = true;
  MOESIM_CHECK(
      top_k_ >= 1 && top_k_ <= top_groups_ * group_size_ && score_experts_ >= 1 && score_experts_ <= group_size_,
      "top {} of {} groups of {}, scored by {}", top_k_, top_groups_, group_size_, score_experts_);
  for (std::int64_t g = 0; g < groups_; ++g) {
    const auto members =
        std::span(weights_).subspan(static_cast<std::size_t>(g * group_size_), static_cast<std::size_t>(group_size_));
    const double sum = std::accumulate(members.begin(), members.end(), 0.0);
    tables_.emplace_back(members);
    group_weight_.push_back(sum);
    group_period_.push_back(1 / sum);
    for (const double w : members) period_without_.push_back(1 / std::max(sum - w, 1e-12 * sum));
    // Of the k heaviest: the last of them is what repeated draws look for.
    std::vector<double> sorted(members.begin(), members.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const auto held = std::min<std::size_t>(static_cast<std::size_t>(top_k_), sorted.size()) - 1;
    const double top = std::accumulate(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(held), 0.0);
    if (top > 0.97 * sum) concentrated_ = true;
  }
}

void Gate::draw(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const {
  if (concentrated_)
    draw_by_race(words, tokens, ids);
  else if (groups_ == 1)
    draw_ungrouped(words, tokens, ids);
  else
    draw_grouped(words, tokens, ids);
}

std::uint64_t Gate::draw_with_groups(WordSource& words, std::uint16_t* ids) const {
  if (concentrated_) return draw_by_race(words, 1, ids);
  if (groups_ > 1) return draw_grouped(words, 1, ids);
  draw_ungrouped(words, 1, ids);
  return 1;
}

void Gate::draw_ungrouped(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const {
  const AliasTable& table = tables_.front();
  ExpertSet chosen;
  for (std::int64_t t = 0; t < tokens; ++t, ids += top_k_) {
    for (std::int64_t i = 0; i < top_k_;) {
      const std::uint32_t e = table.draw(words.next());
      if (chosen.insert(e)) ids[i++] = static_cast<std::uint16_t>(e);
    }
    for (std::int64_t i = 0; i < top_k_; ++i) chosen.erase(ids[i]);
  }
}

std::uint64_t Gate::draw_grouped(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const {
  const ExponentialTable& exponential_of = exponential_table();
  const auto groups = static_cast<std::size_t>(groups_);
  const auto k = static_cast<std::size_t>(top_k_);
  const auto size = static_cast<std::uint32_t>(group_size_);
  const bool two = score_experts_ == 2;
  std::array<std::array<Arrival, 2>, most_groups> first;
  std::array<double, most_groups> key;
  std::array<std::uint32_t, most_groups + 1> order;
  std::uint64_t limited_to = 0;
  for (std::int64_t t = 0; t < tokens; ++t, ids += k) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::uint32_t begin = static_cast<std::uint32_t>(g) * size;
      const double time = exponential_of.at(words.next()) * group_period_[g];
      const std::uint32_t e = begin + tables_[g].draw(words.next());
      first[g][0] = {time, e};
      key[g] = time;
      if (!two) continue;
      const double later = time + exponential_of.at(words.next()) * period_without_[e];
      std::uint32_t next = e;
      while (next == e) next = begin + tables_[g].draw(words.next());
      first[g][1] = {later, next};
      key[g] += later;
    }
    best_groups(std::span(key).first(groups), static_cast<std::size_t>(top_groups_), order);
    Earliest earliest(k);
    for (std::int64_t i = 0; i < top_groups_; ++i) {
      const auto& arrivals = first[order[static_cast<std::size_t>(i)]];
      earliest.insert(arrivals[0]);
      if (two) earliest.insert(arrivals[1]);
    }
    // The race goes on inside the chosen groups while a next arrival could be among the first k.
    limited_to = 0;
    for (std::int64_t i = 0; i < top_groups_; ++i) {
      const std::size_t g = order[static_cast<std::size_t>(i)];
      limited_to |= std::uint64_t{1} << g;
      const Arrival& last = first[g][two ? 1 : 0];
      if (!earliest.wants(last.time)) continue;
      std::array<std::uint32_t, most_draws + 2> seen;
      std::uint32_t arrived = two ? 2 : 1;
      seen[0] = first[g][0].expert;
      seen[1] = last.expert;
      double left = group_weight_[g] - weights_[seen[0]] - (two ? weights_[seen[1]] : 0);
      double time = last.time;
      while (arrived < size && earliest.wants(time)) {
        time += exponential_of.at(words.next()) / left;
        std::uint32_t e = 0;
        bool fresh = false;
        while (!fresh) {
          e = static_cast<std::uint32_t>(g) * size + tables_[g].draw(words.next());
          fresh = true;
          for (std::uint32_t j = 0; j < arrived; ++j) fresh &= seen[j] != e;
        }
        seen[arrived++] = e;
        left -= weights_[e];
        earliest.insert({time, e});
      }
    }
    for (std::size_t i = 0; i < k; ++i) ids[i] = static_cast<std::uint16_t>(earliest[i].expert);
  }
  return limited_to;
}

std::uint64_t Gate::draw_by_race(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const {
  const ExponentialTable& exponential_of = exponential_table();
  const auto groups = static_cast<std::size_t>(groups_);
  const auto size = static_cast<std::size_t>(group_size_);
  const auto k = static_cast<std::size_t>(top_k_);
  std::vector<double> time(weights_.size());
  std::array<double, most_groups> key;
  std::array<std::uint32_t, most_groups + 1> order;
  std::uint64_t limited_to = 0;
  for (std::int64_t t = 0; t < tokens; ++t, ids += k) {
    limited_to = 0;
    for (std::size_t e = 0; e < time.size(); ++e) time[e] = exponential_of.at(words.next()) / weights_[e];
    for (std::size_t g = 0; g < groups; ++g) {
      Earliest best(static_cast<std::size_t>(score_experts_));
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) best.insert({time[e], static_cast<std::uint32_t>(e)});
      key[g] = 0;
      for (std::size_t i = 0; i < best.size(); ++i) key[g] += best[i].time;
    }
    best_groups(std::span(key).first(groups), static_cast<std::size_t>(top_groups_), order);
    Earliest earliest(k);
    for (std::int64_t i = 0; i < top_groups_; ++i) {
      const std::size_t g = order[static_cast<std::size_t>(i)];
      limited_to |= std::uint64_t{1} << g;
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) earliest.insert({time[e], static_cast<std::uint32_t>(e)});
    }
    for (std::size_t i = 0; i < k; ++i) ids[i] = static_cast<std::uint16_t>(earliest[i].expert);
  }
  return limited_to;
}

}  // namespace moesim
