#pragma once
// Cross-validated errors of communication as Markdown.

#include <span>
#include <string>
#include <vector>

#include "calibration/comm_fit.h"

namespace moesim {

/// One section on one GPU, or on the systems of one family.
struct CrossValidation {
  std::string subject;
  const FitSection* section = nullptr;
  std::vector<HeldOutErrors> held_out;
  bool corrected = false;  ///< what ships: the law with corrections, or alone
};

/// A chapter for one op: all, by size, by section and subject; the noise of the rows beside them.
std::string cross_validation_markdown(CommOp op, const CommSamples& samples,
                                      std::span<const CrossValidation> validations, const std::string& command);

}  // namespace moesim
