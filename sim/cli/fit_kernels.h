#pragma once
// The part of `fit` that is about kernels.

#include "cli/command.h"
#include "config/read_kernel_table.h"

namespace moesim {

/// Fits sections of a kernel profile to the tables, or cross-validates them. `command` is what was typed; `date` that
/// of the fit. Throws ConfigError; returns an exit code.
int fit_kernels(const KernelTableOptions& options, const Arguments& arguments, const std::string& command,
                const std::string& date);

}  // namespace moesim
