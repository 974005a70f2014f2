#include <fmt/core.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "config/json_reader.h"

namespace {

/// The exit code, unless what was printed did not arrive. A reader that has gone is no failure.
int after_output(int code, int error) {
  if (error == EPIPE) return code;
  return moesim::fail(moesim::exit_missing,
                      fmt::format("standard output cannot be written: {}", std::strerror(error != 0 ? error : EIO)));
}

}  // namespace

/// Bad input ends in one line and the contract's exit code, a bug in 70.
int main(int argc, char** argv) {
  // A reader that has gone (`| head`) must not kill a run that still has files to write.
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  try {
    const int code = moesim::run_program(words);
    const bool failed = std::ferror(stdout) != 0;
    return std::fflush(stdout) != 0 || failed ? after_output(code, errno) : code;
  } catch (const moesim::ConfigError& error) {
    return moesim::fail(error.exit_code(), error.what());
  } catch (const std::system_error& error) {
    // fmt throws when stdout takes no more.
    if (std::ferror(stdout) != 0) return after_output(moesim::exit_ok, error.code().value());
    return moesim::fail(moesim::exit_bug, fmt::format("internal error: {}", error.what()));
  } catch (const std::exception& error) {
    return moesim::fail(moesim::exit_bug, fmt::format("internal error: {}", error.what()));
  }
}
