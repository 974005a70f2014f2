#include "collectives/collective_cost.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "collectives/curve_correction.h"
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

double fastest(const Lines& lines, double s) {
  double best = lines.front().seconds + lines.front().per_byte * s;
  for (std::size_t i = 1; i < lines.size(); ++i) best = std::min(best, lines[i].seconds + lines[i].per_byte * s);
  return best;
}

/// The protocols of one collective and what they leave of the measured times.
struct Curve {
  Lines lines;
  PreparedCorrection correction;

  Duration time(Bytes bytes) const {
    const auto s = static_cast<double>(bytes.value);
    return Duration::from_seconds(correction.corrected(fastest(lines, s), s));
  }
};

double log2_of(double x) {
  return x <= 1 ? 0 : logarithm(x) / logarithm(2.0);
}

/// What a pattern of traffic asks of the links for one byte.
struct Pattern {
  explicit Pattern(const LinkLoads& loads) : busiest(loads.busiest_by_kind()), total(loads.total_by_kind()) {
    for (std::uint32_t link = 0; link < loads.bytes().size(); ++link) {
      if (loads.bytes()[link] > 0) on_links.emplace_back(LinkId{link}, loads.bytes()[link]);
    }
  }
  std::array<double, kLinkKinds> busiest;
  CarriedBytes total;
  std::vector<std::pair<LinkId, double>> on_links;
};

/// What the lines of one group are made from.
struct Preparation {
  bool over_pcie;
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
  double slope(const Pattern& pattern, double scale_up, double network) const {
    const std::array<double, kLinkKinds> shares{scale_up, over_pcie ? scale_up : 1, network, network};
    double most = 0;
    for (std::size_t kind = 0; kind < kLinkKinds; ++kind) {
      if (shares[kind] > 0) most = std::max(most, pattern.busiest[kind] / shares[kind]);
    }
    return most;
  }
};

/// LL, LL128 and Simple of the ring family; `w` busbw bytes a byte of the collective.
Lines ring_lines(const Preparation& p, const Pattern& loads, double w, double steps, double network_steps) {
  const RingProtocols& ring = p.profile.ring;
  const NetworkProtocols& network = p.profile.network;
  const auto line = [&](Duration extra, Duration step, Duration hop, double slope) {
    return Line{ring.base.seconds() + extra.seconds() + steps * step.seconds() + network_steps * hop.seconds(),
                w * slope};
  };
  Lines lines{
      line({}, ring.step, network.hop, p.slope(loads, ring.ll_share, network.ll_share)),
      line(ring.simple_extra, ring.simple_step, network.bulk_hop, p.slope(loads, ring.simple_share, network.share))};
  if (ring.ll128_share > 0) {
    lines.push_back(line(ring.ll128_extra, ring.ll128_step, network.ll128_hop,
                         p.slope(loads, ring.ll128_share, kLl128Payload * network.share)));
  }
  return lines;
}

Lines all_reduce_lines(const Preparation& p, const Pattern& loads) {
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

Lines all_to_all_lines(const Preparation& p, const Pattern& loads) {
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
    // A slower one never binds.
    if (per_byte < simple.per_byte) lines.push_back({simple.seconds + from * (simple.per_byte - per_byte), per_byte});
  }
  return lines;
}

Lines send_recv_lines(const Preparation& p, const Pattern& loads) {
  const bool within = p.nodes.node_of_rank[0] == p.nodes.node_of_rank[1];
  const LatencyAndShare& parameters = within ? p.profile.send_recv : p.profile.network_send_recv;
  return {{parameters.latency.seconds(), p.slope(loads, parameters.share, parameters.share)}};
}

