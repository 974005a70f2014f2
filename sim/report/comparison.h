#pragma once
// Several results on the same requests: a table, what differs and why.

#include <span>
#include <string>
#include <vector>

#include "config/scenario.h"
#include "metrics/run_result.h"

namespace moesim {

struct ComparedRun {
  const Scenario* scenario = nullptr;
  const RunResult* result = nullptr;
};

/// For every run but the first: how it differs from the first one, then why requests of either failed and the reasons
/// that its breakdown, memory and model give. Reasons are differences of at least 15 %.
struct Verdict {
  std::string summary;               ///< "B: 0.71 x the output throughput of A, 2.10 x its median TPOT"
  std::vector<std::string> reasons;  ///< "a step takes 24.1 ms instead of 11.3 ms: dense ffn +9.8 ms, ..."
};
std::vector<Verdict> verdicts(std::span<const ComparedRun> runs);

/// Bytes of weights that one GPU reads in a mean step: all that it stores but the embedding, of its experts the share
/// that tokens chose.
double weight_bytes_read(const ComparedRun& run);

std::string comparison_text(std::span<const ComparedRun> runs);
std::string comparison_json(std::span<const ComparedRun> runs);

}  // namespace moesim
