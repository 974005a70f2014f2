#include "parallel/placement.h"

#include <gtest/gtest.h>

namespace moesim {
namespace {

TEST(Placement, SlotsMessageNamesTheNearestLegalRedundancy) {
  EXPECT_EQ(slots_problem(256, 32, 0), "");
  EXPECT_EQ(slots_problem(256, 32, 32), "");
  EXPECT_EQ(slots_problem(256, 32, 20),
            "256 experts + 20 redundant = 276 slots do not divide by expert-parallel size 32; the nearest legal "
            "num_redundant_experts is 32");
  EXPECT_EQ(slots_problem(256, 32, 3),
            "256 experts + 3 redundant = 259 slots do not divide by expert-parallel size 32; the nearest legal "
            "num_redundant_experts is 0");
  EXPECT_EQ(slots_problem(256, 24, 9),  // 264 = 11 x 24
            "256 experts + 9 redundant = 265 slots do not divide by expert-parallel size 24; the nearest legal "
            "num_redundant_experts is 8");
  EXPECT_EQ(nearest_legal_redundancy(256, 24, 0), 8);
  EXPECT_EQ(nearest_legal_redundancy(256, 24, 9), 32);
  EXPECT_EQ(slots_problem(8, 16, 0), "8 expert slots are fewer than expert-parallel size 16");
}

TEST(Placement, UnevenExpertsLeaveTheRemainderOnTheFirstRanks) {
  const ExpertPlacement placement = linear_placement(10, 4, 0);  // 3 3 2 2
  EXPECT_EQ(placement.first_slot, (std::vector<std::uint32_t>{0, 3, 6, 8, 10}));
  EXPECT_EQ(placement.expert_of, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(Placement, RedundantCopiesFollowTheLastExpertInOrder) {
  const ExpertPlacement placement = linear_placement(6, 4, 2);
  EXPECT_EQ(placement.expert_of, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 0, 1}));
  EXPECT_EQ(rank_of_experts(placement), (std::vector<std::uint32_t>{0, 0, 1, 1, 2, 2}));
}

TEST(Placement, RoundRobinDealsExpertsToRanksInTurn) {
  const ExpertPlacement placement = place_experts(8, 4, 0, ExpertPlacementStrategy::round_robin);
  EXPECT_EQ(placement.expert_of, (std::vector<std::uint32_t>{0, 4, 1, 5, 2, 6, 3, 7}));
  const ExpertPlacement uneven = place_experts(5, 2, 0, ExpertPlacementStrategy::round_robin);
  EXPECT_EQ(uneven.expert_of, (std::vector<std::uint32_t>{0, 2, 4, 1, 3}));
}

}  // namespace
}  // namespace moesim
