#include "metrics/summary.h"

#include <algorithm>
#include <cmath>

namespace moesim {

namespace {

constexpr double picoseconds_to_milliseconds = 1e-9;
constexpr std::int64_t second = 1'000'000'000'000;

template <class Value>
LatencySummary summary_of(Distribution<Value>& values, double unit) {
  if (values.empty()) return {};
  values.sort();
  return {.mean = values.mean() * unit,
          .median = values.quantile(0.5) * unit,
          .std = values.standard_deviation() * unit,
          .p90 = values.quantile(0.9) * unit,
          .p95 = values.quantile(0.95) * unit,
          .p99 = values.quantile(0.99) * unit};
}

double per_second(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : 0;
}

/// Tokens of a request that left before `end`: the first at `first_token`, token i of n - 1 more at
/// first + i (last - first) / (n - 1).
std::int64_t tokens_before(const RequestRecord& request, Instant end) {
  if (end <= request.first_token || request.output_tokens <= 0) return 0;
  if (end > request.last_token) return request.output_tokens;
  const std::int64_t span = (request.last_token - request.first_token).ps();
  const std::int64_t passed = (end - request.first_token).ps();
  const std::int64_t more = request.output_tokens - 1;
  // The largest i with i span < passed more; whole numbers of 128 bits keep it exact.
  const auto i = static_cast<std::int64_t>((static_cast<WideInteger>(passed) * more - 1) / span);
  return 1 + std::min(i, more);
}

/// Whole seconds since `start`.
struct Seconds {
  Instant start;
  std::int64_t of(Instant t) const { return (t - start).ps() / second; }
  Instant begin(std::int64_t index) const { return start + Duration::seconds(index); }
};

}  // namespace

LatencySummary latency_summary(Distribution<std::int64_t>& values, double unit) {
  return summary_of(values, unit);
}
LatencySummary latency_summary(Distribution<double>& values, double unit) {
  return summary_of(values, unit);
}

bool meets(const RequestRecord& request, const Slo& slo) {
  if (request.outcome != RequestOutcome::finished) return false;
  if (slo.ttft && request.ttft() > *slo.ttft) return false;
  if (slo.e2el && request.latency() > *slo.e2el) return false;
  if (slo.tpot && request.output_tokens > 1) {
    // Without division: (last - first) <= tpot (n - 1).
    if (request.last_token - request.first_token > *slo.tpot * (request.output_tokens - 1)) return false;
  }
  return true;
}

std::int64_t output_tokens_between(const RequestRecord& request, Instant from, Instant to) {
  if (to <= from) return 0;
  return tokens_before(request, to) - tokens_before(request, from);
}

std::optional<ThroughputWindow> steady_state(std::span<const RequestRecord> requests) {
  std::vector<Instant> ends;
  Instant first_arrival = Instant::never();
  Instant last_start;
  double services = 0;
  for (const RequestRecord& request : requests) {
    if (request.outcome != RequestOutcome::finished) continue;
    ends.push_back(request.last_token);
    first_arrival = std::min(first_arrival, request.arrival);
    last_start = std::max(last_start, request.scheduled);
    services += (request.last_token - request.scheduled).seconds();
  }
  constexpr std::size_t fewest = 20;
  if (ends.size() < fewest) return std::nullopt;
  std::sort(ends.begin(), ends.end());
  const Duration mean_service = Duration::from_seconds(services / static_cast<double>(ends.size()));
  const Instant from = std::max(ends[ends.size() / 10], first_arrival + mean_service);
  const Instant to = last_start;
  const auto inside = std::lower_bound(ends.begin(), ends.end(), to) - std::lower_bound(ends.begin(), ends.end(), from);
  if (to <= from || inside < static_cast<std::ptrdiff_t>(fewest)) return std::nullopt;
  // A short stretch of a ramp is no steady state, however even it is.
  constexpr double shortest_share = 0.2;
  if ((to - from) / (ends.back() - first_arrival) < shortest_share) return std::nullopt;

  constexpr std::int64_t bins = 100;
  const std::int64_t length = (to - from).ps();
  const auto edge = [&](std::int64_t bin) {
    return from + Duration::picoseconds(static_cast<std::int64_t>(static_cast<WideInteger>(length) * bin / bins));
  };
  const auto bin_of = [&](Instant t) {
    const WideInteger bin = static_cast<WideInteger>((t - from).ps()) * bins / length;
    return static_cast<std::int64_t>(std::clamp<WideInteger>(bin, 0, bins - 1));
  };
  std::vector<double> tokens(bins, 0.0);
  double input_tokens = 0;
  for (const RequestRecord& request : requests) {
    if (request.outcome != RequestOutcome::finished) continue;
    if (request.first_token >= from && request.first_token < to) input_tokens += request.input_tokens;
    if (request.last_token < from || request.first_token >= to) continue;
    const std::int64_t last = bin_of(request.last_token);
    for (std::int64_t bin = bin_of(request.first_token); bin <= last; ++bin) {
      tokens[static_cast<std::size_t>(bin)] +=
          static_cast<double>(output_tokens_between(request, edge(bin), edge(bin + 1)));
    }
  }
  const double seconds = (to - from).seconds();
  const double bin_seconds = seconds / static_cast<double>(bins);
  double output_tokens = 0, first_half = 0;
  for (std::size_t bin = 0; bin < tokens.size(); ++bin) {
    if (bin < tokens.size() / 2) first_half += tokens[bin];
    output_tokens += tokens[bin];
    tokens[bin] /= bin_seconds;
  }
  constexpr double largest_drift = 0.2;  // of the mean, between the halves
  if (std::abs(2 * first_half - output_tokens) > largest_drift * output_tokens / 2) return std::nullopt;
  ThroughputWindow window;
  window.start_s = from.seconds();
  window.end_s = to.seconds();
  window.request_throughput = static_cast<double>(inside) / seconds;
  window.output_throughput = output_tokens / seconds;
  window.total_token_throughput = (output_tokens + input_tokens) / seconds;
  window.output_throughput_half_width = batch_means(tokens, 20).half_width;
  return window;
}

EnergyUse energy_use(const RunResult& result, const Energy& active, const PowerModel& power) {
  EnergyUse use;
  use.power = power;
  use.joules = active;
  const double gpu_seconds = result.duration_s * result.gpus;
  use.joules.idle = power.idle * gpu_seconds;
  use.joules_per_output_token = use.joules.total() / static_cast<double>(result.total_output_tokens);
  use.mean_watts_per_gpu = use.joules.total() / gpu_seconds;
  return use;
}

void summarize(RunResult& result, Distribution<std::int64_t> token_gaps, const Slo& slo) {
  Distribution<std::int64_t> ttft, latency;
  Distribution<double> tpot;
  Instant start = Instant::never();
  Instant end;
  for (const RequestRecord& request : result.requests) {
    start = std::min(start, request.arrival);
    if (request.outcome == RequestOutcome::finished) end = std::max(end, request.last_token);
  }
  std::int64_t good = 0;
  for (const RequestRecord& request : result.requests) {
    if (request.outcome != RequestOutcome::finished) {
      ++result.failed;
      continue;
    }
    ++result.completed;
    result.total_input_tokens += request.input_tokens;
    result.total_output_tokens += request.output_tokens;
    ttft.add(request.ttft().ps());
    latency.add(request.latency().ps());
    if (request.output_tokens > 1) tpot.add(request.tpot_seconds());
    if (meets(request, slo)) ++good;
  }
  result.ttft_ms = latency_summary(ttft, picoseconds_to_milliseconds);
  result.e2el_ms = latency_summary(latency, picoseconds_to_milliseconds);
  result.itl_ms = latency_summary(token_gaps, picoseconds_to_milliseconds);
  result.tpot_ms = latency_summary(tpot, 1e3);
  if (result.tpot_ms.median > 0) result.interactivity_tokens_per_s_per_user = 1000 / result.tpot_ms.median;
  if (result.completed == 0) return;

  const double seconds = (end - start).seconds();
  const auto output = static_cast<double>(result.total_output_tokens);
  result.duration_s = seconds;
  result.request_throughput = per_second(static_cast<double>(result.completed), seconds);
  result.output_throughput = per_second(output, seconds);
  result.total_token_throughput = per_second(output + static_cast<double>(result.total_input_tokens), seconds);
  if (slo.any()) result.request_goodput = per_second(static_cast<double>(good), seconds);
  if (result.gpus > 0) {
    result.output_tokens_per_s_per_gpu = result.output_throughput / result.gpus;
    result.total_tokens_per_s_per_gpu = result.total_token_throughput / result.gpus;
  }
  if (result.gpu_hour_usd && output > 0) {
    result.cost_usd_per_million_output_tokens = *result.gpu_hour_usd * result.gpus * seconds / 3600 / output * 1e6;
  }

  const Seconds grid{start};
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(grid.of(end) + 1), 0);
  std::vector<std::int64_t> change(tokens.size() + 1, 0);  // of the requests in flight, at the start of a second
  for (const RequestRecord& request : result.requests) {
    if (request.outcome != RequestOutcome::finished) continue;
    ++change[static_cast<std::size_t>(grid.of(request.arrival))];
    --change[static_cast<std::size_t>(grid.of(request.last_token) + 1)];
    const std::int64_t last = grid.of(request.last_token);
    std::int64_t before = 0;
    for (std::int64_t s = grid.of(request.first_token); s <= last; ++s) {
      const std::int64_t until = tokens_before(request, grid.begin(s + 1));
      tokens[static_cast<std::size_t>(s)] += until - before;
      before = until;
    }
  }
  result.peak_output_throughput = static_cast<double>(*std::max_element(tokens.begin(), tokens.end()));
  std::int64_t in_flight = 0;
  for (const std::int64_t step : change) {
    in_flight += step;
    result.max_concurrent_requests = std::max(result.max_concurrent_requests, in_flight);
  }
  result.steady_state = steady_state(result.requests);
}

}  // namespace moesim
