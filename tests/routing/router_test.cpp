#include "routing/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include "routing/gate.h"

namespace moesim {
namespace {

MoeSpec plain_gate(std::int64_t experts, std::int64_t top_k) {
  MoeSpec moe;
  moe.experts = experts;
  moe.top_k = top_k;
  return moe;
}

/// DeepSeek-V3: 256 experts in 8 groups, the best 4 by their two best experts, top 8 inside.
MoeSpec grouped_gate() {
  MoeSpec moe = plain_gate(256, 8);
  moe.groups = 8;
  moe.top_groups = 4;
  moe.group_score_experts = 2;
  return moe;
}

RoutingSpec zipf(double exponent) {
  RoutingSpec spec;
  spec.popularity.exponent = exponent;
  if (exponent == 0) spec.popularity.kind = PopularityKind::uniform;
  return spec;
}

std::vector<std::uint32_t> counts_of(const Router& router, std::int32_t layer, std::uint64_t step,
                                     std::int64_t tokens) {
  std::vector<std::uint32_t> counts(static_cast<std::size_t>(router.experts()));
  router.draw_counts(layer, step, tokens, counts);
  return counts;
}

/// The same by the exact gate.
std::vector<std::uint32_t> token_counts_of(const Router& router, std::int32_t layer, std::uint64_t step,
                                           std::int64_t tokens) {
  std::vector<std::uint16_t> ids(static_cast<std::size_t>(tokens * router.top_k()));
  router.draw_tokens(layer, step, tokens, ids);
  std::vector<std::uint32_t> counts(static_cast<std::size_t>(router.experts()), 0);
  for (const std::uint16_t e : ids) ++counts[e];
  return counts;
}

double busiest_rank(std::span<const std::uint32_t> counts, std::size_t ranks) {
  const std::size_t each = counts.size() / ranks;
  std::uint32_t most = 0;
  for (std::size_t r = 0; r < ranks; ++r)
    most = std::max(most, std::accumulate(counts.begin() + static_cast<std::ptrdiff_t>(r * each),
                                          counts.begin() + static_cast<std::ptrdiff_t>((r + 1) * each), 0u));
  return most;
}

double distinct(std::span<const std::uint32_t> counts) {
  return static_cast<double>(std::count_if(counts.begin(), counts.end(), [](std::uint32_t n) { return n > 0; }));
}

/// Load of the busiest of 8 and of 32 ranks, and distinct experts.
void add_figures(std::vector<double>* to, std::span<const std::uint32_t> counts) {
  to[0].push_back(busiest_rank(counts, 8));
  to[1].push_back(busiest_rank(counts, 32));
  to[2].push_back(distinct(counts));
}

/// Probability of a two-sample Kolmogorov-Smirnov distance at least as large (Smirnov's limit with Stephens's
/// correction); conservative for samples with ties.
double kolmogorov_smirnov(std::vector<double> a, std::vector<double> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  const auto n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  double distance = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double value = std::min(a[i], b[j]);
    while (i < a.size() && a[i] <= value) ++i;
    while (j < b.size() && b[j] <= value) ++j;
    distance = std::max(distance, std::abs(static_cast<double>(i) / n - static_cast<double>(j) / m));
  }
  const double root = std::sqrt(n * m / (n + m));
  const double lambda = (root + 0.12 + 0.11 / root) * distance;
  if (lambda < 0.3) return 1;
  double p = 0;
  for (int k = 1; k < 50; ++k) p += (k % 2 == 1 ? 2 : -2) * std::exp(-2.0 * k * k * lambda * lambda);
  return p;
}

// --- the exact gate -------------------------------------------------------------------------------------------------

/// An independent gate: Gumbel scores log w + G from the C++ library's generator, sorted.
class SortedScores {
 public:
  SortedScores(const MoeSpec& moe, std::vector<double> weights) : moe_(moe), weights_(std::move(weights)) {}
  std::vector<std::uint32_t> operator()() {
    const std::size_t n = weights_.size(), size = n / static_cast<std::size_t>(moe_.groups);
    std::vector<double> score(n);
    for (std::size_t e = 0; e < n; ++e) {
      const double u = (static_cast<double>(bits_() >> 12) + 0.5) * 0x1p-52;
      score[e] = std::log(weights_[e]) - std::log(-std::log(u));
    }
    std::vector<std::pair<double, std::size_t>> groups;
    for (std::size_t g = 0; g < static_cast<std::size_t>(moe_.groups); ++g) {
      std::vector<double> arrival;
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) arrival.push_back(std::exp(-score[e]));
      std::sort(arrival.begin(), arrival.end());
      groups.emplace_back(std::accumulate(arrival.begin(), arrival.begin() + moe_.group_score_experts, 0.0), g);
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::uint32_t> ids;
    for (std::size_t i = 0; i < static_cast<std::size_t>(moe_.top_groups); ++i)
      for (std::size_t e = 0; e < size; ++e) ids.push_back(static_cast<std::uint32_t>(groups[i].second * size + e));
    std::sort(ids.begin(), ids.end(), [&](auto a, auto b) { return score[a] > score[b]; });
    ids.resize(static_cast<std::size_t>(moe_.top_k));
    return ids;
  }

