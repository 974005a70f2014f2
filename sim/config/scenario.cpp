#include "config/scenario.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "collectives/layer_collectives.h"
#include "config/exchange_names.h"
#include "config/file_hash.h"
#include "config/json_reader.h"
#include "config/model_catalog.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_popularity.h"
#include "config/read_power.h"
#include "config/read_profile.h"
#include "config/read_trace.h"
#include "config/scenario_fields.h"
#include "config/scenario_inputs.h"
#include "execution/stand_ins.h"
#include "hardware/kernel_cost.h"
#include "parallel/memory_use.h"
#include "parallel/placement.h"
#include "serving/serving_run.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// A member of an object that may be absent itself.
std::optional<JsonReader> member(const std::optional<JsonReader>& object, std::string_view key) {
  return object ? object->find(key) : std::nullopt;
}

std::int32_t small_integer(const std::optional<JsonReader>& value, std::int32_t fallback) {
  return value ? static_cast<std::int32_t>(value->integer()) : fallback;
}

/// The choice of a field by the words of the table.
std::size_t choice_of(const JsonReader& value, std::initializer_list<std::string_view> names) {
  return value.choice(std::span(names.begin(), names.size()));
}

/// Everything that is known while one scenario is read.
struct Reading {
  JsonReader root;
  fs::path folder;
  Scenario scenario{};
  ScenarioInputs inputs{root, folder, scenario.provenance};

  void add_hash(const fs::path& file) { inputs.add_hash(file); }
  void note(std::string text) { inputs.note(std::move(text)); }
  fs::path file_of(const JsonReader& value, const fs::path& shipped = {}) const {
    return inputs.file_of(value, shipped);
  }
};

// --- what is simulated --------------------------------------------------------------------------------------------

void read_what(Reading& reading) {
  Scenario& scenario = reading.scenario;
  const JsonReader model = reading.root.at("model");
  std::vector<std::string> warnings;
  if (model.json().is_object()) {
    scenario.model = read_model(model, &warnings);
    if (scenario.model.name.empty()) scenario.model.name = scenario.name;
  } else {
    const std::string text = model.string();
    std::optional<fs::path> file;
    if (!text.ends_with(".json")) file = find_model_by_name(text);
    if (!file && !looks_like_a_file(text)) fail_unknown_name(model, "model", product_root() / "models");
    if (!file) file = reading.file_of(model, "models");
    scenario.model = read_model_file(*file, &warnings);
    reading.add_hash(*file);
  }
  for (std::string& warning : warnings) reading.note(std::move(warning));

  scenario.cluster = reading.inputs.read_cluster();
  scenario.gpu = reading.inputs.gpu_of(scenario.cluster);
}

/// A block-scaled fp8 checkpoint stays what it is when fp8 is asked for.
void set_format(DataType& part, DataType wanted) {
  if (!(wanted == DataType::fp8 && part == DataType::fp8_block)) part = wanted;
}

/// Inputs of the products with weights of this format. Integer and 4-bit microscaling weights are widened in the
/// kernel.
DataType activations_of(const WeightFormats& formats, const GpuSpec& gpu, DataType plain) {
  for (const DataType format : {formats.experts, formats.dense_ffn, formats.attention}) {
    const bool eight_bits = format == DataType::fp8 || format == DataType::fp8_block;
    if (eight_bits && gpu.fp8.value > 0) return DataType::fp8;
    if (format == DataType::nvfp4 && gpu.fp4.value > 0) return DataType::nvfp4;
    if (format == DataType::int8 && gpu.int8.value > 0) return DataType::int8;
  }
  return plain;
}

