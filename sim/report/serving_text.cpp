#include "report/serving_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "metrics/binding.h"
#include "report/number_text.h"

namespace moesim {

namespace {

std::string count_row(std::string_view label, std::int64_t value) {
  return fmt::format("{:<40} {:<10}\n", label, value);
}
std::string real_row(std::string_view label, double value) {
  return fmt::format("{:<40} {:<10.2f}\n", label, value);
}

std::string latency_section(std::string_view title, std::string_view metric, const LatencySummary& latency) {
  return fmt::format("{:-^50}\n", title) + real_row(fmt::format("Mean {} (ms):", metric), latency.mean) +
         real_row(fmt::format("Median {} (ms):", metric), latency.median) +
         real_row(fmt::format("P99 {} (ms):", metric), latency.p99);
}

std::string own_row(std::string_view label, const std::string& text) {
  return fmt::format("{:<15} {}\n", label, text);
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string line;
  for (const std::string& piece : pieces) line.append(line.empty() ? "" : ", ").append(piece);
  return line;
}

/// Parts of at least 0.5 %, largest first; the rest together.
std::string parts_of(const Breakdown& breakdown) {
  const Duration total = breakdown.total();
  std::vector<TimePart> order;
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    if (breakdown.parts[i] > Duration()) order.push_back(static_cast<TimePart>(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](TimePart a, TimePart b) { return breakdown[a] > breakdown[b]; });
  std::vector<std::string> pieces;
  double rest = 0;
  for (const TimePart part : order) {
    const double share = breakdown[part] / total;
    if (share < 0.005) {
      rest += share;
    } else {
      pieces.push_back(spoken(part) + " " + percent(share));
    }
  }
  if (rest >= 0.0005) pieces.push_back("others " + percent(rest));
  return joined(pieces);
}

std::string memory_rows(const PoolMemory& pool) {
  const Bytes weights =
      pool.attention + pool.dense_ffn + pool.experts + pool.shared + pool.router + pool.embedding + pool.head;
  const Bytes buffers = pool.activations + pool.logits + pool.graphs + pool.communication + pool.context;
  std::string line = fmt::format("weights {}", size_text(weights));
  if (pool.experts.value > 0) line += fmt::format(" (experts {})", size_text(pool.experts));
  line += fmt::format(", buffers {}, KV cache {}, of {}", size_text(buffers), size_text(pool.cache_capacity),
                      size_text(pool.capacity));
  std::string rows = own_row("memory per GPU", line);
  if (pool.kv_blocks_total > 0) {
    rows += own_row(
        "KV cache",
        fmt::format("{} tokens a data-parallel rank, peak use {}", whole_number(pool.cache_capacity_tokens),
                    percent(static_cast<double>(pool.kv_blocks_peak) / static_cast<double>(pool.kv_blocks_total))));
  }
  return rows;
}

/// Means over the layers.
std::string experts_text(const std::vector<ExpertLayerSummary>& layers) {
  double expert = 0, rank = 0, distinct = 0, wait = 0;
  for (const ExpertLayerSummary& layer : layers) {
    expert += layer.expert_max_over_mean;
    rank += layer.rank_max_over_mean;
    distinct += layer.distinct_experts;
    wait += layer.straggler_wait_ms;
  }
  const auto n = static_cast<double>(layers.size());
  return fmt::format("busiest expert {:.2f} x the mean, busiest rank {:.2f} x, {:.1f} distinct a layer, wait {} a step",
                     expert / n, rank / n, distinct / n, time_text(wait * 1e-3));
}

/// The busiest, and the busiest of another kind. `links` are in that order.
std::string busiest_links_text(const std::vector<LinkUse>& links) {
  const auto text = [](const LinkUse& use) {
    return fmt::format("{} -> {} ({}) {} of the line rate in the mean, {} at peak", use.from, use.to, use.kind,
                       percent(use.utilization), percent(use.peak));
  };
  const auto other =
      std::find_if(links.begin(), links.end(), [&](const LinkUse& use) { return use.kind != links.front().kind; });
  return text(links.front()) + (other == links.end() ? "" : ", " + text(*other));
}

/// Parts of at least 0.5 %, in the order of the model.
std::string energy_text(const EnergyUse& use) {
  const std::pair<std::string_view, double> parts[] = {{"idle", use.joules.idle},
                                                       {"awake", use.joules.awake},
                                                       {"compute", use.joules.compute},
                                                       {"memory", use.joules.memory},
                                                       {"network", use.joules.network}};
  std::vector<std::string> pieces;
  for (const auto& [part, joules] : parts) {
    const double share = joules / use.joules.total();
    if (share >= 0.005) pieces.push_back(fmt::format("{} {}", part, percent(share)));
  }
  std::string text =
      fmt::format("{} J per output token, {:.0f} W of {:.0f} W per GPU ({})", short_number(use.joules_per_output_token),
                  use.mean_watts_per_gpu, use.power.limit, joined(pieces));
  if (use.mean_clock < 0.9995) text += fmt::format(", clock {} of the tables'", percent(use.mean_clock));
  return text;
}

/// The figures that people compare, a line each.
std::string uncertainty_rows(const Uncertainty& uncertainty) {
  struct Shown {
    std::string_view name, meaning;
    double scale;
  };
  constexpr Shown shown[] = {{"output_throughput", "output tok/s", 0},
                             {"mean_ttft_ms", "mean TTFT", 1e-3},
                             {"p99_ttft_ms", "p99 TTFT", 1e-3},
                             {"mean_tpot_ms", "mean TPOT", 1e-3},
                             {"p99_tpot_ms", "p99 TPOT", 1e-3},
                             {"cost_usd_per_million_output_tokens", "USD per million output tokens", 0}};
  std::string rows;
  for (const Shown& row : shown) {
    for (const auto& [name, interval] : uncertainty.figures) {
      if (name != row.name) continue;
      const auto text = [&](double value) {
        return row.scale > 0 ? time_text(value * row.scale) : short_number(value);
      };
      rows += own_row(rows.empty() ? "90 % interval" : "",
                      fmt::format("{} {} to {}", row.meaning, text(interval.low), text(interval.high)));
    }
  }
  return rows + own_row("", fmt::format("from {} runs: errors of the calibration, seeds", uncertainty.replications));
}

}  // namespace

std::string benchmark_block(const RunResult& result) {
  std::string block = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  block += count_row("Successful requests:", result.completed);
  block += count_row("Failed requests:", result.failed);
  if (result.concurrency > 0) block += count_row("Maximum request concurrency:", result.concurrency);
  if (result.request_rate > 0) block += real_row("Request rate configured (RPS):", result.request_rate);
  block += real_row("Benchmark duration (s):", result.duration_s);
  block += count_row("Total input tokens:", result.total_input_tokens);
  block += count_row("Total generated tokens:", result.total_output_tokens);
  block += real_row("Request throughput (req/s):", result.request_throughput);
  if (result.request_goodput) block += real_row("Request goodput (req/s):", *result.request_goodput);
  block += real_row("Output token throughput (tok/s):", result.output_throughput);
  block += real_row("Peak output token throughput (tok/s):", result.peak_output_throughput);
  block += real_row("Peak concurrent requests:", static_cast<double>(result.max_concurrent_requests));
  block += real_row("Total token throughput (tok/s):", result.total_token_throughput);
  block += latency_section("Time to First Token", "TTFT", result.ttft_ms);
  block += latency_section("Time per Output Token (excl. 1st token)", "TPOT", result.tpot_ms);
  block += latency_section("Inter-token Latency", "ITL", result.itl_ms);
  return block + std::string(50, '=') + "\n";
}

std::string own_lines(const RunResult& result) {
  std::string lines =
      own_row("simulated", fmt::format("{} on {} x {}", result.model_name, result.gpus, result.gpu_name));
  lines += own_row("per GPU",
                   fmt::format("{} output tok/s, {} total tok/s", short_number(result.output_tokens_per_s_per_gpu),
                               short_number(result.total_tokens_per_s_per_gpu)));
  if (result.interactivity_tokens_per_s_per_user > 0) {
    lines += own_row("per user", fmt::format("{} tok/s (1000 / median TPOT)",
                                             short_number(result.interactivity_tokens_per_s_per_user)));
  }
  if (result.completed > 0) {
    lines += own_row("end to end",
                     fmt::format("mean {}, median {}, p99 {}", time_text(result.e2el_ms.mean * 1e-3),
                                 time_text(result.e2el_ms.median * 1e-3), time_text(result.e2el_ms.p99 * 1e-3)));
  }
  if (const auto& window = result.steady_state) {
    std::string text = short_number(window->output_throughput);
    if (window->output_throughput_half_width) {
      text += fmt::format(" +- {}", short_number(*window->output_throughput_half_width));
    }
    lines += own_row("steady state", fmt::format("{} output tok/s, {} req/s, from {} to {}", text,
                                                 short_number(window->request_throughput), time_text(window->start_s),
                                                 time_text(window->end_s)));
  } else if (result.completed > 0) {
    lines += own_row("steady state", "none found: the run is too short for one, or its throughput drifts");
  }
  if (result.steps > 0) {
    lines += own_row("steps", fmt::format("{} of {} sequences in the mean, {} preemptions", whole_number(result.steps),
                                          short_number(result.mean_batch), whole_number(result.preemptions)));
    lines += own_row("time goes to", parts_of(result.breakdown));
    std::vector<std::string> busy;
    for (std::size_t i = 0; i < kResources; ++i) {
      busy.push_back(fmt::format("{} {}", name(static_cast<Resource>(i)), percent(result.busy[i])));
    }
    lines += own_row("busy", joined(busy));
  }
  if (result.uncertainty) lines += uncertainty_rows(*result.uncertainty);
  for (const PoolMemory& pool : result.memory) lines += memory_rows(pool);
  if (!result.experts.empty()) lines += own_row("experts", experts_text(result.experts));
  if (!result.network.empty()) {
    std::vector<std::string> links;
    for (const LinkClassUse& use : result.network) {
      links.push_back(fmt::format("{} {} of the line rate in the mean, {} at peak", use.kind, percent(use.utilization),
                                  percent(use.peak)));
    }
    lines += own_row("network", joined(links));
  }
  if (!result.links.empty()) lines += own_row("busiest link", busiest_links_text(result.links));
  if (result.energy) lines += own_row("energy", energy_text(*result.energy));
  if (result.cost_usd_per_million_output_tokens && result.gpu_hour_usd) {
    lines += own_row("cost", fmt::format("{:.3f} USD per million output tokens at {} USD per GPU and hour",
                                         *result.cost_usd_per_million_output_tokens, *result.gpu_hour_usd));
  }
  for (std::size_t i = 0; i < result.explanations.size(); ++i) {
    lines += own_row(i == 0 ? "what binds" : "", result.explanations[i]);
  }
  std::vector<std::string> assumed = result.provenance.extrapolated;
  for (std::size_t i = 0; i < std::min<std::size_t>(assumed.size(), 3); ++i) {
    lines += own_row(i == 0 ? "extrapolated" : "", assumed[i]);
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(result.provenance.notes.size(), 4); ++i) {
    lines += own_row(i == 0 ? "note" : "", result.provenance.notes[i]);
  }
  return lines;
}

}  // namespace moesim
