// The rows that are measured, the routing behind them, and the columns that they are written in.

#include "cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "case_fields.h"
#include "program.h"
#include "references.h"

namespace moesim::calibrate {

namespace {

std::vector<Family> all_families() {
  std::vector<Family> families;
  for (std::size_t i = 0; i < kFamilies; ++i) families.push_back(static_cast<Family>(i));
  return families;
}

std::vector<std::string> columns_of_file(const std::string& file) {
  std::ifstream table(std::string(MOESIM_SHARED_DATA) + "/" + file);
  std::string line;
  std::getline(table, line);
  std::vector<std::string> names;
  std::stringstream stream(line);
  for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
  return names;
}

TEST(Cases, HaveKeysThatDifferAndKernelsForEveryFamily) {
  for (const Family family : all_families()) {
    const std::vector<Case> cases = cases_of(family, all_kernels(), 8);
    EXPECT_GT(cases.size(), 10u) << name(family);
    std::set<std::string> keys;
    for (const Case& c : cases) {
      EXPECT_TRUE(keys.insert(key_of(c)).second) << name(family) << ": " << key_of(c);
      EXPECT_EQ(shape_fields(c).size(), key_columns(family));
    }
  }
}

TEST(Cases, AreTheSameEveryTime) {
  const auto seeds = [] {
    std::vector<std::uint64_t> all;
    for (const Case& c : cases_of(Family::moe, all_kernels(), 1)) all.push_back(seed_of(c));
    return all;
  };
  EXPECT_EQ(seeds(), seeds());
  const Case gemm{Family::gemm, "cublas", "cublaslt", GemmCase{Precision::bf16, 8, 6144, 4096}};
  Case other = gemm;
  EXPECT_EQ(seed_of(gemm), seed_of(other));
  std::get<GemmCase>(other.shape).m = 9;
  EXPECT_NE(seed_of(gemm), seed_of(other));
}

TEST(Cases, LeaveOutWhatAMachineCannot) {
  const std::vector<KernelChoice> no_fp8{{Family::gemm, "cublas", "cublaslt", Precision::bf16}};
  const auto cases = cases_of(Family::gemm, no_fp8, 1);
  EXPECT_FALSE(cases.empty());
  for (const Case& c : cases) EXPECT_EQ(std::get<GemmCase>(c.shape).precision, Precision::bf16);
  EXPECT_TRUE(cases_of(Family::moe, no_fp8, 1).empty());
  EXPECT_TRUE(cases_of(Family::nccl, all_kernels(), 1).empty());
  std::set<int> ranks;
  for (const Case& c : cases_of(Family::nccl, all_kernels(), 6)) ranks.insert(std::get<CollectiveCase>(c.shape).ranks);
  EXPECT_EQ(ranks, (std::set<int>{2, 4, 6}));
}

TEST(Cases, RoundTripTheirNames) {
  for (const Family family : all_families()) EXPECT_EQ(family_from_name(name(family)), family);
  EXPECT_FALSE(family_from_name("gem"));
  for (const Target target : {Target::kernels, Target::collectives, Target::memory}) {
    EXPECT_EQ(target_from_name(name(target)), target);
  }
}

TEST(Cases, HaveUnequalExchangesThatSumToTheBuffer) {
  for (const int ranks : {2, 4, 8}) {
    for (const double imbalance : {1.0, 1.5}) {
      const CollectiveCase c{"alltoallv", ranks, 1 << 20, imbalance};
      std::int64_t sum = 0;
      for (int r = 0; r < ranks; ++r) sum += elements_to(c, r);
      EXPECT_LE(sum, c.bytes / 2);
      EXPECT_GT(sum, c.bytes / 2 - ranks);
      EXPECT_NEAR(static_cast<double>(elements_to(c, 0)), imbalance * static_cast<double>(c.bytes) / 2 / ranks, 1);
    }
  }
}

TEST(Cases, CountTheBytesOfStreamingParts) {
  const MoeCase moe{.tokens = 10, .hidden = 64, .inter = 32, .top_k = 2, .experts = 4};  // 20 rows
  EXPECT_EQ(bytes_of({"moe_gating_routing_topk", moe}, 1), 10 * (4 * 4 + 2 * 8));
  EXPECT_EQ(bytes_of({"moe_shuffling", moe}, 1), 2 * 64 * (20 + 10));
  EXPECT_EQ(bytes_of({"moe_activation", moe}, 1), 2 * 20 * 3 * 32);
  EXPECT_EQ(bytes_of({"moe_quantize", moe}, 1), 5 * 20 * 32);
  EXPECT_EQ(bytes_of({"moe_combine", moe}, 1), 2 * 64 * (20 + 10));
}

TEST(Routing, CountsSumToTheRowsAndFitTheTokens) {
  for (const Skew& skew : {kBalanced, kPowerLaw101, kPowerLaw12}) {
    for (const auto& [tokens, top_k, experts] :
         std::vector<std::array<int, 3>>{{1, 8, 256}, {7, 2, 8}, {300, 8, 128}, {16384, 4, 128}, {5, 1, 16}}) {
      const auto counts = draw_counts(skew, tokens, top_k, experts, Stream(3, "test"));
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), std::int64_t{tokens} * top_k);
      EXPECT_LE(*std::max_element(counts.begin(), counts.end()), tokens);
      EXPECT_GE(*std::min_element(counts.begin(), counts.end()), 0);
      const RoutedTokens routed = assign_tokens(counts, tokens, top_k, Stream(4, "test"));
      std::vector<std::int64_t> got(static_cast<std::size_t>(experts));
      for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
        std::set<std::int32_t> distinct;
        for (std::size_t j = 0; j < static_cast<std::size_t>(top_k); ++j) {
          const std::int32_t e = routed.chosen[t * static_cast<std::size_t>(top_k) + j];
          distinct.insert(e);
          ++got[static_cast<std::size_t>(e)];
        }
        EXPECT_EQ(distinct.size(), static_cast<std::size_t>(top_k));
      }
      EXPECT_EQ(got, counts);
    }
  }
}

