#include "cli/replications.h"

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "cli/simulate.h"
#include "collectives/collective_perturbation.h"
#include "core/random.h"
#include "hardware/cost_perturbation.h"
#include "report/output_file.h"
#include "study/run_cases.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;
using Figures = std::vector<std::pair<std::string, double>>;

Figures replicate(const Scenario& scenario, std::int64_t index, const std::function<bool()>& interrupted,
                  bool& ended_early) {
  Scenario changed = scenario;
  changed.seed = Stream(scenario.seed, "replication").substream(static_cast<std::uint64_t>(index)).bits64();
  changed.kernels = perturbed(changed.kernels, KernelPerturbation::draw(changed.seed, changed.gpu.id), changed.gpu);
  changed.collectives = perturbed(changed.collectives, CommPerturbation::draw(changed.seed, changed.gpu.id));
  ServingObserver observer;
  observer.interrupted = interrupted;
  const Simulation simulation = simulate(changed, generate_requests(changed.workload, changed.seed), observer);
  ended_early = simulation.interrupted;
  return headline_figures(simulation.result);
}

std::string line_of(const std::string& key, std::int64_t index, const Figures& figures) {
  ordered_json json{{"key", key}, {"replication", index}};
  for (const auto& [name, value] : figures) json["figures"][name] = value;
  return json.dump() + "\n";
}

/// Replications of the same key. A line that a kill cut off is none.
std::map<std::int64_t, Figures> stored(const ReplicationOptions& options) {
  std::map<std::int64_t, Figures> known;
  std::ifstream in(options.store);
  for (std::string line; std::getline(in, line);) {
    const ordered_json json = ordered_json::parse(line, nullptr, false);
    if (!json.is_object() || json.value("key", "") != options.key || !json.contains("figures")) continue;
    const auto index = json.value("replication", std::int64_t{-1});
    if (index < 0 || index >= options.count) continue;
    Figures figures;
    for (const auto& [name, value] : json["figures"].items()) {
      if (value.is_number()) figures.emplace_back(name, value.get<double>());
    }
    known[index] = std::move(figures);
  }
  return known;
}

}  // namespace

ReplicationRun run_replications(const Scenario& scenario, const ReplicationOptions& options) {
  ReplicationRun run;
  std::map<std::int64_t, Figures> done = stored(options);
  std::string kept;
  for (const auto& [index, figures] : done) kept += line_of(options.key, index, figures);
  run.problem = write_file_atomically(options.store, kept);
  if (!run.problem.empty()) return run;

  std::ofstream store(options.store, std::ios::app);
  std::vector<std::int64_t> missing;
  for (std::int64_t i = 0; i < options.count; ++i) {
    if (!done.contains(i)) missing.push_back(i);
  }
  std::mutex storing;
  std::atomic<bool> stopped = false;
  const CaseProgress progress{
      [&, known = options.count - static_cast<std::int64_t>(missing.size())](std::int64_t finished, std::int64_t) {
        if (options.progress) options.progress(known + finished, options.count);
      },
      [&] { return stopped || (options.interrupted && options.interrupted()); }};
  run_cases(missing.size(), options.jobs, progress, [&](std::size_t k) {
    bool ended_early = false;
    Figures figures = replicate(scenario, missing[k], options.interrupted, ended_early);
    if (ended_early) {
      stopped = true;
      return;
    }
    const std::lock_guard lock(storing);
    store << line_of(options.key, missing[k], figures) << std::flush;
    done[missing[k]] = std::move(figures);
  });
  run.interrupted = static_cast<std::int64_t>(done.size()) < options.count;
  if (run.interrupted) return run;

  std::string sorted;
  std::vector<Figures> all;
  for (const auto& [index, figures] : done) {
    sorted += line_of(options.key, index, figures);
    all.push_back(figures);
  }
  run.problem = write_file_atomically(options.store, sorted);
  run.uncertainty = uncertainty_of(all);
  return run;
}

}  // namespace moesim
