#pragma once
// A cluster as a picture.

#include <span>
#include <string>

#include "network/topology.h"

namespace moesim {

/// SVG of the first nodes with their links (`layout_of`), a legend of the classes of links with their rates, and what
/// is left out in words. A line is the wider the more bandwidth its link has. `utilization` (empty, or for each link of
/// the topology from 0 to 1) colours each line by the busier of its two directions instead of by kind.
std::string cluster_svg(const Topology& topology, std::span<const double> utilization = {});

}  // namespace moesim
