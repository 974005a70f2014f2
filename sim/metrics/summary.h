#pragma once
// From what every request saw to the figures of `vllm bench serve`, with its definitions.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/statistics.h"
#include "metrics/run_result.h"

namespace moesim {

/// Limits that a request must hold to count as goodput; absent ones are not asked for.
struct Slo {
  std::optional<Duration> ttft, tpot, e2el;
  bool any() const { return ttft || tpot || e2el; }
};

/// Of values in `unit` (1e-9: picoseconds to milliseconds). Sorts `values`; all zero when empty.
LatencySummary latency_summary(Distribution<std::int64_t>& values, double unit);
LatencySummary latency_summary(Distribution<double>& values, double unit);

/// True when a finished request holds all limits; a request of one token has a TPOT of 0 here [vllm: serve.py].
bool meets(const RequestRecord& request, const Slo& slo);

/// Output tokens that left between two instants. Assumes that the tokens after a request's first are evenly spaced up
/// to its last: each counts where it falls.
std::int64_t output_tokens_between(const RequestRecord& request, Instant from, Instant to);

/// The part of a run without warm-up and drain: from the end of the first tenth of the finished requests, but not
/// before a mean service time (scheduled to last token) has passed since the first arrival, to the last time that a
/// request was scheduled; from then on the batch only shrinks. Under overload it is the time in which the engine is
/// full. Absent when fewer than 20 requests end in it, when it is shorter than a fifth of the run (first arrival to
/// last token) or when the output of its halves differs by more than a fifth of their mean: a throughput that still
/// rises or falls is no steady one. The half-width is the 90 % interval of batch means over 20 batches.
std::optional<ThroughputWindow> steady_state(std::span<const RequestRecord> requests);

/// Energy over the duration of a run in which all GPUs draw idle power, and `active` what they draw beyond it while
/// they compute. `result` is summarised, with at least one finished request.
EnergyUse energy_use(const RunResult& result, const Energy& active, const PowerModel& power);

/// Fills counts, throughputs, latencies, goodput, steady state, per-GPU figures and cost of `result` from its
/// `requests`, `gpus` and `gpu_hour_usd` and from the pooled inter-token latencies (picoseconds):
///  - duration: first arrival to last token; throughputs over it, of finished requests only;
///  - TPOT = (latency - TTFT) / (output - 1), requests with one output token left out; ITL pooled over all gaps;
///  - peak output throughput: tokens of the busiest whole second since the first arrival;
///  - concurrent requests: most requests in flight during any part of one such second.
/// Source of the definitions: vllm, benchmarks/serve.py.
void summarize(RunResult& result, Distribution<std::int64_t> token_gaps, const Slo& slo);

}  // namespace moesim
