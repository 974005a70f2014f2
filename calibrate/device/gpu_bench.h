#pragma once
// The machine as a Bench.

#include "../program.h"

namespace moesim::calibrate {

std::variant<std::unique_ptr<Bench>, NoBench> open_gpu_bench(const Options& options);

}  // namespace moesim::calibrate
