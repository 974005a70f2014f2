#pragma once
// NCCL's and RCCL's topology XML (NCCL_TOPO_DUMP_FILE) as a cluster.

#include <filesystem>

#include "config/node_drawing.h"

namespace moesim {

/// Sockets are the file's <cpu>, switches its PCI bridges with several devices below (the ports of a switch are one
/// with it), scale-up links its <nvlink> and <xgmi>; all NVSwitches are one vertex. Two ports of one network card are
/// one NIC. A file that NCCL completes at run time has no GPUs' details: then the GPU's datasheet gives the scale-up
/// links
/// (`options.scale_up` says which). Throws ConfigError with file and line.
ClusterSpec import_nccl_topology(const std::filesystem::path& path, const ImportOptions& options);

}  // namespace moesim
