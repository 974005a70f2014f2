#pragma once
// A result written down by hand.

#include "metrics/run_result.h"

namespace moesim {

inline Instant at_ms(std::int64_t milliseconds) {
  return Instant::at(Duration::milliseconds(milliseconds));
}

inline RequestRecord sample_request(std::int32_t input, std::int32_t output, std::int64_t arrival, std::int64_t first,
                                    std::int64_t last) {
  RequestRecord request;
  request.input_tokens = input;
  request.output_tokens = output;
  request.outcome = RequestOutcome::finished;
  request.arrival = at_ms(arrival);
  request.queued = at_ms(arrival + 1);
  request.scheduled = at_ms(arrival + 2);
  request.first_token = at_ms(first);
  request.last_token = at_ms(last);
  return request;
}

inline RunResult sample_result() {
  RunResult result;
  result.scenario_name = "sample";
  result.model_name = "Mixtral-8x7B-v0.1";
  result.gpu_name = "h100_sxm";
  result.gpus = 8;
  result.request_rate = 20;
  result.concurrency = 256;
  result.completed = 1000;
  result.failed = 1;
  result.total_input_tokens = 1024000;
  result.total_output_tokens = 256000;
  result.duration_s = 61.42;
  result.request_throughput = 16.2813;
  result.request_goodput = 15.9;
  result.output_throughput = 4168.02;
  result.total_token_throughput = 20840.12;
  result.peak_output_throughput = 5120;
  result.max_concurrent_requests = 241;
  result.ttft_ms = {212.4, 180.11, 100, 400, 500, 702.9};
  result.tpot_ms = {20.5, 20, 1, 22, 23, 24.25};
  result.itl_ms = {20.4, 19.5, 2, 23, 25, 41};
  result.e2el_ms = {5300, 5200, 100, 6000, 6100, 6200};
  result.output_tokens_per_s_per_gpu = 521.0025;
  result.total_tokens_per_s_per_gpu = 2605.015;
  result.interactivity_tokens_per_s_per_user = 50;
  result.steady_state = ThroughputWindow{5, 60, 16.5, 4200, 21000, 41.5};
  result.steps = 3000;
  result.mean_batch = 85.4;
  result.breakdown[TimePart::experts] = Duration::seconds(40);
  result.breakdown[TimePart::attention] = Duration::seconds(15);
  result.breakdown[TimePart::tensor_parallel] = Duration::milliseconds(4900);
  result.breakdown[TimePart::router] = Duration::milliseconds(100);
  result.busy = {0.9, 0.1, 0.05};
  result.experts = {{0, 1.5, 1.25, 0.1, 7.5, 0.02}, {1, 1.7, 1.35, 0.2, 7.9, 0.04}};
  result.network = {{"scale_up", 1e12, 0.125}};
  PoolMemory pool;
  pool.gpu = "h100_sxm";
  pool.attention = {std::int64_t{1} << 30};
  pool.experts = {std::int64_t{10} << 30};
  pool.activations = {std::int64_t{2} << 30};
  pool.cache_capacity = {std::int64_t{59} << 30};
  pool.capacity = {std::int64_t{80} << 30};
  pool.limit = {std::int64_t{72} << 30};
  pool.cache_capacity_tokens = 3866624;
  pool.kv_blocks_total = 241664;
  pool.kv_blocks_peak = 24166;
  pool.kv_blocks_mean = 12000.5;
  result.memory = {pool};
  result.preemptions = 2;
  result.gpu_hour_usd = 2.5;
  result.cost_usd_per_million_output_tokens = 1.3325;
  result.explanations = {"experts: 67 % of the working time", "the KV cache: 10 % in use at the peak, 2 preemptions"};
  result.provenance.tool_version = "0.1.0";
  result.provenance.seed = 1;
  result.provenance.input_hashes = {{"s.json", "cbf29ce484222325"}};
  result.provenance.profiles = {{"h100_sxm-vllm", "vllm", "2026-01-02", "table", false}};
  result.provenance.notes = {"uses the first 8 of 16 GPUs"};
  result.fingerprint = 0xABC;
  result.requests = {sample_request(10, 5, 0, 100, 500), sample_request(20, 1, 250, 400, 400)};
  result.requests.push_back({});
  result.requests.back().outcome = RequestOutcome::rejected;
  result.requests.back().input_tokens = 99999;
  result.step_samples = {{at_ms(100), Duration::milliseconds(20), 1, 10},
                         {at_ms(400), Duration::milliseconds(30), 2, 21}};
  return result;
}

}  // namespace moesim
