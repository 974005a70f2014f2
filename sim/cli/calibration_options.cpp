#include "cli/calibration_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "calibration/kernel_sample.h"
#include "config/json_reader.h"
#include "config/read_gpu.h"

namespace moesim {

std::variant<CommTableOptions, Refusal> comm_table_options(const Arguments& arguments) {
  std::vector<std::string> known;
  for (std::size_t i = 0; i < kKernelOps; ++i) known.emplace_back(name(static_cast<KernelOp>(i)));
  for (std::size_t i = 0; i < kCommOps; ++i) known.emplace_back(name(static_cast<CommOp>(i)));
  std::string list;
  for (const std::string& op : known) list += (list.empty() ? "" : ", ") + op;
  if (!arguments.has("op")) return Refusal{exit_usage, fmt::format("--op is missing; expected one of {}", list)};
  const std::string op = arguments.value("op");
  if (kernel_op(op)) return Refusal{exit_usage, fmt::format("fit: --op {} is not built yet", op)};
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
  options.provider = arguments.value("provider");
  std::transform(options.provider.begin(), options.provider.end(), options.provider.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  options.version = arguments.value("lib-version");
  return options;
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

}  // namespace moesim
