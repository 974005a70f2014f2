#include "report/result_json.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "report/number_text.h"
#include "report/result_parts.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

void add_latency(ordered_json& json, const std::string& metric, const LatencySummary& latency) {
  json["mean_" + metric + "_ms"] = latency.mean;
  json["median_" + metric + "_ms"] = latency.median;
  json["std_" + metric + "_ms"] = latency.std;
  json["p90_" + metric + "_ms"] = latency.p90;
  json["p95_" + metric + "_ms"] = latency.p95;
  json["p99_" + metric + "_ms"] = latency.p99;
}

/// Fractions that sum to 1. The parts that no run can fill yet are absent while they are zero.
ordered_json breakdown_json(const Breakdown& breakdown) {
  ordered_json json = ordered_json::object();
  const Duration total = breakdown.total();
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    const auto part = static_cast<TimePart>(i);
    const bool optional = part == TimePart::kv_transfer || part == TimePart::offload || part == TimePart::draft;
    if (optional && breakdown.parts[i] == Duration()) continue;
    json[std::string(name(part))] = breakdown.parts[i] / total;
  }
  return json;
}

ordered_json memory_json(const RunResult& result) {
  ordered_json pools = ordered_json::array();
  std::int64_t peak = 0;
  for (const PoolMemory& pool : result.memory) {
    const Bytes weights =
        pool.attention + pool.dense_ffn + pool.experts + pool.shared + pool.router + pool.embedding + pool.head;
    const Bytes buffers = pool.activations + pool.logits + pool.graphs + pool.communication + pool.context;
    ordered_json row;
    if (!pool.pool.empty()) row["pool"] = pool.pool;
    row["gpu"] = pool.gpu;
    row["capacity_bytes"] = pool.capacity.value;
    row["limit_bytes"] = pool.limit.value;
    row["weights_bytes"] = weights.value;
    row["experts_bytes"] = pool.experts.value;
    row["weights_by_part_bytes"] = {{"attention", pool.attention.value},
                                    {"dense_ffn", pool.dense_ffn.value},
                                    {"experts", pool.experts.value},
                                    {"shared", pool.shared.value},
                                    {"router", pool.router.value},
                                    {"embedding", pool.embedding.value},
                                    {"head", pool.head.value}};
    row["activations_bytes"] = pool.activations.value;
    row["buffers_bytes"] = buffers.value;
    row["buffers_by_part_bytes"] = {{"activations", pool.activations.value},
                                    {"logits", pool.logits.value},
                                    {"graphs", pool.graphs.value},
                                    {"communication", pool.communication.value},
                                    {"context", pool.context.value}};
    row["kv_capacity_bytes"] = pool.cache_capacity.value;
    row["kv_capacity_tokens"] = pool.cache_capacity_tokens;
    row["free_bytes"] = (pool.capacity - weights - buffers - pool.cache_capacity).value;
    if (pool.kv_blocks_total > 0) {
      row["kv_blocks_total"] = pool.kv_blocks_total;
      row["kv_blocks_peak"] = pool.kv_blocks_peak;
      row["kv_blocks_mean"] = pool.kv_blocks_mean;
    }
    peak = std::max(peak, pool.kv_blocks_peak);
    pools.push_back(std::move(row));
  }
  return {{"pools", std::move(pools)}, {"kv_blocks_peak", peak}, {"preemptions", result.preemptions}};
}

/// From whole picoseconds, so that round times stay round.
double tpot_ms(const RequestRecord& request) {
  const auto gaps = static_cast<double>(request.output_tokens - 1);
  return static_cast<double>((request.last_token - request.first_token).ps()) / gaps / 1e9;
}

ordered_json energy_json(const EnergyUse& use) {
  const PowerModel& power = use.power;
  return {
      {"mean_power_watts_per_gpu", use.mean_watts_per_gpu},
      {"joules",
       {{"idle", use.joules.idle},
        {"awake", use.joules.awake},
        {"compute", use.joules.compute},
        {"memory", use.joules.memory},
        {"network", use.joules.network}}},
      {"clocks", name(use.clocks)},
      {"mean_clock", use.mean_clock},
      {"limit_watts", power.limit},
      {"idle_watts", power.idle},
      {"awake_watts", power.awake},
      {"joules_per_flop", {{"16_bit", power.per_flop[0]}, {"8_bit", power.per_flop[1]}, {"4_bit", power.per_flop[2]}}},
      {"joules_per_memory_byte", power.per_memory_byte},
      {"joules_per_link_byte", power.per_link_byte},
      {"extrapolated", power.extrapolated},
      {"source", power.source}};
}

ordered_json uncertainty_json(const Uncertainty& uncertainty) {
  ordered_json json{{"replications", uncertainty.replications},
                    {"level", 0.9},
                    {"from", "errors of the calibration on shapes that no fit saw, and seeds"}};
  for (const auto& [name, interval] : uncertainty.figures) {
    json["figures"][name] = {{"low", interval.low}, {"median", interval.median}, {"high", interval.high}};
  }
  return json;
}

std::string_view outcome_name(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::finished:
      return "finished";
    case RequestOutcome::rejected:
      return "rejected";
    case RequestOutcome::unfinished:
      return "unfinished";
  }
  return {};
}

}  // namespace