 private:
  MoeSpec moe_;
  std::vector<double> weights_;
  std::mt19937_64 bits_{12345};
};

/// Counts of single experts and of neighbouring pairs, over `tokens` tokens.
struct Tally {
  std::vector<double> single, pair;
};
template <class Draw>
Tally tally(std::size_t experts, int tokens, Draw&& draw) {
  Tally result{std::vector<double>(experts), std::vector<double>(experts)};
  for (int t = 0; t < tokens; ++t) {
    std::vector<bool> chosen(experts, false);
    for (const auto e : draw()) chosen[e] = true;
    for (std::size_t e = 0; e < experts; ++e) {
      result.single[e] += chosen[e];
      result.pair[e] += chosen[e] && chosen[(e + 1) % experts];
    }
  }
  return result;
}

/// Largest difference of two counts of equal samples, in standard deviations.
double largest_deviation(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] + b[i] > 20) worst = std::max(worst, std::abs(a[i] - b[i]) / std::sqrt(a[i] + b[i]));
  return worst;
}

TEST(Gate, EqualsSortedGumbelScoresInSinglesAndPairs) {
  MoeSpec by_best_two = plain_gate(16, 3), by_best = plain_gate(16, 3);
  by_best_two.groups = by_best.groups = 4;
  by_best_two.top_groups = by_best.top_groups = 2;
  by_best_two.group_score_experts = 2;
  // Weights r^-s in order of id; s = 4 is the gate's path for concentrated weights.
  for (const MoeSpec& moe : {plain_gate(16, 3), by_best_two, by_best}) {
    for (const double s : {0.0, 1.0, 4.0}) {
      std::vector<double> weights;
      for (int r = 1; r <= 16; ++r) weights.push_back(std::pow(r, -s));
      const Gate gate(moe, weights);
      WordSource words(Stream(9, "gate"));
      constexpr int tokens = 60000;
      std::array<std::uint16_t, 3> ids;
      const Tally ours = tally(16, tokens, [&] {
        gate.draw(words, 1, ids.data());
        return ids;
      });
      const Tally reference = tally(16, tokens, SortedScores(moe, weights));
      // One of 32 normal deviations passes 4.5 with probability 2e-4.
      EXPECT_LT(largest_deviation(ours.single, reference.single), 4.5) << moe.groups << " groups, s " << s;
      EXPECT_LT(largest_deviation(ours.pair, reference.pair), 4.5) << moe.groups << " groups, s " << s;
    }
  }
}