TEST(Routing, IsEvenWhenBalancedAndSkewedByThePowerLaw) {
  const auto even = draw_counts(kBalanced, 100, 3, 8, Stream(1, "test"));
  EXPECT_EQ(*std::max_element(even.begin(), even.end()) - *std::min_element(even.begin(), even.end()), 1);
  const auto skewed = draw_counts(kPowerLaw12, 4096, 8, 128, Stream(1, "test"));
  EXPECT_GT(*std::max_element(skewed.begin(), skewed.end()), 3 * 4096 * 8 / 128);
  EXPECT_LT(*std::min_element(skewed.begin(), skewed.end()), 4096 * 8 / 128 / 3);
  const auto sparse = draw_counts(kPowerLaw12, 4, 8, 128, Stream(1, "test"));
  EXPECT_GT(std::count(sparse.begin(), sparse.end(), 0), 90) << "32 rows leave at least 96 of 128 experts empty";
}

TEST(Routing, PutsTheBusiestRankFirst) {
  RoutedTokens routed{.tokens = 3, .top_k = 2, .experts = 6, .chosen = {0, 4, 5, 2, 4, 1}};
  put_busiest_rank_first(routed, 3);  // ranks {0,1}, {2,3}, {4,5} have 2, 1, 3 rows
  EXPECT_EQ(routed.chosen, (std::vector<std::int32_t>{4, 0, 1, 2, 0, 5}));
  const MoeCase moe{.tokens = 512, .top_k = 8, .experts = 256, .ep = 8, .skew = kPowerLaw12};
  const RoutedTokens drawn = routing_of(moe, 5);
  std::vector<int> rows(8);
  for (const std::int32_t e : drawn.chosen) ++rows[static_cast<std::size_t>(e) / 32];
  EXPECT_EQ(std::max_element(rows.begin(), rows.end()), rows.begin());
}

