// moesim compare: the same requests on several scenarios.

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/simulate.h"
#include "config/network_scenario.h"
#include "report/comparison.h"
#include "report/network_comparison.h"
#include "report/output_file.h"
#include "report/plots.h"
#include "study/network_study.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

constexpr PositionalRow positionals[] = {{.name = "SCENARIO", .fewest = 2, .most = 26}};
constexpr OptionRow rows[] = {
    {.name = "output",
     .letter = 'o',
     .value = "DIR",
     .meaning = "where the files go (results/<A>-vs-<B>)",
     .completion = Completion::folder},
    {.name = "json", .meaning = "print one JSON object"},
    {.name = "quiet", .letter = 'q', .meaning = "no progress on stderr"},
};

/// The program and the seed of the first network scenario on the cluster of every one.
int compare_networks(const Arguments& arguments, const std::vector<fs::path>& files) {
  std::vector<NetworkScenario> scenarios{read_network_scenario(files[0], {})};
  for (std::size_t i = 1; i < files.size(); ++i) {
    scenarios.push_back(read_network_scenario_with_program_of(files[i], files[0], scenarios[0].seed));
    scenarios[i].provenance.notes.push_back("program and seed of " + scenarios[0].name);
  }
  OutputFolder folder(arguments.has("output") ? fs::path(arguments.value("output"))
                                              : fs::path("results") / (scenarios[0].stem + "-vs-" + scenarios[1].stem));
  if (!folder.problem().empty()) return fail(exit_missing, folder.problem());
  std::vector<NetworkResult> results;
  for (const NetworkScenario& scenario : scenarios) results.push_back(simulate_network(scenario));
  folder.keep();
  const std::string json = network_comparison_json(results);
  if (const std::string problem = write_file_atomically(folder.path() / "compare.json", json); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? json : network_comparison_text(results));
  if (!arguments.has("quiet")) fmt::print(stderr, "files: {}\n", (folder.path() / "").string());
  return exit_ok;
}

int run(const Arguments& arguments) {
  const bool quiet = arguments.has("quiet");
  if (arguments.has("output") && arguments.value("output").empty()) {
    return fail(exit_usage, "--output \"\": expected a name");
  }
  std::vector<fs::path> files;
  for (const std::string& file : arguments.positionals) files.push_back(scenario_file(file));
  const auto networks =
      std::count_if(files.begin(), files.end(), [](const fs::path& file) { return is_network_scenario(file, {}); });
  if (networks > 0) {
    if (static_cast<std::size_t>(networks) == files.size()) return compare_networks(arguments, files);
    return fail(exit_cannot_go_together, "compare: scenarios of mode network beside others; expected one mode");
  }
  std::vector<Scenario> scenarios;
  for (const fs::path& file : files) scenarios.push_back(read_scenario_file(file));
  // The workload, the limits and the seed of the first hold for all.
  const std::vector<Request> requests = generate_requests(scenarios[0].workload, scenarios[0].seed);
  for (std::size_t i = 1; i < scenarios.size(); ++i) {
    scenarios[i].workload = scenarios[0].workload;
    scenarios[i].slo = scenarios[0].slo;
    scenarios[i].seed = scenarios[i].provenance.seed = scenarios[0].seed;
    scenarios[i].provenance.notes.push_back("workload, limits and seed of " + scenarios[0].name);
  }
  OutputFolder folder(arguments.has("output") ? fs::path(arguments.value("output"))
                                              : fs::path("results") / (scenarios[0].stem + "-vs-" + scenarios[1].stem));
  if (!folder.problem().empty()) return fail(exit_missing, folder.problem());
  watch_interrupts();
  std::vector<RunResult> results;
  for (const Scenario& scenario : scenarios) {
    Progress progress(scenario.stem, quiet ? Progress::Style::none : Progress::style_of_stderr());
    ServingObserver observer;
    observer.interrupted = interrupted;
    observer.progress = [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
    Simulation simulation = simulate(scenario, requests, observer);
    if (simulation.interrupted || interrupted()) {
      return fail(exit_interrupted, fmt::format("interrupted while {} ran; nothing was written", scenario.stem));
    }
    progress.update(1, 1);
    results.push_back(std::move(simulation.result));
  }
  std::vector<ComparedRun> runs;
  for (std::size_t i = 0; i < results.size(); ++i) runs.push_back({&scenarios[i], &results[i]});
  folder.keep();
  if (const std::string problem = write_file_atomically(folder.path() / "compare.json", comparison_json(runs));
      !problem.empty()) {
    return fail(exit_missing, problem);
  }
  if (!gnuplot_found()) {
    fmt::print(stderr, "moesim: no plot: gnuplot is not installed (apt install gnuplot-nox)\n");
  } else if (const std::string problem = plot_comparison(results, folder.path() / "compare.svg"); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? comparison_json(runs) : comparison_text(runs));
  if (!quiet) fmt::print(stderr, "files: {}\n", (folder.path() / "").string());
  return exit_ok;
}

}  // namespace

const Command& compare_command() {
  static const Command command = {
      .name = "compare",
      .summary = "Runs the requests of the first scenario on every one and says what differs and why.",
      .example = "moesim compare scenarios/quickstart.json scenarios/llama3-70b-8xh100.json",
      .positionals = positionals,
      .options = rows,
      .run = run};
  return command;
}

}  // namespace moesim