// Published for DeepSeek-V3's gate with independent random scores, 256 experts in order over N nodes.
TEST(DrawTokens, OfDeepSeekV3ReachThePublishedNumberOfNodes) {
  const Router router(grouped_gate(), 1, zipf(0), 1);
  constexpr std::int64_t tokens = 100000;
  std::vector<std::uint16_t> ids(tokens * 8);
  router.draw_tokens(0, 0, tokens, ids);
  const std::pair<std::uint32_t, double> expected[] = {{2, 1.97}, {4, 3.12}, {8, 3.96}, {16, 5.73}, {32, 6.86}};
  for (const auto& [nodes, published] : expected) {
    double reached = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      std::uint64_t hit = 0;
      for (std::size_t i = 0; i < 8; ++i) hit |= std::uint64_t{1} << (ids[t * 8 + i] * nodes / 256);
      reached += std::popcount(hit);
    }
    EXPECT_NEAR(reached / tokens, published, 0.02) << nodes << " nodes";
    // distinct_ratio times the k / N rows a node gets per token, over nodes: the same from its 4,096 tokens.
    std::vector<std::uint32_t> node_of(256);
    for (std::uint32_t e = 0; e < 256; ++e) node_of[e] = e * nodes / 256;
    double sum = 0;
    for (const double ratio : router.distinct_ratio(0, node_of, nodes)) sum += ratio * 8 / nodes;
    EXPECT_NEAR(sum, published, 0.06) << nodes << " nodes";
  }
}

// Without groups, 8 of 256 at random over N nodes: N (1 - C(256 - 256/N, 8) / C(256, 8)), published 3.62 and 5.29.
TEST(DistinctRatio, WithoutGroupsIsHypergeometric) {
  const Router router(plain_gate(256, 8), 1, zipf(0), 1);
  for (const auto& [nodes, published] : {std::pair{4u, 3.62}, std::pair{8u, 5.29}}) {
    std::vector<std::uint32_t> node_of(256);
    for (std::uint32_t e = 0; e < 256; ++e) node_of[e] = e * nodes / 256;
    double sum = 0;
    for (const double ratio : router.distinct_ratio(0, node_of, nodes)) sum += ratio * 8 / nodes;
    EXPECT_NEAR(sum, published, 0.06);
  }
  const Router top_1(plain_gate(64, 1), 1, zipf(0.6), 1);
  std::vector<std::uint32_t> half(64);
  for (std::uint32_t e = 0; e < 64; ++e) half[e] = e / 32;
  EXPECT_EQ(top_1.distinct_ratio(0, half, 2), std::vector<double>({1, 1}));
}

// --- counts ---------------------------------------------------------------------------------------------------------

TEST(DrawCounts, SumToTokensTimesKAndNoneExceedsTheTokens) {
  RoutingSpec certain;  // one expert that nearly every token takes
  certain.popularity.kind = PopularityKind::file;
  certain.popularity.table = {std::vector<double>(256, 1.0)};
  certain.popularity.table[0][100] = 1e6;
  for (const MoeSpec& moe : {plain_gate(8, 2), plain_gate(16, 4), plain_gate(60, 4), plain_gate(128, 8),
                             plain_gate(256, 8), grouped_gate(), plain_gate(256, 1), plain_gate(4, 4)}) {
    std::vector<RoutingSpec> specs = {zipf(0), zipf(0.9), zipf(2)};
    if (moe.experts == 256 && moe.groups == 1) specs.push_back(certain);
    for (const RoutingSpec& spec : specs) {
      const Router router(moe, 1, spec, 3);
      for (const std::int64_t tokens : {0, 1, 7, 24, 25, 33, 100, 256, 1000, 5000, 100000}) {
        for (std::uint64_t step = 0; step < 20; ++step) {
          const auto counts = counts_of(router, 0, step, tokens);
          ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}),
                    static_cast<std::uint64_t>(tokens * moe.top_k));
          ASSERT_LE(*std::max_element(counts.begin(), counts.end()), static_cast<std::uint64_t>(tokens));
        }
      }
    }
  }
}

