#include "collectives/collective_cost.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "collectives/link_loads.h"
#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

/// One protocol, prepared: latency + bytes x slope.
struct Line {
  double seconds = 0, per_byte = 0;
};
using Lines = std::vector<Line>;

Duration fastest(const Lines& lines, Bytes bytes) {
  const auto s = static_cast<double>(bytes.value);
  double best = lines.front().seconds + lines.front().per_byte * s;
  for (std::size_t i = 1; i < lines.size(); ++i) best = std::min(best, lines[i].seconds + lines[i].per_byte * s);
  return Duration::from_seconds(best);
}

double log2_of(double x) {
  return x <= 1 ? 0 : logarithm(x) / logarithm(2.0);
}

/// What the lines of one group are made from.
struct Preparation {
  const Topology& topology;
  const CollectiveProfile& profile;
  const GroupNodes& nodes;
  std::uint32_t ranks;

  double g() const {
    std::size_t most = 0;
    for (const auto& gpus : nodes.gpus) most = std::max(most, gpus.size());
    return static_cast<double>(most);
  }
  double n() const { return nodes.nodes(); }
  /// PCIe carries the protocol where it is the scale-up network; behind a switch it only leads to the NIC.
  double slope(const LinkLoads& loads, double scale_up, double network) const {
    const double pcie = topology.cluster().scale_up == ScaleUpKind::pcie ? scale_up : 1;
    return loads.seconds_per_byte({scale_up, pcie, network, network});
  }
};

/// LL and Simple of the ring family; `w` busbw bytes a byte of the collective.
Lines ring_lines(const Preparation& p, const LinkLoads& loads, double w, double steps, double network_steps) {
  const RingProtocols& ring = p.profile.ring;
  const double base = ring.base.seconds() + network_steps * p.profile.network.hop.seconds();
  const double bulk_base = ring.base.seconds() + network_steps * p.profile.network.bulk_hop.seconds();
  return {{base + steps * ring.step.seconds(), w * p.slope(loads, ring.ll_share, p.profile.network.ll_share)},
          {bulk_base + ring.simple_extra.seconds() + steps * ring.simple_step.seconds(),
           w * p.slope(loads, ring.simple_share, p.profile.network.share)}};
}

LinkLoads all_reduce_loads(const Preparation& p) {
  const double between = p.nodes.nodes() == 2 ? 1 / p.profile.network.two_node_factor : 1;
  return ring_loads(p.topology, p.nodes, between);
}

Lines all_reduce_lines(const Preparation& p, const LinkLoads& loads) {
  const double ranks = p.ranks;
  const double w = 2 * (ranks - 1) / ranks;
  const double network_steps = 2 * log2_of(p.n());
  Lines lines = ring_lines(p, loads, w, 2 * (p.g() - 1), network_steps);
  for (const DomainAllReduce& protocol : p.profile.domain_all_reduce) {
    if (p.nodes.smallest() < protocol.ranks) continue;
    lines.push_back({protocol.latency.seconds() + network_steps * p.profile.network.bulk_hop.seconds(),
                     w * p.slope(loads, protocol.share, p.profile.network.share)});
  }
  return lines;
}

Lines all_to_all_lines(const Preparation& p, const LinkLoads& loads) {
  const DirectProtocols& direct = p.profile.all_to_all;
  const double ranks = p.ranks;
  const double base = direct.base.seconds() + direct.per_peer.seconds() * (ranks - 1) +
                      (p.nodes.nodes() > 1 ? p.profile.network.hop.seconds() : 0);
  const Line ll{base, p.slope(loads, direct.ll_share, p.profile.network.ll_share)};
  const Line simple{base + direct.simple_extra.seconds(),
                    p.slope(loads, direct.simple_share, p.profile.network.all_to_all_share)};
  Lines lines{ll, simple};
  if (direct.bulk_from.value > 0) {
    const double per_byte = p.slope(loads, direct.bulk_share, p.profile.network.all_to_all_share);
    const auto from = static_cast<double>(direct.bulk_from.value);
    lines.push_back({simple.seconds + from * (simple.per_byte - per_byte), per_byte});
  }
  return lines;
}

Lines send_recv_lines(const Preparation& p, const LinkLoads& loads) {
  const bool within = p.nodes.node_of_rank[0] == p.nodes.node_of_rank[1];
  const LatencyAndShare& parameters = within ? p.profile.send_recv : p.profile.network_send_recv;
  return {{parameters.latency.seconds(), p.slope(loads, parameters.share, parameters.share)}};
}

