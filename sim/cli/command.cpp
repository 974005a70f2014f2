#include "cli/command.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdio>

#include "config/json_reader.h"

namespace moesim {

namespace options = boost::program_options;

namespace {

/// What contract.md names and nothing has built yet.
constexpr std::string_view future_commands[] = {"sweep", "merge", "plan", "explain", "report"};

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const auto near = nearest(word, known);
  return near ? "; did you mean " + *near + "?" : "";
}

options::options_description descriptions(const Command& command) {
  options::options_description described;
  described.add_options()("help,h", "");
  for (const OptionRow& row : command.options) {
    std::string name(row.name);
    if (row.letter != 0) name += fmt::format(",{}", row.letter);
    if (row.value.empty()) {
      described.add_options()(name.c_str(), "");
    } else {
      described.add_options()(name.c_str(), options::value<std::vector<std::string>>(), "");
    }
  }
  described.add_options()(" positional", options::value<std::vector<std::string>>(), "");
  return described;
}

/// The option as typed, without what follows '='.
std::string typed_name(const std::string& token) {
  return token.substr(0, token.find('='));
}

std::string unknown_option(const Command& command, const std::string& token) {
  const std::string typed = typed_name(token);
  std::vector<std::string> known = {"--help"};
  for (const OptionRow& row : command.options) known.push_back("--" + std::string(row.name));
  return fmt::format("{}: unknown option {}{}", command.name, typed, did_you_mean(typed, known));
}

std::string positional_problem(const Command& command, const std::vector<std::string>& given) {
  std::size_t at = 0;
  for (const PositionalRow& row : command.positionals) {
    std::size_t taken = 0;
    while (at < given.size() && taken < row.most) {
      if (given[at].empty()) return fmt::format("{}: {} is an empty word", command.name, row.name);
      const std::vector<std::string> choices = words_of(row.choices), later = words_of(row.not_built);
      if (std::find(later.begin(), later.end(), given[at]) != later.end()) {
        return fmt::format("{}: {} is not built yet", command.name, given[at]);
      }
      if (!choices.empty() && std::find(choices.begin(), choices.end(), given[at]) == choices.end()) {
        std::string list;
        for (const std::string& choice : choices) list.append(list.empty() ? "" : ", ").append(choice);
        return fmt::format("{}: expected one of {}, got {}{}", command.name, list, given[at],
                           did_you_mean(given[at], choices));
      }
      ++at;
      ++taken;
    }
    if (taken < row.fewest) return fmt::format("{}: {} is missing", command.name, row.name);
  }
  if (at < given.size()) return fmt::format("{}: unexpected argument {}", command.name, given[at]);
  return {};
}

}  // namespace

std::vector<const Command*> commands() {
  return {&run_command(),      &compare_command(), &describe_command(), &import_command(),
          &validate_command(), &predict_command(), &fit_command(),      &completion_command()};
}

std::variant<Arguments, std::string> parse_arguments(const Command& command, std::span<const std::string> words) {
  namespace style = options::command_line_style;
  const options::options_description described = descriptions(command);
  options::positional_options_description positions;
  positions.add(" positional", -1);
  Arguments arguments;
  try {
    const options::parsed_options parsed =
        options::command_line_parser(std::vector<std::string>(words.begin(), words.end()))
            .options(described)
            .positional(positions)
            .style(style::unix_style & ~style::allow_guessing)
            .run();
    for (const options::option& option : parsed.options) {
      if (option.string_key == " positional") {
        arguments.positionals.insert(arguments.positionals.end(), option.value.begin(), option.value.end());
      } else {
        auto& values = arguments.options[option.string_key];
        values.insert(values.end(), option.value.begin(), option.value.end());
      }
    }
  } catch (const options::unknown_option& error) {
    return unknown_option(command, error.get_option_name());
  } catch (const options::invalid_command_line_syntax& error) {
    if (error.kind() == options::invalid_syntax::missing_parameter) {
      const std::string token = error.tokens();
      for (const OptionRow& row : command.options) {
        if (token == std::string(row.name) || (row.letter != 0 && token == std::string(1, row.letter)) ||
            token == "--" + std::string(row.name) || token == fmt::format("-{}", row.letter)) {
          return fmt::format("{}: --{} needs a value: --{} {}", command.name, row.name, row.name, row.value);
        }
      }
      return fmt::format("{}: {} needs a value", command.name, token);
    }
    return fmt::format("{}: {}", command.name, error.what());
  } catch (const options::error& error) {
    return fmt::format("{}: {}", command.name, error.what());
  }
  if (arguments.has("help")) return arguments;
  for (const OptionRow& row : command.options) {
    if (!arguments.has(row.name)) continue;
    if (!row.repeated && !row.value.empty() && arguments.values(row.name).size() > 1) {
      return fmt::format("{}: --{} is given more than once", command.name, row.name);
    }
  }
  if (std::string problem = positional_problem(command, arguments.positionals); !problem.empty()) return problem;
  return arguments;
}

