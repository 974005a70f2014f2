#pragma once
// The same program run task by task in simulated time, for runs in which something is shared or can fail: rates of the
// resources change while tasks are under way. With all rates at one it takes exactly the time of `evaluate`.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/units.h"
#include "execution/step_program.h"

namespace moesim {

class StepExecution {
 public:
  /// `program` stays valid until the execution has ended.
  explicit StepExecution(const StepProgram& program) : program_(&program) {}

  void start(Instant now);
  /// When the next task ends at the present rates; never() when it has ended, was cancelled, or all is stopped.
  Instant next_time() const;
  /// Does everything that happens up to and at `now`, not before the last call.
  void advance(Instant now);
  /// Gives up what is left. `ended()` stays false.
  void cancel();
  /// Work on the resource goes on at `rate` of its normal speed from `now` on; 0 stops it.
  void set_rate(Instant now, Resource resource, double rate);

  bool ended() const { return ended_; }
  Instant end_time() const { return end_time_; }

 private:
  struct Running {
    std::uint8_t task = 0;
    Duration left;   ///< work at rate one
    Instant finish;  ///< at the present rate
  };
  void enter_segment(Instant now);
  void start_ready(Instant now);
  void reschedule(Instant now, Running& running) const;

  const StepProgram* program_;
  std::size_t segment_ = 0;
  std::array<double, kResources> rate_{1, 1, 1};
  std::vector<Running> running_;
  std::array<bool, 256> started_{}, done_{};
  std::size_t left_in_segment_ = 0;
  Instant now_, end_time_ = Instant::never();
  bool active_ = false, ended_ = false;
};

}  // namespace moesim
