#include "report/comparison.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "metrics/binding.h"
#include "report/number_text.h"
#include "report/result_json.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

constexpr double worth_saying = 0.15;

bool differs(double value, double reference) {
  return reference > 0 && value > 0 && std::abs(value / reference - 1) >= worth_saying;
}

char letter(std::size_t i) {
  return static_cast<char>('A' + i);
}

/// Time in which an engine works, a step.
double step_seconds(const RunResult& result) {
  if (result.steps == 0) return 0;
  return (result.breakdown.total() - result.breakdown[TimePart::idle]).seconds() / static_cast<double>(result.steps);
}

double idle_share(const RunResult& result) {
  const Duration total = result.breakdown.total();
  return total > Duration() ? result.breakdown[TimePart::idle] / total : 0;
}

/// Cache of all engines together.
double cache_tokens(const ComparedRun& run) {
  double tokens = 0;
  for (const PoolMemory& pool : run.result->memory) tokens += static_cast<double>(pool.cache_capacity_tokens);
  return tokens * run.scenario->engine.plan.dp * run.scenario->engine.replicas;
}

/// "24.1 ms instead of 11.3 ms: dense ffn +9.8 ms, attention +2.1 ms".
std::string step_reason(const RunResult& result, const RunResult& reference) {
  struct Change {
    TimePart part;
    double seconds;
  };
  std::vector<Change> changes;
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    const auto part = static_cast<TimePart>(i);
    if (part == TimePart::idle) continue;
    changes.push_back({part, result.breakdown[part].seconds() / static_cast<double>(result.steps) -
                                 reference.breakdown[part].seconds() / static_cast<double>(reference.steps)});
  }
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return std::abs(a.seconds) > std::abs(b.seconds); });
  const double difference = std::abs(step_seconds(result) - step_seconds(reference));
  std::string text =
      fmt::format("a step takes {} instead of {}", time_text(step_seconds(result)), time_text(step_seconds(reference)));
  bool first = true;
  for (std::size_t i = 0; i < 4; ++i) {
    if (std::abs(changes[i].seconds) < 0.05 * difference) break;
    text += fmt::format("{} {} {}{}", first ? ":" : ",", spoken(changes[i].part), changes[i].seconds > 0 ? "+" : "-",
                        time_text(std::abs(changes[i].seconds)));
    first = false;
  }
  return text;
}

std::string times(double value, double reference) {
  return fmt::format("{:.2f} x", value / reference);
}

/// "B: 3 requests failed: 2 longer than max_model_len (4,096 tokens), 1 longer than the KV pool (512 tokens)"; empty
/// when none did. A request needs its prompt and output within the length, and all but its last token in the pool.
std::string failures(const ComparedRun& run, char name) {
  const EngineSpec& engine = run.scenario->engine;
  std::int64_t pool = 0;
  for (const PoolMemory& memory : run.result->memory) pool = std::max(pool, memory.kv_blocks_total * engine.block_size);
  std::int64_t failed = 0, too_long = 0, too_large = 0, unfinished = 0;
  for (const RequestRecord& request : run.result->requests) {
    if (request.outcome == RequestOutcome::finished) continue;
    ++failed;
    const std::int64_t tokens = std::int64_t{request.input_tokens} + request.output_tokens;
    if (request.outcome == RequestOutcome::unfinished) {
      ++unfinished;
    } else if (engine.max_model_len > 0 && tokens > engine.max_model_len) {
      ++too_long;
    } else if (pool > 0 && tokens - 1 > pool) {
      ++too_large;
    }
  }
  if (failed == 0) return {};
  std::string text = fmt::format("{}: {} request{} failed", name, whole_number(failed), failed == 1 ? "" : "s");
  char separator = ':';
  const auto add = [&](std::int64_t count, const std::string& why) {
    if (count > 0) text += fmt::format("{} {} {}", std::exchange(separator, ','), whole_number(count), why);
  };
  add(too_long, fmt::format("longer than max_model_len ({} tokens)", whole_number(engine.max_model_len)));
  add(too_large, fmt::format("longer than the KV pool ({} tokens)", whole_number(pool)));
  add(failed - too_long - too_large - unfinished, "longer than a step, without chunked prefill");
  add(unfinished, "not ended with the run");
  return text;
}

