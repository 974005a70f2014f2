#pragma once
// Time of collectives when nothing else uses the network: bytes per resource on the real paths of the graph, the
// busiest resource over its effective bandwidth, plus latency steps; the fastest of the protocols that the library has
// (communication-cost forms; sources in docs/model.md).

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/collective_profile.h"
#include "collectives/link_bytes.h"
#include "core/ids.h"
#include "core/units.h"
#include "network/topology.h"

namespace moesim {

enum class Collective { all_reduce, all_gather, reduce_scatter, all_to_all, send_recv, broadcast };
std::string_view name(Collective kind);

/// The GPUs of one communicator, in rank order.
using GpuGroup = std::vector<GpuId>;

/// Prepared once a group. With g GPUs in each of N nodes, a node being a scale-up domain (a machine, where that is
/// larger), and h the latency of a network step of the protocol, a protocol takes
///     t = alpha + max over links of bytes(link) / (share x line rate)
/// and a collective the least over its protocols [communication-cost section 8]:
///   all_reduce      w = 2 (R - 1) / R s, alpha = base + 2 (g - 1) l + 2 log2(N) h; LL, LL128, Simple, reduction in
///                   the switch; between two nodes half the ring's bytes cross (a tree of one edge)
///   all_gather, reduce_scatter  w = (R - 1) / R s, alpha = base + (g - 1) l + (N - 1) h
///   all_to_all      s / R to every peer, alpha = base + u (R - 1), + h between nodes
///   send_recv       alpha + s / (share x slowest link)
///   broadcast       alpha of the all-gather, s on every link of the ring
/// Inside one domain the profile's corrections by size are applied where it has some (`CurveCorrection`).
/// Rings put w on every scale-up port and w / g on the NICs; links are those of `Topology::path`, so an oversubscribed
/// tier binds where the pattern loads it. Group order does not matter: rings follow GPU ids.
class GroupCollectives {
 public:
  GroupCollectives(const Topology& topology, const CollectiveProfile& profile, GpuGroup group);
  /// The same group with other parameters, without asking for paths again. `two_node_factor` stays.
  GroupCollectives with(const CollectiveProfile& profile) const;

  /// `bytes` as in nccl-tests: all_reduce the buffer; all_gather the gathered result; reduce_scatter the full input;
  /// all_to_all what one rank holds; send_recv the message from rank 0 to rank 1. One rank or no bytes take no time.
  Duration time(Collective kind, Bytes bytes) const;
  /// All-reduce as engines do it inside a CUDA graph: their one- and two-shot kernels where the group is one domain of
  /// few enough ranks, NCCL where it is faster or they cannot.
  Duration custom_all_reduce_time(Bytes bytes) const;

  /// What one call of the whole group moves, over the links and with the loads of `time`; `bytes` as there. Engines'
  /// own all-reduce kernels count as all_reduce. Ignores that a reduction inside the switch moves less. A broadcast
  /// from every rank in turn moves what an all-gather does.
  CarriedBytes moved_bytes(Collective kind, Bytes bytes) const;
  /// The same, link by link.
  void add_link_bytes(Collective kind, Bytes bytes, LinkBytes& to) const;

  std::uint32_t ranks() const { return static_cast<std::uint32_t>(group_.size()); }
  /// Scale-up domains (machines, where those are larger) that the group touches.
  std::uint32_t nodes() const { return nodes_; }
  const GpuGroup& group() const { return group_; }

