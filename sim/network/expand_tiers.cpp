#include "network/expand_tiers.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/check.h"

namespace moesim {

namespace {

std::uint32_t unsigned_of(std::int32_t count) {
  return static_cast<std::uint32_t>(count);
}

/// NIC vertices of a node: one a NIC, or one a GPU where a GPU has several.
std::uint32_t nic_vertices(const ClusterSpec& cluster) {
  return unsigned_of(std::min(cluster.nics_per_node, cluster.gpus_per_node));
}

void add_scale_up(const ClusterSpec& cluster, std::uint32_t gpus, ClusterGraph& graph) {
  const std::uint32_t domain = unsigned_of(cluster.scale_up_domain);
  if (domain < 2 || cluster.scale_up == ScaleUpKind::pcie) return;
  LinkClass to_peer = cluster.scale_up_link;
  to_peer.bandwidth.value /= domain - 1;
  for (std::uint32_t first = 0; first < gpus; first += domain) {
    const std::uint32_t end = std::min(first + domain, gpus);
    if (cluster.scale_up == ScaleUpKind::switched) {
      // A switch of one node stands in it; one of a rack stands in none.
      const auto node = domain <= unsigned_of(cluster.gpus_per_node)
                            ? static_cast<std::int32_t>(first / unsigned_of(cluster.gpus_per_node))
                            : -1;
      const std::uint32_t hub = graph.add(VertexKind::nvswitch, fmt::format("nvswitch{}", first / domain), node);
      for (std::uint32_t g = first; g < end; ++g) graph.connect(g, hub, LinkKind::scale_up, cluster.scale_up_link);
    } else {
      for (std::uint32_t a = first; a < end; ++a) {
        for (std::uint32_t b = a + 1; b < end; ++b) graph.connect(a, b, LinkKind::scale_up, to_peer);
      }
    }
  }
}

void add_node(const ClusterSpec& cluster, std::uint32_t node, ExpandedTiers& tiers) {
  ClusterGraph& graph = tiers.graph;
  const std::uint32_t per_node = unsigned_of(cluster.gpus_per_node), sockets = unsigned_of(cluster.sockets);
  const std::uint32_t switches = unsigned_of(cluster.pcie_switches), nics = nic_vertices(cluster);
  const auto machine = static_cast<std::int32_t>(node);
  std::vector<std::uint32_t> host(sockets), pcie(switches);
  for (std::uint32_t s = 0; s < sockets; ++s) {
    host[s] = graph.add(VertexKind::host, fmt::format("cpu{}", node * sockets + s), machine);
    for (std::uint32_t other = 0; other < s; ++other) {
      graph.connect(host[other], host[s], LinkKind::pcie, cluster.socket_link);
    }
  }
  for (std::uint32_t s = 0; s < switches; ++s) {
    pcie[s] = graph.add(VertexKind::pcie_switch, fmt::format("pcie_switch{}", node * switches + s), machine);
    graph.connect(pcie[s], host[s * sockets / switches], LinkKind::pcie, cluster.pcie_uplink);
  }
  // Item i of n hangs on the PCIe switch, or socket, of its share of the node.
  const auto anchor = [&](std::uint32_t i, std::uint32_t n) {
    return switches > 0 ? pcie[i * switches / n] : host[i * sockets / n];
  };
  // On a box without scale-up links, what GPUs of one switch reach of each other is a measured class of its own.
  const LinkClass& gpu_link = cluster.scale_up == ScaleUpKind::pcie ? cluster.scale_up_link : cluster.host_link;
  for (std::uint32_t i = 0; i < per_node; ++i) {
    graph.connect(node * per_node + i, anchor(i, per_node), LinkKind::pcie, gpu_link);
  }
  for (std::uint32_t i = 0; i < nics; ++i) {
    const std::uint32_t nic = graph.add(VertexKind::nic, fmt::format("nic{}", node * nics + i), machine);
    LinkClass slot = cluster.host_link;
    slot.latency = Duration();  // the NIC's own latency holds it
    graph.connect(nic, anchor(i, nics), LinkKind::pcie, slot);
    for (std::uint32_t g = 0; g < per_node; ++g) {
      if (g * nics / per_node == i) tiers.nic_of_gpu[node * per_node + g] = nic;
    }
  }
}

void add_spines(const ClusterSpec& cluster, const std::vector<std::uint32_t>& leaves, LinkClass uplink,
                ExpandedTiers& tiers) {
  tiers.spines = cluster.multipath == Multipath::hash ? unsigned_of(cluster.spines) : 1;
  uplink.bandwidth.value /= tiers.spines;
  std::vector<std::uint32_t> spines(tiers.spines);
  for (std::uint32_t k = 0; k < tiers.spines; ++k) {
    spines[k] = tiers.graph.add(VertexKind::spine, tiers.spines == 1 ? "spine" : fmt::format("spine{}", k));
  }
  for (const std::uint32_t leaf : leaves) {
    for (const std::uint32_t spine : spines) {
      tiers.uplinks.push_back(LinkId{static_cast<std::uint32_t>(tiers.graph.links.size())});
      tiers.graph.connect(leaf, spine, LinkKind::fabric, uplink);
    }
  }
}

void add_fabric(const ClusterSpec& cluster, ExpandedTiers& tiers) {
  ClusterGraph& graph = tiers.graph;
  const std::uint32_t nics = nic_vertices(cluster), per_node = unsigned_of(cluster.gpus_per_node);
  if (cluster.fabric == FabricKind::none || nics == 0) return;
  LinkClass port = cluster.nic;
  port.bandwidth.value *= std::max(1.0, static_cast<double>(cluster.nics_per_node) / cluster.gpus_per_node);
  const std::uint32_t nodes = unsigned_of(cluster.nodes), ports = unsigned_of(cluster.leaf_ports);
  const bool rails = cluster.fabric == FabricKind::rail_fat_tree;
  const std::uint32_t nodes_per_leaf = rails ? ports : std::max(1U, ports / nics);
  const std::uint32_t groups = (nodes + nodes_per_leaf - 1) / nodes_per_leaf;
  // Leaves are numbered by group of nodes, then by rail.
  const std::uint32_t rail_count = rails ? nics : 1;
  std::vector<std::uint32_t> leaves;
  for (std::uint32_t i = 0; i < groups * rail_count; ++i) {
    leaves.push_back(graph.add(VertexKind::leaf, fmt::format("leaf{}", i)));
  }
  for (std::uint32_t n = 0; n < nodes; ++n) {
    for (std::uint32_t i = 0; i < nics; ++i) {
      const std::uint32_t rail = rails ? i : 0, leaf = n / nodes_per_leaf * rail_count + rail;
      const LinkId up{static_cast<std::uint32_t>(graph.links.size())};
      const std::uint32_t first = (i * per_node + nics - 1) / nics, end = ((i + 1) * per_node + nics - 1) / nics;
      graph.connect(tiers.nic_of_gpu[n * per_node + first], leaves[leaf], LinkKind::nic, port);
      for (std::uint32_t g = n * per_node + first; g < n * per_node + end; ++g) {
        tiers.rail_of_gpu[g] = rail;
        tiers.leaf_of_gpu[g] = leaf;
        tiers.leaf_link[g] = up;
      }
    }
  }
  if (leaves.size() < 2) return;
  LinkClass uplink = port;
  uplink.bandwidth.value *= (rails ? ports : nodes_per_leaf * nics) / cluster.oversubscription;
  uplink.latency = cluster.switch_hop;
  add_spines(cluster, leaves, uplink, tiers);
}

}  // namespace

ExpandedTiers expand_tiers(const ClusterSpec& cluster) {
  const std::uint32_t gpus = unsigned_of(cluster.nodes) * unsigned_of(cluster.gpus_per_node);
  MOESIM_CHECK(gpus > 0, "a cluster of {} nodes with {} GPUs each", cluster.nodes, cluster.gpus_per_node);
  ExpandedTiers tiers;
  for (std::uint32_t g = 0; g < gpus; ++g) {
    tiers.graph.add(VertexKind::gpu, fmt::format("gpu{}", g), static_cast<std::int32_t>(g) / cluster.gpus_per_node);
  }
  tiers.nic_of_gpu.assign(gpus, no_vertex);
  tiers.rail_of_gpu.assign(gpus, 0);
  tiers.leaf_of_gpu.assign(gpus, no_vertex);
  tiers.leaf_link.resize(gpus);
  add_scale_up(cluster, gpus, tiers.graph);
  for (std::uint32_t n = 0; n < unsigned_of(cluster.nodes); ++n) add_node(cluster, n, tiers);
  add_fabric(cluster, tiers);
  return tiers;
}

}  // namespace moesim
