#pragma once
// How often the gates like each expert: the weights that tokens draw by, and the inclusion probabilities that follow.

#include <cstdint>
#include <span>
#include <vector>

#include "core/random.h"
#include "routing/router.h"

namespace moesim {

/// Weights by popularity rank (rank 0 first) of `experts` experts, sum 1: p_r ~ r^-s (zipf), exp(sigma N(0,1))
/// (lognormal), Gamma(alpha, 1) (dirichlet) or equal. The random kinds draw from `stream` and come sorted, most popular
/// first. No weight is below 1e-12 of the mean. Not for `file`.
std::vector<double> popularity_weights(const PopularitySpec& spec, std::int64_t experts, Stream stream);

/// A uniformly random order of 0..n-1 (Fisher-Yates).
std::vector<std::uint16_t> random_permutation(std::int64_t n, Stream stream);

/// Probability that each of n experts is among the first k of an exponential race with these rates, for every k in
/// 1..most: `result[(k - 1) * n + e]`. This is drawing k without replacement in proportion to the weights (Gumbel top-k
/// of the log weights):
///     q_e = integral of w_e exp(-w_e t) P(at most k - 1 others arrive before t) dt
/// by the trapezoid rule in log t, whose error falls exponentially with the step (below 1e-8 relative here); the
/// probability in the integrand is an exact Poisson-binomial sum of positive terms. O(nodes n most^2).
std::vector<double> race_inclusion(std::span<const double> weights, std::int64_t most);
/// The row of `draws` alone, in O(nodes n draws).
std::vector<double> race_inclusion_of(std::span<const double> weights, std::int64_t draws);

/// Scales counts or probabilities so that they sum to `top_k` with none above 1: a value that would pass 1 is set to 1
/// and the others share the rest in proportion.
std::vector<double> capped_inclusion(std::span<const double> table_row, std::int64_t top_k);

/// The weights (sum 1) whose race of `draws` has the inclusion probabilities `target`, to 1e-7 relative: fixed-point
/// steps w_e <- w_e log(1 - target_e) / log(1 - q_e(w)). Targets are taken between 1e-9 and 1 - 1e-6.
std::vector<double> weights_for_inclusion(std::span<const double> target, std::int64_t draws);

}  // namespace moesim