void read_precision(Reading& reading) {
  Scenario& scenario = reading.scenario;
  WeightFormats& formats = scenario.model.formats;
  const auto precision = reading.root.find("precision");
  if (const auto weights = member(precision, "weights")) {
    for (DataType* part : {&formats.attention, &formats.dense_ffn, &formats.experts, &formats.shared}) {
      set_format(*part, weights->data_type());
    }
  }
  if (const auto experts = member(precision, "experts")) {
    set_format(formats.experts, experts->data_type());
    set_format(formats.shared, experts->data_type());
  }
  if (const auto attention = member(precision, "attention")) set_format(formats.attention, attention->data_type());
  const DataType plain =
      scenario.model.activation_format == DataType::fp32 ? DataType::bf16 : scenario.model.activation_format;
  const auto activations = member(precision, "activations");
  scenario.engine.activation = activations ? activations->data_type() : activations_of(formats, scenario.gpu, plain);
  const auto cache = member(precision, "kv_cache");
  scenario.engine.kv_cache = cache ? cache->data_type() : plain;
}

/// What is computed at the rate of a wider format, because the GPU has none for it.
void note_wider_rates(Reading& reading) {
  const Scenario& scenario = reading.scenario;
  const GpuSpec& gpu = scenario.gpu;
  const WeightFormats& formats = scenario.model.formats;
  std::vector<DataType> named;
  const auto say = [&](DataType format) {
    const bool eight_bits = format == DataType::fp8 || format == DataType::fp8_block;
    const bool four_bits = format == DataType::nvfp4 || format == DataType::mxfp4;
    const bool missing = (eight_bits && gpu.fp8.value <= 0) || (four_bits && gpu.fp4.value <= 0) ||
                         (format == DataType::int8 && gpu.int8.value <= 0);
    if (!missing || std::find(named.begin(), named.end(), format) != named.end()) return;
    named.push_back(format);
    const std::string_view wider = four_bits && gpu.fp8.value > 0 ? "fp8" : gpu.bf16.value > 0 ? "bf16" : "fp32";
    reading.scenario.provenance.extrapolated.push_back(
        fmt::format("{} has no {} matrix units: computed at the rate of {} at best, {:.0f} TFLOPS, with {} bytes in "
                    "memory",
                    gpu.name, name(format), wider, matrix_peak(gpu, format).value / 1e12, name(format)));
  };
  for (const DataType format : {formats.attention, formats.dense_ffn}) say(format);
  if (scenario.model.is_moe()) {
    say(formats.experts);
    say(formats.shared);
  }
  say(scenario.engine.activation);
}

// --- the engine ---------------------------------------------------------------------------------------------------

void read_host(const std::optional<JsonReader>& host, HostTimes& times) {
  const auto set = [&host](std::string_view key, Duration& time) {
    if (const auto value = member(host, key)) time = value->duration();
  };
  set("step", times.step);
  set("per_sequence", times.per_sequence);
  set("request", times.request);
  set("per_input_token", times.per_input_token);
  set("detokenize", times.detokenize);
}

/// vLLM's defaults by GPU: from 70 GiB on and not an A100 8192 tokens and 1024 sequences, else 2048 and 256
/// [vllm: arg_utils.py, _set_default_args for `serve`].
void read_limits(Reading& reading, const std::optional<JsonReader>& engine) {
  Scenario& scenario = reading.scenario;
  EngineSpec& spec = scenario.engine;
  constexpr std::int64_t large = std::int64_t{70} << 30;
  const bool roomy = scenario.gpu.memory.value >= large && !scenario.gpu.id.starts_with("a100");
  if (const auto value = member(engine, "enable_chunked_prefill")) spec.enable_chunked_prefill = value->boolean();
  spec.max_model_len = scenario.model.max_positions;
  if (const auto length = member(engine, "max_model_len")) {
    spec.max_model_len = length->integer();
    if (scenario.model.max_positions > 0 && spec.max_model_len > scenario.model.max_positions) {
      reading.note(fmt::format("max_model_len {} is more than the {} positions that the model's config.json gives",
                               spec.max_model_len, scenario.model.max_positions));
    }
  }
  std::int64_t tokens = roomy ? 8192 : 2048;
  if (!spec.enable_chunked_prefill) tokens = std::max(tokens, std::min<std::int64_t>(spec.max_model_len, 100'000'000));
  spec.max_num_batched_tokens =
      small_integer(member(engine, "max_num_batched_tokens"), static_cast<std::int32_t>(tokens));
  spec.max_num_seqs =
      small_integer(member(engine, "max_num_seqs"), std::min(roomy ? 1024 : 256, spec.max_num_batched_tokens));
}

