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

/// The folder of a result, made and tried before a long run: what cannot be written shows at once. Folders that it
/// made and nobody kept go again, so that a run which ends early leaves nothing.
class OutputFolder {
 public:
  explicit OutputFolder(std::filesystem::path folder);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  /// In one line; empty when files can be written there.
  const std::string& problem() const { return problem_; }
  void keep() { made_.clear(); }

 private:
  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  ///< innermost first
  std::string problem_;
};

/// `--set POINTER=VALUE` words as overrides; a word without '=' is returned as a problem in one line.
std::string read_overrides(std::span<const std::string> words, std::vector<Override>& overrides);

}  // namespace moesim
