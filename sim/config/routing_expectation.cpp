#include "config/routing_expectation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <string>
#include <tuple>
#include <utility>

#include "config/json_reader.h"
#include "config/table_row.h"
#include "core/math.h"
#include "core/random.h"

namespace moesim {

namespace {

constexpr int kDraws = 64, kPackedDraws = 16;  // packing evens the draws out
constexpr std::uint64_t kSeed = 1;
constexpr std::uint64_t kMostRows = std::uint64_t{1} << 43;

double real(std::int64_t n) {
  return static_cast<double>(n);
}

/// Sums over the experts of one rank.
struct RankLoad {
  double rows = 0, active = 0, local_tokens = 0;
  std::array<double, kMoeBlocks.size()> padded{};

  void add_slot(std::int64_t n) {
    rows += real(n);
    active += n > 0;
    for (std::size_t b = 0; b < kMoeBlocks.size(); ++b)
      padded[b] += real((n + kMoeBlocks[b] - 1) / kMoeBlocks[b] * kMoeBlocks[b]);
  }
};

/// The bits of `e`, of as many as `count` needs, the last one first: any first numbers of this order are spread evenly.
std::uint32_t spread_place(std::uint32_t e, std::size_t count) {
  std::uint32_t place = 0;
  for (std::size_t bit = 1; bit < count; bit *= 2, e /= 2) place = place * 2 + e % 2;
  return place;
}

/// Shares scaled to `total` rows and rounded, none above `most`. Missing rows go to the experts with fewest, evenly
/// over all of them; surplus ones come from those with most.
std::vector<std::int64_t> apportion(const std::vector<double>& shares, std::int64_t total, std::int64_t most) {
  const double scale = real(total) / std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::int64_t> counts(shares.size());
  std::int64_t left = total;
  for (std::size_t e = 0; e < shares.size(); ++e) {
    counts[e] = std::min(most, static_cast<std::int64_t>(std::llround(shares[e] * scale)));
    left -= counts[e];
  }
  const std::int64_t step = left > 0 ? 1 : -1;
  left *= step;                                                             // rows to give, or to take
  std::vector<std::tuple<std::int64_t, std::uint32_t, std::size_t>> order;  // those that can change, first come first
  while (left > 0) {
    order.clear();
    for (std::size_t e = 0; e < counts.size(); ++e) {
      if (step > 0 ? counts[e] == most : counts[e] == 0) continue;
      order.emplace_back(step * counts[e], spread_place(static_cast<std::uint32_t>(e), counts.size()), e);
    }
    if (order.empty()) break;  // more rows than all experts can take
    const auto able = static_cast<std::int64_t>(order.size());
    // Many rows are left where the busiest experts have all tokens: the others share them alike.
    const std::int64_t changed = std::min(able, left), each = std::max<std::int64_t>(1, left / able);
    std::partial_sort(order.begin(), order.begin() + changed, order.end());
    for (std::int64_t i = 0; i < changed; ++i) {
      std::int64_t& count = counts[std::get<2>(order[static_cast<std::size_t>(i)])];
      const std::int64_t moved = std::min(each, step > 0 ? most - count : count);
      count += step * moved;
      left -= moved;
    }
  }
  return counts;
}

/// The draw of these rows by expert (or slot).
ExpertDraw ordered(std::vector<std::int64_t> counts) {
  ExpertDraw draw{std::move(counts), {}};
  // Falling rows, then rising number, in one word.
  constexpr int bits = 20;
  std::vector<std::uint64_t> keys(draw.counts.size());
  for (std::size_t e = 0; e < keys.size(); ++e) {
    keys[e] = ((kMostRows - static_cast<std::uint64_t>(draw.counts[e])) << bits) + e;
  }
  std::sort(keys.begin(), keys.end());
  for (const std::uint64_t key : keys) draw.order.push_back(static_cast<std::uint32_t>(key % (1U << bits)));
  return draw;
}

/// Distinct tokens of the experts on `rank`, where experts take the tokens of a circle in turn by falling rows.
double distinct_tokens(const ExpertDraw& draw, const std::vector<std::uint32_t>& rank_of, std::uint32_t rank,
                       std::int64_t tokens) {
  std::vector<std::pair<std::int64_t, std::int64_t>> spans;
  std::int64_t start = 0;
  for (const std::uint32_t e : draw.order) {
    const std::int64_t end = start + draw.counts[e];
    if (rank_of[e] == rank && end > start) {
      spans.emplace_back(start, std::min(end, tokens));
      if (end > tokens) spans.emplace_back(0, end - tokens);
    }
    start = end % tokens;
  }
  std::sort(spans.begin(), spans.end());
  std::int64_t distinct = 0, reached = 0;
  for (const auto& [from, to] : spans) {
    distinct += std::max<std::int64_t>(0, to - std::max(from, reached));
    reached = std::max(reached, to);
  }
  return real(distinct);
}

/// The load of the rank with most rows.
RankLoad busiest_load(const ExpertDraw& draw, const std::vector<std::uint32_t>& rank_of, const RoutingCase& routing) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(routing.ep));
  for (std::size_t e = 0; e < rank_of.size(); ++e) rows[rank_of[e]] += draw.counts[e];
  const auto rank = static_cast<std::uint32_t>(std::max_element(rows.begin(), rows.end()) - rows.begin());
  RankLoad load;
  for (std::size_t e = 0; e < rank_of.size(); ++e) {
    if (rank_of[e] == rank) load.add_slot(draw.counts[e]);
  }
  load.local_tokens = distinct_tokens(draw, rank_of, rank, routing.tokens);
  return load;
}