/// Steps that are larger than a round of their exchange.
void note_rounds(Reading& reading) {
  const EngineSpec& spec = reading.scenario.engine;
  const MoeBackend decode = spec.decode_backend.value_or(spec.all2all_backend);
  const std::int64_t tokens = goes_in_rounds(spec.all2all_backend) ? spec.max_num_batched_tokens
                              : goes_in_rounds(decode)             ? spec.max_num_seqs
                                                                   : 0;
  const std::int64_t most = (tokens + spec.plan.tp - 1) / spec.plan.tp;  // TP ranks send a slice each
  if (most <= spec.max_dispatch_tokens_per_rank) return;
  reading.note(
      fmt::format("steps of up to {} tokens a GPU exchange them in rounds of {} (max_dispatch_tokens_per_rank){}", most,
                  spec.max_dispatch_tokens_per_rank,
                  spec.preset == EnginePreset::sglang ? "; SGLang itself refuses such steps" : ""));
}

/// Which kernels exchange the tokens of experts, by the engines' own names.
void read_exchange(Reading& reading, const std::optional<JsonReader>& engine) {
  Scenario& scenario = reading.scenario;
  EngineSpec& spec = scenario.engine;
  const auto backend = member(engine, "all2all_backend");
  const auto mode = member(engine, "deepep_mode");
  const ExchangeName& named = *find_exchange_name(backend ? backend->string() : "allgather_reducescatter");
  if (mode && !named.has_modes) {
    mode->fail(fmt::format("belongs to all2all_backend deepep, but all2all_backend is {}", named.name),
               InputProblem::cannot_go_together);
  }
  spec.max_dispatch_tokens_per_rank = default_max_dispatch_tokens(spec.preset);
  if (const auto limit = member(engine, "max_dispatch_tokens_per_rank")) {
    spec.max_dispatch_tokens_per_rank = limit->integer();
  }
  if (!scenario.model.is_moe() || spec.plan.dp_ranks_per_expert_group() == 1) {
    spec.all2all_backend = MoeBackend::none;
    if (backend) {
      reading.note(
          fmt::format("all2all_backend {} is not used: no experts serve several data-parallel ranks", named.name));
    }
    return;
  }
  spec.all2all_backend = named.choice->prefill;
  spec.decode_backend = named.choice->decode;
  if (mode) {
    const auto chosen = choice_of(*mode, {"auto", "normal", "low_latency"});
    if (chosen == 1 && named.choice->prefill == MoeBackend::deepep_low_latency) {
      mode->fail(fmt::format("{} has low-latency kernels only", named.name), InputProblem::cannot_go_together);
    }
    if (chosen == 1) spec.decode_backend = spec.all2all_backend;
    if (chosen == 2) spec.all2all_backend = named.choice->decode;
  }
  if (spec.decode_backend == spec.all2all_backend) spec.decode_backend.reset();
  note_rounds(reading);
}

