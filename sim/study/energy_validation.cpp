#include "study/energy_validation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>

#include "config/read_power.h"
#include "metrics/summary.h"
#include "parallel/placement.h"

namespace moesim {

namespace {

constexpr std::uint64_t seed = 1;

std::int32_t narrow(std::int64_t count) {
  return static_cast<std::int32_t>(count);
}

bool is_narrow(DataType type) {
  return bits_per_element(type) < 12;
}

/// False where the row names a precision that is not known.
bool set_precision(const EnergyRow& row, const GpuSpec& gpu, ValidationCase& run) {
  WeightFormats& formats = run.model.formats;
  const DataType plain = run.model.activation_format == DataType::fp32 ? DataType::bf16 : run.model.activation_format;
  run.engine.activation = run.engine.kv_cache = plain;
  if (row.precision == "fp8") {
    for (DataType* part : {&formats.attention, &formats.dense_ffn, &formats.experts, &formats.shared}) {
      if (!is_narrow(*part)) *part = DataType::fp8;
    }
    if (gpu.fp8.value > 0) run.engine.activation = DataType::fp8;
    return true;
  }
  if (row.precision != "fp4") return row.precision == "bf16";
  if (bits_per_element(formats.experts) < 8) return true;  // weight-only, as its config says
  const DataType four = gpu.vendor == "NVIDIA" ? DataType::nvfp4 : DataType::mxfp4;
  formats.experts = formats.shared = formats.dense_ffn = four;
  run.engine.activation = gpu.fp4.value > 0 ? four : plain;
  return true;
}

std::optional<SkipReason> set_plan(const EnergyRow& row, ValidationCase& run) {
  if (row.tp < 1 || row.tp != row.gpus || row.attention_dp > 1) return SkipReason::parallelism_missing;
  const std::int64_t ep = std::max<std::int64_t>(1, row.ep);
  if (row.tp % ep != 0) return SkipReason::parallelism_not_legal;
  const std::int32_t ranks = narrow(row.tp);
  ParallelPlan& plan = run.engine.plan;
  plan = row.attention_dp == 1 ? vllm_plan(1, 1, ranks, ep > 1) : vllm_plan(ranks, 1, 1, ep > 1);
  if (run.model.is_moe()) {
    plan.ep = narrow(ep);
    plan.etp = narrow(row.tp / ep);
  }
  if (!plan_problem(plan, run.model).empty()) return SkipReason::parallelism_not_legal;
  if (!run.model.is_moe()) return std::nullopt;
  if (!slots_problem(run.model.moe.experts, plan.ep, 0).empty()) return SkipReason::parallelism_not_legal;
  if (plan.dp_ranks_per_expert_group() > 1) {
    run.engine.all2all_backend = MoeBackend::allgather_reducescatter;
  }
  return std::nullopt;
}

LengthSpec length_law(std::int64_t longest) {
  LengthSpec spec;
  spec.kind = LengthKind::uniform;
  spec.high = longest;
  spec.low = std::max<std::int64_t>(1, longest * 4 / 5);
  return spec;
}

}  // namespace

std::variant<EnergyCase, SkipReason> energy_case(const EnergyRow& row, ValidationSources& sources) {
  if (row.joules_per_output_token.value_or(0) <= 0 || row.tokens_per_s_per_gpu.value_or(0) <= 0) {
    return SkipReason::measurement_missing;
  }
  if (row.disaggregated != 0 || row.multinode != 0) return SkipReason::scope_not_supported;
  if (row.spec_method != "none") return SkipReason::speculative_decoding;
  EnergyCase found;
  ValidationCase& run = found.run;
  EngineSpec& engine = run.engine;
  if (row.framework != "vllm" && row.framework != "sglang") return SkipReason::engine_unknown;
  engine.preset = row.framework == "vllm" ? EnginePreset::vllm : EnginePreset::sglang;
  engine.fusion = default_fusions(engine.preset);
  engine.host = default_host_times(engine.preset);
  engine.async_scheduling = true;
  const auto model = sources.model(row.model);
  if (!model) return SkipReason::model_without_config;
  run.model = *model;
  run.gpu = sources.gpu(row.hardware);
  if (!run.gpu) return SkipReason::gpu_unknown;
  const auto power = power_model_of(*run.gpu);
  if (!power) return SkipReason::gpu_unknown;
  found.power = *power;
  run.precision = row.precision;
  if (!set_precision(row, *run.gpu, run)) return SkipReason::precision_unknown;
  if (row.input_tokens < 1 || row.output_tokens < 1) return SkipReason::length_missing;
  if (row.concurrency < 1) return SkipReason::batch_missing;
  if (const auto problem = set_plan(row, run)) return *problem;
  run.cluster = sources.cluster(*run.gpu, row.gpus);
  if (!run.cluster || run.cluster->nodes > 1) return SkipReason::no_standard_node;
  run.kernels = sources.kernels(*run.gpu, engine.preset);
  run.collectives = sources.collectives(*run.gpu, *run.cluster, engine.preset);
  engine.max_num_seqs = 1024;
  engine.max_num_batched_tokens = 8192;
  if (pool_memory(run.model, *run.gpu, *run.cluster, engine).cache_capacity_tokens <
      row.input_tokens + row.output_tokens) {
    return SkipReason::does_not_fit_in_memory;
  }
  found.workload.arrivals.kind = ArrivalKind::closed;
  found.workload.arrivals.concurrency = narrow(row.concurrency);
  found.workload.input = length_law(row.input_tokens);
  found.workload.output = length_law(row.output_tokens);
  found.workload.requests = 2 * row.concurrency;
  return found;
}

bool is_fitted(const std::string& config_id) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : config_id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return (hash & 1) == 1;
}

