#pragma once
// From a scenario to its result.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "config/scenario.h"
#include "metrics/run_result.h"
#include "serving/serving_run.h"

namespace moesim {

struct Simulation {
  RunResult result;
  bool interrupted = false;  ///< the result is of a run that was ended early
};

/// Runs the scenario on these requests (`generate_requests` of its own workload, or of another one) and summarises.
Simulation simulate(const Scenario& scenario, const std::vector<Request>& requests, const ServingObserver& observer);

/// A scenario as named on the command line: where it is, else below the product's root.
std::filesystem::path scenario_file(const std::string& name);

/// `--set POINTER=VALUE` words as overrides; a word without '=' is returned as a problem in one line.
std::string read_overrides(std::span<const std::string> words, std::vector<Override>& overrides);

}  // namespace moesim
