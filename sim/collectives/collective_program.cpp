#include "collectives/collective_program.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <utility>

#include "collectives/link_loads.h"
#include "core/check.h"

namespace moesim {

namespace {

enum class Side { out, in };

/// Shares and latencies of one protocol on this group.
struct Pace {
  Duration base, step, hop;
  double scale_up_share = 1, network_share = 1;
};

Pace ring_pace(const CollectiveProfile& profile, Protocol protocol) {
  const RingProtocols& ring = profile.ring;
  if (protocol == Protocol::low_latency) {
    return {ring.base, ring.step, profile.network.hop, ring.ll_share, profile.network.ll_share};
  }
  if (protocol == Protocol::ll128) {
    return {ring.base + ring.ll128_extra, ring.ll128_step, profile.network.ll128_hop, ring.ll128_share,
            kLl128Payload * profile.network.share};
  }
  return {ring.base + ring.simple_extra, ring.simple_step, profile.network.bulk_hop, ring.simple_share,
          profile.network.share};
}

Pace direct_pace(const CollectiveProfile& profile, Protocol protocol) {
  const DirectProtocols& direct = profile.all_to_all;
  if (protocol == Protocol::low_latency) {
    return {direct.base, direct.per_peer, profile.network.hop, direct.ll_share, profile.network.ll_share};
  }
  return {direct.base + direct.simple_extra, direct.per_peer, profile.network.hop, direct.simple_share,
          profile.network.all_to_all_share};
}

std::int64_t log2_ceiling(std::size_t n) {
  return std::bit_width(n - 1);
}

class Builder {
 public:
  Builder(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group, const CollectiveCall& call)
      : topology_(topology), profile_(profile), call_(call), nodes_(group_nodes(topology, group)) {
    for (const auto& node : nodes_.gpus) ranks_.insert(ranks_.end(), node.begin(), node.end());
    pace_ =
        call.kind == Collective::all_to_all ? direct_pace(profile, call.protocol) : ring_pace(profile, call.protocol);
  }

  TransferProgram uneven(const GpuGroup& group, std::span<const Bytes> messages) {
    program_.add_round(direct_latency());
    for (std::size_t s = 0; s < group.size(); ++s) {
      for (std::size_t d = 0; d < group.size(); ++d) send(group[s], group[d], messages[s * group.size() + d]);
    }
    return std::move(program_);
  }

  TransferProgram build() {
    if (ranks_.size() < 2 || call_.bytes.value == 0) return {};
    switch (call_.algorithm) {
      case Algorithm::ring:
        ring();
        break;
      case Algorithm::tree:
        tree();
        break;
      case Algorithm::recursive_doubling:
        recursive_doubling();
        break;
      case Algorithm::in_switch:
        in_switch();
        break;
      case Algorithm::one_shot:
      case Algorithm::two_shot:
        shots();
        break;
      case Algorithm::hierarchical:
        hierarchical();
        break;
      case Algorithm::direct:
        direct();
        break;
      case Algorithm::pairwise:
        pairwise();
        break;
    }
    return std::move(program_);
  }

 private:
  std::size_t count() const { return ranks_.size(); }
  std::int64_t node_count() const { return nodes_.nodes(); }
  std::int64_t widest() const {
    std::size_t most = 0;
    for (const auto& node : nodes_.gpus) most = std::max(most, node.size());
    return static_cast<std::int64_t>(most);
  }

  /// Rate of all links of one kind that leave the GPU, or of the NIC at its end of the path.
  BytesPerSecond reach(GpuId gpu, std::span<const LinkId> path, Side side) const {
    const auto rate = [&](const Link& link) { return link.rate.bandwidth.value * link.rate.efficiency; };
    const auto links = topology_.links();
    const auto is_nic = [&](LinkId link) { return links[link.value].kind == LinkKind::nic; };
    if (const auto first = std::find_if(path.begin(), path.end(), is_nic); first != path.end()) {
      const auto last = std::find_if(path.rbegin(), path.rend(), is_nic);
      return {rate(links[(side == Side::out ? *first : *last).value])};
    }
    const LinkKind kind = links[(side == Side::out ? path.front() : path.back()).value].kind;
    double sum = 0;
    for (const Link& link : links) {
      if (link.kind == kind && (side == Side::out ? link.from : link.to) == gpu.value) sum += rate(link);
    }
    return {sum};
  }

