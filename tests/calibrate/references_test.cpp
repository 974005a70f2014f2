// The references that kernels are checked against, by closed forms.

#include "references.h"

#include <gtest/gtest.h>

#include <cmath>

#include "random_values.h"

namespace moesim::calibrate {

namespace {

TEST(NumberFormats, RoundToNearestEven) {
  EXPECT_EQ(to_bf16(1).bits, 0x3f80);
  EXPECT_EQ(to_float(to_bf16(1 + 1.0F / 256)), 1.0F) << "half way: to the even mantissa";
  EXPECT_EQ(to_float(to_bf16(1 + 3.0F / 256)), 1 + 4.0F / 256);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  EXPECT_EQ(to_fp8(1).bits, 0x38);
  EXPECT_EQ(to_float(to_fp8(448)), 448.0F);
  EXPECT_EQ(to_float(to_fp8(-1e9F)), -448.0F);
  EXPECT_EQ(to_float(to_fp8(1.0F / 512)), 1.0F / 512) << "smallest subnormal";
  EXPECT_EQ(to_float(to_fp8(1.0F / 1024)), 0.0F) << "half of it: to even";
  EXPECT_EQ(to_float(to_fp8(1 + 1.0F / 16)), 1.0F);
  EXPECT_EQ(to_float(to_fp8(1 + 3.0F / 16)), 1.25F);
  EXPECT_EQ(to_float(to_fp8(15.0F / 1024)), 1.0F / 64) << "7.5 steps of 2^-9 round up into the normal numbers";
  EXPECT_TRUE(std::isnan(to_float(Fp8{0xff})));
}

TEST(NumberFormats, GiveEveryFp8Back) {
  for (int bits = 0; bits < 256; ++bits) {
    const Fp8 value{static_cast<std::uint8_t>(bits)};
    if ((bits & 0x7f) == 0x7f) continue;
    EXPECT_EQ(to_fp8(to_float(value)).bits, value.bits);
  }
}

TEST(RandomValues, AreUniformAndFollowTheSeed) {
  double sum = 0, square = 0;
  constexpr int n = 100000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = random_value(1, i);
    EXPECT_LT(std::abs(x), 1);
    sum += x;
    square += x * x;
  }
  EXPECT_NEAR(sum / n, 0, 4 / std::sqrt(3.0 * n));
  EXPECT_NEAR(square / n, 1.0 / 3, 0.005);
  EXPECT_EQ(random_value(5, 7), random_value(5, 7));
  EXPECT_NE(random_value(5, 7), random_value(6, 7));
}

TEST(References, AttendToEqualKeysByTheMean) {
  const std::vector<float> query{1, 2}, keys{3, 1, 3, 1, 3, 1}, values{1, 2, 6};
  EXPECT_NEAR(attend(query, keys, values, 0.7)[0], 3, 1e-12);
  // Scores 0 and ln 3: weights 1/4 and 3/4.
  const std::vector<float> unequal{0, 0, static_cast<float>(std::log(3.0)), 0}, pair{4, 8};
  EXPECT_NEAR(attend(query, unequal, pair, 1)[0], 7, 1e-6);
  const std::vector<float> large{0, 0, 1e4F, 0};
  EXPECT_NEAR(attend(query, large, pair, 1)[0], 8, 1e-12) << "no overflow";
}

TEST(References, ChooseTheLowerExpertAtTies) {
  const std::vector<float> scores{1, 3, 3, 2, 3};
  const Choice choice = choose(scores, 4);
  EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{1, 2, 4, 3}));
  // exp(0) three times and exp(-1).
  EXPECT_NEAR(choice.weights[0], 1 / (3 + std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(choice.weights[3], std::exp(-1.0) / (3 + std::exp(-1.0)), 1e-12);
}

TEST(References, PermuteByExpertInTheOrderOfSlots) {
  const std::vector<std::int32_t> chosen{2, 0, 5, 2, 0, 1};
  const Permutation permutation = permute(chosen, 3);
  EXPECT_EQ(permutation.offsets, (std::vector<std::int32_t>{0, 2, 3, 5}));
  EXPECT_EQ(permutation.row_of, (std::vector<std::int32_t>{3, 0, -1, 4, 1, 2}));
  EXPECT_EQ(permutation.slot_of, (std::vector<std::int32_t>{1, 4, 5, 0, 3}));
}

TEST(References, KnowSwigluAndScales) {
  EXPECT_NEAR(swiglu(0, 5), 0, 1e-15);
  EXPECT_NEAR(swiglu(1, 2), 2 / (1 + std::exp(-1.0)), 1e-15);
  const std::vector<float> values{0.5F, -7, 3};
  EXPECT_EQ(scale_of(values), 7.0F / 448);
}

TEST(References, FindTheFirstMismatchAndEveryNan) {
  const std::vector<float> got{1, 2.02F, 3};
  const std::vector<double> expected{1, 2, 3};
  EXPECT_FALSE(first_mismatch(got, expected, {0.02, 0}));
  const auto mismatch = first_mismatch(got, expected, {0, 0.01});
  ASSERT_TRUE(mismatch);
  EXPECT_EQ(mismatch->text("product"), "product: element 1 is 2.02, expected 2");
  const std::vector<float> poisoned{1, NAN, 3};
  EXPECT_TRUE(first_mismatch(poisoned, expected, {1, 1e30}));
}

TEST(References, TolerateRoundingAndNothingMore) {
  // A product of 4096 terms in bf16 inputs and a bf16 result: rounding passes, a term left out in eight does not.
  constexpr std::size_t k = 4096;
  int rounding = 0, missing = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    std::vector<float> a(k), b(k);
    for (std::size_t i = 0; i < k; ++i) {
      a[i] = to_float(to_bf16(random_value(2 * seed, i)));
      b[i] = to_float(to_bf16(random_value(2 * seed + 1, i)));
    }
    const std::vector<double> expected{dot(a, b)};
    const std::vector<float> rounded{to_float(to_bf16(static_cast<float>(expected[0])))};
    if (first_mismatch(rounded, expected, product_tolerance(k, false))) ++rounding;
    const auto part = std::span<const float>(a).subspan(0, k - k / 8);
    const std::vector<float> lost{static_cast<float>(dot(part, std::span<const float>(b).subspan(0, k - k / 8)))};
    if (first_mismatch(lost, expected, product_tolerance(k, false))) ++missing;
  }
  EXPECT_EQ(rounding, 0);
  EXPECT_GT(missing, 56);
}

}  // namespace

}  // namespace moesim::calibrate
