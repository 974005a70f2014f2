#pragma once
// What a pipeline stage draws in a step, and the clock that the board's limit leaves it.

#include "core/units.h"
#include "execution/execution_spec.h"
#include "execution/step_program.h"
#include "hardware/kernel_work.h"
#include "hardware/power.h"

namespace moesim {

/// Of one GPU, the mean of the stage's ranks, while the stage computes the step; `clock` is a share of the clock at
/// which kernels were measured.
struct StageEnergy {
  Energy joules;
  double clock = 1;
};

/// The energy of a stage that took `timing` for `work` of its mean GPU. Where sustained clocks have to fall to keep the
/// limit, the program is prolonged and `timing` is its new time. `spec.power` is not empty.
StageEnergy apply_power(StepProgram& program, Timing& timing, const KernelWork& work, const ExecutionSpec& spec);

/// What a clock below 1 adds to a task.
Duration slowed_by(const Task& task, double clock);

}  // namespace moesim
