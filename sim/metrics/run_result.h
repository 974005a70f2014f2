#pragma once
// What a run returns: plain values, no formatting. Absent figures stay empty and are not written.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "hardware/power.h"
#include "metrics/breakdown.h"
#include "metrics/uncertainty.h"

namespace moesim {

enum class RequestOutcome : std::uint8_t { finished, rejected, unfinished };

/// One request as a client saw it. `first_token` and `last_token` are when the text left the front end.
struct RequestRecord {
  std::int32_t input_tokens = 0, output_tokens = 0;
  std::uint32_t replica = 0, rank = 0;
  std::uint32_t preemptions = 0;
  RequestOutcome outcome = RequestOutcome::unfinished;
  Instant arrival, queued, scheduled, first_token, last_token;

  Duration ttft() const { return first_token - arrival; }
  Duration latency() const { return last_token - arrival; }
  /// (latency - ttft) / (output - 1); only for output_tokens > 1.
  double tpot_seconds() const { return (last_token - first_token).seconds() / static_cast<double>(output_tokens - 1); }
};

/// mean, median, std (population) and percentiles (numpy linear) in milliseconds.
struct LatencySummary {
  double mean = 0, median = 0, std = 0, p90 = 0, p95 = 0, p99 = 0;
};

struct ThroughputWindow {
  double start_s = 0, end_s = 0;
  double request_throughput = 0, output_throughput = 0, total_token_throughput = 0;
  /// 90 % half-width of output_throughput by batch means; absent with too few batches.
  std::optional<double> output_throughput_half_width;
};

struct ExpertLayerSummary {
  std::int32_t layer = 0;           ///< index in the model
  double expert_max_over_mean = 0;  ///< mean over steps of the busiest expert over the mean expert
  double rank_max_over_mean = 0;
  double gini = 0;               ///< of the counts summed over the run
  double distinct_experts = 0;   ///< a step, mean
  double straggler_wait_ms = 0;  ///< a step, mean: slowest rank minus mean rank
};

/// Traffic on one kind of directed links, from a sample of the steps (the first 32 and every 64th of an engine).
struct LinkClassUse {
  std::string kind;        ///< scale_up, pcie, nic, fabric
  double bytes = 0;        ///< over the run, summed over the links: a hop through a switch counts on both links
  double utilization = 0;  ///< of all links of the kind together, over the run
  double peak = 0;         ///< the same in the sampled step with most
};

/// Traffic on one directed link, from the same sample.
struct LinkUse {
  std::string from, to;  ///< vertices of the topology: gpu3, nvswitch0
  std::string kind;
  double bytes = 0;        ///< over the run
  double utilization = 0;  ///< share of the line rate over the run
  double peak = 0;         ///< the same in the sampled step with most
};

struct PoolMemory {
  std::string pool;
  std::string gpu;
  // Bytes on the fullest GPU.
  Bytes attention, dense_ffn, experts, shared, router, embedding, head;
  Bytes activations, logits, graphs, communication, context;
  Bytes cache_capacity, capacity, limit;
  std::int64_t cache_capacity_tokens = 0;                ///< per data-parallel rank
  std::int64_t kv_blocks_total = 0, kv_blocks_peak = 0;  ///< per data-parallel rank; peak of the fullest
  double kv_blocks_mean = 0;
};

struct Provenance {
  std::string tool_version;
  std::uint64_t seed = 0;
  std::vector<std::pair<std::string, std::string>> input_hashes;  ///< file or part -> 64-bit hash in hex
  struct Profile {
    std::string name, provider, date, source;
    bool extrapolated = false;
  };
  std::vector<Profile> profiles;
  std::vector<std::string> extrapolated;  ///< what no measurement covers
  std::vector<std::string> notes;         ///< assumptions about inputs (trace ticks, ignored keys)
};

/// A point of a time series for plots: step end, duration, sequences, tokens, KV use.
struct StepSample {
  Instant end;
  Duration duration;
  std::int32_t sequences = 0;
  std::int32_t tokens = 0;
};

/// Energy of all GPUs over the duration of a run, by what draws it, with the power it was computed from.
struct EnergyUse {
  Energy joules;
  double joules_per_output_token = 0;
  double mean_watts_per_gpu = 0;
  PowerModel power;
  Clocks clocks = Clocks::locked;
  double mean_clock = 1;  ///< share of the kernel tables' clock while GPUs compute
};

struct RunResult {
  std::string scenario_name, model_name, gpu_name;
  std::int32_t gpus = 0;
  double request_rate = 0;       ///< configured; 0 = infinite or trace
  std::int32_t concurrency = 0;  ///< configured; 0 = none

  std::int64_t completed = 0, failed = 0;
  std::int64_t total_input_tokens = 0, total_output_tokens = 0;
  double duration_s = 0;  ///< first arrival to last token
  double request_throughput = 0, output_throughput = 0, total_token_throughput = 0;
  double peak_output_throughput = 0;  ///< busiest second
  std::optional<double> request_goodput;
  std::int64_t max_concurrent_requests = 0;
  LatencySummary ttft_ms, tpot_ms, itl_ms, e2el_ms;

  double output_tokens_per_s_per_gpu = 0, total_tokens_per_s_per_gpu = 0, interactivity_tokens_per_s_per_user = 0;
  std::optional<ThroughputWindow> steady_state;

  std::int64_t steps = 0;
  double mean_batch = 0;                  ///< sequences a step of one engine, mean over steps
  Breakdown breakdown;                    ///< summed over engines; fractions are of its total
  std::array<double, kResources> busy{};  ///< share of the duration, mean over engines
  std::vector<ExpertLayerSummary> experts;
  std::vector<LinkClassUse> network;
  std::vector<LinkUse> links;       ///< those that carried something, busiest first, at most 64
  std::int64_t links_left_out = 0;  ///< that carried less than those
  std::vector<PoolMemory> memory;
  std::int64_t preemptions = 0;
  std::optional<EnergyUse> energy;
  std::optional<double> cost_usd_per_million_output_tokens, gpu_hour_usd;

  std::optional<Uncertainty> uncertainty;  ///< with replications

  Provenance provenance;
  std::uint64_t fingerprint = 0;

  std::vector<RequestRecord> requests;
  std::vector<StepSample> step_samples;   ///< at most a few thousand, evenly thinned
  std::vector<std::string> explanations;  ///< one line each: what binds and why
};

}  // namespace moesim
