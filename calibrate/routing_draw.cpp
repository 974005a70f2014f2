#include "routing_draw.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/math.h"
#include "random_values.h"

namespace moesim::calibrate {

namespace {

/// Quantile u of p(x) ~ x^-alpha on [low, high], alpha != 1.
double power_law(double u, double alpha, double low, double high) {
  const double e = 1 - alpha;
  return power(power(low, e) + u * (power(high, e) - power(low, e)), 1 / e);
}

template <class Value>
void shuffle(std::vector<Value>& values, Stream& stream) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[stream.below(i)]);
}

}  // namespace

std::vector<std::int64_t> draw_counts(const Skew& skew, int tokens, int top_k, int experts, Stream stream) {
  MOESIM_CHECK(tokens > 0 && top_k > 0 && top_k <= experts, "tokens {} top-k {} experts {}", tokens, top_k, experts);
  const std::int64_t rows = static_cast<std::int64_t>(tokens) * top_k;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  if (skew.alpha == 0) {
    for (std::int64_t e = 0; e < experts; ++e) {
      counts[static_cast<std::size_t>(e)] = rows / experts + (e < rows % experts ? 1 : 0);
    }
    return counts;
  }
  const bool sparse = rows <= experts;
  const double low = sparse ? 0.01 : 1, high = sparse ? 2 : std::max(0.8 * tokens, 1.0);
  std::vector<double> shares;
  for (int e = 0; e < experts; ++e) shares.push_back(power_law(stream.uniform(), skew.alpha, low, high));
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (std::size_t e = 0; e < shares.size(); ++e) {
    shares[e] *= static_cast<double>(rows) / sum;
    counts[e] = std::min<std::int64_t>(static_cast<std::int64_t>(shares[e]), tokens);
  }
  // What rounding and clamping left over goes to the experts that lack most of their share, one row each in turn.
  std::int64_t left = rows - std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto lacks = [&](std::size_t e) { return shares[e] - static_cast<double>(counts[e]); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lacks(a) > lacks(b); });
  while (left > 0) {
    for (const std::size_t e : order) {
      if (left == 0) break;
      if (counts[e] == tokens) continue;
      ++counts[e];
      --left;
    }
  }
  return counts;
}

RoutedTokens assign_tokens(std::span<const std::int64_t> counts, int tokens, int top_k, Stream stream) {
  RoutedTokens routed{.tokens = tokens, .top_k = top_k, .experts = static_cast<int>(counts.size()), .chosen = {}};
  routed.chosen.resize(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(top_k));
  std::vector<int> token_of(static_cast<std::size_t>(tokens));
  std::iota(token_of.begin(), token_of.end(), 0);
  shuffle(token_of, stream);
  // Rows in the order of experts go round the tokens: an expert's rows are consecutive and at most `tokens`, so a token
  // never gets it twice.
  std::size_t slot = 0;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    MOESIM_CHECK(counts[e] <= tokens, "expert {} with {} rows of {} tokens", e, counts[e], tokens);
    for (std::int64_t i = 0; i < counts[e]; ++i, ++slot) {
      const auto token = static_cast<std::size_t>(token_of[slot % token_of.size()]);
      routed.chosen[token * static_cast<std::size_t>(top_k) + slot / token_of.size()] = static_cast<std::int32_t>(e);
    }
  }
  MOESIM_CHECK(slot == routed.chosen.size(), "{} rows for {} slots", slot, routed.chosen.size());
  return routed;
}

void put_busiest_rank_first(RoutedTokens& routed, int ep) {
  MOESIM_CHECK(ep > 0 && routed.experts % ep == 0, "{} experts on {} ranks", routed.experts, ep);
  const int local = routed.experts / ep;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(ep));
  for (const std::int32_t e : routed.chosen) ++rows[static_cast<std::size_t>(e / local)];
  const auto busiest = static_cast<int>(std::max_element(rows.begin(), rows.end()) - rows.begin());
  if (busiest == 0) return;
  for (std::int32_t& e : routed.chosen) {
    const int rank = e / local;
    if (rank == busiest) {
      e -= busiest * local;
    } else if (rank == 0) {
      e += busiest * local;
    }
  }
}

std::vector<float> scores_of(const RoutedTokens& routed, std::uint64_t seed) {
  const auto experts = static_cast<std::size_t>(routed.experts), top_k = static_cast<std::size_t>(routed.top_k);
  std::vector<float> scores(static_cast<std::size_t>(routed.tokens) * experts);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = 4 * random_value(seed, i);
  for (std::size_t t = 0; t < static_cast<std::size_t>(routed.tokens); ++t) {
    for (std::size_t j = 0; j < top_k; ++j) {
      const auto e = static_cast<std::size_t>(routed.chosen[t * top_k + j]);
      scores[t * experts + e] = 8 - (static_cast<float>(j) + 0.5F) * 4 / static_cast<float>(top_k);
    }
  }
  return scores;
}

}  // namespace moesim::calibrate