Lines custom_lines(const Preparation& p, const Lines& nccl) {
  const CustomAllReduce& custom = p.profile.custom_all_reduce;
  if (p.nodes.nodes() > 1 || p.ranks > custom.max_ranks) return nccl;
  const double ranks = p.ranks;
  const LinkLoads loads = within_node_loads(p.topology, p.nodes);
  Lines lines = nccl;
  lines.push_back({custom.one_shot_base.seconds() + custom.one_shot_per_peer.seconds() * (ranks - 1),
                   (ranks - 1) * p.slope(loads, custom.one_shot_share, 0)});
  lines.push_back({custom.two_shot_base.seconds() + custom.two_shot_per_peer.seconds() * (ranks - 1),
                   2 * (ranks - 1) / ranks * p.slope(loads, custom.two_shot_share, 0)});
  return lines;
}

}  // namespace

std::string_view name(Collective kind) {
  switch (kind) {
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::send_recv:
      return "send_recv";
    case Collective::broadcast:
      return "broadcast";
  }
  fail_invariant(__FILE__, __LINE__, "unknown collective");
}

struct GroupCollectives::Tables {
  std::array<Lines, 6> by_kind;
  std::array<CarriedBytes, 6> carried{};  // by one byte
  std::array<std::vector<std::pair<LinkId, double>>, 6> on_links;
  Lines custom_all_reduce;
};

GroupCollectives::GroupCollectives(const Topology& topology, const CollectiveProfile& profile, GpuGroup group)
    : group_(std::move(group)) {
  MOESIM_CHECK(!group_.empty(), "a communicator has at least one GPU");
  const GroupNodes nodes = group_nodes(topology, group_);
  nodes_ = nodes.nodes();
  if (group_.size() == 1) return;
  const Preparation p{topology, profile, nodes, ranks()};
  auto tables = std::make_shared<Tables>();
  const auto lines = [&](Collective kind) -> Lines& { return tables->by_kind[static_cast<std::size_t>(kind)]; };
  const auto carry = [&](Collective kind, const LinkLoads& loads, double w) {
    CarriedBytes& carried = tables->carried[static_cast<std::size_t>(kind)];
    carried = loads.total_by_kind();
    for (double& bytes : carried) bytes *= w;
    for (std::uint32_t link = 0; link < loads.bytes().size(); ++link) {
      const double bytes = loads.bytes()[link];
      if (bytes > 0) tables->on_links[static_cast<std::size_t>(kind)].emplace_back(LinkId{link}, w * bytes);
    }
  };
  const double gathered = (p.ranks - 1.0) / p.ranks;
  const LinkLoads reduced = all_reduce_loads(p);
  lines(Collective::all_reduce) = all_reduce_lines(p, reduced);
  carry(Collective::all_reduce, reduced, 2 * gathered);
  const LinkLoads ring = ring_loads(topology, nodes, 1);
  const double gather_hops = p.n() - 1;
  lines(Collective::all_gather) = ring_lines(p, ring, gathered, p.g() - 1, gather_hops);
  lines(Collective::reduce_scatter) = lines(Collective::all_gather);
  carry(Collective::all_gather, ring, gathered);
  carry(Collective::reduce_scatter, ring, gathered);
  const LinkLoads direct = all_to_all_loads(topology, nodes);
  lines(Collective::all_to_all) = all_to_all_lines(p, direct);
  carry(Collective::all_to_all, direct, 1);
  LinkLoads message(topology);
  message.add(group_[0], group_[1], 1);
  lines(Collective::send_recv) = send_recv_lines(p, message);
  carry(Collective::send_recv, message, 1);
  tables->custom_all_reduce = custom_lines(p, lines(Collective::all_reduce));
  lines(Collective::broadcast) = ring_lines(p, ring, 1, p.g() - 1, gather_hops);
  carry(Collective::broadcast, ring, gathered);  // a chain: every hop of the ring but one
  tables_ = std::move(tables);
}

Duration GroupCollectives::time(Collective kind, Bytes bytes) const {
  if (!tables_ || bytes.value <= 0) return {};
  return fastest(tables_->by_kind[static_cast<std::size_t>(kind)], bytes);
}

Duration GroupCollectives::custom_all_reduce_time(Bytes bytes) const {
  if (!tables_ || bytes.value <= 0) return {};
  return fastest(tables_->custom_all_reduce, bytes);
}

CarriedBytes GroupCollectives::moved_bytes(Collective kind, Bytes bytes) const {
  if (!tables_ || bytes.value <= 0) return {};
  CarriedBytes moved = tables_->carried[static_cast<std::size_t>(kind)];
  for (double& carried : moved) carried *= static_cast<double>(bytes.value);
  return moved;
}

void GroupCollectives::add_link_bytes(Collective kind, Bytes bytes, LinkBytes& to) const {
  if (!tables_ || bytes.value <= 0) return;
  for (const auto& [link, carried] : tables_->on_links[static_cast<std::size_t>(kind)]) {
    to.add(link, carried * static_cast<double>(bytes.value));
  }
}

}  // namespace moesim
