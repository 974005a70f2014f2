#pragma once
// The command line of moesim-calibrate.

#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "cases.h"

namespace moesim::calibrate {

/// The place of this process among those of one measurement of collectives over several processes or machines.
struct ProcessGroup {
  int rank = 0, ranks = 1;
  std::string id_file;  ///< that rank 0 writes and the others wait for
};

struct Options {
  Target target = Target::kernels;
  std::string output;
  std::vector<Family> families;      ///< those of --op, else all of the target
  std::vector<std::string> kernels;  ///< of --kernel; empty: all that the machine has
  bool resume = false;
  bool list = false;
  int device = 0;  ///< of kernels and memory, and of a process of a group
  std::optional<ProcessGroup> group;
};

/// A word for the user and the exit code: usage for --help (0), else what was wrong (2).
struct Refused {
  int exit_code = 2;
  std::string text;
};

/// `environment` looks a variable up: --rank and --ranks default to those of Slurm and Open MPI.
using Environment = std::optional<std::string> (*)(const char* name);
std::variant<Options, Refused> parse_options(std::span<const std::string> words, Environment environment);
std::optional<std::string> process_environment(const char* name);

}  // namespace moesim::calibrate
