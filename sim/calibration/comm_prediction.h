#pragma once
// Times of measured communication by the cost model that simulations use.

#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "calibration/comm_sample.h"

namespace moesim {

/// Keeps the paths of every group that it was asked about, so that other parameters cost little.
class CommPredictor {
 public:
  /// `systems` outlive this.
  explicit CommPredictor(std::span<const CommSystem> systems) : systems_(systems) {}

  /// Seconds of every sample with the profiles of its system, `profiles` in the order of the systems.
  ///   collectives  GroupCollectives::time, custom_all_reduce_time with the kernels of the engine in its version
  ///   exchanges    MoeExchange with balanced tokens. Low latency and NVLink: as many rows on every expert. Normal: k
  ///                experts drawn without order; between nodes from min(nodes, 4) groups, one a node [deepep tests]
  ///   put, get     latency + fill (m - 1) / (m - 1 + fill_messages) + max(per_message m, bytes m / (share x NIC))
  std::vector<double> predict(std::span<const CommSample* const> samples, std::span<const CollectiveProfile> profiles);

 private:
  using GroupKey = std::tuple<std::size_t, std::uint32_t, std::uint32_t>;  // system, nodes, ranks
  /// Payloads in bytes and SMs: what an exchange is prepared for.
  using ExchangeKey = std::tuple<GroupKey, MoeBackend, std::int64_t, std::int64_t, std::int64_t>;
  const GroupCollectives& group(const CommSample& sample);
  const MoeExchange& exchange(const CommSample& sample, MoeBackend backend);
  double exchange_seconds(const CommSample& sample, const MoeExchange& made) const;
  double transfer_seconds(const CommSample& sample, const CollectiveProfile& profile) const;

  std::span<const CommSystem> systems_;
  std::map<GroupKey, GroupCollectives> groups_;
  std::map<std::pair<GroupKey, MoeBackend>, MoeExchange> exchanges_;
};

/// Chance that at least one of `k` distinct experts of `experts` is among `own` of them.
double reach_probability(double experts, double own, double k);

}  // namespace moesim