  std::uint32_t port(GpuId gpu, std::span<const LinkId> path, Side side) {
    const auto links = topology_.links();
    const bool network =
        std::any_of(path.begin(), path.end(), [&](LinkId link) { return links[link.value].kind == LinkKind::nic; });
    const auto [entry, is_new] = ports_.try_emplace({gpu, network, side}, kNoPort);
    if (is_new) {
      const double share = network ? pace_.network_share : pace_.scale_up_share;
      entry->second = program_.add_port(reach(gpu, path, side) * share);
    }
    return entry->second;
  }

  void send(GpuId from, GpuId to, Bytes bytes) {
    if (from == to || bytes.value == 0) return;
    const std::uint64_t flow = program_.transfers().size();
    if (call_.forwarding == Forwarding::rails && topology_.rail_proxy(from, to) != from) {
      const std::span<const LinkId> path = topology_.rail_path(from, to, flow);
      program_.add(from, to, path, bytes, port(from, path, Side::out), port(to, path, Side::in));
      return;
    }
    for_each_way(topology_, from, to, flow, [&](std::span<const LinkId> path, std::size_t way, std::size_t ways) {
      const std::uint32_t out = port(from, path, Side::out), in = port(to, path, Side::in);
      program_.add(from, to, path, nearly_equal_part(bytes, way, ways), out, in);
    });
  }

  /// The hops of one channel of a ring: the GPUs of every node, neighbours where they are drawn, from `channel` on,
  /// nodes in turn upwards and downwards, so that a ring leaves a node on the rail on which it enters the next.
  std::vector<GpuId> ring_order(std::size_t channel) const {
    std::vector<GpuId> order;
    for (std::size_t node = 0; node < nodes_.gpus.size(); ++node) {
      const std::vector<GpuId> gpus = ring_of_neighbours(topology_, nodes_.gpus[node]);
      const std::size_t n = gpus.size();
      for (std::size_t i = 0; i < n; ++i) {
        order.push_back(node % 2 == 0 ? gpus[(channel + i) % n] : gpus[(channel + 2 * n - 1 - i) % n]);
      }
    }
    return order;
  }

  /// Bytes over hop `i` of a ring with a buffer of `bytes`.
  Bytes hop_bytes(Bytes bytes, std::size_t i) const {
    const Bytes but_one = bytes - nearly_equal_part(bytes, i, count());
    switch (call_.kind) {
      case Collective::all_reduce:
        return but_one * 2;
      case Collective::broadcast:
        return bytes;
      default:
        return but_one;
    }
  }

  void ring() {
    const auto r = static_cast<std::int64_t>(count()), n = node_count();
    const std::int64_t sweeps = call_.kind == Collective::all_reduce ? 2 : 1;
    program_.add_round(pace_.base + sweeps * ((r - n) * pace_.step + (n - 1) * pace_.hop));
    const bool mesh = n == 1 && is_full_mesh(topology_, ranks_);
    const std::size_t channels = n == 1 ? 1 : nodes_.smallest();
    for (std::size_t c = 0; c < channels; ++c) {
      const std::vector<GpuId> order = ring_order(c);
      const Bytes bytes = nearly_equal_part(call_.bytes, c, channels);
      // A broadcast is a chain from its root.
      const std::size_t hops = call_.kind == Collective::broadcast ? count() - 1 : count();
      for (std::size_t i = 0; i < hops; ++i) {
        const Bytes hop = hop_bytes(bytes, i);
        if (!mesh) {
          send(order[i], order[(i + 1) % count()], hop);
          continue;
        }
        // As many rings as a full mesh has pairs.
        for (std::size_t j = 0, k = 0; j < count(); ++j) {
          if (j != i) send(order[i], order[j], nearly_equal_part(hop, k++, count() - 1));
        }
      }
    }
  }

