#include "collectives/link_loads.h"

#include <algorithm>
#include <map>

namespace moesim {

std::uint32_t GroupNodes::smallest() const {
  std::size_t n = gpus.front().size();
  for (const auto& node : gpus) n = std::min(n, node.size());
  return static_cast<std::uint32_t>(n);
}

GroupNodes group_nodes(const Topology& topology, std::span<const GpuId> group) {
  const ClusterSpec& cluster = topology.cluster();
  const bool domain_is_larger = cluster.scale_up_domain >= cluster.gpus_per_node;
  std::map<std::uint32_t, std::vector<GpuId>> by_number;
  const auto number = [&](GpuId gpu) {
    return domain_is_larger ? topology.domain_of(gpu) : topology.node_of(gpu).value;
  };
  for (const GpuId gpu : group) by_number[number(gpu)].push_back(gpu);
  GroupNodes nodes;
  std::map<std::uint32_t, std::uint32_t> position;
  for (auto& [key, gpus] : by_number) {
    std::sort(gpus.begin(), gpus.end());
    position[key] = nodes.nodes();
    nodes.gpus.push_back(std::move(gpus));
  }
  for (const GpuId gpu : group) {
    const std::uint32_t node = position[number(gpu)];
    const std::vector<GpuId>& gpus = nodes.gpus[node];
    nodes.node_of_rank.push_back(node);
    nodes.index_in_node.push_back(
        static_cast<std::uint32_t>(std::lower_bound(gpus.begin(), gpus.end(), gpu) - gpus.begin()));
  }
  return nodes;
}

void LinkLoads::add(GpuId a, GpuId b, double amount) {
  for_each_way(*topology_, a, b, 0, [&](std::span<const LinkId> path, std::size_t, std::size_t ways) {
    for (const LinkId link : path) bytes_[link.value] += amount / static_cast<double>(ways);
  });
}

void LinkLoads::add_on_rails(GpuId a, GpuId b, double amount) {
  if (topology_->rail_proxy(a, b) == a) return add(a, b, amount);
  for (const LinkId link : topology_->rail_path(a, b)) bytes_[link.value] += amount;
}

double LinkLoads::seconds_per_byte(const LinkShares& shares) const {
  double busiest = 0;
  const std::span<const Link> links = topology_->links();
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (bytes_[i] == 0) continue;
    double share = 0;
    switch (links[i].kind) {
      case LinkKind::scale_up:
        share = shares.scale_up;
        break;
      case LinkKind::pcie:
        share = shares.pcie;
        break;
      case LinkKind::nic:
        share = shares.nic;
        break;
      case LinkKind::fabric:
        share = shares.fabric;
        break;
    }
    if (share > 0)
      busiest = std::max(busiest, bytes_[i] / (share * links[i].rate.efficiency * links[i].rate.bandwidth.value));
  }
  return busiest;
}

std::array<double, kLinkKinds> LinkLoads::busiest_by_kind() const {
  std::array<double, kLinkKinds> busiest{};
  const std::span<const Link> links = topology_->links();
  for (std::size_t i = 0; i < links.size(); ++i) {
    double& most = busiest[static_cast<std::size_t>(links[i].kind)];
    most = std::max(most, bytes_[i] / (links[i].rate.efficiency * links[i].rate.bandwidth.value));
  }
  return busiest;
}

std::array<double, kLinkKinds> LinkLoads::total_by_kind() const {
  std::array<double, kLinkKinds> total{};
  const std::span<const Link> links = topology_->links();
  for (std::size_t i = 0; i < links.size(); ++i) total[static_cast<std::size_t>(links[i].kind)] += bytes_[i];
  return total;
}

namespace {

bool has_link(const Topology& topology, GpuId a, GpuId b) {
  return topology.path(a, b).size() == 1;
}

/// Lengthens the ring by GPUs that are not in it yet, each a neighbour of the last, until it closes. False where the
/// steps run out or none is left to try.
bool close_ring(const Topology& topology, const std::vector<GpuId>& gpus, std::vector<GpuId>& ring, int& steps) {
  if (ring.size() == gpus.size()) return has_link(topology, ring.back(), ring.front());
  for (const GpuId next : gpus) {
    if (--steps < 0) return false;
    if (std::find(ring.begin(), ring.end(), next) != ring.end() || !has_link(topology, ring.back(), next)) continue;
    ring.push_back(next);
    if (close_ring(topology, gpus, ring, steps)) return true;
    ring.pop_back();
  }
  return false;
}

}  // namespace

