#pragma once
// Where the experts of a layer lie: logical experts, physical slots, ranks.

#include <cstdint>
#include <string>
#include <vector>

namespace moesim {

/// Physical copies of the experts of one layer. Slots are numbered rank-major: rank r holds
/// [first_slot[r], first_slot[r + 1]). `expert_of[slot]` is the logical expert; a redundant expert has several slots,
/// which share its tokens evenly.
struct ExpertPlacement {
  std::vector<std::uint32_t> expert_of;
  std::vector<std::uint32_t> first_slot;  ///< ep + 1 entries
  std::uint32_t experts = 0;

  std::uint32_t slots() const { return static_cast<std::uint32_t>(expert_of.size()); }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(first_slot.size()) - 1; }
};

/// `linear`: expert e in order over the ranks; `round_robin`: slot s on rank s mod ep. [vllm:
/// --expert-placement-strategy]
enum class ExpertPlacementStrategy { linear, round_robin };

/// The smallest number of redundant experts >= `redundant` whose slots divide by `ep`.
std::int32_t nearest_legal_redundancy(std::int64_t experts, std::int32_t ep, std::int32_t redundant);

/// A problem of the number of slots in one sentence that names the nearest legal redundancy, empty when legal. With
/// redundant experts the slots must divide by `ep`; without, ranks may differ by one expert. [vllm: eplb,
/// determine_expert_map]
std::string slots_problem(std::int64_t experts, std::int32_t ep, std::int32_t redundant);

/// Logical experts in order, then redundant copies of experts 0, 1, 2 ... in order; remainders on the first ranks.
/// Requires `slots_problem` to be empty.
ExpertPlacement place_experts(std::int64_t experts, std::int32_t ep, std::int32_t redundant,
                              ExpertPlacementStrategy strategy);

inline ExpertPlacement linear_placement(std::int64_t experts, std::int32_t ep, std::int32_t redundant) {
  return place_experts(experts, ep, redundant, ExpertPlacementStrategy::linear);
}

/// Rank of the first copy of every expert: the partition for `Router::distinct_ratio`.
std::vector<std::uint32_t> rank_of_experts(const ExpertPlacement& placement);

}  // namespace moesim