// E (1 - (1 - k/E)^T), published for V3: 57, 163, 222, 252 at 8, 32, 64 and 128 tokens; groups do not change it.
TEST(DrawCounts, TouchTheClosedFormNumberOfExperts) {
  for (const MoeSpec& moe : {plain_gate(256, 8), grouped_gate()}) {
    const Router router(moe, 1, zipf(0), 1);
    for (const auto& [tokens, published] :
         {std::pair{8, 57.0}, std::pair{32, 163.0}, std::pair{64, 222.0}, std::pair{128, 252.0}}) {
      constexpr int draws = 2000;
      double sum = 0;
      for (int i = 0; i < draws; ++i) sum += distinct(counts_of(router, 0, static_cast<std::uint64_t>(i), tokens));
      const double exact = 256 * (1 - std::pow(1 - 8.0 / 256, tokens));
      EXPECT_NEAR(exact, published, 0.8);
      // A deviation of at most 7 experts: standard error 0.15.
      EXPECT_NEAR(sum / draws, exact, 0.5) << moe.groups << " groups, " << tokens << " tokens";
    }
  }
}

// (mean of n_e / T - q_e) / sqrt(q_e (1 - q_e) / (T draws)) is standard normal.
TEST(DrawCounts, HaveTheMeansThatInclusionStates) {
  for (const std::int64_t tokens : {16, 40, 200, 2000}) {
    const Router router(plain_gate(128, 8), 2, zipf(0.9), 4);
    constexpr int draws = 3000;
    std::vector<double> sum(128, 0.0);
    for (int i = 0; i < draws; ++i) {
      const auto counts = counts_of(router, 1, static_cast<std::uint64_t>(i), tokens);
      for (std::size_t e = 0; e < 128; ++e) sum[e] += counts[e];
    }
    for (std::size_t e = 0; e < 128; ++e) {
      const double q = router.inclusion(1)[e], n = static_cast<double>(tokens) * draws;
      EXPECT_LT(std::abs(sum[e] / n - q) / std::sqrt(q * (1 - q) / n), 5) << tokens << " tokens, expert " << e;
    }
  }
}

TEST(Inclusion, OfAFileIsReproducedByTheDraws) {
  RoutingSpec spec;
  spec.popularity.kind = PopularityKind::file;
  std::vector<double> row(256);
  for (std::size_t e = 0; e < row.size(); ++e) row[e] = 1 + static_cast<double>((e * 37) % 64);
  spec.popularity.table = {row};
  const double sum = std::accumulate(row.begin(), row.end(), 0.0);
  for (const MoeSpec& moe : {plain_gate(256, 8), grouped_gate()}) {
    const Router router(moe, 1, spec, 1);
    constexpr std::int64_t tokens = 200000;
    const auto counts = token_counts_of(router, 0, 0, tokens);
    for (std::size_t e = 0; e < row.size(); ++e) {
      const double q = 8 * row[e] / sum;
      // Solved without groups to 1e-6, with groups from a sample to about a percent.
      EXPECT_NEAR(router.inclusion(0)[e] / q, 1, moe.groups == 1 ? 1e-5 : 0.03);
      EXPECT_LT(std::abs(counts[e] / static_cast<double>(tokens) - q),
                5 * std::sqrt(q / tokens) + (moe.groups == 1 ? 0 : 0.03 * q));
    }
  }
}

TEST(Draws, DependOnSeedLayerAndStepOnly) {
  const Router router(grouped_gate(), 3, zipf(0.6), 5), same(grouped_gate(), 3, zipf(0.6), 5),
      other(grouped_gate(), 3, zipf(0.6), 6);
  const auto first = counts_of(router, 1, 7, 300);
  counts_of(router, 2, 7, 300);
  counts_of(router, 1, 8, 10);
  EXPECT_EQ(counts_of(router, 1, 7, 300), first);
  EXPECT_EQ(counts_of(same, 1, 7, 300), first);
  EXPECT_NE(counts_of(other, 1, 7, 300), first);
  EXPECT_NE(counts_of(router, 1, 8, 300), first);
  EXPECT_NE(counts_of(router, 2, 7, 300), first);
  // Small batches are the sums of the tokens themselves.
  EXPECT_EQ(counts_of(router, 1, 7, 16), token_counts_of(router, 1, 7, 16));
}

