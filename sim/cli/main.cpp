#include <fmt/core.h>

#include <csignal>
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"
#include "config/json_reader.h"

/// Bad input ends in one line and the contract's exit code, a bug in 70.
int main(int argc, char** argv) {
  // A reader that has gone (`| head`) must not kill a run that still has files to write.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  try {
    return moesim::run_program(words);
  } catch (const moesim::ConfigError& error) {
    return moesim::fail(error.exit_code(), error.what());
  } catch (const std::exception& error) {
    return moesim::fail(moesim::exit_bug, fmt::format("internal error: {}", error.what()));
  }
}