void read_engine(Reading& reading) {
  Scenario& scenario = reading.scenario;
  EngineSpec& spec = scenario.engine;
  const auto engine = reading.root.find("engine");
  if (const auto preset = member(engine, "preset")) {
    spec.preset = static_cast<EnginePreset>(choice_of(*preset, {"vllm", "sglang", "trtllm"}));
  }
  const auto parallel = member(engine, "enable_expert_parallel");
  const bool experts = parallel && parallel->boolean() && scenario.model.is_moe();
  spec.plan = vllm_plan(small_integer(member(engine, "tensor_parallel_size"), 1),
                        small_integer(member(engine, "pipeline_parallel_size"), 1),
                        small_integer(member(engine, "data_parallel_size"), 1), experts);
  if (parallel && parallel->boolean() && !experts) reading.note("enable_expert_parallel: the model has no experts");
  if (const auto size = member(engine, "expert_parallel_size"); size && scenario.model.is_moe()) {
    const std::int64_t ranks = std::int64_t{spec.plan.tp} * spec.plan.dp;
    if (ranks % size->integer() != 0) {
      size->fail(fmt::format("{} does not divide the {} ranks of TP x DP", size->integer(), ranks),
                 InputProblem::cannot_go_together);
    }
    spec.plan.ep = static_cast<std::int32_t>(size->integer());
    spec.plan.etp = static_cast<std::int32_t>(ranks / size->integer());
  }
  spec.replicas = small_integer(member(engine, "replicas"), 1);
  if (const auto network = reading.root.find("network")) {
    spec.network = static_cast<NetworkModel>(choice_of(*network, {"closed_form", "flow"}));
    if (spec.network == NetworkModel::flow) reading.note("network: flow, every transfer on the links of the graph");
  }
  read_limits(reading, engine);
  spec.block_size = small_integer(member(engine, "block_size"), 16);
  if (const auto share = member(engine, "gpu_memory_utilization")) spec.gpu_memory_utilization = share->number();
  spec.num_redundant_experts = small_integer(member(engine, "num_redundant_experts"), 0);
  if (const auto eager = member(engine, "enforce_eager")) spec.cuda_graphs = !eager->boolean();
  if (const auto overlap = member(engine, "async_scheduling")) spec.async_scheduling = overlap->boolean();
  if (const auto balancing = member(engine, "load_balancing")) {
    spec.balancing = static_cast<Balancing>(choice_of(*balancing, {"round_robin", "least_loaded"}));
  }
  spec.host = default_host_times(spec.preset);
  read_host(member(engine, "host"), spec.host);
  spec.fusion = default_fusions(spec.preset);

  read_exchange(reading, engine);
}

void read_calibration(Reading& reading) {
  Scenario& scenario = reading.scenario;
  Provenance& provenance = scenario.provenance;
  const EngineSpec& engine = scenario.engine;
  const ScenarioInputs::Calibration calibration = reading.inputs.read_calibration();
  const KernelProfileChoice choice =
      select_kernel_profile(calibration.kernels, scenario.gpu.id, engine.preset, reading.folder);
  reading.add_hash(choice.file);
  scenario.kernels = choice.profile;
  provenance.profiles.push_back(
      {choice.profile.name, choice.profile.provider, choice.profile.date, choice.profile.source, choice.extrapolated});
  if (choice.extrapolated || choice.profile.provider != name(engine.preset)) {
    provenance.extrapolated.push_back("kernels: " + choice.reason);
  }
  scenario.collectives = with_engine(
      reading.inputs.read_collectives(scenario.gpu, scenario.cluster, calibration.collectives), name(engine.preset));
  const bool network =
      engine.plan.world() > scenario.cluster.scale_up_domain || engine.all2all_backend != MoeBackend::none;
  reading.inputs.add_profile(scenario.collectives,
                             network ? ScenarioInputs::Uses::network : ScenarioInputs::Uses::domain);
}

/// Sections of the profile that were not measured for the kernels of this run.
void note_stand_ins(Reading& reading) {
  Scenario& scenario = reading.scenario;
  const KernelCost kernels(scenario.gpu, scenario.kernels);
  for (const std::string& line : stand_ins(scenario.model, kernels, execution_spec(scenario.engine))) {
    scenario.provenance.extrapolated.push_back("kernels: " + line);
  }
}

// --- load ---------------------------------------------------------------------------------------------------------

