#pragma once
// A command as a table: its options are parsed, explained by --help and completed by the shell from the same rows.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moesim {

/// Exit codes of the contract that commands return themselves.
inline constexpr int exit_ok = 0, exit_no = 1, exit_usage = 2, exit_missing = 3, exit_bad_data = 4,
                     exit_cannot_go_together = 5, exit_bug = 70, exit_interrupted = 130;

enum class Completion { none, file, folder, gpu };

struct OptionRow {
  std::string_view name;        ///< without dashes
  char letter = 0;              ///< of the short form; 0: none
  std::string_view value = {};  ///< what --help calls it; empty: a flag
  std::string_view meaning;
  Completion completion = Completion::none;
  bool repeated = false;
  std::string_view choices = {};  ///< values that completion offers, blank-separated
  bool not_built = false;         ///< answers so, does not show in --help
};

struct PositionalRow {
  std::string_view name;          ///< "SCENARIO"
  std::string_view choices = {};  ///< blank-separated; empty: anything
  Completion completion = Completion::file;
  std::size_t fewest = 1, most = 1;
  std::string_view not_built = {};  ///< blank-separated; further choices that answer so and do not show in --help
};

/// What the user typed, checked against the tables.
struct Arguments {
  std::map<std::string, std::vector<std::string>, std::less<>> options;
  std::vector<std::string> positionals;

  bool has(std::string_view name) const { return options.find(name) != options.end(); }
  /// The last one given; empty when absent.
  std::string value(std::string_view name) const {
    const auto row = options.find(name);
    return row == options.end() || row->second.empty() ? std::string() : row->second.back();
  }
  std::vector<std::string> values(std::string_view name) const {
    const auto row = options.find(name);
    return row == options.end() ? std::vector<std::string>() : row->second;
  }
};

struct Command {
  std::string_view name;
  std::string_view summary;
  std::string_view example;
  std::span<const PositionalRow> positionals;
  std::span<const OptionRow> options;
  int (*run)(const Arguments&);
};

const Command& run_command();
const Command& compare_command();
const Command& describe_command();
const Command& import_command();
const Command& validate_command();
const Command& predict_command();
const Command& fit_command();
const Command& completion_command();
/// In the order in which help lists them.
std::vector<const Command*> commands();

/// The arguments behind the command's name, or what is wrong with them in one line. `--help` is an option of every
/// command.
std::variant<Arguments, std::string> parse_arguments(const Command& command, std::span<const std::string> words);

/// Example first, then arguments and options.
std::string command_help(const Command& command);
std::string short_help();

/// `moesim: message` on stderr; returns `code`.
int fail(int code, const std::string& message);

/// The whole program behind `main`, which catches what is thrown. `words` without the program's name.
int run_program(std::span<const std::string> words);

}  // namespace moesim
