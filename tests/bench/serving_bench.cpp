// Speed of whole serving runs on one core. Counters: requests/s, steps/s (one step of the whole engine: all its ranks),
// mean batch, peak memory. Reading files is not counted.

#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "config/read_trace.h"
#include "core/random.h"
#include "support/serving_setup.h"

namespace moesim {
namespace {

void report(benchmark::State& state, const ServingOutcome& outcome, double requests, double steps) {
  state.counters["requests/s"] = benchmark::Counter(requests, benchmark::Counter::kIsRate);
  state.counters["steps/s"] = benchmark::Counter(steps, benchmark::Counter::kIsRate);
  state.counters["mean_batch"] = static_cast<double>(outcome.step_sequences) / static_cast<double>(outcome.steps);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_MB"] = static_cast<double>(usage.ru_maxrss) / 1024;
}

void measure(benchmark::State& state, const ServingSetup& setup) {
  double requests = 0, steps = 0;
  ServingOutcome last;
  for (auto _ : state) {
    last = setup.run();
    requests += static_cast<double>(last.requests.size());
    steps += static_cast<double>(last.steps);
  }
  report(state, last, requests, steps);
}

/// (a) Mooncake conversation trace at four times its speed on 8 replicas of Llama-3.1-70B, TP8, H100.
void mooncake_dense(benchmark::State& state) {
  const std::filesystem::path trace =
      std::filesystem::path(MOESIM_SHARED_DATA) / "workloads/mooncake_conversation.jsonl";
  if (!std::filesystem::exists(trace)) {
    state.SkipWithError("needs mooncake_conversation.jsonl");
    return;
  }
  ServingSetup setup = serving_setup("Meta-Llama-3.1-70B", "dgx-h100", 8);
  setup.engine.plan = vllm_plan(8, 1, 1, false);
  setup.engine.replicas = 8;
  setup.engine.max_num_seqs = 256;
  setup.engine.host = default_host_times(EnginePreset::vllm);
  TraceOptions options;
  options.format = TraceFormat::mooncake;
  options.speed = 4;
  setup.requests = read_trace(trace, options).requests;
  setup.strides = state.range(0) != 0;
  measure(state, setup);
}
BENCHMARK(mooncake_dense)->Arg(1)->Arg(0)->ArgName("strides")->Unit(benchmark::kMillisecond);

void moe_closed_loop(benchmark::State& state, ServingSetup setup, std::int32_t ranks, std::int32_t input,
                     std::int32_t output) {
  setup.engine.plan = vllm_plan(1, 1, ranks, true);
  setup.engine.host = default_host_times(EnginePreset::vllm);
  setup.engine.max_num_seqs = 64;
  setup.routing.popularity = {.kind = PopularityKind::zipf, .exponent = 0.6, .table = {}};
  setup.routing.resolution = static_cast<RoutingResolution>(state.range(0));
  setup.arrivals.kind = ArrivalKind::closed;
  setup.arrivals.concurrency = 64 * ranks;
  // Setting up the gates takes a second or so: long runs at `counts`, short ones at the slow resolutions.
  const std::size_t rounds = setup.routing.resolution == RoutingResolution::counts ? 24 : 2;
  setup.requests = equal_requests(static_cast<std::size_t>(64 * ranks) * rounds, input, output);
  // Lengths spread by a quarter, so that ends and prefills do not fall on the same steps.
  Stream stream(3, "bench/lengths");
  for (Request& r : setup.requests) {
    r.output_tokens = static_cast<std::int32_t>(
        output * 3 / 4 + static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(output / 2))));
  }
  measure(state, setup);
}

/// (b) Qwen3-30B-A3B bf16, TP1 DP8 EP8, 64 sequences a GPU, 1,024 in / 256 out, Zipf 0.6.
void qwen3_30b(benchmark::State& state) {
  ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  setup.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  moe_closed_loop(state, setup, 8, 1024, 256);
}
BENCHMARK(qwen3_30b)->Arg(0)->Arg(1)->Arg(2)->ArgName("resolution")->Unit(benchmark::kMillisecond)->Iterations(1);

/// (c) DeepSeek-V3 fp8, TP1 DP32 EP32, 64 a GPU, 4,096 / 1,024.
void deepseek_v3(benchmark::State& state) {
  ServingSetup setup = serving_setup("DeepSeek-V3", "dgx-h100", 4);
  setup.engine.all2all_backend = MoeBackend::deepep_low_latency;
  setup.engine.activation = DataType::fp8_block;
  setup.engine.gpu_memory_utilization = 0.95;
  moe_closed_loop(state, setup, 32, 4096, 1024);
}
BENCHMARK(deepseek_v3)->Arg(0)->Arg(1)->Arg(2)->ArgName("resolution")->Unit(benchmark::kMillisecond)->Iterations(1);

/// Correlation of the load of rank 0 between one step and the next, in a layer of (b): zero within two standard errors
/// (2 / sqrt(4,000) = 0.032) when draws are fresh.
void rank_load_autocorrelation(benchmark::State& state) {
  const ServingSetup setup = serving_setup("Qwen3-30B-A3B", "dgx-h100");
  RoutingSpec spec;
  spec.popularity = {.kind = PopularityKind::zipf, .exponent = 0.6, .table = {}};
  const Router router(setup.model.moe, 48, spec, 1);
  std::vector<std::uint32_t> counts(128);
  std::vector<double> loads;
  for (auto _ : state) {
    loads.clear();
    for (std::uint64_t step = 0; step < 4000; ++step) {
      router.draw_counts(7, step, 512, counts);
      double load = 0;
      for (std::size_t e = 0; e < 16; ++e) load += counts[e];
      loads.push_back(load);
    }
  }
  double mean = 0, variance = 0, product = 0;
  for (const double x : loads) mean += x / static_cast<double>(loads.size());
  for (std::size_t i = 0; i < loads.size(); ++i) {
    variance += (loads[i] - mean) * (loads[i] - mean);
    if (i > 0) product += (loads[i] - mean) * (loads[i - 1] - mean);
  }
  state.counters["lag1"] = product / variance;
}
BENCHMARK(rank_load_autocorrelation)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
