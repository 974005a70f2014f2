#pragma once
// The sizes that a fit covers, in words.

#include <span>
#include <string>

#include "calibration/kernel_sample.h"

namespace moesim {

/// "m 1 to 32768, n 32 to 65536, k 32 to 65536"
std::string fit_range(std::span<const KernelSample* const> samples);

}  // namespace moesim
