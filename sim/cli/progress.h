#pragma once
// How far a long run is, on stderr.

#include <chrono>
#include <cstdint>
#include <string>

namespace moesim {

/// On a terminal one line that is redrawn, with an estimate of the time left; otherwise plain lines at 25, 50, 75 and
/// 100 %. Nothing under `--quiet`. Wall-clock time is shown, never used.
class Progress {
 public:
  enum class Style { none, plain, animated };
  /// animated on a terminal that is not dumb.
  static Style style_of_stderr();

  Progress(std::string what, Style style);
  /// Removes the animated line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::int64_t done, std::int64_t total);

 private:
  std::string what_;
  Style style_;
  std::chrono::steady_clock::time_point start_, drawn_;
  int quarter_ = 0;
  bool line_ = false;
};

/// From here on SIGINT is remembered instead of ending the program; a second one ends it at once with 130.
void watch_interrupts();
bool interrupted();

}  // namespace moesim
