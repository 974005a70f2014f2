#pragma once
// What holds a run back, in words.

#include <string>
#include <vector>

#include "metrics/run_result.h"

namespace moesim {

/// One sentence a cause, strongest first, at most three: load, cache, admission, then the largest part of the time in
/// which the engines work. Empty when no step was run.
std::vector<std::string> what_binds(const RunResult& result);

/// `part` as people say it: "tensor parallel".
std::string spoken(TimePart part);

}  // namespace moesim