std::string result_json(const RunResult& result) {
  ordered_json json;
  json["scenario"] = result.scenario_name;
  json["model_id"] = result.model_name;
  json["gpu"] = result.gpu_name;
  json["gpus"] = result.gpus;
  json["num_prompts"] = result.completed + result.failed;
  if (result.request_rate > 0) json["request_rate"] = result.request_rate;
  if (result.concurrency > 0) json["max_concurrency"] = result.concurrency;
  json["completed"] = result.completed;
  json["failed"] = result.failed;
  json["total_input_tokens"] = result.total_input_tokens;
  json["total_output_tokens"] = result.total_output_tokens;
  if (result.completed > 0) {
    json["duration"] = result.duration_s;
    json["request_throughput"] = result.request_throughput;
    if (result.request_goodput) json["request_goodput"] = *result.request_goodput;
    json["output_throughput"] = result.output_throughput;
    json["total_token_throughput"] = result.total_token_throughput;
    json["max_output_tokens_per_s"] = result.peak_output_throughput;
    json["max_concurrent_requests"] = result.max_concurrent_requests;
    add_latency(json, "ttft", result.ttft_ms);
    if (result.tpot_ms.mean > 0) add_latency(json, "tpot", result.tpot_ms);
    if (result.itl_ms.mean > 0) add_latency(json, "itl", result.itl_ms);
    add_latency(json, "e2el", result.e2el_ms);
    json["output_tokens_per_s_per_gpu"] = result.output_tokens_per_s_per_gpu;
    json["total_tokens_per_s_per_gpu"] = result.total_tokens_per_s_per_gpu;
    if (result.interactivity_tokens_per_s_per_user > 0) {
      json["interactivity_tokens_per_s_per_user"] = result.interactivity_tokens_per_s_per_user;
    }
  }
  if (const auto& window = result.steady_state) {
    ordered_json row{{"start_s", window->start_s},
                     {"end_s", window->end_s},
                     {"request_throughput", window->request_throughput},
                     {"output_throughput", window->output_throughput},
                     {"total_token_throughput", window->total_token_throughput}};
    if (window->output_throughput_half_width) {
      row["output_throughput_half_width_90"] = *window->output_throughput_half_width;
    }
    json["steady_state"] = std::move(row);
  }
  if (result.steps > 0) {
    json["steps"] = result.steps;
    json["mean_batch_sequences"] = result.mean_batch;
  }
  if (result.breakdown.total() > Duration()) {
    json["breakdown"] = breakdown_json(result.breakdown);
    ordered_json busy;
    for (std::size_t i = 0; i < kResources; ++i) {
      busy[std::string(name(static_cast<Resource>(i)))] = result.busy[i];
    }
    json["busy"] = std::move(busy);
  }
  if (!result.experts.empty()) {
    ordered_json layers = ordered_json::array();
    for (const ExpertLayerSummary& layer : result.experts) {
      layers.push_back({{"layer", layer.layer},
                        {"expert_load_max_over_mean", layer.expert_max_over_mean},
                        {"rank_load_max_over_mean", layer.rank_max_over_mean},
                        {"gini", layer.gini},
                        {"distinct_experts_per_step", layer.distinct_experts},
                        {"straggler_wait_ms_per_step", layer.straggler_wait_ms}});
    }
    json["experts"] = std::move(layers);
  }
  if (!result.network.empty()) {
    ordered_json classes = ordered_json::array();
    for (const LinkClassUse& use : result.network) {
      classes.push_back({{"link_class", use.kind},
                         {"bytes", Bytes::ceil(use.bytes).value},
                         {"utilization", use.utilization},
                         {"peak", use.peak}});
    }
    json["network"] = std::move(classes);
  }
  if (!result.links.empty()) {
    json["network_links"] = {{"links", links_json(result.links)}, {"left_out", result.links_left_out}};
  }
  if (!result.memory.empty()) json["memory"] = memory_json(result);
  if (result.energy) {
    json["energy_joules_per_token"] = result.energy->joules_per_output_token;
    json["energy"] = energy_json(*result.energy);
  }
  if (result.gpu_hour_usd) json["gpu_hour_usd"] = *result.gpu_hour_usd;
  if (result.cost_usd_per_million_output_tokens) {
    json["cost_usd_per_million_output_tokens"] = *result.cost_usd_per_million_output_tokens;
  }
  if (result.uncertainty) json["uncertainty"] = uncertainty_json(*result.uncertainty);
  if (!result.explanations.empty()) json["what_binds"] = result.explanations;
  json["provenance"] = provenance_json(result.provenance);
  json["fingerprint"] = fmt::format("{:016x}", result.fingerprint);
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string requests_csv(const RunResult& result) {
  std::string csv =
      "request_id,input_tokens,output_tokens,arrival_s,queued_s,scheduled_s,first_token_s,last_token_s,ttft_ms,tpot_ms,"
      "latency_ms,replica,rank,preemptions,outcome\n";
  csv.reserve(csv.size() + result.requests.size() * 140);
  std::int64_t id = 0;
  for (const RequestRecord& request : result.requests) {
    const auto seconds = [](Instant t) { return exact_decimal(t.ps(), 12); };
    fmt::format_to(std::back_inserter(csv), "{},{},{},{}", id++, request.input_tokens, request.output_tokens,
                   seconds(request.arrival));
    if (request.outcome == RequestOutcome::finished) {
      fmt::format_to(std::back_inserter(csv), ",{},{},{},{},{},{},{}", seconds(request.queued),
                     seconds(request.scheduled), seconds(request.first_token), seconds(request.last_token),
                     exact_decimal(request.ttft().ps(), 9),
                     request.output_tokens > 1 ? fmt::format("{}", tpot_ms(request)) : "",
                     exact_decimal(request.latency().ps(), 9));
    } else {
      csv += ",,,,,,,";
    }
    fmt::format_to(std::back_inserter(csv), ",{},{},{},{}\n", request.replica, request.rank, request.preemptions,
                   outcome_name(request.outcome));
  }
  return csv;
}

}  // namespace moesim
