// moesim describe: a model, GPU, cluster, scenario or trace in figures.

#include <fmt/core.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/command.h"
#include "cli/simulate.h"
#include "config/model_catalog.h"
#include "config/network_scenario.h"
#include "config/read_cluster.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_trace.h"
#include "config/scenario.h"
#include "report/cluster_svg.h"
#include "report/describe_model.h"
#include "report/describe_run.h"
#include "report/network_text.h"
#include "report/output_file.h"
#include "study/network_study.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

constexpr PositionalRow positionals[] = {
    {.name = "KIND", .choices = "model gpu cluster scenario trace", .completion = Completion::none}, {.name = "FILE"}};
constexpr OptionRow rows[] = {
    {.name = "json", .meaning = "print one JSON object"},
    {.name = "nodes", .value = "N", .meaning = "cluster: this many nodes instead of the file's"},
    {.name = "dot",
     .value = "FILE",
     .meaning = "cluster: write the graph for Graphviz",
     .completion = Completion::file},
    {.name = "graphml",
     .value = "FILE",
     .meaning = "cluster: write the graph as GraphML",
     .completion = Completion::file},
    {.name = "svg", .value = "FILE", .meaning = "cluster: draw it", .completion = Completion::file},
    {.name = "set", .value = "POINTER=VALUE", .meaning = "scenario: set a field", .repeated = true},
    {.name = "format", .value = "NAME", .meaning = "trace: mooncake, azure, burstgpt, jsonl or csv"},
    {.name = "time-unit", .value = "UNIT", .meaning = "trace: s, ms, us or ns"},
};

/// A file as given, from the product's root, or by the name of a shipped one.
fs::path file_or_named(const std::string& name, const fs::path& folder) {
  return is_standard_input(name) ? fs::path(name) : resolve_path(name, fs::current_path(), folder);
}

int describe_model(const Arguments& arguments, const std::string& name) {
  std::vector<std::string> warnings;
  std::optional<fs::path> file;
  if (!fs::exists(name) && !is_standard_input(name)) file = find_model_by_name(name);
  const ModelSpec model = read_model_file(file ? *file : file_or_named(name, "models"), &warnings);
  fmt::print("{}", arguments.has("json") ? model_json(model) : model_text(model));
  for (const std::string& warning : warnings) fmt::print(stderr, "moesim: note: {}\n", warning);
  return exit_ok;
}

int describe_gpu(const Arguments& arguments, const std::string& name) {
  const bool is_file = name.ends_with(".json") || is_standard_input(name);
  const GpuSpec gpu = is_file ? read_gpu_file(file_or_named(name, fs::path("topologies") / "gpu")) : find_gpu(name);
  fmt::print("{}", arguments.has("json") ? gpu_json(gpu) : gpu_text(gpu));
  return exit_ok;
}

/// Only after every file is written is something printed.
std::string write_graphs(const Arguments& arguments, const Topology& topology) {
  for (const std::string_view format : {"dot", "graphml", "svg"}) {
    if (!arguments.has(format)) continue;
    std::ostringstream text;
    if (format == "dot") {
      topology.write_dot(text);
    } else if (format == "graphml") {
      topology.write_graphml(text);
    } else {
      text << cluster_svg(topology);
    }
    if (std::string problem = write_file_atomically(arguments.value(format), text.str()); !problem.empty()) {
      return problem;
    }
  }
  return {};
}

int describe_cluster(const Arguments& arguments, const std::string& name) {
  const fs::path file = file_or_named(name, fs::path("topologies") / "cluster");
  ClusterSpec cluster = read_cluster_file(file);
  if (arguments.has("nodes")) {
    const std::string text = arguments.value("nodes");
    const nlohmann::ordered_json nodes = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    const JsonReader where(nodes, "describe: --nodes");
    if (nodes.is_discarded()) return fail(exit_usage, "describe: --nodes " + text + ": expected a whole number");
    cluster = with_nodes(std::move(cluster), where.integer_in(1, 65536), where);
  }
  const Topology topology(cluster);
  if (const std::string problem = write_graphs(arguments, topology); !problem.empty()) {
    return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? cluster_json(topology) : cluster_text(topology));
  return exit_ok;
}

