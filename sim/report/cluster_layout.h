#pragma once
// Where the parts of a cluster stand in a drawing.

#include <cstdint>
#include <string>
#include <vector>

#include "network/topology.h"

namespace moesim {

struct PlacedVertex {
  bool shown = false;
  double x = 0, y = 0;  ///< of its middle
  double width = 0;
};

/// A frame around what stands in one node.
struct NodeFrame {
  std::uint32_t node = 0;
  double left = 0, right = 0, top = 0, bottom = 0;
};

struct RowLabel {
  std::string text;
  double y = 0;
};

struct ClusterLayout {
  std::vector<PlacedVertex> vertices;  ///< as those of the topology
  std::vector<NodeFrame> frames;
  std::vector<RowLabel> rows;
  double width = 0, height = 0, box_height = 0;
  double more_left = 0;  ///< of the box that stands for the nodes left out; 0: none
  std::uint32_t hidden_nodes = 0, hidden_leaves = 0, hidden_spines = 0;
};

/// One row a tier: spines, leaves, NICs, sockets, PCIe switches, GPUs, scale-up switches. Whole nodes side by side as
/// long as all have at most 32 GPUs; else as many as have at most 16, one at least. In a node every row is spread
/// evenly, in the order of what its members are linked to in the rows below. Leaves that no shown NIC leads to are left
/// out, and spines beyond the eighth.
ClusterLayout layout_of(const Topology& topology);

}  // namespace moesim
