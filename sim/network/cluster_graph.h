#pragma once
// A cluster as vertices and directed links: what the tiers of a cluster file stand for, or the file's own graph.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/units.h"

namespace moesim {

enum class VertexKind { gpu, nvswitch, pcie_switch, host, nic, leaf, spine };
enum class LinkKind { scale_up, pcie, nic, fabric };
/// Number of enumerators: totals are arrays indexed by kind.
inline constexpr std::size_t kVertexKinds = static_cast<std::size_t>(VertexKind::spine) + 1;
inline constexpr std::size_t kLinkKinds = static_cast<std::size_t>(LinkKind::fabric) + 1;
/// `host` is called cpu.
std::string_view name(VertexKind kind);
std::string_view name(LinkKind kind);
/// What a link between two kinds of vertex is where nobody says: scale-up between GPUs and NVSwitches, a NIC's cable
/// to a switch or another NIC, fabric between switches of the network, else PCIe.
LinkKind usual_kind(VertexKind from, VertexKind to);

struct LinkClass {
  BytesPerSecond bandwidth;  ///< line rate of one direction
  double efficiency = 1;     ///< reachable share of it, measured
  Duration latency;          ///< of one traversal
  bool operator==(const LinkClass&) const = default;
};

inline BytesPerSecond reachable(const LinkClass& rate) {
  return rate.bandwidth * rate.efficiency;
}

struct Vertex {
  std::string name;  ///< gpu0, nvswitch0, pcie_switch0, cpu0, nic0, leaf0, spine
  VertexKind kind = VertexKind::gpu;
  std::int32_t node = -1;  ///< the machine it stands in; -1: none, or not said
};

/// One direction of a cable or bus.
struct Link {
  std::uint32_t from = 0, to = 0;  ///< vertex indices
  LinkKind kind = LinkKind::scale_up;
  LinkClass rate;
};

/// GPUs are the first vertices, in order of their ids. Links 2 i and 2 i + 1 are the two directions of one cable, up to
/// `cables` of them; links of one direction only follow.
struct ClusterGraph {
  std::vector<Vertex> vertices;
  std::vector<Link> links;
  std::size_t cables = 0;

  std::uint32_t add(VertexKind kind, std::string label, std::int32_t node = -1);
  /// Both directions. Not after a link of one direction.
  void connect(std::uint32_t a, std::uint32_t b, LinkKind kind, const LinkClass& rate);

  std::uint32_t gpus() const;
};

/// Where a GPU is: its machine, and the scale-up domain that it shares.
struct GpuPlace {
  std::uint32_t node = 0, domain = 0;
};

/// Nodes as the GPUs' vertices say, numbered from 0 in order of these numbers. Where no GPU says, a node is what hangs
/// together without NICs and network switches. A domain is what hangs together by scale-up links alone.
std::vector<GpuPlace> gpu_places(const ClusterGraph& graph);

/// Two GPUs of which one cannot be reached from the other, or nothing.
std::optional<std::pair<std::uint32_t, std::uint32_t>> unconnected(const ClusterGraph& graph);

}  // namespace moesim