  /// Parent of `i` in the in-order binary tree over n nodes, whose root is 0 [nccl: trees].
  static std::size_t parent_of(std::size_t i, std::size_t n) {
    const std::size_t bit = i & (~i + 1);
    const std::size_t parent = (i ^ bit) | (bit << 1);
    return parent < n ? parent : i ^ bit;
  }

  void tree() {
    program_.add_round(pace_.base + 2 * ((widest() - 1) * pace_.step +
                                         log2_ceiling(static_cast<std::size_t>(node_count())) * pace_.hop));
    const std::size_t channels = nodes_.smallest(), n = nodes_.gpus.size();
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t t = 0; t < 2; ++t) {
        const Bytes bytes = nearly_equal_part(call_.bytes, 2 * c + t, 2 * channels);
        const auto both_ways = [&](GpuId a, GpuId b) {
          send(a, b, bytes);
          send(b, a, bytes);
        };
        for (const auto& gpus : nodes_.gpus) {
          for (std::size_t i = 0; i + 1 < gpus.size(); ++i) {
            both_ways(gpus[(c + i + 1) % gpus.size()], gpus[(c + i) % gpus.size()]);
          }
        }
        // The second tree is the mirror of the first, or the first moved by one: inner nodes of one are leaves of the
        // other.
        const auto place = [&](std::size_t i) { return t == 0 ? i : n % 2 == 0 ? n - 1 - i : (i + 1) % n; };
        for (std::size_t i = 1; i < n; ++i) {
          both_ways(nodes_.gpus[place(i)][c], nodes_.gpus[place(parent_of(i, n))][c]);
        }
      }
    }
  }

  bool same_node(std::size_t a, std::size_t b) const {
    return topology_.path(ranks_[a], ranks_[b]).empty() || node_of(ranks_[a]) == node_of(ranks_[b]);
  }
  std::size_t node_of(GpuId gpu) const {
    for (std::size_t n = 0; n < nodes_.gpus.size(); ++n) {
      if (std::binary_search(nodes_.gpus[n].begin(), nodes_.gpus[n].end(), gpu)) return n;
    }
    fail_invariant(__FILE__, __LINE__, "a GPU outside its group");
  }

  void recursive_doubling() {
    const auto rounds = static_cast<std::size_t>(log2_ceiling(count()));
    for (std::size_t i = 0; i < rounds; ++i) {
      // Doubling starts with neighbours, halving with the farthest.
      const bool halving = call_.kind == Collective::reduce_scatter;
      const std::size_t distance = std::size_t{1} << (halving ? rounds - 1 - i : i);
      bool network = false;
      for (std::size_t r = 0; r < count(); ++r) network = network || !same_node(r, r ^ distance);
      program_.add_round((i == 0 ? pace_.base : Duration()) + (network ? pace_.hop : pace_.step));
      for (std::size_t r = 0; r < count(); ++r) {
        const std::size_t peer = r ^ distance;
        Bytes bytes = call_.bytes;
        if (call_.kind != Collective::all_reduce) {
          // The block of `distance` chunks that the sender has, or that the receiver is to have.
          bytes = {};
          const std::size_t first = (halving ? peer : r) / distance * distance;
          for (std::size_t k = 0; k < distance; ++k) bytes += nearly_equal_part(call_.bytes, first + k, count());
        }
        send(ranks_[r], ranks_[peer], bytes);
      }
    }
  }

  void in_switch() {
    const DomainAllReduce* protocol = nullptr;
    for (const DomainAllReduce& measured : profile_.domain_all_reduce) {
      if (nodes_.smallest() < measured.ranks) continue;
      if (protocol == nullptr || call_.protocol == Protocol::bulk) protocol = &measured;
    }
    program_.add_round(protocol->latency +
                       2 * log2_ceiling(static_cast<std::size_t>(node_count())) * profile_.network.bulk_hop);
    pace_.network_share = profile_.network.share;
    for (const auto& gpus : nodes_.gpus) {
      const auto n = static_cast<double>(gpus.size());
      // The measured rate is in bus bytes, 2 (n - 1) / n a byte; the port carries 1 + 1 / n.
      pace_.scale_up_share = protocol->share * (1 + 1 / n) / (2 * (n - 1) / n);
      for (std::size_t i = 0; i < gpus.size(); ++i) {
        const std::span<const LinkId> path = topology_.path(gpus[i], gpus[(i + 1) % gpus.size()]);
        const std::span<const LinkId> back = topology_.path(gpus[(i + 1) % gpus.size()], gpus[i]);
        const Bytes bytes = call_.bytes + nearly_equal_part(call_.bytes, i, gpus.size());
        program_.add(gpus[i], gpus[i], path.first(1), bytes, port(gpus[i], path, Side::out));
        program_.add(gpus[i], gpus[i], back.last(1), bytes, kNoPort, port(gpus[i], back, Side::in));
      }
    }
    rail_rings(call_.bytes, 2);
  }

