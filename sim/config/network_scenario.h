#pragma once
// A scenario of mode "network": collectives and transfers on a cluster, without a model or an engine.

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "collectives/collective_program.h"
#include "collectives/collective_profile.h"
#include "config/scenario.h"
#include "hardware/gpu_spec.h"
#include "metrics/run_result.h"
#include "network/cluster_spec.h"

namespace moesim {

/// An algorithm or protocol that is not given is the library's choice: `calibrated_program`.
struct CollectiveTask {
  Collective kind = Collective::all_reduce;
  std::optional<Algorithm> algorithm;
  Protocol protocol = Protocol::bulk;  ///< of a given algorithm
  GpuGroup ranks;
  Bytes bytes;  ///< as in nccl-tests
};

struct CacheTask {
  CacheTransfer cache;
  CacheTransferMode mode = CacheTransferMode::whole;
};

struct NetworkTask {
  std::string name;
  Duration start;
  std::variant<CollectiveTask, CacheTask> what;
};

struct NetworkScenario {
  std::string name, stem;
  ClusterSpec cluster;
  GpuSpec gpu;
  CollectiveProfile collectives;
  std::vector<NetworkTask> tasks;
  Provenance provenance;
};

/// Whether the file's `mode`, or `--set /mode`, is "network".
bool is_network_scenario(const std::filesystem::path& path, std::span<const Override> overrides);

/// Throws ConfigError as `read_scenario_file` does; also where a group cannot run the algorithm that is asked for.
NetworkScenario read_network_scenario(const std::filesystem::path& path, std::span<const Override> overrides);

}  // namespace moesim