namespace {

void predict_energy(const EnergyCase& point, Clocks clocks, EnergyScore& score) {
  const ValidationCase& run = point.run;
  const std::vector<Request> requests = generate_requests(point.workload, seed);
  ServingOutcome outcome = run_serving({.model = run.model,
                                        .gpu = *run.gpu,
                                        .cluster = *run.cluster,
                                        .kernels = run.kernels->profile,
                                        .collectives = *run.collectives,
                                        .engine = run.engine,
                                        .routing = run.routing,
                                        .arrivals = point.workload.arrivals,
                                        .requests = requests,
                                        .seed = seed,
                                        .power = &point.power,
                                        .clocks = clocks});
  RunResult result;
  result.gpus = run.engine.plan.world();
  result.requests = std::move(outcome.requests);
  summarize(result, std::move(outcome.token_gaps), {});
  if (result.completed == 0) return;
  const EnergyUse use = energy_use(result, outcome.energy, point.power);
  const auto tokens = static_cast<double>(result.total_output_tokens);
  score.predicted_joules = use.joules_per_output_token;
  score.predicted_watts = use.mean_watts_per_gpu;
  score.predicted_tokens_per_s_per_gpu = result.total_tokens_per_s_per_gpu;
  score.joules_per_token = use.joules * (1 / tokens);
  score.awake_share = use.joules.awake / (point.power.awake * result.duration_s * result.gpus);
  score.mean_clock = outcome.mean_clock;
  // Work of a token is what it is at any speed; kernels run for the same share of the time.
  const double tokens_per_s_per_gpu = score.measured_watts / *score.row.joules_per_output_token;
  const Energy& part = score.joules_per_token;
  score.watts_at_measured_rate =
      std::min(point.power.limit, point.power.idle + point.power.awake * score.awake_share +
                                      (part.compute + part.memory + part.network) * tokens_per_s_per_gpu);
}

void summarize_groups(EnergyValidation& result) {
  using Key = std::tuple<bool, std::string, std::string, std::string>;
  std::map<Key, std::vector<const EnergyScore*>> members;
  for (const EnergyScore& score : result.scored) {
    members[{score.fitted, "", "", ""}].push_back(&score);
    members[{score.fitted, score.gpu, "", ""}].push_back(&score);
    members[{score.fitted, score.gpu, score.row.model, score.row.precision}].push_back(&score);
  }
  const auto errors = [](const std::vector<const EnergyScore*>& scores, auto&& pair_of) {
    std::vector<MeasuredPair> pairs;
    for (const EnergyScore* score : scores) pairs.push_back(pair_of(*score));
    return summarize_errors(pairs);
  };
  for (const auto& [key, scores] : members) {
    EnergyGroup group{.gpu = std::get<1>(key),
                      .model = std::get<2>(key),
                      .precision = std::get<3>(key),
                      .fitted = std::get<0>(key),
                      .joules = {},
                      .watts = {},
                      .throughput = {}};
    group.joules = errors(
        scores, [](const EnergyScore& s) { return MeasuredPair{s.predicted_joules, *s.row.joules_per_output_token}; });
    group.watts =
        errors(scores, [](const EnergyScore& s) { return MeasuredPair{s.watts_at_measured_rate, s.measured_watts}; });
    group.throughput = errors(scores, [](const EnergyScore& s) {
      return MeasuredPair{s.predicted_tokens_per_s_per_gpu, *s.row.tokens_per_s_per_gpu};
    });
    result.groups.push_back(std::move(group));
  }
}

}  // namespace

EnergyValidation validate_energy(std::span<const EnergyRow> rows, ValidationSources& sources, Clocks clocks, int jobs,
                                 const CaseProgress& progress) {
  EnergyValidation result;
  result.rows = static_cast<std::int64_t>(rows.size());
  result.clocks = clocks;
  std::vector<EnergyCase> cases;
  for (const EnergyRow& row : rows) {
    auto found = energy_case(row, sources);
    if (const auto* reason = std::get_if<SkipReason>(&found)) {
      ++result.skipped[static_cast<std::size_t>(*reason)];
      continue;
    }
    EnergyCase& point = std::get<EnergyCase>(found);
    EnergyScore score{.row = row,
                      .gpu = point.run.gpu->id,
                      .profile = point.run.kernels->profile.name,
                      .extrapolated = !point.run.measured_profiles() || point.power.extrapolated,
                      .fitted = is_fitted(row.config_id),
                      .joules_per_token = {}};
    // Lengths have the same law, so tokens are in the ratio of the longest.
    const auto output = static_cast<double>(row.output_tokens), input = static_cast<double>(row.input_tokens);
    score.measured_watts = *row.joules_per_output_token * *row.tokens_per_s_per_gpu * output / (input + output);
    result.scored.push_back(std::move(score));
    cases.push_back(std::move(point));
  }
  run_cases(cases.size(), jobs, progress, [&](std::size_t i) { predict_energy(cases[i], clocks, result.scored[i]); });
  std::erase_if(result.scored, [](const EnergyScore& score) { return score.predicted_joules <= 0; });
  summarize_groups(result);
  return result;
}

}  // namespace moesim