  /// Rings over the nodes, one a GPU of the smallest node, each with its part of the buffer.
  void rail_rings(Bytes bytes, std::int64_t sweeps) {
    const std::size_t channels = nodes_.smallest(), n = nodes_.gpus.size();
    for (std::size_t c = 0; n > 1 && c < channels; ++c) {
      const Bytes shard = nearly_equal_part(bytes, c, channels);
      for (std::size_t i = 0; i < n; ++i) {
        send(nodes_.gpus[i][c], nodes_.gpus[(i + 1) % n][c], (shard - nearly_equal_part(shard, i, n)) * sweeps);
      }
    }
  }
  void node_rings(Bytes bytes) {
    for (const auto& gpus : nodes_.gpus) {
      for (std::size_t i = 0; gpus.size() > 1 && i < gpus.size(); ++i) {
        send(gpus[i], gpus[(i + 1) % gpus.size()], bytes - nearly_equal_part(bytes, i, gpus.size()));
      }
    }
  }

  void shots() {
    const CustomAllReduce& custom = profile_.custom_all_reduce;
    const bool once = call_.algorithm == Algorithm::one_shot;
    pace_.scale_up_share = once ? custom.one_shot_share : custom.two_shot_share;
    const auto peers = static_cast<std::int64_t>(count() - 1);
    const auto to_all = [&](bool whole) {
      for (std::size_t a = 0; a < count(); ++a) {
        for (std::size_t b = 0; b < count(); ++b) {
          send(ranks_[a], ranks_[b], whole ? call_.bytes : nearly_equal_part(call_.bytes, b, count()));
        }
      }
    };
    program_.add_round(once ? custom.one_shot_base + peers * custom.one_shot_per_peer
                            : custom.two_shot_base + peers * custom.two_shot_per_peer);
    to_all(once);
    if (once) return;
    program_.add_round({});
    to_all(false);
  }

  void hierarchical() {
    const std::int64_t g = widest(), n = node_count();
    const Duration in_node = (g - 1) * pace_.step, on_rails = (n - 1) * pace_.hop;
    switch (call_.kind) {
      case Collective::all_reduce:
        program_.add_round(pace_.base + in_node);
        node_rings(call_.bytes);
        program_.add_round(2 * on_rails);
        rail_rings(call_.bytes, 2);
        program_.add_round(in_node);
        node_rings(call_.bytes);
        return;
      case Collective::all_gather:
        program_.add_round(pace_.base + on_rails);
        rail_rings(call_.bytes, 1);
        program_.add_round(in_node);
        node_rings(call_.bytes);
        return;
      case Collective::reduce_scatter:
        program_.add_round(pace_.base + in_node);
        node_rings(call_.bytes);
        program_.add_round(on_rails);
        rail_rings(call_.bytes, 1);
        return;
      case Collective::all_to_all:
        hierarchical_all_to_all();
        return;
      case Collective::broadcast:
      case Collective::send_recv:
        break;
    }
    fail_invariant(__FILE__, __LINE__, "no hierarchical form");
  }

