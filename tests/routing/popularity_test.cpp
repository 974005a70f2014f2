#include "routing/popularity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moesim {
namespace {

std::vector<double> zipf(std::int64_t experts, double exponent) {
  PopularitySpec spec;
  spec.exponent = exponent;
  return popularity_weights(spec, experts, Stream(1, "unused"));
}

// Two draws without replacement: first e, or first i and then e among the rest:
//   q_e = p_e + sum over i != e of p_i p_e / (1 - p_i)
TEST(RaceInclusion, OfTwoDrawsIsTheSumOverFirstDraws) {
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  const std::vector<double> q = race_inclusion_of(p, 2);
  for (std::size_t e = 0; e < p.size(); ++e) {
    double expected = p[e];
    for (std::size_t i = 0; i < p.size(); ++i)
      if (i != e) expected += p[i] * p[e] / (1 - p[i]);
    EXPECT_NEAR(q[e], expected, 1e-8);
  }
}

TEST(RaceInclusion, SumsToTheDrawsAndIsTheirShareWhenEqual) {
  for (const double s : {0.0, 0.6, 1.2}) {
    const std::vector<double> rows = race_inclusion(zipf(64, s), 8);
    for (std::size_t k = 1; k <= 8; ++k) {
      const auto row = std::span(rows).subspan((k - 1) * 64, 64);
      EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), static_cast<double>(k), 1e-7);
      if (s == 0) {
        EXPECT_NEAR(row[17], static_cast<double>(k) / 64, 1e-9);
      }
    }
  }
  // A race of everybody takes everybody.
  EXPECT_EQ(race_inclusion_of(std::vector<double>{3, 2, 1}, 3), std::vector<double>({1, 1, 1}));
}

TEST(WeightsForInclusion, ReproduceTheTarget) {
  std::vector<double> target(32);
  double sum = 0;
  for (std::size_t e = 0; e < target.size(); ++e) sum += target[e] = 1.0 / static_cast<double>(e + 1);
  for (double& q : target) q *= 4 / sum;  // the largest is 0.986
  const std::vector<double> q = race_inclusion_of(weights_for_inclusion(target, 4), 4);
  for (std::size_t e = 0; e < target.size(); ++e) EXPECT_NEAR(q[e] / target[e], 1, 1e-6) << e;
}

TEST(CappedInclusion, FillsExpertsThatWouldPassOneAndSharesTheRest) {
  // Of 2 choices 100 : 1 : 1 : 2 gives 1.92 to the first: it takes 1, the others share 1 as 1 : 1 : 2.
  EXPECT_EQ(capped_inclusion(std::vector<double>{100, 1, 1, 2}, 2), std::vector<double>({1, 0.25, 0.25, 0.5}));
  EXPECT_EQ(capped_inclusion(std::vector<double>{3, 1, 2, 2}, 2), std::vector<double>({0.75, 0.25, 0.5, 0.5}));
}

// max/mean of an expert, E r^-s / sum at r = 1; the rounded figures for s = 0.2, 0.4, 0.6, 0.8, 1.0.
TEST(ZipfWeights, HaveTheMaximumOverMeanOfTheirLaw) {
  const double s[] = {0.2, 0.4, 0.6, 0.8, 1.0};
  const double of_8[] = {1.3, 1.6, 2.0, 2.5, 2.9}, of_128[] = {2.1, 4.3, 8.3, 14.6, 23.6},
               of_256[] = {2.4, 5.6, 12.2, 23.9, 41.8};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(zipf(8, s[i]).front() * 8, of_8[i], 0.05);
    EXPECT_NEAR(zipf(128, s[i]).front() * 128, of_128[i], 0.05);
    EXPECT_NEAR(zipf(256, s[i]).front() * 256, of_256[i], 0.05);
  }
}

// max/mean of a rank, 256 experts placed at random, mean over placements: figures from an independent computation.
TEST(ZipfWeights, HaveTheRankLoadsOfRandomPlacement) {
  const double s[] = {0.2, 0.4, 0.6, 0.8, 1.0};
  const double expected[4][5] = {{1.06, 1.17, 1.34, 1.65, 2.09},
                                 {1.12, 1.32, 1.73, 2.32, 3.40},
                                 {1.22, 1.60, 2.40, 3.78, 5.95},
                                 {1.39, 2.17, 3.76, 6.59, 11.0}};
  for (std::size_t i = 0; i < 5; ++i) {
    const std::vector<double> weights = zipf(256, s[i]);
    for (std::size_t ranks = 8, row = 0; row < 4; ranks *= 2, ++row) {
      constexpr int placements = 400;
      double sum = 0;
      for (int p = 0; p < placements; ++p) {
        const auto order = random_permutation(256, Stream(5, "placement").substream(static_cast<std::uint64_t>(p)));
        std::vector<double> load(ranks, 0.0);
        for (std::size_t r = 0; r < 256; ++r) load[order[r] / (256 / ranks)] += weights[r];
        sum += *std::max_element(load.begin(), load.end()) * static_cast<double>(ranks);
      }
      EXPECT_NEAR(sum / placements / expected[row][i], 1, 0.04) << ranks << " ranks, s " << s[i];
    }
  }
}

TEST(PopularityWeights, SpreadAsTheirLawsSay) {
  PopularitySpec spec;
  spec.kind = PopularityKind::lognormal;
  spec.sigma = 0.5;
  constexpr std::int64_t n = 4096;
  double mean = 0, square = 0;
  for (const double w : popularity_weights(spec, n, Stream(3, "popularity"))) {
    mean += std::log(w) / n;
    square += std::log(w) * std::log(w) / n;
  }
  EXPECT_NEAR(std::sqrt(square - mean * mean), 0.5, 0.02);  // standard error 0.5 / sqrt(2 n) = 0.006
  // Dirichlet: n p has variance (n - 1) / (n alpha + 1), here 0.25; its standard error is about 0.01.
  spec.kind = PopularityKind::dirichlet;
  spec.concentration = 4;
  double variance = 0;
  for (const double w : popularity_weights(spec, n, Stream(3, "popularity"))) variance += (w * n - 1) * (w * n - 1) / n;
  EXPECT_NEAR(variance, 0.25, 0.03);
}

}  // namespace
}  // namespace moesim
