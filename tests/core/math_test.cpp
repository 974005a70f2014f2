#include "core/math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/p_norm.h"
#include "core/random.h"

namespace moesim {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Relative distance from a value computed in 64-bit-mantissa arithmetic by the C library.
double error(double x, long double exact) {
  if (exact == 0) return static_cast<double>(std::abs(x));
  return static_cast<double>(std::abs((x - exact) / exact));
}

TEST(Exponential, IsWithinItsBoundOverTheNormalRange) {
  Stream stream(1, "exponential");
  double worst = 0;
  for (int i = 0; i < 300'000; ++i) {
    const double scale = i % 3 == 0 ? 1 : i % 3 == 1 ? 40 : 708;
    const double x = scale * (2 * stream.uniform() - 1);
    worst = std::max(worst, error(exponential(x), std::exp(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 2.3e-16);
}

TEST(Exponential, FadesToZeroAndOverflowsToInfinity) {
  EXPECT_EQ(exponential(0), 1);
  EXPECT_EQ(exponential(-infinity), 0);
  EXPECT_EQ(exponential(-800), 0);
  EXPECT_EQ(exponential(infinity), infinity);
  EXPECT_EQ(exponential(710), infinity);
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<double>::quiet_NaN())));
  // The largest and the smallest results: e^709.78 = 1.79e308, e^-745 = 5e-324, one unit of the last place.
  EXPECT_LT(error(exponential(709.78), std::exp(static_cast<long double>(709.78))), 1e-15);
  EXPECT_EQ(exponential(-745), std::numeric_limits<double>::denorm_min());
  for (double x = -745; x < -708; x += 0.37)
    EXPECT_NEAR(exponential(x), std::exp(x), std::exp(x) * 3e-16 + 5e-324) << x;
}

TEST(Logarithm, IsWithinItsBoundFromTheSmallestToTheLargest) {
  Stream stream(1, "logarithm");
  double worst = 0;
  for (int i = 0; i < 300'000; ++i) {
    const double u = stream.uniform();
    const double x = i % 3 == 0 ? std::exp(-745 + 1454 * u) : i % 3 == 1 ? 0.5 + u : 1 + 1e-8 * (u - 0.5);
    if (x == 1) continue;
    worst = std::max(worst, error(logarithm(x), std::log(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 2.3e-16);
}

TEST(Logarithm, KnowsTheEnds) {
  EXPECT_EQ(logarithm(1), 0);
  EXPECT_EQ(logarithm(0), -infinity);
  EXPECT_EQ(logarithm(infinity), infinity);
  EXPECT_TRUE(std::isnan(logarithm(-1)));
  EXPECT_DOUBLE_EQ(logarithm(std::numeric_limits<double>::denorm_min()), -1074 * std::log(2.0));
}

TEST(Power, HasAnErrorProportionalToItsExponent) {
  Stream stream(1, "power");
  for (int i = 0; i < 200'000; ++i) {
    const double x = std::exp(60 * (stream.uniform() - 0.5));
    const double y = 16 * (stream.uniform() - 0.5);
    const double bound = 3e-16 * (1 + std::abs(y * std::log(x)));
    ASSERT_LT(error(power(x, y), std::pow(static_cast<long double>(x), static_cast<long double>(y))), bound)
        << x << " " << y;
  }
}

TEST(Power, IsExactWhereNothingIsToBeComputed) {
  EXPECT_EQ(power(0, 0), 1);
  EXPECT_EQ(power(3.7, 0), 1);
  EXPECT_EQ(power(3.7, 1), 3.7);
  EXPECT_EQ(power(1, infinity), 1);
  EXPECT_EQ(power(0, 2.5), 0);
  EXPECT_EQ(power(0, -1), infinity);
  EXPECT_EQ(power(0.5, infinity), 0);
  EXPECT_EQ(power(1e300, 2), infinity);
  EXPECT_EQ(power(1e-300, 2), 0);
}

// The distribution function of the result must be p again: Phi(z) = erfc(-z / sqrt 2) / 2. A relative error e of z
// moves Phi by at most e z phi(z), in the far tail e z^2 of Phi itself.
TEST(NormalQuantile, InvertsTheDistributionFunction) {
  Stream stream(1, "quantile");
  for (int i = 0; i < 100'000; ++i) {
    const double p = i % 2 == 0 ? stream.uniform() : std::exp(-700 * stream.uniform());
    const double z = normal_quantile(p);
    const double back = std::erfc(-z / std::sqrt(2.0)) / 2;
    ASSERT_NEAR(back, p, 2e-15 * p * (1 + z * z)) << p;
  }
}

// Quantiles of any table of the normal distribution.
TEST(NormalQuantile, GivesTheTabulatedPoints) {
  EXPECT_EQ(normal_quantile(0.5), 0);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-15);
  EXPECT_NEAR(normal_quantile(0.95), 1.6448536269514722, 1e-15);
  EXPECT_NEAR(normal_quantile(0.001), -3.090232306167813, 1e-14);
  EXPECT_NEAR(normal_quantile(1e-10), -6.361340902404056, 1e-14);
}

TEST(PNormFunction, LiesBetweenTheMaximumAndTheSum) {
  EXPECT_EQ(p_norm(3, 0, 2.7), 3);
  EXPECT_EQ(p_norm(0, 3, 2.7), 3);
  EXPECT_EQ(p_norm(0, 0, 2.7), 0);
  EXPECT_EQ(p_norm(3, 4, 1), 7);
  EXPECT_DOUBLE_EQ(p_norm(3, 4, 2), 5);
  EXPECT_EQ(p_norm(3, 4, infinity), 4);
  EXPECT_EQ(p_norm(4, 4, infinity), 4);
  EXPECT_DOUBLE_EQ(p_norm(1e-200, 1e-200, 3), 1e-200 * std::cbrt(2.0));
  EXPECT_DOUBLE_EQ(p_norm(1e200, 1e200, 3), 1e200 * std::cbrt(2.0));
}

TEST(PNorm, IsWithinFourTenMillionthsOfTheFormula) {
  for (const double p : {1.0, 1.001, 1.05, 1.3, 1.5, 2.0, 3.0, 4.0, 4.1, 7.9, 8.1, 20.0, 100.0, 1e4, 1e6, 1e7}) {
    const PNorm norm(p);
    Stream stream(1, "p_norm");
    double worst = 0;
    for (int i = 0; i < 30'000; ++i) {
      const double u = stream.uniform();
      const double t = i % 3 == 0 ? u : i % 3 == 1 ? 1 - u / p : std::exp(-20 * u);
      const long double exact =
          7 * std::pow(1 + std::pow(static_cast<long double>(t), p), 1 / static_cast<long double>(p));
      worst = std::max({worst, error(norm(7 * t, 7), exact), error(norm(7, 7 * t), exact)});
    }
    EXPECT_LT(worst, 4e-7) << p;
  }
}

TEST(PNorm, IsExactWhereOneIsZero) {
  for (const double p : {1.0, 2.0, 50.0, infinity}) {
    const PNorm norm(p);
    EXPECT_EQ(norm(0, 0), 0);
    EXPECT_EQ(norm(0, 3.25), 3.25);
    EXPECT_EQ(norm(3.25, 0), 3.25);
  }
}

TEST(PNorm, NeverFallsWhenAPartGrows) {
  for (const double p : {1.0, 1.5, 3.0, 30.0}) {
    const PNorm norm(p);
    double last = 0;
    for (double x = 0; x < 3; x += 1e-4) {
      const double y = norm(x, 1);
      ASSERT_GE(y, last * (1 - 1e-15)) << p << " " << x;
      last = y;
    }
  }
}

}  // namespace
}  // namespace moesim