TEST(Routing, GivesScoresWhoseTopAreTheChoice) {
  const MoeCase moe{.tokens = 40, .top_k = 8, .experts = 128, .skew = kPowerLaw101};
  const RoutedTokens routed = routing_of(moe, 9);
  const std::vector<float> scores = scores_of(routed, 10);
  for (std::size_t t = 0; t < 40; ++t) {
    const Choice choice = choose(std::span(scores).subspan(t * 128, 128), 8);
    EXPECT_TRUE(std::equal(choice.experts.begin(), choice.experts.end(),
                           routed.chosen.begin() + static_cast<std::ptrdiff_t>(t * 8)));
  }
}

TEST(Columns, AreThoseOfTheSharedTables) {
  const std::map<Family, std::string> tables{{Family::gemm, "kernels/gemm_h100_sxm_vllm-0.24.0.csv"},
                                             {Family::quantize, "kernels/quantize_h100_sxm_trtllm-1.3.0rc20.csv"},
                                             {Family::grouped_gemm, "kernels/infersim_grouped_gemm_prefill_h20.csv"},
                                             {Family::moe, "kernels/moe_h100_sxm_vllm.csv"},
                                             {Family::attn_decode, "kernels/attn_decode_h100_sxm_vllm-0.24.0.csv"},
                                             {Family::attn_prefill, "kernels/attn_prefill_h100_sxm_vllm-0.24.0.csv"},
                                             {Family::mla_decode, "kernels/mla_decode_h100_sxm_trtllm-1.3.0rc20.csv"},
                                             {Family::mla_prefill, "kernels/mla_prefill_h100_sxm_trtllm-1.3.0rc20.csv"},
                                             {Family::mla_bmm, "kernels/mla_bmm_h100_sxm_trtllm-1.3.0rc20.csv"},
                                             {Family::nccl, "comm/nccl_single_node_aic.csv"}};
  // Of several versions, which one run has not: the reader scores latency_us where they are missing.
  const std::set<std::string> left_out{"best_us", "x_min"};
  if (columns_of_file("kernels/moe_h100_sxm_vllm.csv").empty()) GTEST_SKIP() << "the shared tables are not here";
  for (const auto& [family, file] : tables) {
    const auto names = columns(family);
    for (const std::string& column : columns_of_file(file)) {
      if (left_out.contains(column)) continue;
      EXPECT_NE(std::find(names.begin(), names.end(), column), names.end()) << name(family) << " lacks " << column;
    }
  }
}

TEST(Columns, TellWhoMeasuredWhatAndWhen) {
  const Provenance provenance{.gpu = "NVIDIA H100 80GB HBM3",
                              .driver = "580.65",
                              .cuda = "13.0.0",
                              .cublas = "13.1.0",
                              .cudnn = {},
                              .nccl = "2.28.9",
                              .date = "2026-11-24"};
  const Case gemm{Family::gemm, "cublas", "cublaslt", GemmCase{Precision::fp8, 8, 6144, 4096}};
  const Measured result{.times = {{.median = 12.3456e-6, .spread = 0.0123, .repeats = 31, .outliers = 2}},
                        .sm_clock = 1755};
  const std::vector<std::string> expected{
      "fp8",    "cublaslt",   "8",      "6144", "4096", "12.346", "NVIDIA H100 80GB HBM3", "cublas", "13.1.0",
      "0.0123", "2026-11-24", "580.65", "31",   "2",    "1755"};
  EXPECT_EQ(row_fields(gemm, result, provenance), expected);
  EXPECT_EQ(columns(Family::gemm).size(), expected.size());
  for (const Family family : all_families()) {
    const auto names = columns(family);
    EXPECT_EQ(std::set<std::string_view>(names.begin(), names.end()).size(), names.size()) << name(family);
    Measured any = result;
    any.times.resize(times_of(family), any.times.front());
    EXPECT_EQ(row_fields(cases_of(family, all_kernels(), 8).front(), any, provenance).size(), names.size())
        << name(family);
  }
}

TEST(Columns, HaveTheBusBandwidthOfNcclTests) {
  EXPECT_DOUBLE_EQ(bus_factor("all_reduce", 8), 1.75);
  EXPECT_DOUBLE_EQ(bus_factor("alltoall", 8), 0.875);
  EXPECT_DOUBLE_EQ(bus_factor("send_recv", 2), 1);
}

}  // namespace

}  // namespace moesim::calibrate