Verdict verdict(const ComparedRun& run, const ComparedRun& reference, char name) {
  const RunResult& result = *run.result;
  const RunResult& base = *reference.result;
  Verdict verdict;
  auto& reasons = verdict.reasons;
  for (const std::string& failed : {failures(reference, 'A'), failures(run, name)}) {
    if (!failed.empty()) reasons.push_back(failed);
  }
  if (result.completed == 0 || base.completed == 0) {
    verdict.summary = fmt::format("{}: no request finished in {}", name, result.completed == 0 ? name : 'A');
    return verdict;
  }
  verdict.summary = fmt::format("{} against A: {} the output throughput, {} the median TTFT", name,
                                times(result.output_throughput, base.output_throughput),
                                times(result.ttft_ms.median, base.ttft_ms.median));
  if (base.tpot_ms.median > 0) {
    verdict.summary += fmt::format(", {} the median TPOT", times(result.tpot_ms.median, base.tpot_ms.median));
  }
  if (result.cost_usd_per_million_output_tokens && base.cost_usd_per_million_output_tokens) {
    verdict.summary += fmt::format(
        ", {} the cost", times(*result.cost_usd_per_million_output_tokens, *base.cost_usd_per_million_output_tokens));
  }
  const auto keeps_up = [](const RunResult& one) {
    return one.request_rate > 0 && one.request_throughput > 0.95 * one.request_rate;
  };
  if (keeps_up(result) && keeps_up(base)) {
    reasons.push_back(fmt::format("both keep up with the load of {} requests/s, so throughput says little",
                                  short_number(base.request_rate)));
  } else if (idle_share(result) > 0.1 && idle_share(base) > 0.1) {
    reasons.push_back(fmt::format("the load binds both: engines have nothing to do in {} of the time, A in {}",
                                  percent(idle_share(result)), percent(idle_share(base))));
  }
  if (result.steps > 0 && base.steps > 0 && differs(step_seconds(result), step_seconds(base))) {
    reasons.push_back(step_reason(result, base));
  }
  if (differs(weight_bytes_read(run), weight_bytes_read(reference))) {
    reasons.push_back(fmt::format("a GPU reads {} of weights a step instead of {} ({})",
                                  size_text(Bytes::ceil(weight_bytes_read(run))),
                                  size_text(Bytes::ceil(weight_bytes_read(reference))),
                                  times(weight_bytes_read(run), weight_bytes_read(reference))));
  }
  const double flops = flops_per_token(run.scenario->model, 1).value;
  const double base_flops = flops_per_token(reference.scenario->model, 1).value;
  if (differs(flops, base_flops)) {
    reasons.push_back(fmt::format("a token takes {:.1f} GFLOP instead of {:.1f} ({})", flops * 1e-9, base_flops * 1e-9,
                                  times(flops, base_flops)));
  }
  if (differs(result.mean_batch, base.mean_batch)) {
    reasons.push_back(fmt::format("a step holds {} sequences instead of {}", short_number(result.mean_batch),
                                  short_number(base.mean_batch)));
  }
  if (differs(cache_tokens(run), cache_tokens(reference))) {
    const auto bytes = cache_bytes_per_token(run.scenario->model, run.scenario->engine.kv_cache);
    const auto base_bytes = cache_bytes_per_token(reference.scenario->model, reference.scenario->engine.kv_cache);
    reasons.push_back(fmt::format("the KV cache holds {} tokens instead of {}, at {} bytes a token instead of {}",
                                  short_number(cache_tokens(run)), short_number(cache_tokens(reference)),
                                  whole_number(bytes.value), whole_number(base_bytes.value)));
  }
  if (result.gpus != base.gpus) reasons.push_back(fmt::format("{} GPUs instead of {}", result.gpus, base.gpus));
  if (reasons.empty()) reasons.emplace_back("no difference of 15 % or more in steps, weights, computing or cache");
  return verdict;
}

struct Row {
  std::string label;
  std::vector<std::string> cells;
};

template <class Cell>
Row row_of(std::string label, std::span<const ComparedRun> runs, Cell cell) {
  Row row{std::move(label), {}};
  for (const ComparedRun& run : runs) row.cells.push_back(cell(run));
  return row;
}

