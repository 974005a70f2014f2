#include "core/units.h"

#include <gtest/gtest.h>

namespace moesim {
namespace {

TEST(Duration, TakesRealSecondsToTheNearestPicosecond) {
  EXPECT_EQ(Duration::from_seconds(1.4e-12).ps(), 1);
  EXPECT_EQ(Duration::from_seconds(1.6e-12).ps(), 2);
  EXPECT_EQ(Duration::from_microseconds(3.2).ps(), 3'200'000);
  EXPECT_EQ(Duration::from_seconds(-2.5), Duration::milliseconds(-2500));
  EXPECT_EQ(Duration::from_seconds(86'400), Duration::seconds(86'400));
}

TEST(Instant, DiffersByExactDurations) {
  // In binary fractions of a second a million such steps would drift.
  Instant t;
  for (int i = 0; i < 1'000'000; ++i) t = t + Duration::microseconds(100);
  EXPECT_EQ(t - Instant{}, Duration::seconds(100));
  EXPECT_LT(t, Instant::never());
}

TEST(Bytes, RoundUpAndKeepDecimalAndBinaryUnitsApart) {
  EXPECT_EQ(Bytes::ceil(10.01).value, 11);
  EXPECT_DOUBLE_EQ(Bytes{80'000'000'000}.gigabytes(), 80);
  EXPECT_DOUBLE_EQ(Bytes{std::int64_t{80} << 30}.gibibytes(), 80);
}

}  // namespace
}  // namespace moesim
