#pragma once
// The cluster that stands for a GPU of which a table says no more.

#include <filesystem>
#include <optional>
#include <string_view>

namespace moesim {

/// Among topologies/cluster/*.json with this GPU (its id): the vendor's own system (dgx-*), else its board in another
/// maker's system (hgx-*), else the file with the most GPUs a node, ties by file name. Nothing where no file names the
/// GPU. Throws ConfigError where a file is broken.
std::optional<std::filesystem::path> standard_node(std::string_view gpu);

}  // namespace moesim