void read_routing(Reading& reading) {
  RoutingSpec& routing = reading.scenario.routing;
  const auto field = reading.root.find("routing");
  if (const auto resolution = member(field, "resolution")) {
    routing.resolution = static_cast<RoutingResolution>(choice_of(*resolution, {"counts", "matrix", "token"}));
  }
  const auto popularity = member(field, "popularity");
  if (!popularity) return;
  PopularitySpec& spec = routing.popularity;
  if (const auto kind = popularity->find("kind")) {
    spec.kind = static_cast<PopularityKind>(choice_of(*kind, {"uniform", "zipf", "lognormal", "dirichlet", "file"}));
  }
  if (const auto value = popularity->find("exponent")) spec.exponent = value->number();
  if (const auto value = popularity->find("sigma")) spec.sigma = value->number();
  if (const auto value = popularity->find("concentration")) spec.concentration = value->number();
  if (spec.kind != PopularityKind::file) return;
  const JsonReader name = popularity->at("file");
  const fs::path file = reading.file_of(name);
  if (!reading.scenario.model.is_moe()) name.fail("the model has no experts", InputProblem::cannot_go_together);
  const auto moe_layers = std::count_if(reading.scenario.model.layers.begin(), reading.scenario.model.layers.end(),
                                        [](const LayerSpec& layer) { return layer.moe; });
  spec.table = read_popularity(file, reading.scenario.model.moe, moe_layers);
  reading.add_hash(file);
}

LengthSpec read_lengths(Reading& reading, const JsonReader& field) {
  LengthSpec spec;
  spec.kind = static_cast<LengthKind>(choice_of(field.at("kind"), {"constant", "uniform", "lognormal", "file"}));
  switch (spec.kind) {
    case LengthKind::constant:
      spec.mean = field.at("mean").number();
      if (spec.mean != std::floor(spec.mean)) field.at("mean").fail("expected a whole number of tokens");
      break;
    case LengthKind::uniform:
      spec.low = field.at("low").integer();
      spec.high = field.at("high").integer();
      if (spec.high < spec.low) field.fail(fmt::format("high {} is less than low {}", spec.high, spec.low));
      break;
    case LengthKind::lognormal:
      spec.mean = field.at("mean").number();
      spec.p99 = field.at("p99").number();
      if (!lognormal_sigma(spec.mean, spec.p99)) {
        field.at("p99").fail(fmt::format("expected from 1 to 14.9 times the mean {}, got {}", spec.mean, spec.p99));
      }
      break;
    case LengthKind::file: {
      const fs::path file = reading.file_of(field.at("file"));
      const auto column = field.find("column");
      spec.values = read_lengths_file(file, column ? column->string() : "");
      reading.add_hash(file);
      break;
    }
  }
  return spec;
}

void read_workload(Reading& reading) {
  WorkloadSpec& spec = reading.scenario.workload;
  const JsonReader field = reading.root.at("workload");
  const auto requests = field.find("requests");
  if (const auto trace = field.find("trace")) {
    for (const char* other : {"arrivals", "input_tokens", "output_tokens"}) {
      if (const auto value = field.find(other)) value->fail("cannot stand beside trace");
    }
    TraceOptions options;
    options.format =
        static_cast<TraceFormat>(choice_of(field.at("format"), {"mooncake", "azure", "burstgpt", "jsonl", "csv"}));
    if (const auto unit = field.find("time_unit")) options.time_unit = unit->string();
    if (const auto speed = field.find("speed")) options.speed = speed->number();
    if (requests) options.limit = requests->integer();
    const fs::path file = reading.file_of(*trace);
    Trace recorded = read_trace(file, options);
    reading.add_hash(file);
    for (std::string& text : recorded.notes) reading.note(std::move(text));
    spec.arrivals.kind = ArrivalKind::trace;
    spec.requests = static_cast<std::int64_t>(recorded.requests.size());
    spec.trace = std::move(recorded.requests);
    return;
  }
  for (const char* other : {"format", "time_unit", "speed"}) {
    if (const auto value = field.find(other)) value->fail("belongs to a trace; /workload/trace is missing");
  }
  const JsonReader arrivals = field.at("arrivals");
  const auto kind = choice_of(arrivals.at("kind"), {"poisson", "gamma", "constant", "closed", "batch"});
  spec.arrivals.kind = static_cast<ArrivalKind>(kind);
  if (spec.arrivals.kind == ArrivalKind::closed) {
    spec.arrivals.concurrency = static_cast<std::int32_t>(arrivals.at("concurrency").integer());
  } else if (spec.arrivals.kind != ArrivalKind::batch) {
    spec.arrivals.rate_per_second = arrivals.at("rate").rate_per_second();
  }
  if (const auto burstiness = arrivals.find("burstiness")) spec.arrivals.burstiness = burstiness->number();
  spec.input = read_lengths(reading, field.at("input_tokens"));
  spec.output = read_lengths(reading, field.at("output_tokens"));
  spec.requests = field.at("requests").integer();
}

