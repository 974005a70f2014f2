#pragma once
// A GraphML file as a cluster.

#include <filesystem>
#include <string>

#include "network/cluster_spec.h"

namespace moesim {

/// Nodes with the data `kind` (gpu, nvswitch, pcie_switch, cpu, nic, leaf, spine) and, optional, `name` (else the id is
/// the name) and `node`; edges with `gbps` (GB/s one way), `lat_us`, and, optional, `efficiency` and `link_kind`, as
/// `moesim describe cluster --graphml` writes them. Other data are passed over. An undirected edge is both directions;
/// two equal edges in opposite directions are one cable. `gpu`: id or alias. Throws ConfigError with file and line.
ClusterSpec import_graphml(const std::filesystem::path& path, const std::string& gpu);

}  // namespace moesim