// The correlation of n independent pairs has standard deviation 1 / sqrt(n).
TEST(Draws, AreFreshForEachStepAndLayer) {
  const Router router(plain_gate(128, 8), 2, zipf(0.6), 2);
  constexpr std::size_t steps = 4000;
  std::vector<double> load, other_layer;
  for (std::uint64_t step = 0; step < steps; ++step) {
    load.push_back(busiest_rank(counts_of(router, 0, step, 512), 8));
    other_layer.push_back(busiest_rank(counts_of(router, 1, step, 512), 8));
  }
  const auto correlation = [](std::span<const double> a, std::span<const double> b) {
    const auto n = static_cast<double>(a.size());
    const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
    const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
    double ab = 0, aa = 0, bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      ab += (a[i] - mean_a) * (b[i] - mean_b);
      aa += (a[i] - mean_a) * (a[i] - mean_a);
      bb += (b[i] - mean_b) * (b[i] - mean_b);
    }
    return ab / std::sqrt(aa * bb);
  };
  const std::span<const double> all(load);
  EXPECT_LT(std::abs(correlation(all.first(steps - 1), all.subspan(1))), 4 / std::sqrt(steps));
  EXPECT_LT(std::abs(correlation(all, other_layer)), 4 / std::sqrt(steps));
}

// --- the fast sampler against the exact one -------------------------------------------------------------------------

struct FastCase {
  bool groups;
  double exponent;
  std::int64_t tokens;
};

class FastCounts : public testing::TestWithParam<FastCase> {};

TEST_P(FastCounts, HaveTheLawOfSummedTokens) {
  const FastCase& c = GetParam();
  const Router router(c.groups ? grouped_gate() : plain_gate(128, 8), 2, zipf(c.exponent), 7);
  const std::size_t fast_draws = 4000;
  const std::size_t exact_draws = c.tokens == 4096 ? (c.groups ? 500 : 1500) : 2000;
  std::vector<double> exact[3], fast[3];
  // Steps apart, so that small batches are not the same draws.
  for (std::size_t i = 0; i < fast_draws; ++i) add_figures(fast, counts_of(router, 1, i, c.tokens));
  for (std::size_t i = 0; i < exact_draws; ++i) add_figures(exact, token_counts_of(router, 1, 1000000 + i, c.tokens));
  const char* names[] = {"busiest of 8 ranks", "busiest of 32 ranks", "distinct experts"};
  for (std::size_t i = 0; i < 3; ++i) {
    const double p = kolmogorov_smirnov(exact[i], fast[i]);
    // 72 tests of a true hypothesis: the smallest p is below 1e-4 once in 140 such suites.
    EXPECT_GT(p, 1e-4) << names[i];
    RecordProperty(std::string("p ") + names[i], std::to_string(p));
  }
}

std::vector<FastCase> fast_cases() {
  std::vector<FastCase> cases;
  for (const bool groups : {false, true})
    for (const double s : {0.0, 0.2, 0.6, 0.9})
      for (const std::int64_t tokens : {16, 256, 4096}) cases.push_back({groups, s, tokens});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Law, FastCounts, testing::ValuesIn(fast_cases()), [](const auto& made) {
  return std::string(made.param.groups ? "groups" : "plain") + "_zipf" +
         std::to_string(static_cast<int>(made.param.exponent * 10)) + "_" + std::to_string(made.param.tokens);
});

