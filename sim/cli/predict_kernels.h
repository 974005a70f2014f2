#pragma once
// `predict` for the ops of kernels.

#include "cli/calibration_options.h"
#include "cli/command.h"
#include "config/read_kernel_table.h"

namespace moesim {

/// The whole command.
int predict_kernel_tables(const Arguments& arguments, const KernelTableOptions& options);

}  // namespace moesim
