#pragma once
// Time of collectives when nothing else uses the network: bytes per resource on the real paths of the graph, the
// busiest resource over its effective bandwidth, plus latency steps; the fastest of the protocols that the library has
// (communication-cost forms; sources in docs/model.md).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/collective_profile.h"
#include "core/ids.h"
#include "core/units.h"
#include "network/topology.h"

namespace moesim {

enum class Collective { all_reduce, all_gather, reduce_scatter, all_to_all, send_recv };
std::string_view name(Collective kind);

/// The GPUs of one communicator, in rank order.
using GpuGroup = std::vector<GpuId>;

/// Prepared once a group: loads of every link by unit of traffic, the number of nodes, steps.
class GroupCollectives {
 public:
  GroupCollectives(const Topology& topology, const CollectiveProfile& profile, GpuGroup group);

  /// `bytes` as in nccl-tests: all_reduce the buffer; all_gather the gathered result; reduce_scatter the full input;
  /// all_to_all what one rank holds; send_recv the message from rank 0 to rank 1. One rank takes no time.
  /// `in_graph` all-reduces use the engine's custom one- and two-shot kernels where the group is one scale-up domain.
  Duration time(Collective kind, Bytes bytes) const;
  Duration custom_all_reduce_time(Bytes bytes) const;

  std::uint32_t ranks() const { return static_cast<std::uint32_t>(group_.size()); }
  std::uint32_t nodes() const { return nodes_; }
  const GpuGroup& group() const { return group_; }

 private:
  GpuGroup group_;
  std::uint32_t nodes_ = 1;
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

/// How a MoE layer exchanges tokens between DP ranks; vLLM's names.
enum class MoeBackend {
  none,                     ///< DP = 1: activations are replicated, one all-reduce ends the layer
  allgather_reducescatter,  ///< bytes do not depend on routing
  naive,                    ///< broadcasts, then an all-reduce
  pplx,                     ///< direct, each token once to each chosen rank
  deepep_high_throughput,   ///< once per destination node over RDMA, then NVLink to the chosen ranks; SM-limited
  deepep_low_latency,       ///< one message a (token, expert), direct
  flashinfer_nvlink         ///< one scale-up domain, each token once to each chosen rank
};
std::string_view name(MoeBackend backend);

/// What the gates of one layer ask to move between the `ranks` of an EP group, from the placement of the experts.
/// Sources hold tokens; destinations are reached in proportion to the source's tokens unless `pair_copies` is given.
struct RoutedTraffic {
  std::span<const std::int64_t> tokens;       ///< per source rank
  std::span<const std::int64_t> rows;         ///< per destination rank: (token, expert) pairs
  std::span<const std::int64_t> rank_copies;  ///< per destination rank: distinct tokens
  std::span<const std::int64_t> node_copies;  ///< per destination node: distinct tokens
  std::span<const std::uint32_t> pair_rows;   ///< optional, ranks x ranks, source-major: rows from s to d
};

/// Payload of one token.
struct TokenPayload {
  Bytes dispatch;  ///< hidden x bytes of the dispatch format (+ scales)
  Bytes combine;   ///< hidden x 2
};

/// Both exchanges of a MoE layer for one EP group and backend.
class MoeExchange {
 public:
  MoeExchange(const Topology& topology, const CollectiveProfile& profile, GpuGroup group, MoeBackend backend,
              TokenPayload payload);

  Duration dispatch(const RoutedTraffic& traffic) const;
  Duration combine(const RoutedTraffic& traffic) const;
  /// False where dispatch and combine ignore everything but `tokens`.
  bool depends_on_routing() const;

 private:
  GroupCollectives collectives_;
  MoeBackend backend_;
  TokenPayload payload_;
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

}  // namespace moesim
