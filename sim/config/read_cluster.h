#pragma once
// Clusters as data: topologies/cluster/*.json, or an object inside a scenario.

#include <cstdint>
#include <filesystem>

#include "config/json_reader.h"
#include "network/cluster_spec.h"

namespace moesim {

/// Reads and checks one cluster; `gpu` becomes the id of topologies/gpu, whatever its spelling. Throws ConfigError.
ClusterSpec read_cluster(const JsonReader& value);

ClusterSpec read_cluster_file(const std::filesystem::path& path);

/// The same cluster with another number of nodes. `where` (the number in a scenario) is named when the cluster has no
/// network between that many nodes. Throws ConfigError.
ClusterSpec with_nodes(ClusterSpec cluster, std::int64_t nodes, const JsonReader& where);

}  // namespace moesim
