#include "execution/step_energy.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>

#include "core/check.h"

namespace moesim {

namespace {

/// What the stage does in its time. Kernels run whenever the host does not hold them back; a collective is a kernel.
GpuActivity activity_of(const StepProgram& program, const Timing& timing, const KernelWork& work) {
  Duration clocked;
  for (const TaskBlock& block : program.blocks) {
    for (const Task& task : std::span(program.tasks).subspan(block.first, block.count)) {
      clocked += task.clocked * static_cast<std::int64_t>(block.uses);
    }
  }
  return {.work = work,
          .seconds = timing.total.seconds(),
          .awake_seconds = (timing.total - timing.critical_path[TimePart::host]).seconds(),
          .clocked_seconds = clocked.seconds()};
}

/// The host launches as fast as at the full clock: where the device waited for it, it waits less.
void slow_down(StepProgram& program, double clock) {
  Duration added;
  for (const TaskBlock& block : program.blocks) {
    for (Task& task : std::span(program.tasks).subspan(block.first, block.count)) {
      if (task.part == TimePart::host) task.duration -= std::min(task.duration, added);
      if (task.clocked == Duration()) continue;
      const Duration more = slowed_by(task, clock);
      task.waiting = Duration::from_seconds(task.waiting.seconds() * (1 + more / task.duration));
      task.duration += more;
      added += more * static_cast<std::int64_t>(block.uses);
    }
  }
}

}  // namespace

Duration slowed_by(const Task& task, double clock) {
  return Duration::from_seconds(task.clocked.seconds() * (1 / clock - 1));
}

StageEnergy apply_power(StepProgram& program, Timing& timing, const KernelWork& work, const ExecutionSpec& spec) {
  MOESIM_CHECK(spec.power.has_value(), "energy of a step without a model of power");
  const PowerModel& power = *spec.power;
  const GpuActivity activity = activity_of(program, timing, work);
  StageEnergy energy;
  if (spec.clocks == Clocks::sustained) energy.clock = clock_under_limit(power, activity);
  energy.joules = energy_at(power, activity, energy.clock);
  if (energy.clock < 1) {
    slow_down(program, energy.clock);
    timing = evaluate(program);
  }
  const double seconds = timing.total.seconds();
  energy.joules.idle = power.idle * seconds;  // what overlaps grows by less than the sum of its parts
  energy.joules = within_limit(power, energy.joules, seconds);
  return energy;
}

}  // namespace moesim
