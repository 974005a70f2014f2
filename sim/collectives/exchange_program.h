#pragma once
// One exchange of a MoE layer as a program of transfers: every pair of GPUs its own messages, from the traffic matrix.

#include "collectives/collective_cost.h"
#include "collectives/collective_profile.h"
#include "collectives/link_loads.h"
#include "collectives/traffic_matrix.h"
#include "network/transfer_program.h"

namespace moesim {

/// Messages as `add_transfers` lists them, and those of a DeepEP kernel to its own GPU, which take its port as the
/// others do. A port has the measured rate of the backend's kernels; links have what others leave. The latency is what
/// the closed form (`MoeExchange`) has beyond its ports, so that both agree when alone wherever no link binds before a
/// port and no row is so uneven that max-min ends behind the busiest port.
///   allgather_reducescatter, naive  the calibrated collectives of all tokens; routing does not matter
///   deepep_high_throughput          both hops of a token run at once, as chunks do in the kernel
/// Prepared once a group; topology and profile stay valid while the object lives.
class ExchangePrograms {
 public:
  ExchangePrograms(const Topology& topology, const CollectiveProfile& profile, MoeExchange exchange, GpuGroup group,
                   TokenPayload payload);

  TransferProgram dispatch(const RoutedTraffic& traffic);
  /// The copies of the dispatch the other way.
  TransferProgram combine(const RoutedTraffic& traffic);

 private:
  enum class Way { forward, backward };
  struct Leg {
    Way way = Way::forward;
    Bytes payload;
    MoeExchange::CopySeconds copy;
    Duration time;  ///< of the closed form
  };
  TransferProgram exchanged(const RoutedTraffic& traffic, const Leg& leg);
  TransferProgram gathered(Collective kind, Bytes bytes) const;

  const Topology& topology_;
  const CollectiveProfile& profile_;
  MoeExchange exchange_;
  GpuGroup group_;
  GroupNodes nodes_;
  TokenPayload payload_;
  TrafficMatrix matrix_;
  std::vector<double> bytes_;
};

}  // namespace moesim