std::vector<Row> table(std::span<const ComparedRun> runs) {
  std::vector<Row> rows;
  const auto figure = [&](std::string label, auto value) {
    rows.push_back(
        row_of(std::move(label), runs, [&](const ComparedRun& run) { return short_number(value(*run.result)); }));
  };
  rows.push_back(row_of("model", runs, [](const ComparedRun& run) { return run.result->model_name; }));
  rows.push_back(row_of("hardware", runs, [](const ComparedRun& run) {
    return fmt::format("{} x {}", run.result->gpus, run.result->gpu_name);
  }));
  rows.push_back(row_of("finished, failed", runs, [](const ComparedRun& run) {
    return fmt::format("{}, {}", whole_number(run.result->completed), whole_number(run.result->failed));
  }));
  figure("requests (req/s)", [](const RunResult& r) { return r.request_throughput; });
  if (std::ranges::all_of(runs, [](const ComparedRun& run) { return run.result->request_goodput.has_value(); })) {
    figure("goodput (req/s)", [](const RunResult& r) { return *r.request_goodput; });
  }
  figure("output (tok/s)", [](const RunResult& r) { return r.output_throughput; });
  figure("output per GPU (tok/s)", [](const RunResult& r) { return r.output_tokens_per_s_per_gpu; });
  figure("per user (tok/s)", [](const RunResult& r) { return r.interactivity_tokens_per_s_per_user; });
  figure("median TTFT (ms)", [](const RunResult& r) { return r.ttft_ms.median; });
  figure("p99 TTFT (ms)", [](const RunResult& r) { return r.ttft_ms.p99; });
  figure("median TPOT (ms)", [](const RunResult& r) { return r.tpot_ms.median; });
  figure("p99 TPOT (ms)", [](const RunResult& r) { return r.tpot_ms.p99; });
  figure("median latency (ms)", [](const RunResult& r) { return r.e2el_ms.median; });
  figure("step, working (ms)", [](const RunResult& r) { return step_seconds(r) * 1e3; });
  figure("sequences a step", [](const RunResult& r) { return r.mean_batch; });
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    const auto share = [i](const RunResult& result) {
      const Duration total = result.breakdown.total();
      return total > Duration() ? result.breakdown.parts[i] / total : 0.0;
    };
    if (std::ranges::none_of(runs, [&](const ComparedRun& run) { return share(*run.result) >= 0.01; })) continue;
    rows.push_back(row_of(spoken(static_cast<TimePart>(i)) + " (% of time)", runs,
                          [&](const ComparedRun& run) { return fmt::format("{:.1f}", share(*run.result) * 100); }));
  }
  rows.push_back(row_of("weights per GPU", runs, [](const ComparedRun& run) {
    Bytes sum;
    for (const PoolMemory& pool : run.result->memory) {
      sum += pool.attention + pool.dense_ffn + pool.experts + pool.shared + pool.router + pool.embedding + pool.head;
    }
    return size_text(sum);
  }));
  rows.push_back(
      row_of("KV cache (tokens)", runs, [](const ComparedRun& run) { return short_number(cache_tokens(run)); }));
  rows.push_back(
      row_of("preemptions", runs, [](const ComparedRun& run) { return whole_number(run.result->preemptions); }));
  if (std::ranges::all_of(
          runs, [](const ComparedRun& run) { return run.result->cost_usd_per_million_output_tokens.has_value(); })) {
    figure("USD per 1M output tokens", [](const RunResult& r) { return *r.cost_usd_per_million_output_tokens; });
  }
  return rows;
}

}  // namespace

double weight_bytes_read(const ComparedRun& run) {
  double read = 0;
  for (const PoolMemory& pool : run.result->memory) {
    read += static_cast<double>((pool.attention + pool.dense_ffn + pool.shared + pool.router + pool.head).value);
    double chosen = 1;
    if (!run.result->experts.empty() && run.scenario->model.moe.experts > 0) {
      double distinct = 0;
      for (const ExpertLayerSummary& layer : run.result->experts) distinct += layer.distinct_experts;
      chosen = distinct / static_cast<double>(run.result->experts.size()) /
               static_cast<double>(run.scenario->model.moe.experts);
    }
    read += static_cast<double>(pool.experts.value) * std::min(chosen, 1.0);
  }
  return read;
}

std::vector<Verdict> verdicts(std::span<const ComparedRun> runs) {
  std::vector<Verdict> all;
  for (std::size_t i = 1; i < runs.size(); ++i) all.push_back(verdict(runs[i], runs[0], letter(i)));
  return all;
}

std::string comparison_text(std::span<const ComparedRun> runs) {
  std::string text;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    text += fmt::format("{}  {}\n", letter(i), runs[i].result->scenario_name);
  }
  const std::vector<Row> rows = table(runs);
  std::size_t label = 0;
  std::vector<std::size_t> widths(runs.size(), 6);
  for (const Row& row : rows) {
    label = std::max(label, row.label.size());
    for (std::size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], row.cells[i].size());
  }
  text += fmt::format("\n{:<{}}", "", label);
  for (std::size_t i = 0; i < runs.size(); ++i) text += fmt::format("  {:>{}}", letter(i), widths[i]);
  text += '\n';
  for (const Row& row : rows) {
    text += fmt::format("{:<{}}", row.label, label);
    for (std::size_t i = 0; i < row.cells.size(); ++i) text += fmt::format("  {:>{}}", row.cells[i], widths[i]);
    text += '\n';
  }
  for (const Verdict& one : verdicts(runs)) {
    text += fmt::format("\n{}\n", one.summary);
    for (const std::string& reason : one.reasons) text += fmt::format("  - {}\n", reason);
  }
  return text;
}

std::string comparison_json(std::span<const ComparedRun> runs) {
  ordered_json json;
  ordered_json results = ordered_json::array();
  for (const ComparedRun& run : runs) {
    ordered_json result = ordered_json::parse(result_json(*run.result));
    result["weight_bytes_read_per_step_and_gpu"] = weight_bytes_read(run);
    result["working_step_ms"] = step_seconds(*run.result) * 1e3;
    results.push_back(std::move(result));
  }
  json["results"] = std::move(results);
  ordered_json list = ordered_json::array();
  for (const Verdict& one : verdicts(runs)) list.push_back({{"verdict", one.summary}, {"reasons", one.reasons}});
  json["verdicts"] = std::move(list);
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace moesim
