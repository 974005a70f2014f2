// Statistics of repeats.

#include "timing.h"

#include <gtest/gtest.h>

#include <vector>

namespace moesim::calibrate {

namespace {

TEST(Timing, IsTheMedianWithTheSpreadOfTheMiddleFourFifths) {
  std::vector<double> samples;
  for (int i = 0; i <= 20; ++i) samples.push_back(100 + (i * 8) % 21);  // 100 to 120 in another order
  const Timing timing = summarize(samples);
  EXPECT_DOUBLE_EQ(timing.median, 110);
  EXPECT_DOUBLE_EQ(timing.spread, 16.0 / 110);  // quantiles at positions 2 and 18
  EXPECT_EQ(timing.repeats, 21);
  EXPECT_EQ(timing.outliers, 0);
}

TEST(Timing, IsNotMovedByOutliers) {
  std::vector<double> samples(20, 10.0);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] += 0.01 * static_cast<double>(i % 5);
  const double before = summarize(samples).median;
  samples.push_back(500);
  const Timing timing = summarize(samples);
  EXPECT_NEAR(timing.median, before, 0.011);
  EXPECT_EQ(timing.outliers, 1);
  EXPECT_LT(timing.spread, 0.01);
}

TEST(Timing, OfEqualRepeatsHasNoOutliers) {
  std::vector<double> samples(19, 3.0);
  samples.push_back(3.0001);
  EXPECT_EQ(summarize(samples).outliers, 0);
}

TEST(RepeatPlan, FillsAReplayAndKeepsTwentyRepeats) {
  for (const double first : {0.0, 1e-6, 37e-6, 199e-6, 1e-3, 1.0}) {
    for (const int rotation : {1, 3, 5}) {
      const RepeatPlan plan = plan_repeats(first, rotation);
      EXPECT_EQ(plan.copies % rotation, 0);
      EXPECT_GE(plan.copies, rotation);
      EXPECT_GE(plan.repeats, kFewestRepeats);
      EXPECT_LE(plan.repeats, 200);
      EXPECT_GE(plan.warm_up, 1);
      if (first >= 2e-6) {
        EXPECT_GE(plan.copies * first, 200e-6 - 1e-12);
      }
    }
  }
  EXPECT_EQ(plan_repeats(1e-3, 1).copies, 1);
  EXPECT_EQ(plan_repeats(1.0, 1).repeats, 20);
}

TEST(Rotation, LeavesTheCacheOnlyWhatTheCollectorLeaves) {
  constexpr std::int64_t l2 = 50;
  EXPECT_EQ(rotated_copies(1, l2), 5);
  EXPECT_EQ(rotated_copies(20, l2), 3);
  EXPECT_EQ(rotated_copies(50, l2), 1);
  EXPECT_EQ(rotated_copies(500, l2), 1);
}

}  // namespace

}  // namespace moesim::calibrate
