#pragma once
// Predicted against measured times of kernels as a picture.

#include <filesystem>
#include <span>
#include <string>

#include "report/kernel_validation_text.h"

namespace moesim {

/// One panel a GPU, one colour a provider: up to 150 held-out predictions of each, evenly taken from the rows in the
/// order of their time, with lines at the measured time and at 1.25 and 0.8 of it. SVG by gnuplot. Returns the problem
/// in one line, empty when done; writes nothing where nothing was fitted.
std::string plot_kernels(std::span<const KernelValidation> validations, const std::string& title,
                         const std::filesystem::path& file);

}  // namespace moesim
