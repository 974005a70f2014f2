#pragma once
// Which experts the tokens of a measured MoE op choose: made on the host, from a seed, the same on every machine.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"

namespace moesim::calibrate {

/// How rows spread over experts. `alpha` 0: equal counts. Else each expert's share is drawn from a truncated power law
/// p(x) ~ x^-alpha on [1, 0.8 tokens], on [0.01, 2] when tokens * top_k <= experts, scaled to tokens * top_k and
/// clamped to tokens [aiconfigurator]. Small loads leave experts empty.
struct Skew {
  std::string_view name;  ///< as in the column `dist`
  double alpha = 0;
};
inline constexpr Skew kBalanced{"balanced", 0}, kPowerLaw101{"pl1.01", 1.01}, kPowerLaw12{"pl1.2", 1.2};

struct RoutedTokens {
  int tokens = 0, top_k = 0, experts = 0;
  std::vector<std::int32_t> chosen;  ///< [tokens][top_k], distinct within a token
};

/// Rows of every expert: sums to tokens * top_k, each at most `tokens`.
std::vector<std::int64_t> draw_counts(const Skew& skew, int tokens, int top_k, int experts, Stream stream);

/// Experts for every token, so that expert e gets counts[e] rows. Tokens are shuffled: neighbours share no experts.
RoutedTokens assign_tokens(std::span<const std::int64_t> counts, int tokens, int top_k, Stream stream);

/// Renames experts so that the rank (of `ep`, `experts / ep` consecutive experts each) with the most rows is rank 0.
void put_busiest_rank_first(RoutedTokens& routed, int ep);

/// Gate scores [tokens][experts] whose top-k are `chosen` in this order: what is chosen lies in (4, 8) and falls by
/// more than any rounding; the others are in (-4, 4).
std::vector<float> scores_of(const RoutedTokens& routed, std::uint64_t seed);

}  // namespace moesim::calibrate