Lines custom_lines(const Preparation& p, const Pattern& loads, const Lines& nccl) {
  const CustomAllReduce& custom = p.profile.custom_all_reduce;
  const double ranks = p.ranks;
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

/// What the topology alone decides. `tree`: an all-reduce between two nodes, half of the ring's bytes.
struct GroupCollectives::Routes {
  bool over_pcie;
  GroupNodes nodes;
  Pattern tree, ring, direct, message, within;
};

struct GroupCollectives::Tables {
  std::array<Curve, 6> by_kind;
  std::array<CarriedBytes, 6> carried{};  // by one byte
  std::array<std::vector<std::pair<LinkId, double>>, 6> on_links;
  Curve custom_all_reduce;
};

GroupCollectives::GroupCollectives(const Topology& topology, const CollectiveProfile& profile, GpuGroup group)
    : group_(std::move(group)) {
  MOESIM_CHECK(!group_.empty(), "a communicator has at least one GPU");
  GroupNodes nodes = group_nodes(topology, group_);
  nodes_ = nodes.nodes();
  if (group_.size() == 1) return;
  const double between = nodes_ == 2 ? 1 / profile.network.two_node_factor : 1;
  LinkLoads message(topology);
  message.add(group_[0], group_[1], 1);
  const Pattern tree(ring_loads(topology, nodes, between)), ring(ring_loads(topology, nodes, 1));
  const Pattern direct(all_to_all_loads(topology, nodes)), within(within_node_loads(topology, nodes));
  const bool over_pcie = topology.cluster().scale_up == ScaleUpKind::pcie;
  routes_ =
      std::make_shared<const Routes>(Routes{over_pcie, std::move(nodes), tree, ring, direct, Pattern(message), within});
  prepare(profile);
}

GroupCollectives GroupCollectives::with(const CollectiveProfile& profile) const {
  GroupCollectives other = *this;
  if (routes_) other.prepare(profile);
  return other;
}

void GroupCollectives::prepare(const CollectiveProfile& profile) {
  const Preparation p{routes_->over_pcie, profile, routes_->nodes, ranks()};
  auto tables = std::make_shared<Tables>();
  const auto set = [&](CostCurve curve, Lines lines) {
    Curve made{std::move(lines), {}};
    // Measured inside one domain: between domains the network has its own law.
    if (nodes_ == 1) {
      made.correction = PreparedCorrection(profile.corrections, curve, p.ranks);
      made.correction.make_monotone([&](double size) { return fastest(made.lines, size); });
    }
    return made;
  };
  const auto curve = [&](Collective kind) -> Curve& { return tables->by_kind[static_cast<std::size_t>(kind)]; };
  const auto carry = [&](Collective kind, const Pattern& loads, double w) {
    CarriedBytes& carried = tables->carried[static_cast<std::size_t>(kind)];
    carried = loads.total;
    for (double& bytes : carried) bytes *= w;
    for (const auto& [link, bytes] : loads.on_links) {
      tables->on_links[static_cast<std::size_t>(kind)].emplace_back(link, w * bytes);
    }
  };
  const double gathered = (p.ranks - 1.0) / p.ranks;
  const double gather_hops = p.n() - 1;
  curve(Collective::all_reduce) = set(CostCurve::all_reduce, all_reduce_lines(p, routes_->tree));
  carry(Collective::all_reduce, routes_->tree, 2 * gathered);
  const Lines gather = ring_lines(p, routes_->ring, gathered, p.g() - 1, gather_hops);
  curve(Collective::all_gather) = set(CostCurve::all_gather, gather);
  curve(Collective::reduce_scatter) = set(CostCurve::reduce_scatter, gather);
  carry(Collective::all_gather, routes_->ring, gathered);
  carry(Collective::reduce_scatter, routes_->ring, gathered);
  curve(Collective::all_to_all) = set(CostCurve::all_to_all, all_to_all_lines(p, routes_->direct));
  carry(Collective::all_to_all, routes_->direct, 1);
  curve(Collective::send_recv) = set(CostCurve::send_recv, send_recv_lines(p, routes_->message));
  carry(Collective::send_recv, routes_->message, 1);
  tables->custom_all_reduce = curve(Collective::all_reduce);
  if (nodes_ == 1 && p.ranks <= profile.custom_all_reduce.max_ranks) {
    tables->custom_all_reduce =
        set(CostCurve::custom_all_reduce, custom_lines(p, routes_->within, curve(Collective::all_reduce).lines));
  }
  curve(Collective::broadcast) = {ring_lines(p, routes_->ring, 1, p.g() - 1, gather_hops), {}};
  carry(Collective::broadcast, routes_->ring, gathered);  // a chain: every hop of the ring but one
  tables_ = std::move(tables);
}

Duration GroupCollectives::time(Collective kind, Bytes bytes) const {
  if (!tables_ || bytes.value <= 0) return {};
  return tables_->by_kind[static_cast<std::size_t>(kind)].time(bytes);
}

Duration GroupCollectives::custom_all_reduce_time(Bytes bytes) const {
  if (!tables_ || bytes.value <= 0) return {};
  return tables_->custom_all_reduce.time(bytes);
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
