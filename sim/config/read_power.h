#pragma once
// Constants of power: topologies/power.json, one entry for GPUs that share them.

#include <filesystem>
#include <optional>

#include "hardware/gpu_spec.h"
#include "hardware/power.h"

namespace moesim {

std::filesystem::path power_table();

/// The entry that names the GPU, with the GPU's own board power as the limit. A GPU that none names takes the entry of
/// its architecture with the nearest board power, else that of its vendor, else the nearest of all, marked as
/// extrapolated: idle and awake power in proportion to the board's; across architectures J/flop in proportion to board
/// power over peak as well. Empty for a GPU whose board power is not known. Throws ConfigError.
std::optional<PowerModel> power_model_of(const GpuSpec& gpu);

}  // namespace moesim
