#pragma once
// One machine as a tool of its vendor shows it, and a cluster of several alike as a graph.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hardware/gpu_spec.h"
#include "network/cluster_spec.h"

namespace moesim {

/// What the user says of a cluster beside the file that is imported.
struct ImportOptions {
  std::string gpu;         ///< id or alias; empty: as the file says
  std::int64_t nodes = 1;  ///< machines like that of the file
  FabricKind fabric = FabricKind::rail_fat_tree;
  std::optional<BytesPerSecond> nic_rate;  ///< of one NIC, one way, where the file does not say
  std::int64_t gpus = 0;                   ///< of a file that does not say which devices are GPUs; 0: not said
  std::optional<ScaleUpKind> scale_up;     ///< of a file that shows no scale-up links
};

/// A part of a machine; it hangs on `parent`, an earlier part, by `up`. Sockets have no parent.
struct NodePart {
  VertexKind kind = VertexKind::host;
  std::int32_t parent = -1;
  LinkClass up;
  BytesPerSecond cable;   ///< of a NIC: its port to the network; 0: not said
  std::size_t order = 0;  ///< parts of one kind are numbered by it, then by their place here
};

/// A further link between two parts, both ways.
struct NodeBond {
  std::uint32_t a = 0, b = 0;
  LinkKind kind = LinkKind::scale_up;
  LinkClass rate;
};

struct NodeDrawing {
  std::string file;  ///< as messages name it
  std::vector<NodePart> parts;
  std::vector<NodeBond> bonds;
  std::vector<std::string> notes;  ///< what was assumed; each becomes a part of the cluster's source

  std::uint32_t add(VertexKind kind, std::int32_t parent, const LinkClass& up);
  std::vector<std::uint32_t> all(VertexKind kind) const;
  /// All GPUs at one switch at the datasheet's rate, or each with each where a peer gets less than all of it. `reach`:
  /// the reachable share of the line rate.
  void add_datasheet_scale_up(const GpuSpec& gpu, ScaleUpKind kind);
  /// Every socket with every other one.
  void connect_sockets(const LinkClass& rate);
};

/// The machine `options.nodes` times. NIC i of all machines is on leaf i (rails), or all NICs of a machine are on one
/// leaf (leaf_spine), 32 ports a leaf, with as much bandwidth up to the spine as the leaf's NICs have. Throws
/// ConfigError (usage) where machines need NICs or a rate that nobody gives.
ClusterSpec cluster_of_nodes(const NodeDrawing& node, const ImportOptions& options, const GpuSpec& gpu);

}  // namespace moesim
