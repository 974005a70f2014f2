#pragma once
// Cross-validated errors of kernels as Markdown.

#include <span>
#include <string>
#include <vector>

#include "calibration/kernel_fit.h"

namespace moesim {

/// One section on one GPU by one provider.
struct KernelValidation {
  std::string gpu, provider, section;
  KernelFit fit;
};

/// A section of one GPU's fit on another GPU: relative constants with the other's datasheet rates.
struct KernelTransfer {
  GpuSpec from, to;
  std::string provider, section;
  std::vector<ScoredKernel> scored;
};

/// A chapter for one op: shapes left out, by section and by regime of size; whole GPUs left out.
std::string kernel_validation_markdown(KernelOp op, const KernelSamples& samples,
                                       std::span<const KernelValidation> validations,
                                       std::span<const KernelTransfer> transfers, const std::string& command);

}  // namespace moesim
