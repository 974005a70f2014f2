#include "core/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/philox.h"

namespace moesim {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedKnownAnswers) {
  EXPECT_EQ(philox_block({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_block({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Stream, DependsOnSeedAndNameOnly) {
  Stream first(1, "routing/layer/12");
  Stream other(1, "workload/arrivals");
  for (int i = 0; i < 5; ++i) other.bits64();  // somebody else draws
  Stream again(1, "routing/layer/12");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(first.bits64(), again.bits64());
}

// Names that differ in one character, in order, or in length, and seeds that differ in one bit: no first draw repeats.
// 64-bit draws of 131 streams coincide by chance with probability below 1e-15.
TEST(Stream, DiffersForEveryNameAndSeed) {
  std::set<std::uint64_t> seen;
  std::size_t streams = 0;
  const auto note = [&](std::uint64_t seed, const std::string& name) {
    seen.insert(Stream(seed, name).bits64());
    ++streams;
  };
  for (const char* name : {"", "a", "b", "ab", "ba", "a/b", "routing/layer/1", "routing/layer/11"}) note(1, name);
  for (int bit = 0; bit < 64; ++bit) note(std::uint64_t{1} << bit ^ 1, "routing");
  const Stream parent(1, "substreams");
  for (std::uint64_t i = 0; i < 58; ++i) {
    Stream child = parent.substream(i);
    seen.insert(child.bits64());
    ++streams;
  }
  Stream itself = parent;
  seen.insert(itself.bits64());
  EXPECT_EQ(seen.size(), streams + 1);
}

TEST(Stream, SubstreamsStartAtTheirBeginningAndDoNotNest) {
  Stream parent(7, "x");
  Stream before = parent.substream(3);
  for (int i = 0; i < 7; ++i) parent.bits32();
  Stream after = parent.substream(3);
  Stream nested = parent.substream(9).substream(3);
  for (int i = 0; i < 20; ++i) {
    const std::uint32_t expected = before.bits32();
    EXPECT_EQ(after.bits32(), expected);
    EXPECT_EQ(nested.bits32(), expected);
  }
}

// The correlation of n independent pairs has standard deviation 1 / sqrt(n); five of them are allowed.
TEST(Stream, NeighboursAreUncorrelated) {
  constexpr int n = 100'000;
  const std::array<std::array<Stream, 2>, 3> pairs = {{{Stream(1, "a"), Stream(1, "b")},
                                                       {Stream(1, "a"), Stream(2, "a")},
                                                       {Stream(1, "a").substream(0), Stream(1, "a").substream(1)}}};
  for (auto [left, right] : pairs) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += (left.uniform() - 0.5) * (right.uniform() - 0.5);
    EXPECT_LT(std::abs(sum / n * 12), 5 / std::sqrt(n));
  }
}

struct Moments {
  double mean = 0, variance = 0, skewness = 0, smallest = 1e300, largest = -1e300;
};

template <class Draw>
Moments moments(int n, Draw draw) {
  std::vector<double> values;
  Moments m;
  for (int i = 0; i < n; ++i) values.push_back(draw());
  for (const double x : values) {
    m.mean += x / n;
    m.smallest = std::min(m.smallest, x);
    m.largest = std::max(m.largest, x);
  }
  double third = 0;
  for (const double x : values) {
    m.variance += (x - m.mean) * (x - m.mean) / n;
    third += std::pow(x - m.mean, 3) / n;
  }
  m.skewness = third / std::pow(m.variance, 1.5);
  return m;
}

// The mean of n draws is off by sigma / sqrt(n), the variance by sqrt((mu4 - sigma^4) / n) with mu4 the fourth central
// moment (normal 3, exponential 9, uniform 1/80, gamma 3 a^2 + 6 a); four of either are allowed.
constexpr int draws = 400'000;
const double four_errors = 4 / std::sqrt(static_cast<double>(draws));

TEST(Stream, UniformHasItsMomentsAndStaysInside) {
  Stream stream(3, "uniform");
  const Moments m = moments(draws, [&] { return stream.uniform(); });
  EXPECT_NEAR(m.mean, 0.5, four_errors * std::sqrt(1.0 / 12));
  EXPECT_NEAR(m.variance, 1.0 / 12, four_errors * std::sqrt(1.0 / 80 - 1.0 / 144));
  EXPECT_GT(m.smallest, 0);
  EXPECT_LT(m.largest, 1);
  // The extremes of n draws lie about 1 / n from the ends; beyond 20 / n with probability e^-20.
  EXPECT_LT(m.smallest, 20.0 / draws);
  EXPECT_GT(m.largest, 1 - 20.0 / draws);
}

TEST(Stream, ExponentialHasItsMoments) {
  Stream stream(3, "exponential");
  const Moments m = moments(draws, [&] { return stream.exponential(); });
  EXPECT_NEAR(m.mean, 1, four_errors);
  EXPECT_NEAR(m.variance, 1, four_errors * std::sqrt(8.0));
  EXPECT_NEAR(m.skewness, 2, 0.1);
  EXPECT_GT(m.smallest, 0);
}

TEST(Stream, NormalHasItsMomentsAndTails) {
  Stream stream(3, "normal");
  int beyond_two = 0;
  const Moments m = moments(draws, [&] {
    const double z = stream.normal();
    beyond_two += std::abs(z) > 2;
    return z;
  });
  EXPECT_NEAR(m.mean, 0, four_errors);
  EXPECT_NEAR(m.variance, 1, four_errors * std::sqrt(2.0));
  EXPECT_NEAR(m.skewness, 0, four_errors * std::sqrt(6.0));
  const double p = std::erfc(2 / std::sqrt(2.0));
  EXPECT_NEAR(beyond_two / static_cast<double>(draws), p, four_errors * std::sqrt(p * (1 - p)));
}

TEST(Stream, GammaHasMeanAndVarianceEqualToItsShape) {
  for (const double shape : {0.1, 0.5, 1.0, 2.5, 40.0}) {
    Stream stream(3, "gamma");
    const Moments m = moments(draws, [&] { return stream.gamma(shape); });
    EXPECT_NEAR(m.mean, shape, four_errors * std::sqrt(shape)) << shape;
    EXPECT_NEAR(m.variance, shape, four_errors * std::sqrt(2 * shape * shape + 6 * shape)) << shape;
    // Skewness 2 / sqrt(a); its own error grows with it.
    EXPECT_NEAR(m.skewness, 2 / std::sqrt(shape), 0.03 * (1 + 4 / shape)) << shape;
    EXPECT_GE(m.smallest, 0);
  }
}

// Chi-square of k equally likely cells has mean k - 1 and deviation sqrt(2 (k - 1)).
TEST(Stream, BelowIsEvenAndInRange) {
  Stream stream(3, "below");
  EXPECT_EQ(stream.below(1), 0u);
  for (const std::uint64_t n : {3u, 7u, 256u}) {
    std::vector<double> counts(n);
    for (int i = 0; i < draws; ++i) {
      const std::uint64_t x = stream.below(n);
      ASSERT_LT(x, n);
      ++counts[x];
    }
    const double expected = draws / static_cast<double>(n);
    double chi_square = 0;
    for (const double c : counts) chi_square += (c - expected) * (c - expected) / expected;
    const double freedom = static_cast<double>(n - 1);
    EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom) + 10) << n;
  }
  // With n = 3 * 2^62 a draw modulo n would land below 2^62 half of the time, not a third.
  const std::uint64_t n = std::uint64_t{3} << 62;
  int low = 0;
  for (int i = 0; i < 30'000; ++i) low += stream.below(n) < std::uint64_t{1} << 62;
  EXPECT_NEAR(low / 30'000.0, 1.0 / 3, 5 * std::sqrt(2.0 / 9 / 30'000));
}

}  // namespace
}  // namespace moesim