/// Covariance of counts over `draws` draws.
template <class Draw>
std::vector<double> covariance(std::size_t experts, int draws, Draw&& draw) {
  std::vector<double> mean(experts, 0.0), product(experts * experts, 0.0);
  for (int i = 0; i < draws; ++i) {
    const std::vector<std::uint32_t> n = draw(static_cast<std::uint64_t>(i));
    for (std::size_t e = 0; e < experts; ++e) {
      mean[e] += n[e] / static_cast<double>(draws);
      for (std::size_t f = 0; f < experts; ++f) product[e * experts + f] += double{1} * n[e] * n[f] / draws;
    }
  }
  for (std::size_t e = 0; e < experts; ++e)
    for (std::size_t f = 0; f < experts; ++f) product[e * experts + f] -= mean[e] * mean[f];
  return product;
}

double frobenius(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

// The fast covariance is as far from two exact samples as these are from each other. One number for all entries would
// hide an error of a few, so groups' blocks (which carry the positive part) are compared as rank totals above.
TEST(DrawCounts, HaveTheCovarianceOfSummedTokens) {
  MoeSpec grouped = plain_gate(32, 4);
  grouped.groups = 4;
  grouped.top_groups = 2;
  grouped.group_score_experts = 2;
  for (const MoeSpec& moe : {plain_gate(8, 2), plain_gate(32, 4), grouped}) {
    const auto experts = static_cast<std::size_t>(moe.experts);
    for (const double s : {0.0, 0.6}) {
      for (const std::int64_t tokens : {16, 256, 4096}) {
        const Router router(moe, 1, zipf(s), 8);
        const int draws = tokens == 4096 ? 600 : 4000;
        const auto exact = [&](std::uint64_t i) { return token_counts_of(router, 0, 1000000 + i, tokens); };
        const auto again = [&](std::uint64_t i) { return token_counts_of(router, 0, 2000000 + i, tokens); };
        const auto fast = [&](std::uint64_t i) { return counts_of(router, 0, i, tokens); };
        const auto a = covariance(experts, draws, exact), b = covariance(experts, draws, again),
                   c = covariance(experts, draws, fast);
        // Three equal independent samples: all distances alike up to their own scatter.
        EXPECT_LT((frobenius(a, c) + frobenius(b, c)) / 2, 1.25 * frobenius(a, b))
            << moe.experts << " experts, " << moe.groups << " groups, s " << s << ", " << tokens << " tokens";
      }
    }
  }
}

// --- matrix ---------------------------------------------------------------------------------------------------------

TEST(DrawMatrix, RowsSumToTheirTokensAndColumnsFollowTheLawOfTheTotal) {
  for (const MoeSpec& moe : {plain_gate(128, 8), grouped_gate()}) {
    const auto experts = static_cast<std::size_t>(moe.experts);
    const Router router(moe, 1, zipf(0.6), 11);
    const std::vector<std::int64_t> tokens = {64, 40, 0, 3, 64, 85};  // 256 in all
    std::vector<std::uint32_t> matrix(tokens.size() * experts);
    std::vector<double> of_matrix[3], of_total[3];
    for (std::uint64_t step = 0; step < 3000; ++step) {
      router.draw_matrix(0, step, tokens, matrix);
      std::vector<std::uint32_t> columns(experts, 0);
      for (std::size_t s = 0; s < tokens.size(); ++s) {
        std::uint64_t sum = 0;
        for (std::size_t e = 0; e < experts; ++e) {
          columns[e] += matrix[s * experts + e];
          sum += matrix[s * experts + e];
          ASSERT_LE(matrix[s * experts + e], tokens[s]);
        }
        ASSERT_EQ(sum, static_cast<std::uint64_t>(tokens[s] * moe.top_k));
      }
      const std::vector<std::uint32_t> total = token_counts_of(router, 0, step, 256);
      add_figures(of_matrix, columns);
      add_figures(of_total, total);
    }
    for (std::size_t i = 0; i < 3; ++i) EXPECT_GT(kolmogorov_smirnov(of_matrix[i], of_total[i]), 1e-4) << i;
  }
}

}  // namespace
}  // namespace moesim
