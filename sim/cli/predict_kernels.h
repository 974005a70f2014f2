#pragma once
// `predict` for the ops of kernels.

#include <optional>
#include <string>

#include "cli/calibration_options.h"
#include "cli/command.h"
#include "config/read_kernel_table.h"

namespace moesim {

/// The options of the tables where --op is of kernels, from --op, --gpu, --provider, --lib-version; nothing where it is
/// not. Throws ConfigError.
std::optional<KernelTableOptions> kernel_table_options(const Arguments& arguments);

/// The whole command.
int predict_kernel_tables(const Arguments& arguments, const KernelTableOptions& options);

}  // namespace moesim
