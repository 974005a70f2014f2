#pragma once
// GPUs as data: topologies/gpu/<id>.json.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "hardware/gpu_spec.h"

namespace moesim {

/// One file; the id is its stem. Throws ConfigError.
GpuSpec read_gpu_file(const std::filesystem::path& path);

/// Every GPU under the product's root, by id.
std::vector<GpuSpec> read_gpus();

/// What spellings are compared by: lower-case letters and digits only, so that "RTX 4090", "rtx_4090" and "RTX-4090"
/// are the same.
std::string gpu_key(std::string_view spelling);

/// The GPU of that id or alias. Throws ConfigError (usage) that names near spellings.
GpuSpec find_gpu(std::string_view name);

}  // namespace moesim
