// moesim import: a file that the user already has, as one of ours.

#include <fmt/core.h>

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "config/import_collective_log.h"
#include "config/import_graphml.h"
#include "config/import_topology_matrix.h"
#include "config/import_topology_xml.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "report/cluster_file.h"
#include "report/collective_log_csv.h"
#include "report/output_file.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

constexpr PositionalRow positionals[] = {{.name = "KIND",
                                          .choices = "nccl-topo nvidia-smi-topo graphml nccl-tests",
                                          .completion = Completion::none,
                                          .not_built = "vllm-args sglang-args megatron-args vllm-bench trace"},
                                         {.name = "FILE"}};

constexpr OptionRow rows[] = {
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .meaning = "write the result there instead of on stdout",
     .completion = Completion::file},
    {.name = "gpu",
     .value = "NAME",
     .meaning = "clusters: the GPU, where the file does not say (a name of describe gpu)",
     .completion = Completion::gpu},
    {.name = "nodes", .value = "N", .meaning = "nccl-topo, nvidia-smi-topo: this many such machines (1)"},
    {.name = "fabric", .value = "KIND", .meaning = "with --nodes: rail_fat_tree (default) or leaf_spine between them"},
    {.name = "nic-rate",
     .value = "RATE",
     .meaning = "with --nodes: one NIC, \"400 Gbit/s\", where the file does not say"},
    {.name = "scale-up",
     .value = "KIND",
     .meaning = "nccl-topo: switched, mesh or pcie, where the file shows no scale-up links"},
    {.name = "gpus", .value = "N", .meaning = "nccl-topo: GPUs of a file that gives no device classes"},
    {.name = "collective",
     .value = "NAME",
     .meaning = "nccl-tests: of a log whose head is cut off",
     .choices = "all_reduce all_gather reduce_scatter alltoall broadcast reduce gather scatter send_recv hypercube"},
    {.name = "cluster",
     .value = "FILE",
     .meaning = "nccl-tests: what the log ran on, for the columns that it leaves open",
     .completion = Completion::file},
    {.name = "system", .value = "NAME", .meaning = "nccl-tests: the column system (the cluster's file name)"},
};

/// The kinds to which an option belongs; empty: all.
std::string_view kinds_of(std::string_view option) {
  if (option == "gpu") return "nccl-topo nvidia-smi-topo graphml";
  if (option == "nodes" || option == "fabric" || option == "nic-rate") return "nccl-topo nvidia-smi-topo";
  if (option == "scale-up" || option == "gpus") return "nccl-topo";
  if (option == "collective" || option == "cluster" || option == "system") return "nccl-tests";
  return {};
}

/// An option's text read by `read` as if it stood in a file: errors say "import: --nodes: ...".
template <class Read>
auto option_value(const Arguments& arguments, const std::string& option, bool number, Read read) {
  const std::string text = arguments.value(option);
  nlohmann::ordered_json value = text;
  if (number) {
    std::int64_t whole = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (error == std::errc() && end == text.data() + text.size()) value = whole;
  }
  return read(JsonReader(value, "import: --" + option));
}

ImportOptions import_options(const Arguments& arguments) {
  ImportOptions options;
  options.gpu = arguments.value("gpu");
  const auto count = [](const JsonReader& value) { return value.integer_in(1, 8192); };
  if (arguments.has("nodes")) options.nodes = option_value(arguments, "nodes", true, count);
  if (arguments.has("gpus")) options.gpus = option_value(arguments, "gpus", true, count);
  if (arguments.has("nic-rate")) {
    options.nic_rate =
        option_value(arguments, "nic-rate", false, [](const JsonReader& value) { return value.bandwidth(); });
  }
  if (arguments.has("fabric")) {
    constexpr std::string_view names[] = {"rail_fat_tree", "leaf_spine"};
    const auto choice =
        option_value(arguments, "fabric", false, [&](const JsonReader& value) { return value.choice(names); });
    options.fabric = choice == 0 ? FabricKind::rail_fat_tree : FabricKind::leaf_spine;
  }
  if (arguments.has("scale-up")) {
    constexpr std::string_view names[] = {"switched", "mesh", "pcie"};
    options.scale_up = static_cast<ScaleUpKind>(
        option_value(arguments, "scale-up", false, [&](const JsonReader& value) { return value.choice(names); }));
  }
  return options;
}

std::string import_log(const Arguments& arguments, const fs::path& file) {
  NcclTestLog log = read_nccl_tests(file, arguments.value("collective"));
  std::optional<ClusterSpec> cluster;
  std::string system = arguments.value("system"), transport;
  if (arguments.has("cluster")) {
    const fs::path path =
        resolve_path(arguments.value("cluster"), fs::current_path(), fs::path("topologies") / "cluster");
    cluster = read_cluster_file(path);
    if (system.empty()) system = path.stem().string();
    complete_from_cluster(log, *cluster);
    transport =
        collective_profile_for(product_root() / "calibrate" / "profiles", find_gpu(cluster->gpu), *cluster).transport;
  }
  for (const std::string& note : log.notes) fmt::print(stderr, "moesim: note: {}\n", note);
  return nccl_tests_csv(log, system, cluster, transport);
}

std::string imported(const Arguments& arguments, const std::string& kind, const fs::path& file) {
  if (kind == "nccl-tests") return import_log(arguments, file);
  const ImportOptions options = import_options(arguments);
  if (kind == "nccl-topo") return cluster_file_text(import_nccl_topology(file, options));
  if (kind == "nvidia-smi-topo") return cluster_file_text(import_topology_matrix(file, options));
  return cluster_file_text(import_graphml(file, options.gpu));
}

int run(const Arguments& arguments) {
  const std::string& kind = arguments.positionals[0];
  for (const OptionRow& row : rows) {
    const std::string_view kinds = kinds_of(row.name);
    if (arguments.has(row.name) && !kinds.empty() && kinds.find(kind) == std::string_view::npos) {
      return fail(exit_usage, fmt::format("import: --{} belongs to {}, not to {}", row.name, kinds, kind));
    }
  }
  const std::string text = imported(arguments, kind, arguments.positionals[1]);
  if (!arguments.has("output")) {
    fmt::print("{}", text);
    return exit_ok;
  }
  const std::string problem = write_file_atomically(arguments.value("output"), text);
  return problem.empty() ? exit_ok : fail(exit_missing, problem);
}

}  // namespace

const Command& import_command() {
  static const Command command = {
      .name = "import",
      .summary = "Turns a topology or a log of nccl-tests into a cluster file or a table.",
      .example = "moesim import nccl-topo topo.xml --gpu h100_sxm --nodes 4 --nic-rate \"400 Gbit/s\" -o cluster.json",
      .positionals = positionals,
      .options = rows,
      .run = run};
  return command;
}

}  // namespace moesim