 private:
  GpuGroup group_;
  std::uint32_t nodes_ = 1;
  void prepare(const CollectiveProfile& profile);
  struct Routes;
  struct Tables;
  std::shared_ptr<const Routes> routes_;
  std::shared_ptr<const Tables> tables_;
};

/// How a MoE layer exchanges tokens between DP ranks; vLLM's names.
enum class MoeBackend {
  none,                         ///< DP = 1: activations are replicated, one all-reduce ends the layer
  allgather_reducescatter,      ///< bytes do not depend on routing
  naive,                        ///< broadcasts, then an all-reduce
  pplx,                         ///< direct, each token once to each chosen rank
  deepep_high_throughput,       ///< once per destination node over RDMA, then NVLink to the chosen ranks; SM-limited
  deepep_low_latency,           ///< one message a (token, expert), direct
  flashinfer_nvlink_one_sided,  ///< one scale-up domain, each token once to each chosen rank
  flashinfer_nvlink_two_sided   ///< the same with a preparing kernel
};
std::string_view name(MoeBackend backend);

/// What the gates of one layer ask to move between the `ranks` of an EP group, from the placement of the experts.
/// Sources hold tokens; destinations are reached in proportion to the source's tokens unless `pair_rows` is given, and
/// copies in proportion to the rows of the pair unless the pair's own are.
struct RoutedTraffic {
  std::span<const std::int64_t> tokens;           ///< per source rank
  std::span<const std::int64_t> rows;             ///< per destination rank: (token, expert) pairs
  std::span<const std::int64_t> rank_copies;      ///< per destination rank: distinct tokens
  std::span<const std::int64_t> node_copies;      ///< per destination node: distinct tokens
  std::span<const std::uint32_t> pair_rows = {};  ///< optional, ranks x ranks, source-major: rows from s to d
  std::span<const std::uint32_t> pair_rank_copies =
      {};  ///< optional, beside pair_rows: distinct tokens from s to rank d
  std::span<const std::uint32_t> pair_node_copies = {};  ///< optional, ranks x nodes: distinct tokens from s to node n
  std::int64_t experts_per_rank = 0;                     ///< 0: not known, and its latencies left out
};

/// Payload of one token.
struct TokenPayload {
  Bytes dispatch;  ///< hidden x bytes of the dispatch format (+ scales)
  Bytes combine;   ///< hidden x 2
};

/// Both exchanges of a MoE layer for one EP group and backend. Unequal rows stay unequal: every source's egress and
/// every destination's ingress is counted, on NVLink and on the NIC apart, and the busiest port decides. Combine moves
/// the same copies the other way.
///   allgather_reducescatter  all-gather, then reduce-scatter of the tokens of all ranks
///   naive                    one broadcast a rank, then an all-reduce
///   pplx                     alpha of the low-latency kernels, one copy a (token, rank). Assumes their rates.
///   deepep_low_latency       a0 + a1 log2(N) + polls of the experts + rounds of the tokens over the SMs (see
///                            `LowLatencyExchange`) + max(NVLink, NIC) of one message a (token, expert), own rank
///                            included
///   deepep_high_throughput   a + max(NIC: one copy a (token, other node) between ranks of the same index; NVLink: one
///                            copy a (token, rank) at the receiver), rates by the SMs that it may use
///   flashinfer_nvlink        a0 + a1 log2(R) + c T + one copy a (token, other rank); two-sided with its prepare kernel
/// Inside one domain, times are multiplied by the profile's corrections at the most tokens of a rank.
class MoeExchange {
 public:
  MoeExchange(const Topology& topology, const CollectiveProfile& profile, GpuGroup group, MoeBackend backend,
              TokenPayload payload);
  /// The same group and backend, without asking for paths again.
  MoeExchange with(const CollectiveProfile& profile, TokenPayload payload) const;

  Duration dispatch(const RoutedTraffic& traffic) const;
  /// The part of `dispatch` that a preparing kernel takes; zero where there is none.
  Duration preparation(const RoutedTraffic& traffic) const;
  Duration combine(const RoutedTraffic& traffic) const;
  /// What one call of the whole group moves over links. One copy a (token, expert), (token, rank) or (token, node) as
  /// above, but without those that stay on their GPU. Assumes that copies take the mean path of their pattern (to ranks
  /// of the own node, to ranks of others). Linear in the ranks, quadratic with `pair_rows`.
  CarriedBytes dispatch_bytes(const RoutedTraffic& traffic) const;
  CarriedBytes combine_bytes(const RoutedTraffic& traffic) const;
  /// Seconds that one copy takes on the port of its sender or receiver, by the kind of port; zero for backends that
  /// gather all tokens.
  struct CopySeconds {
    double scale_up = 0, network = 0;
  };
  CopySeconds dispatch_copy() const;
  CopySeconds combine_copy() const;
  /// False where dispatch and combine ignore everything but `tokens`.
  bool depends_on_routing() const;
  MoeBackend backend() const { return backend_; }

 private:
  GroupCollectives collectives_;
  MoeBackend backend_;
  TokenPayload payload_;
  void prepare(const CollectiveProfile& profile);
  struct Geometry;
  std::shared_ptr<const Geometry> geometry_;
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

}  // namespace moesim
