#pragma once
// The same scenario again and again with other seeds and costs perturbed by what calibration does not know.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "config/scenario.h"
#include "metrics/uncertainty.h"

namespace moesim {

struct ReplicationRun {
  Uncertainty uncertainty;
  bool interrupted = false;
  std::string problem;  ///< of the store, in one line; empty when none
};

struct ReplicationOptions {
  std::int64_t count = 0;
  int jobs = 1;
  /// Finished replications, a line each as they come; a later call with the same `key` goes on from there. At the end
  /// in order, so that its bytes do not depend on `jobs`.
  std::filesystem::path store;
  std::string key;  ///< equal for equal inputs
  std::function<void(std::int64_t done, std::int64_t total)> progress;
  std::function<bool()> interrupted;
};

/// Replication i has the seed `Stream(seed, "replication")`, substream i, gives; its requests, gates and perturbations
/// of kernels and collectives are drawn from that.
ReplicationRun run_replications(const Scenario& scenario, const ReplicationOptions& options);

}  // namespace moesim
