#pragma once
// The matrix of `nvidia-smi topo -m`, or of `rocm-smi --showtopo`, as a cluster.

#include <filesystem>

#include "config/node_drawing.h"

namespace moesim {

/// Sockets are the NUMA nodes, switches the groups that PIX and PXB join; NV# to all others at the GPU's full rate is a
/// switch, else direct links. Rates are those of the GPU's datasheet (`options.gpu`, needed), as the matrix has none;
/// NVLink counts times the rate of a link. Throws ConfigError with file and line.
ClusterSpec import_topology_matrix(const std::filesystem::path& path, const ImportOptions& options);

}  // namespace moesim
