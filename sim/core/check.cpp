#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace moesim {

void fail_invariant(const char* file, int line, std::string_view message) {
  std::fprintf(stderr, "%s:%d: %.*s\n", file, line, static_cast<int>(message.size()), message.data());
  // No destructors: they would run on the state that was just found broken.
  std::fflush(nullptr);
  std::_Exit(70);
}

}  // namespace moesim
