#include "config/routing_expectation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "config/json_reader.h"
#include "config/table_row.h"
#include "core/math.h"
#include "core/random.h"

namespace moesim {

namespace {

constexpr int kDraws = 32;
constexpr std::uint64_t kSeed = 1;

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

/// Shares scaled to `total` rows: floors, the largest remainders up, none above `most`.
std::vector<std::int64_t> apportion(const std::vector<double>& shares, std::int64_t total, std::int64_t most) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::int64_t> counts(shares.size());
  std::vector<std::pair<double, std::size_t>> remainders(shares.size());
  std::int64_t left = total;
  for (std::size_t e = 0; e < shares.size(); ++e) {
    const double exact = shares[e] / sum * real(total);
    counts[e] = std::min(most, static_cast<std::int64_t>(exact));
    remainders[e] = {real(counts[e]) - exact, e};  // the largest remainder first
    left -= counts[e];
  }
  std::sort(remainders.begin(), remainders.end());
  while (left > 0) {
    const std::int64_t before = left;
    for (const auto& [remainder, e] : remainders) {
      if (left == 0) break;
      if (counts[e] < most) ++counts[e], --left;
    }
    if (left == before) break;  // more rows than all experts can take
  }
  return counts;
}

/// Distinct tokens of the experts `mine`, where experts take the tokens of a circle in turn by falling count.
double distinct_tokens(const std::vector<std::int64_t>& counts, const std::vector<bool>& mine, std::int64_t tokens) {
  std::vector<std::size_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return counts[a] > counts[b]; });
  std::vector<std::pair<std::int64_t, std::int64_t>> spans;
  std::int64_t start = 0;
  for (const std::size_t e : order) {
    if (mine[e] && counts[e] > 0) {
      const std::int64_t end = start + counts[e];
      spans.emplace_back(start, std::min(end, tokens));
      if (end > tokens) spans.emplace_back(0, end - tokens);
    }
    start = (start + counts[e]) % tokens;
  }
  std::sort(spans.begin(), spans.end());
  std::int64_t distinct = 0, reached = 0;
  for (const auto& [from, to] : spans) {
    distinct += std::max<std::int64_t>(0, to - std::max(from, reached));
    reached = std::max(reached, to);
  }
  return real(distinct);
}

std::int64_t busiest(const std::vector<std::int64_t>& rows) {
  return std::max_element(rows.begin(), rows.end()) - rows.begin();
}

/// Experts stand on the ranks in order.
RankLoad contiguous_load(const std::vector<std::int64_t>& counts, const RoutingCase& routing, bool first_rank) {
  const std::int64_t own = routing.experts / routing.ep;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(routing.ep));
  for (std::size_t e = 0; e < counts.size(); ++e) {
    rows[std::min(rows.size() - 1, e / static_cast<std::size_t>(own))] += counts[e];
  }
  const std::int64_t rank = first_rank ? 0 : busiest(rows);
  RankLoad load;
  std::vector<bool> mine(counts.size());
  for (std::int64_t e = rank * own; e < (rank + 1) * own; ++e) {
    mine[static_cast<std::size_t>(e)] = true;
    load.add_slot(counts[static_cast<std::size_t>(e)]);
  }
  load.local_tokens = distinct_tokens(counts, mine, routing.tokens);
  return load;
}

