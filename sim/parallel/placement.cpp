#include "parallel/placement.h"

#include <fmt/core.h>

#include "core/check.h"

namespace moesim {

std::int32_t nearest_legal_redundancy(std::int64_t experts, std::int32_t ep, std::int32_t redundant) {
  const std::int64_t over = (experts + redundant) % ep;
  return static_cast<std::int32_t>(over == 0 ? redundant : redundant + ep - over);
}

std::string slots_problem(std::int64_t experts, std::int32_t ep, std::int32_t redundant) {
  if (redundant < 0) return fmt::format("the number of redundant experts, {}, is negative", redundant);
  const std::int64_t slots = experts + redundant;
  if (slots < ep) return fmt::format("{} expert slots are fewer than expert-parallel size {}", slots, ep);
  const std::int64_t over = slots % ep;
  if (redundant == 0 || over == 0) return {};
  const std::int32_t above = nearest_legal_redundancy(experts, ep, redundant);
  // Zero is always legal: without copies an uneven split is allowed.
  const std::int64_t below = redundant > over ? redundant - over : 0;
  const std::int64_t nearest = redundant - below < above - redundant ? below : above;
  return fmt::format(
      "{} experts + {} redundant = {} slots do not divide by expert-parallel size {}; the nearest legal "
      "num_redundant_experts is {}",
      experts, redundant, slots, ep, nearest);
}

ExpertPlacement place_experts(std::int64_t experts, std::int32_t ep, std::int32_t redundant,
                              ExpertPlacementStrategy strategy) {
  const std::string problem = slots_problem(experts, ep, redundant);
  MOESIM_CHECK(problem.empty(), "{}", problem);
  const auto slots = static_cast<std::uint32_t>(experts + redundant);
  const auto ranks = static_cast<std::uint32_t>(ep);
  ExpertPlacement placement;
  placement.experts = static_cast<std::uint32_t>(experts);
  placement.first_slot.push_back(0);
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    const std::uint32_t begin = placement.first_slot.back();
    const std::uint32_t count = slots / ranks + (rank < slots % ranks ? 1 : 0);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t slot = strategy == ExpertPlacementStrategy::linear ? begin + i : i * ranks + rank;
      placement.expert_of.push_back(slot % placement.experts);
    }
    placement.first_slot.push_back(begin + count);
  }
  return placement;
}

std::vector<std::uint32_t> rank_of_experts(const ExpertPlacement& placement) {
  std::vector<std::uint32_t> rank_of(placement.experts);
  for (std::uint32_t rank = placement.ranks(); rank-- > 0;) {
    for (std::uint32_t slot = placement.first_slot[rank]; slot < placement.first_slot[rank + 1]; ++slot) {
      rank_of[placement.expert_of[slot]] = rank;
    }
  }
  return rank_of;
}

}  // namespace moesim
