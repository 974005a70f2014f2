#pragma once
// The result of a network scenario, for people and for programs.

#include <string>
#include <vector>

#include "study/network_study.h"

namespace moesim {

std::string network_text(const NetworkResult& result);
/// The cluster and the tasks with the time of each alone by its closed form.
std::string network_plan_text(const NetworkScenario& scenario, const std::vector<NetworkTaskResult>& plan);
std::string network_plan_json(const NetworkScenario& scenario, const std::vector<NetworkTaskResult>& plan);

/// Times in milliseconds, every link that carried something.
std::string network_json(const NetworkResult& result);

}  // namespace moesim
