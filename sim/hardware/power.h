#pragma once
// Power of one GPU from the work of its kernels, and the clock that the board's limit leaves.
//
//     P = idle + awake x (share of time in which kernels run) + sum over formats of J/flop x flop/s
//         + J/byte x memory byte/s + J/byte x sent byte/s
//
// The limit acts on the mean over a step: power management averages over milliseconds, a kernel takes microseconds.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "hardware/kernel_work.h"

namespace moesim {

/// `locked`: clocks are those at which kernels were measured (replays at locked clocks), whatever that draws.
/// `sustained`: a step that would draw more than the limit runs at a lower clock.
enum class Clocks : std::uint8_t { locked, sustained };
std::string_view name(Clocks clocks);

/// Constants of one GPU in watts and joules, at the clocks of the kernel tables.
struct PowerModel {
  std::string name;    ///< the GPUs or generation whose constants these are
  std::string source;  ///< of every constant
  bool extrapolated = false;
  double limit = 0;  ///< of the board
  double idle = 0;   ///< clocks down, memory refreshed
  double awake = 0;  ///< what running kernels add whatever they do: clock trees, schedulers, leakage when warm
  std::array<double, kMathWidths> per_flop{};
  double per_memory_byte = 0, per_link_byte = 0;
  /// Share of the tables' clock below which the limit does not push it; the base clock of the part.
  double lowest_clock = 0.5;
};

/// Joules of one or several GPUs by what draws them.
struct Energy {
  double idle = 0, awake = 0, compute = 0, memory = 0, network = 0;

  double total() const { return idle + awake + compute + memory + network; }
  Energy& operator+=(const Energy& other);
  friend Energy operator*(Energy energy, double factor);
};

/// What one GPU does in a time of `seconds` at the tables' clock: its work, the time in which kernels run, and how much
/// of the time is inverse to the clock.
struct GpuActivity {
  KernelWork work;
  double seconds = 0, awake_seconds = 0, clocked_seconds = 0;
};

/// At `clock` times the tables' clock f, with voltage in proportion to f near the top of its range: the time is
/// seconds + clocked (1 / f - 1), a flop takes f^2 of its energy and awake power f^3 (P ~ f V^2). Memory and links have
/// clocks of their own. No limit is applied.
Energy energy_at(const PowerModel& power, const GpuActivity& activity, double clock);

/// The highest clock, at most 1 and at least the lowest one, at which the mean power keeps the limit. 1 when it does
/// so at once; the lowest when none does.
double clock_under_limit(const PowerModel& power, const GpuActivity& activity);

/// The energy of a time of `seconds`, with everything but idle scaled down where the mean power would pass the limit:
/// what the constants ask beyond it is not drawn.
Energy within_limit(const PowerModel& power, const Energy& energy, double seconds);

}  // namespace moesim