void read_goals(Reading& reading) {
  const auto slo = reading.root.find("slo");
  Slo& limits = reading.scenario.slo;
  if (const auto value = member(slo, "ttft")) limits.ttft = value->duration();
  if (const auto value = member(slo, "tpot")) limits.tpot = value->duration();
  if (const auto value = member(slo, "e2el")) limits.e2el = value->duration();
  if (const auto value = member(reading.root.find("price"), "gpu_hour")) reading.scenario.gpu_hour_usd = value->usd();
}

/// The board's limit may be set lower, as with nvidia-smi -pl.
void read_power(Reading& reading) {
  Scenario& scenario = reading.scenario;
  const auto power = reading.root.find("power");
  const auto clocks = member(power, "clocks");
  if (clocks) scenario.clocks = static_cast<Clocks>(choice_of(*clocks, {"locked", "sustained"}));
  const auto limit = member(power, "limit");
  scenario.power = power_model_of(scenario.gpu);
  if (!scenario.power) {
    for (const auto& field : {clocks, limit}) {
      if (field) field->fail("the board power of the GPU is not known", InputProblem::cannot_go_together);
    }
    return;
  }
  reading.add_hash(power_table());
  if (limit) {
    const double least = scenario.power->idle + scenario.power->awake;
    scenario.power->limit = limit->watts();
    if (scenario.power->limit <= least || scenario.power->limit > scenario.gpu.power_watts) {
      limit->fail(
          fmt::format("expected above {:.0f} W, what the GPU draws in any kernel, and at most {:.0f} W, its "
                      "board power",
                      least, scenario.gpu.power_watts));
    }
  }
  if (scenario.power->extrapolated) {
    scenario.provenance.extrapolated.push_back("power: " + scenario.power->source);
  }
}

// --- do the parts go together? ------------------------------------------------------------------------------------

[[noreturn]] void refuse(const Reading& reading, std::string_view pointer, const std::string& message) {
  throw ConfigError(InputProblem::cannot_go_together, fmt::format("{}: {}: {}", reading.root.file(), pointer, message));
}

void check_plan(Reading& reading) {
  const Scenario& scenario = reading.scenario;
  const EngineSpec& engine = scenario.engine;
  const ParallelPlan& plan = engine.plan;
  const std::int64_t gpus = gpu_count(scenario.cluster);
  const std::int64_t needed = std::int64_t{plan.tp} * plan.pp * plan.dp * engine.replicas;
  if (needed > gpus) {
    const std::int64_t nodes = (needed + scenario.cluster.gpus_per_node - 1) / scenario.cluster.gpus_per_node;
    refuse(reading, "/engine",
           fmt::format("tensor {} x pipeline {} x data {} x {} replica{} = {} GPUs, but {} node{} of {} have {}; "
                       "set /nodes to {}",
                       plan.tp, plan.pp, plan.dp, engine.replicas, engine.replicas == 1 ? "" : "s", needed,
                       scenario.cluster.nodes, scenario.cluster.nodes == 1 ? "" : "s", scenario.cluster.name, gpus,
                       nodes));
  }
  if (needed < gpus) reading.note(fmt::format("uses the first {} of {} GPUs", needed, gpus));
  if (const std::string problem = plan_problem(plan, scenario.model); !problem.empty()) {
    refuse(reading, "/engine", problem);
  }
  if (!scenario.model.is_moe()) {
    if (engine.num_redundant_experts > 0) {
      refuse(reading, "/engine/num_redundant_experts", "the model has no experts");
    }
    return;
  }
  if (engine.num_redundant_experts > 0 && plan.ep == 1) {
    refuse(reading, "/engine/num_redundant_experts", "needs enable_expert_parallel on more than one rank");
  }
  if (const std::string problem = slots_problem(scenario.model.moe.experts, plan.ep, engine.num_redundant_experts);
      !problem.empty()) {
    refuse(reading, "/engine/num_redundant_experts", problem);
  }
  const std::int32_t domain = std::max(scenario.cluster.scale_up_domain, scenario.cluster.gpus_per_node);
  const auto domains = static_cast<std::uint32_t>((plan.ep * plan.etp + domain - 1) / domain);
  for (const MoeBackend backend : {engine.all2all_backend, engine.decode_backend.value_or(engine.all2all_backend)}) {
    if (const std::string problem = backend_problem(backend, plan, scenario.model, domains); !problem.empty()) {
      refuse(reading, "/engine/all2all_backend", problem);
    }
  }
}