  void hierarchical_all_to_all() {
    const std::size_t g = nodes_.smallest(), n = nodes_.gpus.size();
    const auto peers = [&](std::size_t k) { return static_cast<std::int64_t>(k - 1) * pace_.step; };
    program_.add_round(pace_.base + peers(g));
    for (const auto& gpus : nodes_.gpus) {
      for (std::size_t i = 0; i < g; ++i) {
        for (std::size_t j = 0; j < g; ++j) {
          // What i holds for all ranks with index j.
          Bytes bytes;
          for (std::size_t m = 0; m < n; ++m) bytes += nearly_equal_part(call_.bytes, m * g + j, count());
          send(gpus[i], gpus[j], bytes);
        }
      }
    }
    program_.add_round(pace_.base + peers(n) + pace_.hop);
    for (std::size_t m = 0; m < n; ++m) {
      for (std::size_t to = 0; to < n; ++to) {
        for (std::size_t j = 0; j < g; ++j) {
          Bytes bytes = nearly_equal_part(call_.bytes, to * g + j, count());
          send(nodes_.gpus[m][j], nodes_.gpus[to][j], bytes * static_cast<std::int64_t>(g));
        }
      }
    }
  }

  Duration direct_latency() const {
    if (call_.kind == Collective::send_recv) {
      return (node_count() > 1 ? profile_.network_send_recv : profile_.send_recv).latency;
    }
    return pace_.base + static_cast<std::int64_t>(count() - 1) * pace_.step +
           (node_count() > 1 ? pace_.hop : Duration());
  }

  void direct() {
    if (call_.kind == Collective::send_recv) {
      pace_.scale_up_share = profile_.send_recv.share;
      pace_.network_share = profile_.network_send_recv.share;
      program_.add_round(direct_latency());
      send(ranks_[0], ranks_[1], call_.bytes);
      return;
    }
    program_.add_round(direct_latency());
    for (std::size_t a = 0; a < count(); ++a) {
      for (std::size_t b = 0; b < count(); ++b) {
        if (call_.kind == Collective::broadcast) {
          if (a == 0) send(ranks_[a], ranks_[b], call_.bytes);
        } else {
          send(ranks_[a], ranks_[b],
               nearly_equal_part(call_.bytes, call_.kind == Collective::all_gather ? a : b, count()));
        }
      }
    }
  }

  void pairwise() {
    const bool power_of_two = std::has_single_bit(count());
    for (std::size_t i = 1; i < count(); ++i) {
      const auto peer = [&](std::size_t r) { return power_of_two ? r ^ i : (r + i) % count(); };
      bool network = false;
      for (std::size_t r = 0; r < count(); ++r) network = network || !same_node(r, peer(r));
      program_.add_round((i == 1 ? pace_.base : Duration()) + pace_.step + (network ? pace_.hop : Duration()));
      for (std::size_t r = 0; r < count(); ++r)
        send(ranks_[r], ranks_[peer(r)], nearly_equal_part(call_.bytes, peer(r), count()));
    }
  }

  struct PortKey {
    GpuId gpu;
    bool network = false;
    Side side = Side::out;
    auto operator<=>(const PortKey&) const = default;
  };

  const Topology& topology_;
  const CollectiveProfile& profile_;
  CollectiveCall call_;
  GroupNodes nodes_;
  std::vector<GpuId> ranks_;  ///< by node
  Pace pace_;
  std::map<PortKey, std::uint32_t> ports_;
  TransferProgram program_;
};

bool even_nodes(const GroupNodes& nodes) {
  return std::all_of(nodes.gpus.begin(), nodes.gpus.end(),
                     [&](const auto& gpus) { return gpus.size() == nodes.gpus.front().size(); });
}

}  // namespace

std::string_view name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::ring:
      return "ring";
    case Algorithm::tree:
      return "tree";
    case Algorithm::recursive_doubling:
      return "recursive_doubling";
    case Algorithm::in_switch:
      return "in_switch";
    case Algorithm::one_shot:
      return "one_shot";
    case Algorithm::two_shot:
      return "two_shot";
    case Algorithm::hierarchical:
      return "hierarchical";
    case Algorithm::direct:
      return "direct";
    case Algorithm::pairwise:
      return "pairwise";
  }
  fail_invariant(__FILE__, __LINE__, "unknown algorithm");
}

std::string_view name(Protocol protocol) {
  switch (protocol) {
    case Protocol::low_latency:
      return "low_latency";
    case Protocol::ll128:
      return "ll128";
    case Protocol::bulk:
      return "bulk";
  }
  fail_invariant(__FILE__, __LINE__, "unknown protocol");
}

