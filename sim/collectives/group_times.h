#pragma once
// Time of a collective that several equal groups do at once, as the tensor-parallel groups of an engine do.

#include <map>
#include <utility>
#include <vector>

#include "collectives/collective_cost.h"
#include "collectives/collective_profile.h"
#include "network/topology.h"

namespace moesim {

/// `closed_form`: each collective has its links for itself. `flow`: every transfer on the graph, max-min fair.
enum class NetworkModel { closed_form, flow };
std::string_view name(NetworkModel model);

class GroupTimes {
 public:
  /// At least one group. Closed forms are those of the first; on the flow network all run side by side and the slowest
  /// is waited for. Topology and profile stay valid while the object lives.
  GroupTimes(const Topology& topology, const CollectiveProfile& profile, std::vector<GpuGroup> groups,
             NetworkModel model);

  /// `bytes` of each group, as in `GroupCollectives`. Remembers what it has simulated.
  Duration time(Collective kind, Bytes bytes);
  /// All-reduce as engines do it inside a CUDA graph.
  Duration custom_all_reduce_time(Bytes bytes);

  std::uint32_t ranks() const { return first_.ranks(); }

 private:
  enum class Kernels { library, engine };
  Duration simulated(Collective kind, Bytes bytes, Kernels kernels);

  const Topology& topology_;
  const CollectiveProfile& profile_;
  std::vector<GpuGroup> groups_;
  NetworkModel model_;
  GroupCollectives first_;
  std::map<std::tuple<Collective, std::int64_t, Kernels>, Duration> known_;
};

}  // namespace moesim
