#include "core/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/fingerprint.h"
#include "core/random.h"

namespace moesim {
namespace {

/// The definition, on all values: position q (n - 1) of the sorted list, linear between neighbours.
double expanded_quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

TEST(Distribution, GivesTheQuantilesOfTheExpandedList) {
  Stream stream(1, "quantiles");
  for (int round = 0; round < 50; ++round) {
    Distribution<std::int64_t> integers;
    Distribution<double> reals;
    std::vector<double> expanded;
    const std::uint64_t rows = 1 + stream.below(40);
    for (std::uint64_t r = 0; r < rows; ++r) {
      const auto value = static_cast<std::int64_t>(stream.below(30)) - 10;
      const auto count = static_cast<std::int64_t>(stream.below(6)) + (r == 0 ? 1 : 0);
      integers.add(value, count);
      reals.add(static_cast<double>(value), count);
      expanded.insert(expanded.end(), static_cast<std::size_t>(count), static_cast<double>(value));
    }
    integers.sort();
    reals.sort();
    std::sort(expanded.begin(), expanded.end());
    ASSERT_EQ(integers.count(), static_cast<std::int64_t>(expanded.size()));
    for (const double q : {0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0, stream.uniform()}) {
      EXPECT_NEAR(integers.quantile(q), expanded_quantile(expanded, q), 1e-12);
      EXPECT_EQ(reals.quantile(q), integers.quantile(q));
    }
    double mean = 0, square = 0;
    for (const double x : expanded) mean += x;
    mean /= static_cast<double>(expanded.size());
    for (const double x : expanded) square += (x - mean) * (x - mean);
    EXPECT_NEAR(integers.mean(), mean, 1e-12);
    EXPECT_NEAR(reals.mean(), mean, 1e-12);
    EXPECT_NEAR(integers.standard_deviation(), std::sqrt(square / static_cast<double>(expanded.size())), 1e-12);
    EXPECT_EQ(integers.count_at_most(3),
              std::count_if(expanded.begin(), expanded.end(), [](double x) { return x <= 3; }));
    EXPECT_EQ(static_cast<double>(integers.smallest()), expanded.front());
    EXPECT_EQ(static_cast<double>(integers.largest()), expanded.back());
  }
}

// numpy.quantile([1, 2, 4, 8], [0.25, 0.5, 0.9]) = [1.75, 3, 6.8]: positions 0.75, 1.5 and 2.7.
TEST(Distribution, InterpolatesAsNumpyDoes) {
  Distribution<std::int64_t> d;
  for (const std::int64_t x : {8, 1, 4, 2}) d.add(x);
  d.sort();
  EXPECT_EQ(d.quantile(0.25), 1.75);
  EXPECT_EQ(d.quantile(0.5), 3);
  EXPECT_DOUBLE_EQ(d.quantile(0.9), 6.8);
}

TEST(Distribution, HoldsARowForEachRunOfEqualValues) {
  Distribution<std::int64_t> d;
  for (int i = 0; i < 1'000'000; ++i) d.add(20'000'000'000, 256);
  EXPECT_EQ(d.rows(), 1u);
  EXPECT_EQ(d.count(), 256'000'000);
  // The sum, 5.12e18 ps, and ten times that, do not overflow.
  for (int i = 0; i < 9; ++i) d.add(20'000'000'001 + i, 256'000'000);
  d.add(20'000'000'000, 0);
  EXPECT_EQ(d.rows(), 10u);
  EXPECT_DOUBLE_EQ(d.mean(), 20'000'000'000 + 4.5);
  EXPECT_NEAR(d.standard_deviation(), std::sqrt(99 / 12.0), 1e-5);
}

TEST(Distribution, JoinsAnother) {
  Distribution<std::int64_t> left, right;
  left.add(5, 2);
  right.add(5, 3);
  right.add(1, 1);
  left.add(right);
  left.sort();
  EXPECT_EQ(left.count(), 6);
  EXPECT_EQ(left.rows(), 2u);
  EXPECT_EQ(left.quantile(0), 1);
  EXPECT_EQ(left.quantile(0.2), 5);
}

TEST(Distribution, RefusesToAnswerBeforeItIsSorted) {
  Distribution<std::int64_t> d;
  d.add(1);
  EXPECT_EXIT(d.quantile(0.5), testing::ExitedWithCode(70), "quantile 0.5 of 1 values, sorted: false");
}

// Length 2 for 10 ps, 5 for 30 ps, 0 for 60 ps: (20 + 150 + 0) / 100.
TEST(TimeWeighted, AveragesOverTimeNotOverChanges) {
  const auto at = [](std::int64_t ps) { return Instant::at(Duration::picoseconds(ps)); };
  TimeWeighted<std::int64_t> length(at(1000), 2);
  length.add(at(1010), 3);
  length.set(at(1040), 0);
  EXPECT_EQ(length.mean(at(1100)), 1.7);
  EXPECT_EQ(static_cast<std::int64_t>(length.integral(at(1100))), 170);
  length.set(at(1100), 4);
  length.restart(at(1200));
  EXPECT_EQ(length.mean(at(1200)), 4);
  EXPECT_EQ(length.mean(at(1300)), 4);
}

TEST(TimeWeighted, IsExactBeyond64Bits) {
  // A billion bytes for a day: 8.64e25, of which every digit counts.
  TimeWeighted<std::int64_t> bytes(Instant{}, 1'000'000'001);
  const Instant day = Instant::at(Duration::seconds(86'400));
  const auto expected = static_cast<WideInteger>(1'000'000'001) * 86'400'000'000'000'000;
  EXPECT_TRUE(bytes.integral(day) == expected);
}

// Student's t at 0.95, from any table.
TEST(StudentT, GivesTheTabulatedPoints) {
  EXPECT_NEAR(student_t_95(1), 6.3138, 5e-5);
  EXPECT_NEAR(student_t_95(10), 1.8125, 5e-5);
  EXPECT_NEAR(student_t_95(11), 1.7959, 1.5e-4);
  EXPECT_NEAR(student_t_95(19), 1.7291, 6e-5);
  EXPECT_NEAR(student_t_95(30), 1.6973, 6e-5);
  EXPECT_NEAR(student_t_95(120), 1.6577, 6e-5);
}

// Of 1000 intervals from independent normal values, 900 should hold the mean: sqrt(1000 * 0.9 * 0.1) = 9.5, four
// allowed.
TEST(BatchMeans, HoldsTheMeanNineTimesOfTen) {
  Stream stream(1, "batch_means");
  int held = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<double> series;
    for (int i = 0; i < 103; ++i) series.push_back(3 + stream.normal());
    held += batch_means(series, 10).contains(3);
  }
  EXPECT_NEAR(held, 900, 38);
}

// Batches (1,3), (5,7), (9,11) after the first value is left out: means 2, 6, 10; s = 4; t(0.95, 2) = 2.92.
TEST(BatchMeans, FollowsTheFormula) {
  const std::vector<double> series = {100, 1, 3, 5, 7, 9, 11};
  const ConfidenceInterval interval = batch_means(series, 3);
  EXPECT_DOUBLE_EQ(interval.mean, 6);
  EXPECT_DOUBLE_EQ(interval.half_width, 2.92 * 4 / std::sqrt(3.0));
}

TEST(Fingerprint, DependsOnEveryNumberAndOnTheirOrder) {
  const auto of = [](std::vector<std::uint64_t> numbers) {
    Fingerprint f;
    for (const std::uint64_t x : numbers) f.add(x);
    return f.value();
  };
  EXPECT_EQ(of({1, 2, 3}), of({1, 2, 3}));
  std::vector<std::uint64_t> all = {
      of({}),        of({0}),       of({0, 0}),    of({1, 2, 3}),
      of({1, 3, 2}), of({2, 1, 3}), of({1, 2, 4}), of({1, 2, 3 + (std::uint64_t{1} << 63)})};
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
}

// A number that was published stays: stored fingerprints are compared between versions.
TEST(Fingerprint, IsTheSameOnEveryMachine) {
  Fingerprint f;
  f.add(std::uint64_t{1});
  // (0x6A09E667F3BCC908 ^ 1) * 0x9E3779B97F4A7C15 mod 2^64, then x ^ (x >> 32).
  EXPECT_EQ(f.value(), 0xc7c2e565c4b43cd8u);
}

}  // namespace
}  // namespace moesim
