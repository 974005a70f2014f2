#include "calibration/touched_constants.h"

#include <algorithm>
#include <numbers>

namespace moesim {

std::size_t touched_constants(CommPredictor& predictor, const FitSection& section,
                              std::span<const CommSample* const> samples,
                              const std::vector<CollectiveProfile>& profiles) {
  if (samples.empty()) return 0;
  const std::vector<const CommSample*> list(samples.begin(), samples.end());
  const std::vector<double> before = predictor.predict(list, profiles);
  const auto moves = [&](const FitParameter& parameter, double factor) {
    std::vector<CollectiveProfile> moved = profiles;
    for (CollectiveProfile& profile : moved) parameter.set(profile, parameter.get(profile) * factor);
    return predictor.predict(list, moved) != before;
  };
  return static_cast<std::size_t>(
      std::count_if(section.parameters.begin(), section.parameters.end(), [&](const FitParameter& parameter) {
        return moves(parameter, std::numbers::e) || moves(parameter, 1 / std::numbers::e);
      }));
}

}  // namespace moesim
