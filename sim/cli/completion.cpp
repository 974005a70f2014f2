// moesim completion: what the shell offers, from the same tables that the parser uses.

#include <fmt/core.h>

#include "cli/command.h"
#include "config/read_gpu.h"

namespace moesim {

namespace {

constexpr PositionalRow positionals[] = {{.name = "SHELL", .choices = "bash zsh", .completion = Completion::none}};

std::string option_words(const Command& command) {
  std::string words = "--help";
  for (const OptionRow& row : command.options) {
    if (row.not_built) continue;
    words += fmt::format(" --{}", row.name);
    if (row.letter != 0) words += fmt::format(" -{}", row.letter);
  }
  return words;
}

std::string choice_words(const Command& command) {
  std::string words;
  for (const PositionalRow& row : command.positionals)
    words.append(words.empty() ? "" : " ").append(std::string(row.choices));
  return words;
}

/// Options of a command whose values are files or folders, as a pattern of `case`.
std::string value_pattern(const Command& command, Completion completion) {
  std::string pattern;
  for (const OptionRow& row : command.options) {
    if (row.value.empty() || row.completion != completion) continue;
    pattern += fmt::format("{}--{}", pattern.empty() ? "" : "|", row.name);
    if (row.letter != 0) pattern += fmt::format("|-{}", row.letter);
  }
  return pattern;
}

/// What the values of an option may be, blank-separated; empty: anything.
std::string value_words(const OptionRow& row) {
  if (row.completion != Completion::gpu) return std::string(row.choices);
  std::string words;
  for (const GpuSpec& gpu : read_gpus()) words += (words.empty() ? "" : " ") + gpu.id;
  return words;
}

/// Cases of the options whose values are words of a list.
std::string word_cases(const Command& command) {
  std::string cases;
  for (const OptionRow& row : command.options) {
    const std::string words = value_words(row);
    if (!words.empty()) {
      cases += fmt::format("        --{}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;\n", row.name, words);
    }
  }
  return cases;
}

std::string bash_script() {
  std::string names;
  std::string cases;
  for (const Command* command : commands()) {
    names.append(names.empty() ? "" : " ").append(std::string(command->name));
    cases += fmt::format("    {})\n", command->name);
    const std::string files = value_pattern(*command, Completion::file);
    const std::string folders = value_pattern(*command, Completion::folder);
    const std::string words = word_cases(*command);
    if (!files.empty() || !folders.empty() || !words.empty()) {
      cases += "      case \"$previous\" in\n" + words;
      if (!files.empty())
        cases += fmt::format("        {}) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", files);
      if (!folders.empty()) {
        cases += fmt::format("        {}) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n", folders);
      }
      cases += "      esac\n";
    }
    cases +=
        fmt::format("      options=\"{}\"\n      choices=\"{}\" ;;\n", option_words(*command), choice_words(*command));
  }
  return fmt::format(
      "# bash completion of moesim: source <(moesim completion bash)\n"
      "_moesim() {{\n"
      "  local word=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"${{COMP_WORDS[COMP_CWORD-1]}}\" options choices\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"{} --help --version\" -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${{COMP_WORDS[1]}}\" in\n{}    *) return ;;\n  esac\n"
      "  if [[ \"$word\" == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
      "  elif [ -n \"$choices\" ] && [ \"$COMP_CWORD\" -eq 2 ]; then\n"
      "    COMPREPLY=($(compgen -W \"$choices\" -- \"$word\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _moesim moesim ./moesim\n",
      names, cases);
}

std::string zsh_quoted(std::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':') quoted += '\\';
      quoted += c;
    }
  }
  return quoted;
}

std::string zsh_script() {
  std::string names;
  std::string cases;
  for (const Command* command : commands()) {
    names += fmt::format("    '{}:{}'\n", command->name, zsh_quoted(command->summary));
    cases += fmt::format("    {})\n      _arguments '(-h --help){{-h,--help}}[this text]'", command->name);
    for (const OptionRow& row : command->options) {
      if (row.not_built) continue;
      std::string value;
      if (!row.value.empty()) {
        const std::string words = value_words(row);
        value = fmt::format(":{}:{}", zsh_quoted(row.value),
                            !words.empty()                         ? "(" + words + ")"
                            : row.completion == Completion::file   ? "_files"
                            : row.completion == Completion::folder ? "_files -/"
                                                                   : "");
      }
      cases +=
          fmt::format(" \\\n        '{}--{}[{}]{}'", row.repeated ? "*" : "", row.name, zsh_quoted(row.meaning), value);
    }
    for (const PositionalRow& row : command->positionals) {
      const std::string action = row.choices.empty() ? "_files" : fmt::format("({})", row.choices);
      cases += fmt::format(" \\\n        '{}:{}:{}'", row.most > 1 ? "*" : "", zsh_quoted(row.name), action);
    }
    cases += " ;;\n";
  }
  return fmt::format(
      "#compdef moesim\n"
      "# zsh completion of moesim: source <(moesim completion zsh)\n"
      "_moesim() {{\n"
      "  local -a names\n"
      "  names=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command names\n"
      "    return\n"
      "  fi\n"
      "  local name=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $name in\n{}  esac\n"
      "}}\n"
      "compdef _moesim moesim\n",
      names, cases);
}

int run(const Arguments& arguments) {
  fmt::print("{}", arguments.positionals[0] == "bash" ? bash_script() : zsh_script());
  return exit_ok;
}

}  // namespace

const Command& completion_command() {
  static const Command command = {.name = "completion",
                                  .summary = "Prints a completion script for bash or zsh.",
                                  .example = "source <(moesim completion bash)",
                                  .positionals = positionals,
                                  .options = {},
                                  .run = run};
  return command;
}

}  // namespace moesim