/// Times are 64 bits of picoseconds, 106 days: arrivals within 50 days leave the run its own time after the last one.
/// A gamma process of small shape k strays from its mean by sqrt(requests / k) gaps; ten of those are kept free.
void check_span(const Reading& reading) {
  const WorkloadSpec& spec = reading.scenario.workload;
  if (spec.arrivals.rate_per_second <= 0) return;
  constexpr double longest_days = 50;
  const auto requests = static_cast<double>(spec.requests);
  const double gaps = requests + 10 * std::sqrt(requests / std::min(1.0, spec.arrivals.burstiness));
  const double days = gaps / spec.arrivals.rate_per_second / 86400;
  if (days <= longest_days) return;
  throw ConfigError(InputProblem::bad_data,
                    fmt::format("{}: /workload/arrivals/rate: {} requests at {:.3g} a second can take {:.4g} days; "
                                "a run spans at most {:.0f}; give a higher rate or fewer requests",
                                reading.root.file(), spec.requests, spec.arrivals.rate_per_second, days, longest_days));
}

/// Longest input and output that the workload can hold for sure; 0 when its law has no end.
std::int64_t longest(const LengthSpec& spec) {
  switch (spec.kind) {
    case LengthKind::constant:
      return static_cast<std::int64_t>(spec.mean);
    case LengthKind::uniform:
      return spec.high;
    case LengthKind::lognormal:
      return 1;
    case LengthKind::file:
      return spec.values.empty() ? 1 : *std::min_element(spec.values.begin(), spec.values.end());
  }
  return 0;
}

/// The constant states of max_num_seqs sequences take the room of the whole cache.
[[noreturn]] void refuse_without_cache(const Reading& reading) {
  const Scenario& scenario = reading.scenario;
  EngineSpec engine = scenario.engine;
  const auto blocks = [&](std::int32_t sequences) {
    engine.max_num_seqs = sequences;
    return pool_memory(scenario.model, scenario.gpu, scenario.cluster, engine).kv_blocks_total;
  };
  std::int32_t fit = 0;
  std::int32_t too_many = scenario.engine.max_num_seqs;
  while (too_many - fit > 1) {
    const std::int32_t middle = fit + (too_many - fit) / 2;
    (blocks(middle) >= 1 ? fit : too_many) = middle;
  }
  refuse(reading, "/engine/max_num_seqs",
         fmt::format("the constant states of {} sequences leave no room for a block of KV cache; {}",
                     scenario.engine.max_num_seqs,
                     fit > 0 ? fmt::format("at most {} fit", fit) : std::string("not even one fits")));
}

