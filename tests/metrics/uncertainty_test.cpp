// Intervals against their definition: known quantiles, and how often they hold.

#include "metrics/uncertainty.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/random.h"
#include "metrics/run_result.h"

namespace moesim {
namespace {

TEST(Uncertainty, OfNineteenValuesIsTheSmallestToTheLargest) {
  // One more value of the same kind falls below all or above all in 2 of 20 cases.
  std::vector<double> values(19);
  std::iota(values.begin(), values.end(), 1.0);
  const Interval interval = prediction_interval_90(values);
  EXPECT_DOUBLE_EQ(interval.low, 1);
  EXPECT_DOUBLE_EQ(interval.median, 10);
  EXPECT_DOUBLE_EQ(interval.high, 19);
  std::iota(values.begin(), values.end(), -9.0);
  EXPECT_DOUBLE_EQ(prediction_interval_90(values).low, -9);
}

TEST(Uncertainty, OfTwoValuesIsStudents) {
  // t(0.95, 1) = tan(0.45 pi) = 6.3138; s of {1, e^2} in logarithms is sqrt 2, mean 1: half = 6.3138 sqrt(2 x 1.5).
  const double half = std::tan(0.45 * M_PI) * std::sqrt(3.0);
  const Interval interval = prediction_interval_90(std::vector<double>{std::exp(2.0), 1});
  EXPECT_NEAR(std::log(interval.low), 1 - half, 2e-4);
  EXPECT_NEAR(std::log(interval.high), 1 + half, 2e-4);
}

TEST(Uncertainty, HoldsOneMoreValueNineTimesOfTen) {
  constexpr int trials = 4000;  // standard error 0.5 %
  for (const std::size_t n : {3UL, 8UL, 19UL, 40UL}) {
    Stream stream(7, "coverage");
    int held = 0;
    for (int i = 0; i < trials; ++i) {
      std::vector<double> values;
      for (std::size_t k = 0; k <= n; ++k) values.push_back(std::exp(0.3 * stream.normal()));
      const double truth = values.back();
      values.pop_back();
      const Interval interval = prediction_interval_90(values);
      held += interval.low <= truth && truth <= interval.high ? 1 : 0;
    }
    EXPECT_NEAR(held / static_cast<double>(trials), 0.9, 0.02) << n << " values";
  }
}

TEST(Uncertainty, IsOfFiguresThatAllReplicationsHave) {
  const std::vector<std::vector<std::pair<std::string, double>>> runs{{{"a", 1}, {"b", 2}}, {{"a", 3}}};
  const Uncertainty uncertainty = uncertainty_of(runs);
  EXPECT_EQ(uncertainty.replications, 2);
  ASSERT_EQ(uncertainty.figures.size(), 1u);
  EXPECT_EQ(uncertainty.figures[0].name, "a");
  EXPECT_TRUE(headline_figures(RunResult{}).empty());
}

}  // namespace
}  // namespace moesim
