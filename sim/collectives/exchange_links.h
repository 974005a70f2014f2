#pragma once
// What the exchanges of one expert group put on every link of the real paths.

#include <optional>
#include <vector>

#include "collectives/collective_cost.h"
#include "collectives/link_bytes.h"
#include "collectives/link_loads.h"
#include "collectives/traffic_matrix.h"

namespace moesim {

/// Collects the traffic of any number of layers and rounds, then lays it on the links. Unequal rows stay unequal: every
/// pair of GPUs takes its own path, so the links of a hot rank show more. Combine moves the copies of the dispatch the
/// other way. Prepared once a group; the topology stays valid while the object lives.
class ExchangeLinks {
 public:
  ExchangeLinks(const Topology& topology, const CollectiveProfile& profile, GpuGroup group, MoeBackend backend,
                TokenPayload payload);

  void add_dispatch(const RoutedTraffic& traffic);
  void add_combine(const RoutedTraffic& traffic);
  /// The same as one after the other.
  void add_both(const RoutedTraffic& traffic);
  /// Adds what was collected to `to` and forgets it.
  void lay_on(LinkBytes& to);

 private:
  void collect(const RoutedTraffic& traffic, std::vector<double>& copies);

  const Topology* topology_;
  GroupCollectives collectives_;
  GroupNodes nodes_;
  MoeBackend backend_;
  TokenPayload payload_;
  TrafficMatrix matrix_;
  // Copies from rank to rank in the direction of the dispatch, ranks x ranks; empty until there are some.
  std::vector<double> dispatched_, combined_, both_;
  Bytes gathered_, scattered_;  ///< of the backends that move all tokens
};

}  // namespace moesim
