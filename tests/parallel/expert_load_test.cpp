#include "parallel/expert_load.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "core/random.h"
#include "routing/router.h"

namespace moesim {
namespace {

using Counts = std::vector<std::uint32_t>;

/// k distinct experts a token, uniform, as `Router::draw_tokens` lays them out.
std::vector<std::uint16_t> random_ids(std::size_t tokens, std::size_t k, std::uint32_t experts) {
  Stream stream(7, "test/expert_load");
  std::vector<std::uint16_t> ids;
  for (std::size_t t = 0; t < tokens; ++t) {
    std::set<std::uint16_t> chosen;
    while (chosen.size() < k) chosen.insert(static_cast<std::uint16_t>(stream.below(experts)));
    ids.insert(ids.end(), chosen.begin(), chosen.end());
  }
  return ids;
}

TEST(ExpertLoads, RowsArePaddedPerExpertAndSummedPerRank) {
  const ExpertLoads loads(linear_placement(4, 2, 0), {0, 0});
  std::vector<ExpertLoad> out(2);
  const std::vector<double> ratio{1.0, 0.5};
  loads.from_counts(Counts{1, 17, 0, 300}, 200, ratio, out);
  EXPECT_EQ(out[0].tokens, 200);
  EXPECT_EQ(out[0].rows, 18);
  EXPECT_EQ(out[0].active, 2);
  EXPECT_EQ(out[0].padded_rows, (std::array<std::int64_t, 5>{48, 64, 128, 256, 512}));
  EXPECT_EQ(out[0].local_tokens, 18);
  EXPECT_EQ(out[1].rows, 300);
  EXPECT_EQ(out[1].active, 1);
  EXPECT_EQ(out[1].padded_rows, (std::array<std::int64_t, 5>{304, 320, 320, 384, 512}));
  EXPECT_EQ(out[1].local_tokens, 150);
}

TEST(ExpertLoads, CopiesOfARedundantExpertShareItsTokensEvenly) {
  // 4 experts, 5 redundant copies of experts 0 1 2 3 0 on 3 ranks: slots 0 1 2 | 3 0 1 | 2 3 0. Expert 0 has 3 copies.
  const ExpertLoads loads(linear_placement(4, 3, 5), {0, 0, 0});
  std::vector<ExpertLoad> out(3);
  const std::vector<double> ratio(3, 1.0);
  loads.from_counts(Counts{8, 5, 0, 1}, 14, ratio, out);
  // expert 0: 3 3 2; expert 1: 3 2; expert 3: 1 0
  EXPECT_EQ(out[0].rows, 3 + 3 + 0);
  EXPECT_EQ(out[1].rows, 1 + 3 + 2);
  EXPECT_EQ(out[2].rows, 0 + 0 + 2);
  EXPECT_EQ(out[2].active, 1);
}

TEST(ExpertLoads, EveryResolutionAgreesOnRows) {
  const std::size_t tokens = 4 * 96, k = 4;
  const std::uint32_t experts = 32;
  for (const std::int32_t redundant : {0, 4, 8}) {
    const ExpertLoads loads(linear_placement(experts, 4, redundant), {0, 0, 1, 1});
    const std::vector<std::uint16_t> ids = random_ids(tokens, k, experts);
    Counts counts(experts), matrix(4 * experts);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ++counts[ids[i]];
      ++matrix[i / (96 * k) * experts + ids[i]];
    }
    const std::vector<double> ratio(4, 0.7);
    std::vector<ExpertLoad> by_counts(4), by_matrix(4), by_tokens(4);
    ExchangeCounts from_matrix = loads.exchange_counts(), from_tokens = loads.exchange_counts();
    from_tokens.tokens.assign(4, 96);
    loads.from_counts(counts, tokens, ratio, by_counts);
    loads.from_matrix(matrix, tokens, ratio, by_matrix, from_matrix);
    loads.from_tokens(ids, k, by_tokens, from_tokens);
    std::int64_t rows = 0;
    for (std::size_t r = 0; r < 4; ++r) {
      EXPECT_EQ(by_counts[r].rows, by_matrix[r].rows);
      EXPECT_EQ(by_counts[r].rows, by_tokens[r].rows);
      EXPECT_EQ(by_counts[r].padded_rows, by_matrix[r].padded_rows);
      EXPECT_EQ(by_counts[r].padded_rows, by_tokens[r].padded_rows);
      rows += by_counts[r].rows;
      std::uint32_t into = 0;
      for (std::size_t s = 0; s < 4; ++s) into += from_matrix.pair_rows[s * 4 + r];
      EXPECT_EQ(into, by_matrix[r].rows);
    }
    EXPECT_EQ(rows, static_cast<std::int64_t>(tokens * k));
    for (std::size_t s = 0; s < 4; ++s) {
      const auto first = from_tokens.pair_rows.begin() + static_cast<std::ptrdiff_t>(s * 4);
      EXPECT_EQ(std::accumulate(first, first + 4, 0U), 96 * k);
    }
  }
}

TEST(ExpertLoads, TokensReachDistinctRanksAndNodesOnceEach) {
  const ExpertLoads loads(linear_placement(8, 4, 0), {0, 0, 1, 1});  // experts 2r, 2r + 1 on rank r
  ExchangeCounts exchange = loads.exchange_counts();
  exchange.tokens = {1, 0, 0, 2};
  std::vector<ExpertLoad> out(4);
  const std::vector<std::uint16_t> ids{0, 1, 2,   // ranks 0 1, node 0
                                       0, 4, 5,   // ranks 0 2, nodes 0 1
                                       5, 6, 7};  // ranks 2 3, node 1
  loads.from_tokens(ids, 3, out, exchange);
  EXPECT_EQ(exchange.rank_copies, (std::vector<std::int64_t>{2, 1, 2, 1}));
  EXPECT_EQ(exchange.node_copies, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(exchange.rows, (std::vector<std::int64_t>{3, 1, 3, 2}));
  EXPECT_EQ(exchange.pair_rows, (Counts{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 2}));
  EXPECT_EQ(out[2].local_tokens, 2);
  // The first token is of source 0, the others of source 3.
  EXPECT_EQ(exchange.pair_rank_copies, (Counts{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1}));
  EXPECT_EQ(exchange.pair_node_copies, (Counts{1, 0, 0, 0, 0, 0, 1, 2}));
}

// DeepSeek-V3's gate keeps the best 4 of 8 groups: with a group a node no token reaches more than 4 of 8 nodes, and
// with independent scores the expected numbers for N nodes are 1.97, 3.12, 3.96 and 5.73 (200,000 tokens, +- 0.01).
TEST(ExpertLoads, GroupLimitedGatesBoundTheNodesOfAToken) {
  MoeSpec moe;
  moe.experts = 256;
  moe.top_k = 8;
  moe.groups = 8;
  moe.top_groups = 4;
  moe.group_score_experts = 2;
  moe.sigmoid_scores = true;
  RoutingSpec routing;
  routing.popularity.kind = PopularityKind::uniform;
  const Router router(moe, 1, routing, 1);
  const std::int64_t tokens = 400;
  std::vector<std::uint16_t> ids(static_cast<std::size_t>(16 * tokens) * 8);
  router.draw_tokens(0, 1, 16 * tokens, ids);
  for (const auto& [nodes, expected] : {std::pair{2, 1.97}, std::pair{4, 3.12}, std::pair{8, 3.96}, {16, 5.73}}) {
    std::vector<std::uint32_t> node_of_rank;
    for (int r = 0; r < 16; ++r) node_of_rank.push_back(static_cast<std::uint32_t>(r * nodes / 16));
    const ExpertLoads loads(linear_placement(256, 16, 0), node_of_rank);
    ExchangeCounts exchange = loads.exchange_counts();
    exchange.tokens.assign(16, tokens);
    std::vector<ExpertLoad> out(16);
    loads.from_tokens(ids, 8, out, exchange);
    const auto n = static_cast<std::size_t>(nodes);
    for (std::size_t s = 0; s < 16; ++s) {
      const auto first = exchange.pair_node_copies.begin() + static_cast<std::ptrdiff_t>(s * n);
      const auto copies = std::accumulate(first, first + static_cast<std::ptrdiff_t>(n), std::uint32_t{0});
      if (nodes == 8) {
        EXPECT_LE(copies, 4 * tokens);
      }
      EXPECT_NEAR(copies / static_cast<double>(tokens), expected, 0.15);
    }
    const auto all = std::accumulate(exchange.pair_node_copies.begin(), exchange.pair_node_copies.end(), 0U);
    EXPECT_NEAR(all / (16.0 * static_cast<double>(tokens)), expected, 0.03) << nodes << " nodes";
  }
}

TEST(ExpertLoads, UniformTokensReachTheExpectedNumberOfNodes) {
  // 8 distinct of 256 experts, uniform, 2 nodes: 2 (1 - C(128, 8) / C(256, 8)) = 1.993 nodes; 4 nodes of 64 experts:
  // 4 (1 - C(192, 8) / C(256, 8)) = 3.613.
  for (const auto& [nodes, expected] : {std::pair{2, 1.993}, std::pair{4, 3.613}}) {
    std::vector<std::uint32_t> node_of_rank;
    for (int r = 0; r < 32; ++r) node_of_rank.push_back(static_cast<std::uint32_t>(r * nodes / 32));
    const ExpertLoads loads(linear_placement(256, 32, 0), node_of_rank);
    ExchangeCounts exchange = loads.exchange_counts();
    const std::size_t tokens = 20000;
    exchange.tokens[0] = tokens;
    std::vector<ExpertLoad> out(32);
    loads.from_tokens(random_ids(tokens, 8, 256), 8, out, exchange);
    const double mean = static_cast<double>(std::accumulate(exchange.node_copies.begin(), exchange.node_copies.end(),
                                                            std::int64_t{0})) /
                        static_cast<double>(tokens);
    EXPECT_NEAR(mean, expected, 0.015);
  }
}

TEST(ExpertLoads, NodeCopiesAreRowsTimesTheRatioOfTheNodeAndAtMostAllTokens) {
  const ExpertLoads loads(linear_placement(8, 4, 0), {0, 0, 1, 1});
  std::vector<ExpertLoad> out(4);
  const std::vector<double> ratio(4, 0.9), node_ratio{0.5, 1.0};
  loads.from_counts(Counts{10, 10, 10, 10, 50, 40, 30, 0}, 100, ratio, out);
  ExchangeCounts exchange = loads.exchange_counts();
  loads.fill_copies(out, node_ratio, exchange);
  EXPECT_EQ(exchange.node_copies, (std::vector<std::int64_t>{20, 100}));
  EXPECT_EQ(exchange.rank_copies, (std::vector<std::int64_t>{18, 18, 81, 27}));
}

}  // namespace
}  // namespace moesim
