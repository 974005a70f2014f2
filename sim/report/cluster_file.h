#pragma once
// A cluster that was imported, as a file of topologies/cluster.

#include <string>

#include "network/cluster_spec.h"

namespace moesim {

/// JSON with the cluster's graph, a vertex and a link a line, which `read_cluster` reads back as the same graph. The
/// cluster has a graph.
std::string cluster_file_text(const ClusterSpec& cluster);

}  // namespace moesim
