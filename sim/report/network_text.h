#pragma once
// The result of a network scenario, for people and for programs.

#include <string>

#include "study/network_study.h"

namespace moesim {

std::string network_text(const NetworkResult& result);
/// Times in milliseconds, every link that carried something.
std::string network_json(const NetworkResult& result);

}  // namespace moesim
