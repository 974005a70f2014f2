#include "cli/simulate.h"

#include <fmt/core.h>

#include <algorithm>

#include "config/json_reader.h"
#include "metrics/binding.h"
#include "metrics/summary.h"
#include "report/output_file.h"

namespace moesim {

Simulation simulate(const Scenario& scenario, const std::vector<Request>& requests, const ServingObserver& observer) {
  const EngineSpec& engine = scenario.engine;
  const ArrivalSpec& arrivals = scenario.workload.arrivals;
  ServingOutcome outcome = run_serving({.model = scenario.model,
                                        .gpu = scenario.gpu,
                                        .cluster = scenario.cluster,
                                        .kernels = scenario.kernels,
                                        .collectives = scenario.collectives,
                                        .engine = engine,
                                        .routing = scenario.routing,
                                        .arrivals = arrivals,
                                        .requests = requests,
                                        .seed = scenario.seed,
                                        .strides = scenario.strides,
                                        .power = scenario.power ? &*scenario.power : nullptr,
                                        .clocks = scenario.clocks},
                                       observer);
  Simulation simulation;
  simulation.interrupted = outcome.interrupted;
  RunResult& result = simulation.result;
  result.scenario_name = scenario.name;
  result.model_name = scenario.model.name;
  result.gpu_name = scenario.gpu.id;
  result.gpus = engine.plan.world() * engine.replicas;
  result.request_rate = arrivals.rate_per_second;
  result.concurrency = arrivals.concurrency;
  if (scenario.gpu_hour_usd > 0) result.gpu_hour_usd = scenario.gpu_hour_usd;
  result.steps = outcome.steps;
  if (outcome.steps > 0) {
    result.mean_batch = static_cast<double>(outcome.step_sequences) / static_cast<double>(outcome.steps);
  }
  result.breakdown = outcome.breakdown;
  result.experts = std::move(outcome.experts);
  result.network = std::move(outcome.network);
  result.links = std::move(outcome.links);
  result.links_left_out = outcome.links_left_out;
  result.memory = std::move(outcome.memory);
  result.preemptions = outcome.preemptions;
  result.step_samples = std::move(outcome.step_samples);
  result.fingerprint = outcome.fingerprint;
  result.provenance = scenario.provenance;
  result.requests = std::move(outcome.requests);
  summarize(result, std::move(outcome.token_gaps), scenario.slo);
  if (result.duration_s > 0) {
    for (std::size_t i = 0; i < kResources; ++i) result.busy[i] = outcome.busy_seconds[i] / result.duration_s;
  }
  if (scenario.power && result.completed > 0) {
    result.energy = energy_use(result, outcome.energy, *scenario.power);
    result.energy->clocks = scenario.clocks;
    result.energy->mean_clock = outcome.mean_clock;
  }
  const auto rejected = std::count_if(result.requests.begin(), result.requests.end(), [](const RequestRecord& request) {
    return request.outcome == RequestOutcome::rejected;
  });
  if (rejected > 0) {
    const auto too_long =
        std::count_if(result.requests.begin(), result.requests.end(), [&](const RequestRecord& request) {
          return request.outcome == RequestOutcome::rejected && engine.max_model_len > 0 &&
                 std::int64_t{request.input_tokens} + request.output_tokens > engine.max_model_len;
        });
    if (too_long > 0) {
      result.provenance.notes.push_back(fmt::format("{} of {} requests were refused: longer than max_model_len {}",
                                                    too_long, result.requests.size(), engine.max_model_len));
    }
    if (rejected > too_long) {
      result.provenance.notes.push_back(fmt::format(
          "{} of {} requests were refused: the KV pool of a rank{} cannot hold them", rejected - too_long,
          result.requests.size(), engine.enable_chunked_prefill ? "" : ", or a step without chunked prefill,"));
    }
  }
  result.explanations = what_binds(result);
  return simulation;
}

std::filesystem::path scenario_file(const std::string& name) {
  const std::filesystem::path shipped = product_root() / name;
  return !std::filesystem::exists(name) && std::filesystem::exists(shipped) ? shipped : std::filesystem::path(name);
}

OutputFolder::OutputFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  for (fs::path above = fs::absolute(folder_ / "").parent_path();
       !fs::exists(above, ignored) && above.has_relative_path(); above = above.parent_path()) {
    made_.push_back(above);
  }
  const fs::path trial = temporary_name(folder_ / "trial");
  problem_ = write_file_atomically(trial, "");
  fs::remove(trial, ignored);
  if (const auto name = problem_.find(trial.string()); name != std::string::npos) {
    problem_.replace(name, trial.string().size(), folder_.string());
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  for (const std::filesystem::path& folder : made_) std::filesystem::remove(folder, ignored);
}

std::string read_overrides(std::span<const std::string> words, std::vector<Override>& overrides) {
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      return fmt::format("--set {}: expected POINTER=VALUE such as /engine/max_num_seqs=64", word);
    }
    overrides.push_back({word.substr(0, equals), word.substr(equals + 1)});
  }
  return {};
}

}  // namespace moesim
