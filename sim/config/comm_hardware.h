#pragma once
// The hardware of a row of measured communication.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibration/comm_sample.h"

namespace moesim {

/// What a row says about the machine; empty where it has no such column.
struct CommPlace {
  std::string system, gpu, intra_link, inter_link;
  std::uint32_t nodes = 1, ranks = 1;
};

/// Finds and keeps the systems of rows, the first that applies: the cluster that the user gives; the row's GPU, links
/// and NICs (its own columns; on the shipped file that `system` names, else the one of the GPU's network, else the
/// standard node); topologies/systems.json by the name of the system; a GPU id inside that name, as its
/// standard node. Profiles are those that ship for the GPU.
class CommHardware {
 public:
  /// `cluster`: a file, or nothing. Throws ConfigError.
  explicit CommHardware(const std::optional<std::filesystem::path>& cluster);

  /// Index into `systems`, or why the row has none.
  struct Found {
    std::optional<std::size_t> system;
    std::string problem;
  };
  Found find(const CommPlace& place);
  /// What systems.json knows to be out of order.
  bool degraded(const std::string& system, CommOp op, std::uint32_t nodes) const;

  std::vector<CommSystem>& systems() { return systems_; }

 private:
  struct Alias {
    bool described = true;
    std::string cluster, nics, nic_name;
    std::vector<std::pair<std::string, std::uint32_t>> degraded;  ///< op, nodes
  };
  struct LinkRule {
    std::string contains, gpu, cluster;
  };
  /// A cluster; nothing and, where it is not that the system is unknown, the problem.
  struct Described {
    std::optional<ClusterSpec> cluster;
    std::string problem;
  };
  Described described(const CommPlace& place) const;
  Described by_columns(const CommPlace& place) const;
  std::optional<ClusterSpec> by_name(const std::string& system) const;

  std::optional<ClusterSpec> given_;
  std::map<std::string, Alias> aliases_;
  std::vector<LinkRule> links_;
  std::vector<std::string> gpu_ids_;
  std::vector<CommSystem> systems_;
  std::map<std::string, Described> described_;  ///< by what the row says
  std::map<std::pair<std::string, std::int32_t>, Found> found_;
};

}  // namespace moesim