/// Experts stand on the ranks in order.
std::vector<std::uint32_t> in_order(const RoutingCase& routing) {
  std::vector<std::uint32_t> rank_of(static_cast<std::size_t>(routing.experts));
  const std::int64_t own = routing.experts / routing.ep;
  for (std::int64_t e = 0; e < routing.experts; ++e) {
    rank_of[static_cast<std::size_t>(e)] = static_cast<std::uint32_t>(e / own);
  }
  return rank_of;
}

/// Experts in redundant slots, packed so that ranks have like rows.
RankLoad packed_load(const ExpertDraw& experts, const RoutingCase& routing) {
  const std::vector<std::int64_t>& counts = experts.counts;
  std::vector<std::int64_t> copies(counts.size(), 1);
  // The expert with most rows a copy on top; of equal ones the first.
  std::vector<std::pair<double, std::int64_t>> loaded;
  for (std::size_t e = 0; e < counts.size(); ++e) loaded.emplace_back(real(counts[e]), -static_cast<std::int64_t>(e));
  std::priority_queue hottest(std::less<>(), std::move(loaded));
  for (std::int64_t slot = routing.experts; slot < routing.slots; ++slot) {
    const std::int64_t key = hottest.top().second;
    const auto e = static_cast<std::size_t>(-key);
    hottest.pop();
    ++copies[e];
    hottest.emplace(real(counts[e]) / real(copies[e]), key);
  }
  std::vector<std::int64_t> rows;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    for (std::int64_t c = 0; c < copies[e]; ++c) rows.push_back((counts[e] + c) / copies[e]);
  }
  const ExpertDraw slots = ordered(std::move(rows));
  std::vector<std::uint32_t> rank_of(slots.counts.size());
  // Ranks with room by their rows, the fewest on top.
  using Place = std::tuple<std::int64_t, std::uint32_t, std::size_t>;  // rows, rank, slots held
  std::priority_queue<Place, std::vector<Place>, std::greater<>> ranks;
  for (std::uint32_t r = 0; r < routing.ep; ++r) ranks.emplace(0, r, 0);
  const std::size_t room = slots.counts.size() / static_cast<std::size_t>(routing.ep);
  for (const std::uint32_t slot : slots.order) {
    const auto [held_rows, rank, held] = ranks.top();
    ranks.pop();
    rank_of[slot] = rank;
    if (held + 1 < room) ranks.emplace(held_rows + slots.counts[slot], rank, held + 1);
  }
  return busiest_load(slots, rank_of, routing);
}

ExpertLoad mean_load(const std::vector<RankLoad>& loads, std::int64_t tokens) {
  const auto mean = [&](auto&& value) {
    double sum = 0;
    for (const RankLoad& load : loads) sum += value(load);
    return std::llround(sum / static_cast<double>(loads.size()));
  };
  ExpertLoad load{.tokens = tokens,
                  .local_tokens = mean([](const RankLoad& l) { return l.local_tokens; }),
                  .rows = mean([](const RankLoad& l) { return l.rows; }),
                  .active = mean([](const RankLoad& l) { return l.active; }),
                  .padded_rows = {}};
  for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) {
    load.padded_rows[b] = mean([b](const RankLoad& l) { return l.padded[b]; });
  }
  return load;
}

/// The expert of one of a token's choices, spread evenly.
std::int64_t balanced_choice(const RoutingCase& routing, std::int64_t token, std::int64_t choice) {
  const std::int64_t stride = (routing.experts + routing.top_k - 1) / routing.top_k;
  const std::int64_t first = routing.tokens < stride ? token * stride / routing.tokens : token;
  return (first + choice * stride) % routing.experts;
}