int describe_scenario(const Arguments& arguments, const std::string& name) {
  std::vector<Override> overrides;
  if (const std::string problem = read_overrides(arguments.values("set"), overrides); !problem.empty()) {
    return fail(exit_bad_data, problem);
  }
  const fs::path file = scenario_file(name);
  if (is_network_scenario(file, overrides)) {
    const NetworkScenario network = read_network_scenario(file, overrides);
    const std::vector<NetworkTaskResult> plan = network_plan(network);
    fmt::print("{}", arguments.has("json") ? network_plan_json(network, plan) : network_plan_text(network, plan));
    return exit_ok;
  }
  const Scenario scenario = read_scenario_file(file, overrides);
  fmt::print("{}", arguments.has("json") ? scenario_json(scenario) : scenario_text(scenario));
  return exit_ok;
}

/// By what the first line looks like; a guess that the user can replace.
TraceFormat guessed_format(const fs::path& file) {
  std::ifstream in(file);
  std::string line(400, '\0');
  in.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<std::size_t>(in.gcount()));
  line.resize(std::min(line.find('\n'), line.size()));
  if (line.find("hash_ids") != std::string::npos) return TraceFormat::mooncake;
  if (line.starts_with('{')) return TraceFormat::jsonl;
  if (line.find("ContextTokens") != std::string::npos) return TraceFormat::azure;
  if (line.find("Request tokens") != std::string::npos) return TraceFormat::burstgpt;
  return TraceFormat::csv;
}

int describe_trace(const Arguments& arguments, const std::string& name) {
  const bool standard = is_standard_input(name);
  if (standard && !arguments.has("format")) return fail(exit_usage, "describe: trace - needs --format NAME");
  const fs::path file = standard ? fs::path(name) : resolve_path(name, fs::current_path());
  TraceOptions options;
  if (!standard) options.format = guessed_format(file);
  if (arguments.has("format")) {
    const auto format = trace_format_from_name(arguments.value("format"));
    if (!format) {
      return fail(exit_usage, fmt::format("describe: --format {}: expected mooncake, azure, burstgpt, jsonl or csv",
                                          arguments.value("format")));
    }
    options.format = *format;
  }
  if (arguments.has("time-unit")) options.time_unit = arguments.value("time-unit");
  const Trace trace = read_trace(file, options);
  const std::string shown = fs::path(input_name(file)).filename().string();
  fmt::print("{}", arguments.has("json") ? trace_json(shown, trace.requests, trace.notes)
                                         : trace_text(shown, trace.requests, trace.notes));
  return exit_ok;
}

/// The kind to which an option belongs; empty: any.
std::string_view kind_of(std::string_view option) {
  if (option == "nodes" || option == "dot" || option == "graphml" || option == "svg") return "cluster";
  if (option == "set") return "scenario";
  if (option == "format" || option == "time-unit") return "trace";
  return {};
}

int run(const Arguments& arguments) {
  const std::string& kind = arguments.positionals[0];
  for (const OptionRow& row : rows) {
    const std::string_view wanted = kind_of(row.name);
    if (arguments.has(row.name) && !wanted.empty() && wanted != kind) {
      return fail(exit_usage, fmt::format("describe: --{} belongs to {}, not to {}", row.name, wanted, kind));
    }
  }
  const std::string& name = arguments.positionals[1];
  if (kind == "model") return describe_model(arguments, name);
  if (kind == "gpu") return describe_gpu(arguments, name);
  if (kind == "cluster") return describe_cluster(arguments, name);
  if (kind == "scenario") return describe_scenario(arguments, name);
  return describe_trace(arguments, name);
}

}  // namespace

const Command& describe_command() {
  static const Command command = {.name = "describe",
                                  .summary = "Prints what is known of a model, GPU, cluster, scenario or trace.",
                                  .example = "moesim describe model models/DeepSeek-V3.json",
                                  .positionals = positionals,
                                  .options = rows,
                                  .run = run};
  return command;
}

}  // namespace moesim
