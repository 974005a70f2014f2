#pragma once
// Which kernels of a run its profile holds no measurement of.

#include <string>
#include <vector>

#include "execution/execution_spec.h"
#include "hardware/kernel_cost.h"
#include "model/model_spec.h"

namespace moesim {

/// The sections of a profile that price `model` run as `spec` says and were not measured for these kernels: a line for
/// each reason, "gemm/fp8, moe/fp8: no table of ...", in the order in which a token meets them. A section of another
/// head size or width of the cache is named too. Empty where all were measured.
std::vector<std::string> stand_ins(const ModelSpec& model, const KernelCost& kernels, const ExecutionSpec& spec);

}  // namespace moesim
