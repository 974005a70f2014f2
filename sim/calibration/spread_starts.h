#pragma once
// Where several fits of one problem start from.

#include <span>
#include <vector>

namespace moesim {

/// `start`, and `more` points around it: coordinate j of point k is start + reach (2 h - 1), h the k-th number of the
/// Halton sequence in the j-th prime base [halton-1960], kept within the bounds.
std::vector<std::vector<double>> spread_starts(std::span<const double> start, std::span<const double> low,
                                               std::span<const double> high, double reach, int more);
/// The same over the whole bounds: low + h (high - low).
std::vector<std::vector<double>> spread_over(std::span<const double> start, std::span<const double> low,
                                             std::span<const double> high, int more);

}  // namespace moesim
