#pragma once
// result.json: keys of `vllm bench serve`, then ours; a figure that was not filled is absent.

#include <string>

#include "metrics/run_result.h"

namespace moesim {

/// One object, two blanks of indent, newline at the end. Keys in the order of docs; units in the names; real numbers in
/// the shortest form that reads back to the same bits.
std::string result_json(const RunResult& result);

/// One line a request: request_id,input_tokens,output_tokens,arrival_s,queued_s,scheduled_s,first_token_s,last_token_s,
/// ttft_ms,tpot_ms,latency_ms,replica,rank,preemptions,outcome. Times are exact; cells of what did not happen are
/// empty.
std::string requests_csv(const RunResult& result);

}  // namespace moesim