/// Rank 0, experts [0, own), of a balanced spread.
RankLoad balanced_load(const RoutingCase& routing) {
  const std::int64_t experts = routing.experts, own = experts / routing.ep;
  // Tokens i and i + E choose the same experts; over E of them each expert is chosen top_k times.
  const std::int64_t cycles = routing.tokens / experts, rest = routing.tokens % experts;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(own), cycles * routing.top_k);
  std::int64_t reached_of_cycle = 0, reached_of_rest = 0;
  for (std::int64_t i = 0; i < (cycles > 0 ? experts : rest); ++i) {
    bool reached = false;
    for (std::int64_t j = 0; j < routing.top_k; ++j) {
      const std::int64_t e = balanced_choice(routing, i, j);
      if (e >= own) continue;
      reached = true;
      if (i < rest) ++counts[static_cast<std::size_t>(e)];
    }
    reached_of_cycle += reached;
    if (i < rest) reached_of_rest += reached;
  }
  RankLoad load;
  for (const std::int64_t n : counts) load.add_slot(n);
  load.local_tokens = real(cycles * reached_of_cycle + reached_of_rest);
  return load;
}

}  // namespace

bool read_distribution(std::string_view text, RoutingCase& routing) {
  routing.alpha.reset();
  if (text == "balanced" || text == "uniform") return true;
  constexpr std::string_view balancer = "_eplb";
  if (text.ends_with(balancer)) text.remove_suffix(balancer.size());
  if (!text.starts_with("pl")) return false;
  text.remove_prefix(2);
  double alpha = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), alpha);
  if (error != std::errc() || end != text.data() + text.size() || !(alpha >= 0 && alpha <= 10)) return false;
  routing.alpha = alpha;
  return true;
}

void RoutingExpectations::read(const std::filesystem::path& path) {
  LineReader reader(path);
  TableRow row(reader);
  for (const std::string_view column : {"tokens", "experts", "topk", "ep", "dist", "rows", "active", "rank0_tokens",
                                        "pad16", "pad32", "pad64", "pad128", "pad256"}) {
    row.need(column, "which an expectation of routing needs");
  }
  const auto rounded = [&](std::string_view column) { return std::llround(row.number(column).value_or(0)); };
  while (row.next()) {
    RoutingCase routing{row.count("tokens"), row.count("experts"), row.count("topk"), row.count("ep"), {}, 0};
    if (!read_distribution(row.text("dist"), routing)) {
      row.fail(fmt::format("dist: expected balanced, uniform or pl and an exponent, got {}", echo(row.text("dist"))));
    }
    if (!routing.alpha) continue;  // counted exactly
    ExpertLoad load{.tokens = routing.tokens,
                    .local_tokens = rounded("rank0_tokens"),
                    .rows = rounded("rows"),
                    .active = rounded("active"),
                    .padded_rows = {}};
    for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) {
      load.padded_rows[b] = rounded("pad" + std::to_string(kMoeBlocks[b]));
    }
    loads_.emplace(routing, load);
  }
}

const std::vector<ExpertDraw>& RoutingExpectations::draws(const RoutingCase& routing) {
  RoutingCase key = routing;
  key.ep = 1;
  key.slots = 0;
  auto found = draws_.find(key);
  if (found != draws_.end()) return found->second;
  const std::int64_t total = routing.tokens * routing.top_k;
  const bool many = total > routing.experts;
  const double low = many ? 1 : 0.01, high = many ? std::max(1.0, 0.8 * real(routing.tokens)) : 2;
  // alpha = 1 is the limit; next to it the same numbers.
  const double exponent = std::abs(1 - *routing.alpha) < 1e-6 ? 1e-6 : 1 - *routing.alpha;
  const double from = power(low, exponent), to = power(high, exponent);
  std::vector<ExpertDraw> all;
  std::vector<double> shares(static_cast<std::size_t>(routing.experts));
  const Stream seed(kSeed, "routing/expectation");
  for (int d = 0; d < kDraws; ++d) {
    Stream stream = seed.substream(static_cast<std::uint64_t>(d));
    for (double& share : shares) share = power((to - from) * stream.uniform() + from, 1 / exponent);
    all.push_back(ordered(apportion(shares, total, routing.tokens)));
  }
  return draws_.emplace(key, std::move(all)).first->second;
}

const ExpertLoad& RoutingExpectations::load(const RoutingCase& routing) {
  const auto known = loads_.find(routing);
  if (known != loads_.end()) return known->second;
  std::vector<RankLoad> loads;
  if (!routing.alpha) {
    loads.push_back(balanced_load(routing));
  } else {
    const std::vector<std::uint32_t> rank_of = in_order(routing);
    for (const ExpertDraw& draw : draws(routing)) {
      if (routing.slots > 0 && loads.size() == kPackedDraws) break;
      loads.push_back(routing.slots > 0 ? packed_load(draw, routing) : busiest_load(draw, rank_of, routing));
    }
  }
  return loads_.emplace(routing, mean_load(loads, routing.tokens)).first->second;
}

}  // namespace moesim