std::string command_help(const Command& command) {
  std::string usage = fmt::format("moesim {}", command.name);
  for (const PositionalRow& row : command.positionals) {
    std::string name(row.name);
    if (!row.choices.empty()) {
      name.clear();
      for (const std::string& choice : words_of(row.choices)) name += (name.empty() ? "" : "|") + choice;
      name = "(" + name + ")";
    }
    usage += row.fewest == 0 ? " [" + name + "]" : " " + name;
    if (row.most > 1) usage += "...";
  }
  std::string help =
      fmt::format("Example:  {}\n\n{}\n\nUsage:  {} [options]\n\nOptions:\n", command.example, command.summary, usage);
  std::vector<std::pair<std::string, std::string>> rows;
  std::size_t width = 0;
  const auto add = [&](const OptionRow& row) {
    std::string left =
        row.letter != 0 ? fmt::format("-{}, --{}", row.letter, row.name) : fmt::format("    --{}", row.name);
    if (!row.value.empty()) left += fmt::format(" {}", row.value);
    width = std::max(width, left.size());
    rows.emplace_back(std::move(left), std::string(row.meaning) + (row.repeated ? " (repeatable)" : ""));
  };
  for (const OptionRow& row : command.options) add(row);
  add({.name = "help", .letter = 'h', .meaning = "this text"});
  for (const auto& [left, right] : rows) help += fmt::format("  {:<{}}  {}\n", left, width, right);
  return help;
}

std::string short_help() {
  std::string help =
      "moesim simulates language models, mixture-of-experts and dense, that serve traffic on a cluster of GPUs.\n\n"
      "  moesim run scenarios/quickstart.json\n"
      "  moesim compare scenarios/quickstart.json scenarios/llama3-70b-8xh100.json\n\nCommands:\n";
  for (const Command* command : commands()) help += fmt::format("  {:<12} {}\n", command->name, command->summary);
  return help + "\nmoesim COMMAND --help explains a command; moesim --version prints the version.\n";
}

int fail(int code, const std::string& message) {
  fmt::print(stderr, "moesim: {}\n", message);
  return code;
}

int run_program(std::span<const std::string> words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    fmt::print("{}", short_help());
    return exit_ok;
  }
  if (words[0] == "--version") {
    fmt::print("moesim {}\n", MOESIM_VERSION);
    return exit_ok;
  }
  for (const Command* command : commands()) {
    if (words[0] != command->name) continue;
    const auto parsed = parse_arguments(*command, words.subspan(1));
    if (const auto* problem = std::get_if<std::string>(&parsed)) {
      return fail(exit_usage, fmt::format("{}; see moesim {} --help", *problem, command->name));
    }
    const Arguments& arguments = std::get<Arguments>(parsed);
    if (arguments.has("help")) {
      fmt::print("{}", command_help(*command));
      return exit_ok;
    }
    return command->run(arguments);
  }
  for (const std::string_view name : future_commands) {
    if (words[0] == name) return fail(exit_usage, fmt::format("{} is not built yet", name));
  }
  std::vector<std::string> known;
  for (const Command* command : commands()) known.emplace_back(command->name);
  const bool option = words[0].starts_with('-');
  return fail(exit_usage, fmt::format("unknown {} {}{}; see moesim --help", option ? "option" : "command", words[0],
                                      option ? "" : did_you_mean(words[0], known)));
}

}  // namespace moesim
