#pragma once
// What `moesim run` prints.

#include <string>

#include "metrics/run_result.h"

namespace moesim {

/// The block of `vllm bench serve`, character by character, with its default metrics [vllm: benchmarks/serve.py].
std::string benchmark_block(const RunResult& result);

/// Our lines under it: per GPU, steady state, where the time goes, memory, experts, cost, what binds.
std::string own_lines(const RunResult& result);

}  // namespace moesim
