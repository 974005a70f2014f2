#pragma once
// The part of `fit` that carries a provider's profile to another GPU: fit LOCAL.csv --op gemm --as vllm --reference
// R.csv.

#include <string>

#include "cli/command.h"
#include "config/read_kernel_table.h"

namespace moesim {

/// With --reference: the provider's profile measured on the GPU of the reference rows, rescaled by the ratios
/// (calibration/kernel_rescale.h). Without: only what does not depend on whose kernels they are, the passes that stream
/// (`--op memory_pass`), is fitted into the profile that the GPU has now. Throws ConfigError; returns an exit code.
int rescale_kernels(const KernelTableOptions& options, const Arguments& arguments, const std::string& date);

}  // namespace moesim