std::string_view name(Forwarding forwarding) {
  switch (forwarding) {
    case Forwarding::rails:
      return "rails";
    case Forwarding::none:
      return "none";
  }
  fail_invariant(__FILE__, __LINE__, "unknown forwarding");
}

std::string algorithm_problem(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                              Collective kind, Algorithm algorithm) {
  const GroupNodes nodes = group_nodes(topology, group);
  const auto is = [&](std::initializer_list<Collective> kinds) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  std::string not_of = fmt::format("{} has no {}", name(kind), name(algorithm));
  if (kind == Collective::send_recv && group.size() != 2) return "send_recv takes two ranks";
  switch (algorithm) {
    case Algorithm::ring:
      return is({Collective::all_to_all, Collective::send_recv}) ? not_of : "";
    case Algorithm::tree:
      return is({Collective::all_reduce}) ? "" : not_of;
    case Algorithm::recursive_doubling:
      if (!is({Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter})) return not_of;
      return std::has_single_bit(group.size()) ? "" : "recursive_doubling takes a power of two of ranks";
    case Algorithm::in_switch: {
      if (!is({Collective::all_reduce})) return not_of;
      const bool measured =
          std::any_of(profile.domain_all_reduce.begin(), profile.domain_all_reduce.end(),
                      [&](const DomainAllReduce& protocol) { return nodes.smallest() >= protocol.ranks; });
      if (topology.cluster().scale_up != ScaleUpKind::switched || nodes.smallest() < 2) {
        return "in_switch needs a switched scale-up domain";
      }
      return measured ? "" : fmt::format("in_switch is not in profile {} for this many ranks", profile.name);
    }
    case Algorithm::one_shot:
    case Algorithm::two_shot:
      if (!is({Collective::all_reduce})) return not_of;
      if (nodes.nodes() > 1) return fmt::format("{} needs one scale-up domain", name(algorithm));
      return group.size() <= profile.custom_all_reduce.max_ranks
                 ? ""
                 : fmt::format("{} takes at most {} ranks in profile {}", name(algorithm),
                               profile.custom_all_reduce.max_ranks, profile.name);
    case Algorithm::hierarchical:
      if (is({Collective::broadcast, Collective::send_recv})) return not_of;
      if (nodes.nodes() < 2 || nodes.smallest() < 2) return "hierarchical needs several nodes of several ranks";
      return even_nodes(nodes) ? "" : "hierarchical needs as many ranks in every node";
    case Algorithm::direct:
      return is({Collective::all_reduce}) ? not_of : "";
    case Algorithm::pairwise:
      return is({Collective::all_to_all}) ? "" : not_of;
  }
  fail_invariant(__FILE__, __LINE__, "unknown algorithm");
}

std::string protocol_problem(const CollectiveProfile& profile, Collective kind, Protocol protocol) {
  if (protocol != Protocol::ll128) return "";
  if (kind == Collective::all_to_all || kind == Collective::send_recv)
    return fmt::format("{} has no ll128", name(kind));
  return profile.ring.ll128_share > 0 ? "" : fmt::format("ll128 is not in profile {}", profile.name);
}

TransferProgram collective_program(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                   const CollectiveCall& call) {
  MOESIM_CHECK(algorithm_problem(topology, profile, group, call.kind, call.algorithm).empty(), "{}",
               algorithm_problem(topology, profile, group, call.kind, call.algorithm));
  return Builder(topology, profile, group, call).build();
}

