#pragma once
// Measured times of communication: what was timed, on what, and the tables they come in.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/collective_cost.h"
#include "hardware/gpu_spec.h"

namespace moesim {

/// The kinds of measured tables, `--op` of fit and predict.
enum class CommOp { nccl, custom_allreduce, deepep_ll, deepep_normal, nvlink_a2a, p2p };
inline constexpr std::size_t kCommOps = static_cast<std::size_t>(CommOp::p2p) + 1;
std::string_view name(CommOp op);
std::optional<CommOp> comm_op(std::string_view name);

/// The hardware of rows, and the parameters to predict them with.
struct CommSystem {
  std::string name;  ///< as the table calls it
  GpuSpec gpu;
  std::shared_ptr<const Topology> topology;
  CollectiveProfile profile;
};

/// One measured time. Exchanges are balanced: every rank has `tokens`, every expert gets as many.
struct CommSample {
  std::size_t table = 0;
  std::int64_t line = 0;
  std::size_t system = 0;
  CostCurve curve = CostCurve::all_reduce;
  std::uint32_t nodes = 1, ranks = 1;
  std::uint32_t domains = 1;  ///< scale-up domains (machines, where larger) that the ranks are on
  std::int64_t bytes = 0;     ///< of a collective as in nccl-tests; of one message of a put
  std::int64_t messages = 1;  ///< of a put
  std::int64_t tokens = 0, hidden = 0, top_k = 0, experts = 0, sms = 0;
  TokenPayload payload = {};
  std::string library;  ///< with its version, for the record
  std::string version;  ///< of the library; empty: not known
  std::string source;   ///< source_id
  double measured = 0;  ///< seconds

  /// What a correction goes by: bytes of a collective or put, tokens of an exchange.
  double size() const { return static_cast<double>(tokens > 0 ? tokens : bytes); }
  /// Equal for repeats, data types, library versions and copies of one measurement.
  std::string point(std::string_view system_name) const;
  /// Equal for the sizes of one series: a point without its size.
  std::string series(std::string_view system_name) const;
};

/// The samples of tables, and what could not be used.
struct CommSamples {
  std::vector<CommSystem> systems;
  std::vector<CommSample> samples;
  std::vector<std::string> tables;
  std::int64_t rows = 0;
  std::map<std::string, std::int64_t> skipped;  ///< rows by reason
};

/// The GPUs that `ranks` on `nodes` machines use: the first of each machine, machines spread evenly over as few
/// scale-up domains as hold them. Fits a cluster of `machines_for(cluster, nodes)` nodes.
GpuGroup sample_group(const ClusterSpec& cluster, std::uint32_t nodes, std::uint32_t ranks);
/// Machines of whole scale-up domains that hold `nodes`.
std::int32_t machines_for(const ClusterSpec& cluster, std::uint32_t nodes);

}  // namespace moesim
