#pragma once
// The table of expert popularity that a scenario's routing names.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "model/model_spec.h"

namespace moesim {

/// Rows of a popularity file, one a MoE layer in order or a single one for all: a non-negative number an expert, in
/// order of expert id, either inclusion probabilities or counts in proportion to them (the router scales a row to sum
/// top_k). `*.csv` holds a row a line, after an optional first line of names; any other file is JSON, an array of
/// arrays or {"popularity": [...]}.
/// Throws ConfigError: no such file (3); a row of another length, a value that is no finite number from 0 to 1e18,
/// fewer than top_k positive values in a row, another number of rows than 1 or `moe_layers` (4).
std::vector<std::vector<double>> read_popularity(const std::filesystem::path& file, const MoeSpec& moe,
                                                 std::int64_t moe_layers);

}  // namespace moesim
