#include "study/validate.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>

#include "core/check.h"
#include "core/math.h"
#include "execution/step_cost.h"

namespace moesim {

namespace {

constexpr std::uint64_t seed = 1;

ServingOutcome run_batch(const ValidationCase& run) {
  ArrivalSpec arrivals;
  arrivals.kind = ArrivalKind::batch;
  const std::vector<Request> requests(
      static_cast<std::size_t>(run.sequences),
      Request{Instant(), static_cast<std::int32_t>(run.input_tokens), static_cast<std::int32_t>(run.output_tokens)});
  ServingOutcome outcome = run_serving({.model = run.model,
                                        .gpu = *run.gpu,
                                        .cluster = *run.cluster,
                                        .kernels = run.kernels->profile,
                                        .collectives = *run.collectives,
                                        .engine = run.engine,
                                        .routing = run.routing,
                                        .arrivals = arrivals,
                                        .requests = requests,
                                        .seed = seed});
  for (const RequestRecord& request : outcome.requests) {
    MOESIM_CHECK(request.outcome == RequestOutcome::finished, "a request of {} + {} tokens did not complete",
                 request.input_tokens, request.output_tokens);
  }
  return outcome;
}

double static_batch_rate(const ValidationCase& run) {
  Instant end;
  for (const RequestRecord& request : run_batch(run).requests) end = std::max(end, request.last_token);
  return static_cast<double>(run.sequences * run.output_tokens) / (end - Instant()).seconds();
}

double first_token_ms(const ValidationCase& run) {
  return run_batch(run).requests.front().ttft().seconds() * 1e3;
}

/// What every rank computes in the one step.
RankBatch phase_batch(const ValidationCase& run) {
  RankBatch batch;
  batch.emitting_rows = run.sequences;
  if (run.scope == ValidationScope::expert_prefill) {
    batch.tokens = run.sequences * run.input_tokens;
    batch.prefill.assign(static_cast<std::size_t>(run.sequences), {run.input_tokens, 0});
    return batch;
  }
  const std::int64_t context = run.input_tokens + run.output_tokens / 2;
  batch.tokens = batch.decode_sequences = run.sequences;
  batch.context_tokens = run.sequences * context;
  for (std::size_t m = 0; m < run.model.mixers.size(); ++m) {
    batch.visible_keys[m] = run.sequences * visible_keys(run.model.mixers[m], 1, context - 1).keys;
  }
  return batch;
}

/// Mean time of one step of an expert-parallel deployment, all ranks alike.
double phase_seconds(const ValidationCase& run) {
  const auto moe_layers =
      std::count_if(run.model.layers.begin(), run.model.layers.end(), [](const LayerSpec& layer) { return layer.moe; });
  const Router router(run.model.moe, static_cast<std::int32_t>(moe_layers), run.routing, seed);
  const Topology topology(*run.cluster);
  const KernelCost kernels(*run.gpu, run.kernels->profile);
  ExecutionSpec spec;
  spec.plan = run.engine.plan;
  spec.backend = run.engine.all2all_backend;
  spec.redundant_experts = run.engine.num_redundant_experts;
  spec.fusion = run.engine.fusion;
  spec.activation = run.engine.activation;
  spec.kv_cache = run.engine.kv_cache;
  spec.graphs_hold_prefill = false;
  spec.launch = run.kernels->profile.launch.eager;
  StepCost cost(run.model, kernels, topology, *run.collectives, spec, &router);
  const std::vector<RankBatch> ranks(static_cast<std::size_t>(spec.plan.dp), phase_batch(run));
  const std::uint64_t draws = run.scope == ValidationScope::expert_decode ? kDecodeDraws : 1;
  double sum = 0;
  for (std::uint64_t draw = 0; draw < draws; ++draw) {
    sum += cost.time(ranks, draw).stages.front().total.seconds();
  }
  return sum / static_cast<double>(draws);
}

}  // namespace

double predict(const ValidationCase& run) {
  const auto sequences = static_cast<double>(run.sequences * run.engine.plan.dp);
  switch (run.scope) {
    case ValidationScope::static_batch:
      return static_batch_rate(run);
    case ValidationScope::first_token:
      return first_token_ms(run);
    case ValidationScope::expert_prefill:
      return sequences * static_cast<double>(run.input_tokens) / phase_seconds(run);
    case ValidationScope::expert_decode:
      return sequences / phase_seconds(run);
  }
  return 0;
}

double ScoredRow::log_ratio() const {
  return logarithm(predicted / measured);
}

namespace {

ErrorSummary errors_of(std::span<const ScoredRow* const> rows) {
  std::vector<MeasuredPair> pairs;
  for (const ScoredRow* row : rows) pairs.push_back({row->predicted, row->measured});
  return summarize_errors(pairs);
}

/// One group for each distinct key, in the order of the keys.
void add_groups(const std::vector<ScoredRow>& scored, std::vector<ErrorGroup>& groups,
                const std::function<ErrorGroup(const ScoredRow&)>& key_of) {
  using Key = std::tuple<std::string, std::string, std::string, std::string, std::string>;
  std::map<Key, std::pair<ErrorGroup, std::vector<const ScoredRow*>>> members;
  for (const ScoredRow& row : scored) {
    ErrorGroup group = key_of(row);
    auto& member = members[{group.family, group.arch, group.gpu_class, group.precision, group.metric_scope}];
    member.first = std::move(group);
    member.second.push_back(&row);
  }
  for (auto& [key, member] : members) {
    ErrorGroup& group = member.first;
    group.errors = errors_of(member.second);
    group.extrapolated = std::count_if(member.second.begin(), member.second.end(),
                                       [](const ScoredRow* row) { return row->extrapolated; });
    groups.push_back(std::move(group));
  }
}

void summarize(ValidationResult& result) {
  std::vector<const ScoredRow*> all;
  std::map<std::string_view, std::vector<const ScoredRow*>> by_metric;
  for (const ScoredRow& row : result.scored) {
    all.push_back(&row);
    by_metric[metric_of(row.scope)].push_back(&row);
    if (row.extrapolated) ++result.extrapolated;
    if (std::find(result.profiles.begin(), result.profiles.end(), row.profile) == result.profiles.end()) {
      result.profiles.push_back(row.profile);
    }
  }
  std::sort(result.profiles.begin(), result.profiles.end());
  result.errors = errors_of(all);
  for (const auto& [metric, rows] : by_metric) result.metrics.emplace_back(metric, errors_of(rows));
  add_groups(result.scored, result.groups,
             [](const ScoredRow& scored) { return ErrorGroup{.family = scored.row.family}; });
  add_groups(result.scored, result.groups, [](const ScoredRow& scored) {
    return ErrorGroup{.family = scored.row.family, .arch = scored.row.arch, .gpu_class = scored.row.gpu_class};
  });
  add_groups(result.scored, result.groups, [](const ScoredRow& scored) {
    return ErrorGroup{.precision = scored.precision, .metric_scope = std::string(name(scored.scope))};
  });
}

}  // namespace

ValidationResult validate(std::span<const ServingRow> rows, ValidationSources& sources, int jobs,
                          const CaseProgress& progress) {
  ValidationResult result;
  result.rows = static_cast<std::int64_t>(rows.size());
  std::vector<ValidationCase> cases;
  for (const ServingRow& row : rows) {
    auto found = validation_case(row, sources);
    if (const auto* reason = std::get_if<SkipReason>(&found)) {
      ++result.skipped[static_cast<std::size_t>(*reason)];
      continue;
    }
    ValidationCase& run = std::get<ValidationCase>(found);
    result.scored.push_back({.row = row,
                             .scope = run.scope,
                             .precision = run.precision,
                             .gpu = run.gpu->id,
                             .profile = run.kernels->profile.name,
                             .sequences = run.sequences,
                             .measured = run.measured,
                             .extrapolated = !run.measured_profiles()});
    cases.push_back(std::move(run));
  }

  run_cases(cases.size(), jobs, progress, [&](std::size_t i) { result.scored[i].predicted = predict(cases[i]); });
  std::erase_if(result.scored, [](const ScoredRow& row) { return row.predicted <= 0; });
  summarize(result);
  return result;
}

}  // namespace moesim
