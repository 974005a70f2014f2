#pragma once
// What `fit` and `predict` have in common: the op, the hardware, the tables.

#include <optional>
#include <string>
#include <variant>

#include "cli/command.h"
#include "config/read_comm_table.h"

namespace moesim {

/// A refusal: what to print and the exit code.
struct Refusal {
  int code = exit_usage;
  std::string message;
};

/// The options of the tables, from --op, --gpu, --cluster, --provider. Throws ConfigError.
std::variant<CommTableOptions, Refusal> comm_table_options(const Arguments& arguments);

/// "fit sweep.csv --op nccl": the command as it was typed, for files that it writes.
std::string command_line(std::string_view command, const Arguments& arguments, std::span<const OptionRow> rows);

}  // namespace moesim