void check_limits(Reading& reading) {
  Scenario& scenario = reading.scenario;
  EngineSpec& engine = scenario.engine;
  if (engine.max_num_batched_tokens < engine.max_num_seqs) {
    refuse(reading, "/engine/max_num_batched_tokens",
           fmt::format("{} tokens a step cannot hold {} sequences; expected at least max_num_seqs",
                       engine.max_num_batched_tokens, engine.max_num_seqs));
  }
  const MemoryLimits limits = memory_limits(scenario.model, scenario.cluster, engine);
  if (const std::string advice = fit_advice(scenario.model, engine.plan, scenario.gpu, limits, engine.block_size);
      !advice.empty()) {
    refuse(reading, "/engine", scenario.model.name + " does not fit: " + advice);
  }
  const PoolMemory memory = pool_memory(scenario.model, scenario.gpu, scenario.cluster, engine);
  if (memory.kv_blocks_total < 1) refuse_without_cache(reading);
  const bool length_given = member(reading.root.find("engine"), "max_model_len").has_value();
  const std::int64_t pool = memory.cache_capacity_tokens;
  if (pool > 0 && (engine.max_model_len == 0 || engine.max_model_len > pool)) {
    if (length_given) {
      refuse(reading, "/engine/max_model_len",
             fmt::format("{} tokens are more than the KV cache of a data-parallel rank holds ({})",
                         engine.max_model_len, pool));
    }
    if (engine.max_model_len > 0) {
      reading.note(fmt::format("requests are at most {} tokens long, as the KV cache holds, not the model's {}", pool,
                               engine.max_model_len));
    }
    engine.max_model_len = pool;
  }
  if (scenario.workload.arrivals.kind == ArrivalKind::trace) return;
  const std::int64_t input = longest(scenario.workload.input);
  const std::int64_t output = longest(scenario.workload.output);
  if (engine.max_model_len > 0 && input + output > engine.max_model_len) {
    refuse(reading, "/workload",
           fmt::format("a request of {} input and {} output tokens is longer than max_model_len {}", input, output,
                       engine.max_model_len));
  }
  if (!engine.enable_chunked_prefill && input > engine.max_num_batched_tokens) {
    refuse(reading, "/engine/max_num_batched_tokens",
           fmt::format("{} tokens a step cannot hold a prompt of {} without chunked prefill",
                       engine.max_num_batched_tokens, input));
  }
}

}  // namespace

Scenario read_scenario_file(const fs::path& path, std::span<const Override> overrides,
                            std::optional<std::uint64_t> seed) {
  ordered_json document = parse_json_file(path);
  const std::string file = input_name(path);
  if (!document.is_object()) JsonReader(document, file).fail("expected an object of a scenario's fields");
  // A kind is set before the fields that belong to it.
  for (const bool kinds : {true, false}) {
    for (const Override& override : overrides) {
      if (override.pointer.ends_with("/kind") == kinds) set_scenario_field(document, override.pointer, override.value);
    }
  }
  const JsonReader root(document, file);
  check_scenario_fields(root);
  if (const auto mode = root.find("mode"); mode && mode->string() == "network") {
    mode->fail("a scenario of mode network: moesim run takes it, this command does not", InputProblem::usage);
  }
  if (const auto program = root.find("program")) program->fail("belongs to mode network; set \"mode\": \"network\"");

  Reading reading{root, path.parent_path()};
  Scenario& scenario = reading.scenario;
  scenario.stem = fs::path(file).stem().string();
  const auto name = root.find("name");
  scenario.name = name ? name->string() : scenario.stem;
  scenario.provenance.tool_version = MOESIM_VERSION;
  reading.add_hash(path);
  reading.inputs.note_overrides(overrides);
  const auto seed_field = root.find("seed");
  scenario.seed = seed ? *seed : seed_field ? static_cast<std::uint64_t>(seed_field->integer()) : 1;
  scenario.provenance.seed = scenario.seed;
  if (const auto strides = root.find("strides")) scenario.strides = strides->boolean();
  read_what(reading);
  read_precision(reading);
  read_engine(reading);
  read_routing(reading);
  read_goals(reading);
  check_plan(reading);
  read_calibration(reading);
  read_power(reading);
  note_wider_rates(reading);
  note_stand_ins(reading);
  read_workload(reading);
  check_span(reading);
  check_limits(reading);
  return std::move(reading.scenario);
}

}  // namespace moesim
