#include "cli/calibration_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "calibration/kernel_sample.h"
#include "config/json_reader.h"
#include "config/read_gpu.h"

namespace moesim {

namespace {

/// --provider in lower case, as tables have it.
std::string provider_of(const Arguments& arguments) {
  std::string provider = arguments.value("provider");
  std::transform(provider.begin(), provider.end(), provider.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return provider;
}

}  // namespace

std::variant<CommTableOptions, Refusal> comm_table_options(const Arguments& arguments) {
  std::vector<std::string> known;
  for (std::size_t i = 0; i < kKernelOps; ++i) known.emplace_back(name(static_cast<KernelOp>(i)));
  for (std::size_t i = 0; i < kCommOps; ++i) known.emplace_back(name(static_cast<CommOp>(i)));
  std::string list;
  for (const std::string& op : known) list += (list.empty() ? "" : ", ") + op;
  if (!arguments.has("op")) return Refusal{exit_usage, fmt::format("--op is missing; expected one of {}", list)};
  const std::string op = arguments.value("op");
  CommTableOptions options;
  const auto found = comm_op(op);
  if (!found) {
    const auto near = nearest(op, known);
    return Refusal{exit_usage, fmt::format("--op {}: expected one of {}{}", echo(op), list,
                                           near ? "; did you mean " + *near + "?" : "")};
  }
  options.op = *found;
  if (arguments.has("gpu")) options.gpu = find_gpu(arguments.value("gpu")).id;
  if (arguments.has("cluster")) {
    options.cluster = resolve_path(arguments.value("cluster"), {}, "topologies/cluster");
  }
  options.provider = provider_of(arguments);
  options.version = arguments.value("lib-version");
  return options;
}

std::optional<KernelTableOptions> kernel_table_options(const Arguments& arguments) {
  const auto op = kernel_op(arguments.value("op"));
  if (!op) return std::nullopt;
  KernelTableOptions options;
  options.op = *op;
  if (arguments.has("gpu")) options.gpu = find_gpu(arguments.value("gpu")).id;
  options.provider = provider_of(arguments);
  options.version = arguments.value("lib-version");
  return options;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string command_line(std::string_view command, const Arguments& arguments, std::span<const OptionRow> rows) {
  // File names without their folders: the same command on another machine writes the same text.
  const auto plain = [](const std::string& word) { return std::filesystem::path(word).filename().string(); };
  std::string text = fmt::format("moesim {}", command);
  for (const std::string& word : arguments.positionals) text += ' ' + plain(word);
  for (const OptionRow& row : rows) {
    if (row.name == "quiet") continue;
    for (const std::string& value : arguments.values(row.name)) {
      text += fmt::format(" {}{}", row.letter != 0 ? std::string("-") + row.letter : "--" + std::string(row.name),
                          row.value.empty() ? std::string() : ' ' + plain(value));
    }
  }
  return text;
}

std::string output_problem(const Arguments& arguments, const std::string& option) {
  if (!arguments.has(option)) return {};
  const std::filesystem::path file = arguments.value(option);
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return fmt::format("{}: is a folder", file.string());
  for (const std::string& table : arguments.positionals) {
    if (std::filesystem::equivalent(file, table, error)) {
      return fmt::format("{}: is the measured table; give --{} another name", file.string(), option);
    }
  }
  return {};
}

}  // namespace moesim
