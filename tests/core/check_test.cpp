#include "core/check.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace moesim {
namespace {

TEST(Check, EndsWithCode70AndPrintsTheValues) {
  const int free = 3, used = 4, total = 8;
  EXPECT_EXIT(MOESIM_CHECK(free + used == total, "free {} used {} total {}", free, used, total),
              testing::ExitedWithCode(70), "check_test.cpp:[0-9]+: free 3 used 4 total 8");
}

TEST(Check, DoesNothingWhenTheConditionHolds) {
  int evaluated = 0;
  MOESIM_CHECK(true, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

}  // namespace
}  // namespace moesim
