#pragma once
// Results of one network program on several clusters, side by side.

#include <span>
#include <string>

#include "study/network_study.h"

namespace moesim {

/// Every task and the whole program, each result in a column; then what of the first differs by 5 % or more, and the
/// links that are busiest. All results have the same tasks.
std::string network_comparison_text(std::span<const NetworkResult> results);
/// `results`, each as `run` prints it, and `verdicts`.
std::string network_comparison_json(std::span<const NetworkResult> results);

}  // namespace moesim
