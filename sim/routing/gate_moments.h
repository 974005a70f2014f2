#pragma once
// What one token of a gate does on average: inclusion probabilities, shares and the moments of its choices per group.

#include <cstdint>
#include <span>

#include "model/model_spec.h"
#include "routing/count_law.h"

namespace moesim {

/// One race over all experts, exact. Weights by falling popularity. Up to 16 experts the counts get their full
/// covariance, from the probability of every set of experts (P(S) = sum over i in S of P(S - i) w_i / (rest of S - i));
/// more experts are one group.
CountLawInput race_moments(std::span<const double> weights, std::int64_t top_k);

/// Group-limited gates have no closed form: 2^18 tokens of a fixed stream, made less noisy by what is exact. With equal
/// weights all groups share their moments and inclusion is k / E. Otherwise the probability that a group is among the
/// best is integrated exactly (keys of one or two experts), and inside a group, with P_j the probability of j choices
/// and pi_e(j) the exact inclusion of a race of j in the group,
///     q_e = r_e sum_j P_j pi_e(j),
/// where r_e, near 1 and close to linear in the expert's weight, is fitted to the sampled choices: it carries that a
/// chosen heavy expert leaves less for the others. q is good to about 0.2%. `weights` group after group.
CountLawInput grouped_moments(const MoeSpec& moe, std::span<const double> weights, std::uint64_t sample);

/// Weights whose group-limited gate has these inclusion probabilities, group after group, to the accuracy of the sample
/// (about 1%): the fixed-point steps of `weights_for_inclusion`, damped.
std::vector<double> grouped_weights_for_inclusion(const MoeSpec& moe, std::span<const double> target,
                                                  std::uint64_t sample);

}  // namespace moesim
