#pragma once
// A scenario of mode "network": collectives and transfers on a cluster, without a model or an engine.

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "collectives/collective_profile.h"
#include "collectives/collective_program.h"
#include "config/scenario.h"
#include "hardware/gpu_spec.h"
#include "metrics/run_result.h"
#include "model/model_spec.h"
#include "network/cluster_spec.h"
#include "routing/router.h"

namespace moesim {

/// An algorithm or protocol that is not given is the library's choice: `calibrated_program`.
struct CollectiveTask {
  Collective kind = Collective::all_reduce;
  std::optional<Algorithm> algorithm;
  Protocol protocol = Protocol::bulk;  ///< of a given algorithm
  Forwarding forwarding = Forwarding::rails;
  GpuGroup ranks;
  Bytes bytes;  ///< as in nccl-tests
};

struct CacheTask {
  CacheTransfer cache;
  CacheTransferMode mode = CacheTransferMode::whole;
};

/// One exchange of a MoE layer whose gates are drawn.
struct ExchangeTask {
  std::optional<MoeBackend> backend;  ///< empty: unequal messages of a (token, expert) by NCCL, as trainers send them
  std::int64_t round_tokens = 0;      ///< of a rank in a round of the backend; 0: all at once
  bool combine = false;               ///< the copies of the dispatch the other way
  GpuGroup ranks;
  std::int64_t tokens = 0;  ///< of every rank
  MoeSpec moe;
  std::int32_t redundant_experts = 0;
  PopularitySpec popularity;
  Bytes payload;  ///< of one copy
};

struct NetworkTask {
  std::string name;
  Duration start;
  std::variant<CollectiveTask, CacheTask, ExchangeTask> what;
};

struct NetworkScenario {
  std::string name, stem;
  ClusterSpec cluster;
  GpuSpec gpu;
  CollectiveProfile collectives;
  std::vector<NetworkTask> tasks;
  std::uint64_t seed = 1;
  Provenance provenance;
};

/// Whether the file's `mode`, or `--set /mode`, is "network".
bool is_network_scenario(const std::filesystem::path& path, std::span<const Override> overrides);

/// Throws ConfigError as `read_scenario_file` does; also where a group cannot run the algorithm that is asked for.
NetworkScenario read_network_scenario(const std::filesystem::path& path, std::span<const Override> overrides,
                                      std::optional<std::uint64_t> seed = std::nullopt);

/// The same with the program of another file on the cluster of `path`.
NetworkScenario read_network_scenario_with_program_of(const std::filesystem::path& path,
                                                      const std::filesystem::path& program, std::uint64_t seed);

}  // namespace moesim
