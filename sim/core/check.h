#pragma once
// Broken invariants: a bug in moesim, never a mistake of the user. Prints and aborts with exit code 70.

#include <string_view>

namespace moesim {

/// Prints `file:line: message` on stderr and ends the process with exit code 70 (EX_SOFTWARE).
[[noreturn]] void fail_invariant(const char* file, int line, std::string_view message);

}  // namespace moesim

/// `MOESIM_CHECK(free + used == total, "free {} used {} total {}", free, used, total)`. Include <fmt/core.h> to use it.
#define MOESIM_CHECK(condition, ...)                                            \
  do {                                                                          \
    if (!(condition)) [[unlikely]]                                              \
      ::moesim::fail_invariant(__FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (false)