namespace {

/// The least closed form among the candidates that the group can run.
ChosenProgram fastest(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                      std::span<const CollectiveCall> candidates) {
  std::optional<ChosenProgram> best;
  Duration least;
  for (const CollectiveCall& call : candidates) {
    if (!algorithm_problem(topology, profile, group, call.kind, call.algorithm).empty()) continue;
    if (!protocol_problem(profile, call.kind, call.protocol).empty()) continue;
    TransferProgram program = collective_program(topology, profile, group, call);
    const Duration time = closed_form(topology, program).total();
    if (best && time >= least) continue;
    best = ChosenProgram{call, std::move(program)};
    least = time;
  }
  MOESIM_CHECK(best.has_value(), "no algorithm for {} of {} ranks", name(candidates.front().kind), group.size());
  return *std::move(best);
}

/// So that the program alone takes `time`.
void calibrate(const Topology& topology, TransferProgram& program, Duration time) {
  if (program.rounds().empty()) return;
  const ProgramTime form = closed_form(topology, program);
  const Duration of_bytes = Duration::from_seconds(form.seconds);
  if (time < of_bytes) program.scale_ports(of_bytes / time);
  for (std::size_t i = 1; i < program.rounds().size(); ++i) program.set_latency(i, {});
  program.set_latency(0, std::max(Duration(), time - of_bytes));
}

}  // namespace

ChosenProgram calibrated_program(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                 Collective kind, Bytes bytes) {
  std::vector<CollectiveCall> candidates;
  for (const Algorithm algorithm : {Algorithm::in_switch, Algorithm::tree, Algorithm::ring, Algorithm::direct}) {
    // Gathers and broadcasts go by rings.
    if (algorithm == Algorithm::direct && kind != Collective::all_to_all && kind != Collective::send_recv) continue;
    for (const Protocol protocol : {Protocol::low_latency, Protocol::ll128, Protocol::bulk}) {
      candidates.push_back({kind, algorithm, protocol, bytes});
    }
  }
  ChosenProgram chosen = fastest(topology, profile, group, candidates);
  calibrate(topology, chosen.program, GroupCollectives(topology, profile, group).time(kind, bytes));
  return chosen;
}

TransferProgram uneven_all_to_all(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                  std::span<const Bytes> messages) {
  MOESIM_CHECK(messages.size() == group.size() * group.size(), "{} messages between {} ranks", messages.size(),
               group.size());
  std::optional<TransferProgram> best;
  Duration least;
  for (const Protocol protocol : {Protocol::low_latency, Protocol::bulk}) {
    const CollectiveCall call{Collective::all_to_all, Algorithm::direct, protocol, {}};
    TransferProgram program = Builder(topology, profile, group, call).uneven(group, messages);
    const Duration time = closed_form(topology, program).total();
    if (best && time >= least) continue;
    best = std::move(program);
    least = time;
  }
  return *std::move(best);
}

ChosenProgram calibrated_engine_all_reduce(const Topology& topology, const CollectiveProfile& profile,
                                           const GpuGroup& group, Bytes bytes) {
  const GroupCollectives closed(topology, profile, group);
  const Duration own = closed.custom_all_reduce_time(bytes);
  ChosenProgram library = calibrated_program(topology, profile, group, Collective::all_reduce, bytes);
  const bool one_domain =
      algorithm_problem(topology, profile, group, Collective::all_reduce, Algorithm::two_shot).empty();
  if (!one_domain || own == closed.time(Collective::all_reduce, bytes)) return library;
  const CollectiveCall shots[] = {{Collective::all_reduce, Algorithm::one_shot, Protocol::bulk, bytes},
                                  {Collective::all_reduce, Algorithm::two_shot, Protocol::bulk, bytes}};
  ChosenProgram chosen = fastest(topology, profile, group, shots);
  calibrate(topology, chosen.program, own);
  return chosen;
}

TransferProgram cache_program(const Topology& topology, const CollectiveProfile& profile, const CacheTransfer& cache,
                              CacheTransferMode mode) {
  const bool network = group_nodes(topology, GpuGroup{cache.from, cache.to}).nodes() > 1;
  const Duration latency = (network ? profile.network_send_recv : profile.send_recv).latency;
  const std::span<const LinkId> path = topology.path(cache.from, cache.to);
  TransferProgram program;
  if (mode == CacheTransferMode::whole) {
    program.add_round(latency, cache.layers * cache.compute);
    program.add(cache.from, cache.to, path, cache.layer_bytes * cache.layers);
    return program;
  }
  for (std::int32_t layer = 1; layer <= cache.layers; ++layer) {
    program.add_round(latency, layer * cache.compute);
    program.add(cache.from, cache.to, path, cache.layer_bytes);
  }
  return program;
}

}  // namespace moesim
