#pragma once
// How many constants of a section a set of measurements can tell.

#include <span>
#include <vector>

#include "calibration/comm_prediction.h"
#include "calibration/fit_section.h"

namespace moesim {

/// Parameters of `section` that move the prediction of some sample when they are e times as large or as small as in
/// `profiles`: the others stay as they were, whatever is fitted.
std::size_t touched_constants(CommPredictor& predictor, const FitSection& section,
                              std::span<const CommSample* const> samples,
                              const std::vector<CollectiveProfile>& profiles);

}  // namespace moesim
