#pragma once
// One experiment, read and checked: the immutable value from which a run is made.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "collectives/collective_profile.h"
#include "hardware/gpu_spec.h"
#include "hardware/kernel_profile.h"
#include "hardware/power.h"
#include "metrics/run_result.h"
#include "metrics/summary.h"
#include "model/model_spec.h"
#include "network/cluster_spec.h"
#include "routing/router.h"
#include "serving/engine_spec.h"
#include "workload/request.h"

namespace moesim {

struct Scenario {
  std::string name;
  std::string stem;  ///< of the file, for the output folder
  ModelSpec model;   ///< formats already overridden by `precision`
  GpuSpec gpu;
  ClusterSpec cluster;
  KernelProfile kernels;
  CollectiveProfile collectives;
  EngineSpec engine;
  RoutingSpec routing;
  WorkloadSpec workload;
  Slo slo;
  double gpu_hour_usd = 0;          ///< 0: no price given
  std::optional<PowerModel> power;  ///< empty: the GPU's board power is not known
  Clocks clocks = Clocks::locked;
  std::uint64_t seed = 1;
  bool strides = true;
  Provenance provenance;  ///< hashes, profiles, notes; completed by the run
};

/// `--set /engine/max_num_seqs=64`.
struct Override {
  std::string pointer, value;
};

/// Reads, applies the overrides, resolves the files it names, converts and checks. Throws ConfigError.
Scenario read_scenario_file(const std::filesystem::path& path, std::span<const Override> overrides = {},
                            std::optional<std::uint64_t> seed = std::nullopt);

}  // namespace moesim
