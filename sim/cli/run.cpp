// moesim run: one scenario, from its file to a table and the files of its result.

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <variant>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/replications.h"
#include "cli/simulate.h"
#include "config/file_hash.h"
#include "config/json_reader.h"
#include "config/network_scenario.h"
#include "report/chrome_trace.h"
#include "report/cluster_svg.h"
#include "report/network_text.h"
#include "report/output_file.h"
#include "report/plots.h"
#include "report/result_json.h"
#include "report/serving_text.h"
#include "study/network_study.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

constexpr PositionalRow positionals[] = {{.name = "SCENARIO"}};
constexpr OptionRow rows[] = {
    {.name = "set", .value = "POINTER=VALUE", .meaning = "set a field, as /engine/max_num_seqs=64", .repeated = true},
    {.name = "seed", .value = "N", .meaning = "seed of the random streams instead of the scenario's"},
    {.name = "replications",
     .value = "N",
     .meaning = "N more runs with other seeds and costs moved by their errors: 90 % intervals"},
    {.name = "jobs", .letter = 'j', .value = "N", .meaning = "threads for the replications (all cores)"},
    {.name = "output",
     .letter = 'o',
     .value = "DIR",
     .meaning = "where the files go (results/<scenario>)",
     .completion = Completion::folder},
    {.name = "json", .meaning = "print the result object alone"},
    {.name = "trace",
     .value = "FILE",
     .meaning = "write a timeline for ui.perfetto.dev",
     .completion = Completion::file},
    {.name = "trace-window", .value = "FROM:TO", .meaning = "part of the run in the timeline (0s:2s)"},
    {.name = "quiet", .letter = 'q', .meaning = "no progress on stderr"},
};

/// "0s:2s" to two instants; a problem in one line otherwise.
std::string read_window(const std::string& text, Instant& from, Instant& to) {
  std::string expected = fmt::format("--trace-window {}: expected FROM:TO such as 0s:2s", text);
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return expected;
  const auto time = [](const std::string& part) -> std::optional<Duration> {
    struct Unit {
      const char* name;
      double seconds;
    };
    char* end = nullptr;
    const double value = std::strtod(part.c_str(), &end);
    for (const Unit unit : {Unit{"s", 1}, Unit{"ms", 1e-3}, Unit{"us", 1e-6}, Unit{"min", 60}}) {
      if (end != part.c_str() && std::string_view(end) == unit.name && value >= 0 && value < 4e6) {
        return Duration::from_seconds(value * unit.seconds);
      }
    }
    return std::nullopt;
  };
  const auto first = time(text.substr(0, colon));
  const auto last = time(text.substr(colon + 1));
  if (!first || !last || *last <= *first) return expected;
  from = Instant::at(*first);
  to = Instant::at(*last);
  return {};
}

/// Every file of a result, each whole or absent; the first problem in one line.
std::string write_results(const RunResult& result, const fs::path& folder) {
  if (std::string problem = write_file_atomically(folder / "result.json", result_json(result)); !problem.empty()) {
    return problem;
  }
  if (std::string problem = write_file_atomically(folder / "requests.csv", requests_csv(result)); !problem.empty()) {
    return problem;
  }
  if (!gnuplot_found()) {
    fmt::print(stderr, "moesim: no plots: gnuplot is not installed (apt install gnuplot-nox)\n");
    return {};
  }
  if (std::string problem = plot_latency(result, folder / "latency.svg"); !problem.empty()) return problem;
  return plot_step_time(result, folder / "step_time.svg");
}

/// A whole number of an option within bounds; `absent` where it is not given. The problem in one line otherwise.
std::variant<std::int64_t, std::string> whole_option(const Arguments& arguments, const char* option,
                                                     std::int64_t absent, std::int64_t least, std::int64_t most) {
  if (!arguments.has(option)) return absent;
  const std::string text = arguments.value(option);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    return fmt::format("--{} {}: expected a whole number from {} to {}", option, text, least, most);
  }
  return value;
}