/// Experts in redundant slots, packed so that ranks have like rows.
RankLoad packed_load(const std::vector<std::int64_t>& counts, const RoutingCase& routing) {
  std::vector<std::int64_t> copies(counts.size(), 1);
  for (std::int64_t slot = routing.experts; slot < routing.slots; ++slot) {
    std::size_t hottest = 0;
    for (std::size_t e = 1; e < counts.size(); ++e) {
      if (counts[e] * copies[hottest] > counts[hottest] * copies[e]) hottest = e;
    }
    ++copies[hottest];
  }
  std::vector<std::pair<std::int64_t, std::size_t>> slots;  // rows, expert
  for (std::size_t e = 0; e < counts.size(); ++e) {
    for (std::int64_t c = 0; c < copies[e]; ++c) slots.emplace_back((counts[e] + c) / copies[e], e);
  }
  std::stable_sort(slots.begin(), slots.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto ranks = static_cast<std::size_t>(routing.ep);
  const std::size_t room = slots.size() / ranks;
  std::vector<std::int64_t> rows(ranks);
  std::vector<std::vector<std::size_t>> held(ranks);
  for (std::size_t s = 0; s < slots.size(); ++s) {
    std::size_t best = ranks;
    for (std::size_t r = 0; r < ranks; ++r) {
      if (held[r].size() < room && (best == ranks || rows[r] < rows[best])) best = r;
    }
    if (best == ranks) break;  // slots that the ranks do not divide
    held[best].push_back(s);
    rows[best] += slots[s].first;
  }
  RankLoad load;
  std::vector<std::int64_t> slot_rows;
  std::vector<bool> mine(slots.size());
  for (const auto& [n, expert] : slots) slot_rows.push_back(n);
  for (const std::size_t s : held[static_cast<std::size_t>(busiest(rows))]) {
    mine[s] = true;
    load.add_slot(slots[s].first);
  }
  load.local_tokens = distinct_tokens(slot_rows, mine, routing.tokens);
  return load;
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

std::vector<std::int64_t> balanced_counts(const RoutingCase& routing) {
  const std::int64_t experts = routing.experts, stride = (experts + routing.top_k - 1) / routing.top_k;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  // Tokens i and i + E choose the same experts; over E of them each expert is chosen top_k times.
  for (std::int64_t& n : counts) n = routing.tokens / experts * routing.top_k;
  for (std::int64_t i = 0; i < routing.tokens % experts; ++i) {
    for (std::int64_t j = 0; j < routing.top_k; ++j) ++counts[static_cast<std::size_t>((i + j * stride) % experts)];
  }
  return counts;
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

const std::vector<RoutingExpectations::Counts>& RoutingExpectations::draws(const RoutingCase& routing) {
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
  std::vector<Counts> all;
  std::vector<double> shares(static_cast<std::size_t>(routing.experts));
  const Stream seed(kSeed, "routing/expectation");
  for (int d = 0; d < kDraws; ++d) {
    Stream stream = seed.substream(static_cast<std::uint64_t>(d));
    for (double& share : shares) share = power((to - from) * stream.uniform() + from, 1 / exponent);
    all.push_back(apportion(shares, total, routing.tokens));
  }
  return draws_.emplace(key, std::move(all)).first->second;
}

const ExpertLoad& RoutingExpectations::load(const RoutingCase& routing) {
  const auto known = loads_.find(routing);
  if (known != loads_.end()) return known->second;
  std::vector<RankLoad> loads;
  if (!routing.alpha) {
    RankLoad load = contiguous_load(balanced_counts(routing), routing, true);
    // Rank 0 has experts [0, own): tokens that choose one of them.
    const std::int64_t own = routing.experts / routing.ep,
                       stride = (routing.experts + routing.top_k - 1) / routing.top_k;
    const auto reached = [&](std::int64_t i) {
      for (std::int64_t j = 0; j < routing.top_k; ++j) {
        if ((i + j * stride) % routing.experts < own) return 1;
      }
      return 0;
    };
    std::int64_t cycle = 0, rest = 0;
    for (std::int64_t i = 0; i < routing.experts; ++i) {
      cycle += reached(i);
      if (i < routing.tokens % routing.experts) rest += reached(i);
    }
    load.local_tokens = real(routing.tokens / routing.experts * cycle + rest);
    loads.push_back(load);
  } else {
    for (const Counts& counts : draws(routing)) {
      loads.push_back(routing.slots > 0 ? packed_load(counts, routing) : contiguous_load(counts, routing, false));
    }
  }
  return loads_.emplace(routing, mean_load(loads, routing.tokens)).first->second;
}

}  // namespace moesim
