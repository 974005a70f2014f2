#include "cli/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace moesim {

namespace {

volatile std::sig_atomic_t interrupts = 0;

extern "C" void on_interrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1) _exit(130);
}

}  // namespace

Progress::Style Progress::style_of_stderr() {
  const char* const terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return isatty(STDERR_FILENO) != 0 && !dumb ? Style::animated : Style::plain;
}

Progress::Progress(std::string what, Style style)
    : what_(std::move(what)), style_(style), start_(std::chrono::steady_clock::now()), drawn_(start_) {}

Progress::~Progress() {
  if (line_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::update(std::int64_t done, std::int64_t total) {
  if (style_ == Style::none || total <= 0) return;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  if (style_ == Style::plain) {
    const int quarter = static_cast<int>(share * 4);
    if (quarter > quarter_) fmt::print(stderr, "{}: {} %\n", what_, quarter * 25);
    if (quarter > quarter_) quarter_ = quarter;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double passed = std::chrono::duration<double>(now - start_).count();
  const std::string left = share > 0.01 ? fmt::format(", {:.0f} s left", passed * (1 - share) / share) : "";
  fmt::print(stderr, "\r\x1b[K{}: {:.0f} % of {}{}", what_, share * 100, total, left);
  std::fflush(stderr);
  line_ = true;
}

void watch_interrupts() {
  std::signal(SIGINT, on_interrupt);
}
bool interrupted() {
  return interrupts > 0;
}

}  // namespace moesim
