#include "core/version.h"

#include <gtest/gtest.h>

#include <string_view>

namespace moesim {
namespace {

TEST(Version, NumbersAreComparedAsNumbers) {
  constexpr std::string_view rising[] = {"0.5.6",    "0.5.6.post2", "0.5.9", "0.5.10",      "1.2.0rc5",
                                         "1.3.0rc9", "1.3.0rc10",   "1.3.0", "1.3.0.post1", "1.3.1"};
  for (std::size_t i = 0; i < std::size(rising); ++i) {
    for (std::size_t j = 0; j < std::size(rising); ++j) {
      EXPECT_EQ(is_older_version(rising[i], rising[j]), i < j) << rising[i] << " and " << rising[j];
    }
  }
}

TEST(Version, ZerosInFrontOfANumberSayNothing) {
  EXPECT_FALSE(is_older_version("1.02", "1.2"));
  EXPECT_FALSE(is_older_version("1.2", "1.02"));
}

TEST(Version, NoVersionIsTheNewest) {
  EXPECT_TRUE(is_older_version("9.9", ""));
  EXPECT_FALSE(is_older_version("", "0.1"));
  EXPECT_FALSE(is_older_version("", ""));
}

}  // namespace
}  // namespace moesim