/// A scenario of mode network: seconds at most, so without progress.
int run_network(const Arguments& arguments, const NetworkScenario& scenario) {
  const fs::path folder =
      arguments.has("output") ? fs::path(arguments.value("output")) : fs::path("results") / scenario.stem;
  const std::string trace_file = arguments.value("trace");
  Instant from;
  std::optional<Instant> to;
  if (arguments.has("trace-window")) {
    if (trace_file.empty()) return fail(exit_usage, "--trace-window needs --trace FILE");
    const std::string problem = read_window(arguments.value("trace-window"), from, to.emplace());
    if (!problem.empty()) return fail(exit_usage, problem);
  }
  OutputFolder results(folder);
  if (!results.problem().empty()) return fail(exit_missing, results.problem());
  const NetworkResult result = simulate_network(scenario, trace_file.empty() ? RecordRates::no : RecordRates::yes);
  results.keep();
  if (std::string problem = write_file_atomically(folder / "result.json", network_json(result)); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  const std::string drawing = cluster_svg(Topology(scenario.cluster), result.utilization);
  if (std::string problem = write_file_atomically(folder / "links.svg", drawing); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  if (!trace_file.empty()) {
    const std::string problem =
        write_file_atomically(trace_file, chrome_trace(network_timeline(scenario, result, from, to)));
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? network_json(result) : network_text(result));
  if (!arguments.has("json") && !arguments.has("quiet")) {
    fmt::print(stderr, "files: {}{}\n", (folder / "").string(), trace_file.empty() ? "" : " and " + trace_file);
  }
  return exit_ok;
}

int run(const Arguments& arguments) {
  std::vector<Override> overrides;
  if (const std::string problem = read_overrides(arguments.values("set"), overrides); !problem.empty()) {
    return fail(exit_bad_data, problem);
  }
  std::optional<std::uint64_t> seed;
  if (arguments.has("seed")) {
    const std::string text = arguments.value("seed");
    char* end = nullptr;
    seed = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || text[0] < '0' || text[0] > '9' || *end != 0) {
      return fail(exit_usage, fmt::format("--seed {}: expected a whole number", text));
    }
  }
  const fs::path file = scenario_file(arguments.positionals[0]);
  for (const char* option : {"output", "trace"}) {
    if (arguments.has(option) && arguments.value(option).empty()) {
      return fail(exit_usage, fmt::format("--{} \"\": expected a name", option));
    }
  }
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const auto replications = whole_option(arguments, "replications", 0, 2, 100000);
  const auto jobs = whole_option(arguments, "jobs", cores, 1, 1024);
  for (const auto* number : {&replications, &jobs}) {
    if (const auto* problem = std::get_if<std::string>(number)) return fail(exit_usage, *problem);
  }
  if (arguments.has("replications") && is_network_scenario(file, overrides)) {
    return fail(exit_usage, "--replications belongs to mode serving");
  }
  if (is_network_scenario(file, overrides)) return run_network(arguments, read_network_scenario(file, overrides, seed));
  std::vector<TraceEvent> events;
  ServingObserver observer;
  const std::string trace_file = arguments.value("trace");
  if (!trace_file.empty()) {
    observer.trace = &events;
    observer.trace_to = Instant::at(Duration::seconds(2));
    const std::string window = arguments.value("trace-window");
    if (!window.empty()) {
      const std::string problem = read_window(window, observer.trace_from, observer.trace_to);
      if (!problem.empty()) return fail(exit_usage, problem);
    }
  } else if (arguments.has("trace-window")) {
    return fail(exit_usage, "--trace-window needs --trace FILE");
  }

  const Scenario scenario = read_scenario_file(file, overrides, seed);
  watch_interrupts();  // before there is a folder to take back
  OutputFolder folder(arguments.has("output") ? fs::path(arguments.value("output"))
                                              : fs::path("results") / scenario.stem);
  if (!folder.problem().empty()) return fail(exit_missing, folder.problem());
  OutputFolder trace_folder(trace_file.empty() ? folder.path() : fs::absolute(trace_file).parent_path());
  if (!trace_folder.problem().empty()) return fail(exit_missing, trace_folder.problem());
  const std::vector<Request> requests = generate_requests(scenario.workload, scenario.seed);
  const bool quiet = arguments.has("quiet");
  observer.interrupted = interrupted;
  Simulation simulation;
  {
    Progress progress(scenario.stem, quiet ? Progress::Style::none : Progress::style_of_stderr());
    observer.progress = [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
    simulation = simulate(scenario, requests, observer);
    if (!simulation.interrupted) progress.update(1, 1);
  }
  RunResult& result = simulation.result;
  if (simulation.interrupted || interrupted()) {
    return fail(exit_interrupted, fmt::format("interrupted after {} of {} requests; nothing was written",
                                              result.completed, result.requests.size()));
  }
  folder.keep();
  trace_folder.keep();
  if (arguments.has("replications")) {
    ReplicationOptions options{.count = std::get<std::int64_t>(replications),
                               .jobs = static_cast<int>(std::get<std::int64_t>(jobs)),
                               .store = folder.path() / "replications.jsonl",
                               .key = {},
                               .progress = {},
                               .interrupted = interrupted};
    // Inputs, what was set on the command line, and what the program made of them.
    std::string inputs = fmt::format("{} {:016x}", scenario.seed, result.fingerprint);
    for (const auto& [name, hash] : scenario.provenance.input_hashes) inputs += " " + name + " " + hash;
    for (const std::string& word : arguments.values("set")) inputs += " " + word;
    options.key = hash_of(inputs);
    Progress progress(scenario.stem + " replications", quiet ? Progress::Style::none : Progress::style_of_stderr());
    options.progress = [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
    ReplicationRun runs = run_replications(scenario, options);
    if (!runs.problem.empty()) return fail(exit_missing, runs.problem);
    if (runs.interrupted) {
      return fail(exit_interrupted,
                  fmt::format("interrupted; the same command goes on from {}", options.store.string()));
    }
    result.uncertainty = std::move(runs.uncertainty);
  }
  if (const std::string problem = write_results(result, folder.path()); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  if (!trace_file.empty()) {
    const std::string problem = write_file_atomically(trace_file, chrome_trace(events));
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  if (arguments.has("json")) {
    fmt::print("{}", result_json(result));
    return exit_ok;
  }
  fmt::print("{}{}", benchmark_block(result), own_lines(result));
  if (!quiet) {
    fmt::print(stderr, "files: {}{}; next: moesim compare {} ANOTHER.json\n", (folder.path() / "").string(),
               trace_file.empty() ? "" : " and " + trace_file, arguments.positionals[0]);
  }
  return exit_ok;
}

}  // namespace

const Command& run_command() {
  static const Command command = {.name = "run",
                                  .summary = "Simulates one scenario and prints what vllm bench serve would.",
                                  .example = "moesim run scenarios/quickstart.json --set /engine/max_num_seqs=64",
                                  .positionals = positionals,
                                  .options = rows,
                                  .run = run};
  return command;
}

}  // namespace moesim