bool is_full_mesh(const Topology& topology, std::span<const GpuId> gpus) {
  if (topology.cluster().scale_up != ScaleUpKind::mesh) return false;
  for (const GpuId a : gpus) {
    for (const GpuId b : gpus) {
      if (a != b && !has_link(topology, a, b)) return false;
    }
  }
  return true;
}

std::vector<GpuId> ring_of_neighbours(const Topology& topology, const std::vector<GpuId>& gpus) {
  if (topology.cluster().scale_up != ScaleUpKind::mesh || gpus.size() < 4) return gpus;
  std::vector<GpuId> ring{gpus.front()};
  int steps = 20'000;
  return close_ring(topology, gpus, ring, steps) ? ring : gpus;
}

LinkLoads ring_loads(const Topology& topology, const GroupNodes& nodes, double between) {
  LinkLoads loads(topology);
  const double channels = nodes.smallest();
  for (const std::vector<GpuId>& listed : nodes.gpus) {
    const bool mesh = is_full_mesh(topology, listed);
    const std::vector<GpuId> gpus = mesh ? listed : ring_of_neighbours(topology, listed);
    const std::size_t n = gpus.size();
    if (n < 2) continue;
    // A closed ring alone; between nodes each channel leaves out the hop that the network makes.
    const double amount = nodes.nodes() == 1 ? 1 : 1 - 1 / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i) {
      if (!mesh) {
        loads.add(gpus[i], gpus[(i + 1) % n], amount);
        continue;
      }
      for (std::size_t j = 0; j < n; ++j) {
        if (j != i) loads.add(gpus[i], gpus[j], amount / static_cast<double>(n - 1));
      }
    }
  }
  if (nodes.nodes() == 1) return loads;
  for (std::size_t node = 0; node < nodes.gpus.size(); ++node) {
    const std::vector<GpuId>& next = nodes.gpus[(node + 1) % nodes.gpus.size()];
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
      loads.add(nodes.gpus[node][c], next[c], between / channels);
    }
  }
  return loads;
}

LinkLoads all_to_all_loads(const Topology& topology, const GroupNodes& nodes) {
  LinkLoads loads(topology);
  double ranks = 0;
  for (const auto& node : nodes.gpus) ranks += static_cast<double>(node.size());
  for (const auto& from : nodes.gpus) {
    for (const auto& to : nodes.gpus) {
      for (const GpuId a : from) {
        for (const GpuId b : to) loads.add_on_rails(a, b, 1 / ranks);
      }
    }
  }
  return loads;
}

LinkLoads within_node_loads(const Topology& topology, const GroupNodes& nodes) {
  LinkLoads loads(topology);
  for (const auto& gpus : nodes.gpus) {
    for (const GpuId a : gpus) {
      for (const GpuId b : gpus) {
        if (a != b) loads.add(a, b, 1 / static_cast<double>(gpus.size() - 1));
      }
    }
  }
  return loads;
}

LinkLoads between_node_loads(const Topology& topology, const GroupNodes& nodes, CrossNodePeers peers) {
  LinkLoads loads(topology);
  double ranks = 0;
  for (const auto& node : nodes.gpus) ranks += static_cast<double>(node.size());
  for (const auto& from : nodes.gpus) {
    for (const auto& to : nodes.gpus) {
      if (&from == &to) continue;
      for (std::size_t i = 0; i < from.size(); ++i) {
        if (peers == CrossNodePeers::same_index) {
          loads.add(from[i], to[i % to.size()], 1 / static_cast<double>(nodes.nodes() - 1));
          continue;
        }
        for (const GpuId b : to) loads.add(from[i], b, 1 / (ranks - static_cast<double>(from.size())));
      }
    }
  }
  return loads;
}

}  // namespace moesim
