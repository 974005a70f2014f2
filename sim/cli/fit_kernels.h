#pragma once
// The part of `fit` that is about kernels.

#include "calibration/kernel_sample.h"
#include "cli/command.h"

namespace moesim {

/// Fits sections of a kernel profile to the tables, or cross-validates them. `command` is what was typed; `date` that
/// of the fit. Throws ConfigError; returns an exit code.
int fit_kernels(KernelOp op, const Arguments& arguments, const std::string& command, const std::string& date);

}  // namespace moesim
