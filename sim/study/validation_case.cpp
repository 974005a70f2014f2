#include "study/validation_case.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "collectives/layer_collectives.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/standard_node.h"
#include "parallel/placement.h"

namespace moesim {

std::string_view name(ValidationScope scope) {
  switch (scope) {
    case ValidationScope::static_batch:
      return "static_batch_prefill+decode";
    case ValidationScope::first_token:
      return "prefill_only_bs1";
    case ValidationScope::expert_prefill:
      return "prefill_only";
    case ValidationScope::expert_decode:
      return "decode_only";
  }
  return "";
}

std::string_view metric_of(ValidationScope scope) {
  switch (scope) {
    case ValidationScope::static_batch:
    case ValidationScope::expert_decode:
      return "output_tokens_per_s";
    case ValidationScope::first_token:
      return "ttft_ms";
    case ValidationScope::expert_prefill:
      return "input_tokens_per_s";
  }
  return "";
}

std::string_view name(SkipReason reason) {
  switch (reason) {
    case SkipReason::scope_not_supported:
      return "scope not supported yet";
    case SkipReason::speculative_decoding:
      return "speculative decoding not supported yet";
    case SkipReason::engine_unknown:
      return "engine unknown";
    case SkipReason::model_without_config:
      return "model has no config";
    case SkipReason::gpu_unknown:
      return "GPU unknown";
    case SkipReason::no_standard_node:
      return "no cluster of this GPU";
    case SkipReason::precision_unknown:
      return "precision unknown";
    case SkipReason::length_missing:
      return "length missing";
    case SkipReason::batch_missing:
      return "batch missing";
    case SkipReason::parallelism_missing:
      return "parallelism missing";
    case SkipReason::parallelism_not_legal:
      return "parallelism not legal";
    case SkipReason::no_network_between_nodes:
      return "no network between nodes";
    case SkipReason::does_not_fit_in_memory:
      return "does not fit in memory";
    case SkipReason::measurement_missing:
      return "measurement missing";
  }
  return "";
}

// --- the files ------------------------------------------------------------------------------------------------------

ValidationSources::ValidationSources(const std::filesystem::path& models)
    : models_(read_model_catalog(product_root() / "models")) {
  if (!models.empty()) own_models_ = read_model_catalog(models);
  for (GpuSpec& gpu : read_gpus()) {
    const auto shared = std::make_shared<const GpuSpec>(std::move(gpu));
    gpus_.emplace(gpu_key(shared->id), shared);
    for (const std::string& alias : shared->aliases) gpus_.emplace(gpu_key(alias), shared);
  }
}

std::shared_ptr<const ModelSpec> ValidationSources::model(const std::string& name) {
  auto& known = read_models_[name];
  if (known) return known;
  auto file = find_model(own_models_, name);
  if (!file) file = find_model(models_, name);
  if (file) known = std::make_shared<const ModelSpec>(read_model_file(*file));
  return known;
}

std::shared_ptr<const GpuSpec> ValidationSources::gpu(const std::string& name) {
  const auto found = gpus_.find(gpu_key(name));
  return found == gpus_.end() ? nullptr : found->second;
}

std::shared_ptr<const ClusterSpec> ValidationSources::cluster(const GpuSpec& gpu, std::int64_t gpus) {
  auto& one = clusters_[{gpu.id, 1}];
  if (!one) {
    const auto file = standard_node(gpu.id);
    if (!file) return nullptr;
    ClusterSpec cluster = read_cluster_file(*file);
    cluster.nodes = 1;
    one = std::make_shared<const ClusterSpec>(std::move(cluster));
  }
  const std::int64_t nodes = (gpus + one->gpus_per_node - 1) / one->gpus_per_node;
  if (nodes == 1) return one;
  auto& several = clusters_[{gpu.id, nodes}];
  if (!several) {
    ClusterSpec cluster = *one;
    cluster.nodes = static_cast<std::int32_t>(nodes);
    several = std::make_shared<const ClusterSpec>(std::move(cluster));
  }
  return several;
}

std::shared_ptr<const KernelProfileChoice> ValidationSources::kernels(const GpuSpec& gpu, EnginePreset preset) {
  auto& known = kernels_[{gpu.id, preset}];
  if (!known) known = std::make_shared<const KernelProfileChoice>(select_kernel_profile("auto", gpu.id, preset));
  return known;
}

std::shared_ptr<const CollectiveProfile> ValidationSources::collectives(const GpuSpec& gpu, const ClusterSpec& cluster,
                                                                        EnginePreset preset) {
  auto& known = collectives_[{gpu.id, cluster.nodes, preset}];
  if (!known) {
    known = std::make_shared<const CollectiveProfile>(
        with_engine(collective_profile_for(product_root() / "calibrate" / "profiles", gpu, cluster), name(preset)));
  }
  return known;
}

// --- a row ----------------------------------------------------------------------------------------------------------

namespace {

std::optional<ValidationScope> scope_of(const ServingRow& row) {
  for (const ValidationScope scope : {ValidationScope::static_batch, ValidationScope::first_token,
                                      ValidationScope::expert_prefill, ValidationScope::expert_decode}) {
    if (row.metric_scope == name(scope)) return scope;
  }
  return std::nullopt;
}

bool expert_phase(ValidationScope scope) {
  return scope == ValidationScope::expert_prefill || scope == ValidationScope::expert_decode;
}

std::optional<double> measurement_of(const ServingRow& row, ValidationScope scope) {
  switch (scope) {
    case ValidationScope::static_batch:
    case ValidationScope::expert_decode:
      return row.output_tokens_per_s;
    case ValidationScope::first_token:
      return row.mean_ttft_ms;
    case ValidationScope::expert_prefill:
      return row.input_tokens_per_s;
  }
  return std::nullopt;
}

std::optional<EnginePreset> preset_of(const std::string& engine) {
  if (engine == "TensorRT-LLM") return EnginePreset::trtllm;
  if (engine == "SGLang" || engine == "DeepSeek in-house") return EnginePreset::sglang;
  if (engine == "vLLM") return EnginePreset::vllm;
  return std::nullopt;
}

void set_matrices(WeightFormats& formats, DataType type) {
  formats.attention = formats.dense_ffn = formats.experts = formats.shared = type;
}

/// Formats of weights, activations and cache; false where the row names none that is known.
bool set_precision(const ServingRow& row, const GpuSpec& gpu, ValidationCase& run) {
  WeightFormats& formats = run.model.formats;
  DataType plain = run.model.activation_format == DataType::fp32 ? DataType::bf16 : run.model.activation_format;
  if (row.weight_prec == "FP16" || row.weight_prec == "BF16") {
    plain = row.weight_prec == "FP16" ? DataType::fp16 : DataType::bf16;
    set_matrices(formats, plain);
    formats.router = formats.embedding = formats.head = plain;
    run.engine.activation = plain;
  } else if (row.weight_prec == "FP8" || row.weight_prec == "FP8 (native block)") {
    if (row.weight_prec == "FP8") {
      set_matrices(formats, DataType::fp8);
    } else if (formats.dense_ffn != DataType::fp8_block && formats.experts != DataType::fp8_block) {
      return false;
    }
    run.engine.activation = gpu.fp8.value > 0 ? DataType::fp8 : plain;
  } else {
    return false;
  }
  run.engine.kv_cache = plain;
  if (row.kv_prec == "fp16") run.engine.kv_cache = DataType::fp16;
  if (row.kv_prec == "bf16") run.engine.kv_cache = DataType::bf16;
  if (row.kv_prec == "fp8") run.engine.kv_cache = DataType::fp8;
  return row.kv_prec.empty() || row.kv_prec == "fp16" || row.kv_prec == "bf16" || row.kv_prec == "fp8";
}

/// The whole number before the word "redundant"; 0 where there is none.
std::int32_t redundant_experts(const std::string& text) {
  const std::size_t word = text.find(" redundant");
  if (word == std::string::npos) return 0;
  std::size_t first = word;
  while (first > 0 && std::isdigit(static_cast<unsigned char>(text[first - 1])) != 0) --first;
  std::int32_t count = 0;
  std::from_chars(text.data() + first, text.data() + word, count);
  return count;
}

void set_routing(const ServingRow& row, ValidationCase& run) {
  if (row.eplb.empty() || row.eplb == "off" || row.eplb == "n/a" || row.ep.value_or(1) < 1) return;
  run.routing.popularity.kind = PopularityKind::uniform;
  // Copies of equally popular experts would only unbalance ranks that hold equal numbers of them already.
  if (run.model.moe.experts % row.ep.value_or(1) != 0) run.engine.num_redundant_experts = redundant_experts(row.eplb);
}

std::int32_t narrow(std::int64_t count) {
  return static_cast<std::int32_t>(count);
}

/// The plan of a row, or why there is none.
std::optional<SkipReason> set_plan(const ServingRow& row, ValidationCase& run) {
  if (!row.gpus || *row.gpus < 1 || *row.gpus > 65536) return SkipReason::parallelism_missing;
  EngineSpec& engine = run.engine;
  const std::int64_t pp = row.pp.value_or(1);
  if (row.replicas.value_or(1) != 1 || row.context_parallel.value_or(1) != 1) return SkipReason::parallelism_not_legal;
  if (expert_phase(run.scope)) {
    if (!row.ep || !row.attention_dp) return SkipReason::parallelism_missing;
    if (*row.ep != *row.attention_dp || row.tp.value_or(1) != 1 || pp != 1) return SkipReason::parallelism_not_legal;
    engine.plan = vllm_plan(1, 1, narrow(*row.ep), true);
    engine.all2all_backend = run.scope == ValidationScope::expert_prefill ? MoeBackend::deepep_high_throughput
                                                                          : MoeBackend::deepep_low_latency;
  } else {
    if (!row.tp || row.attention_dp.value_or(1) != 1) return SkipReason::parallelism_missing;
    const std::int64_t ep = row.ep.value_or(1);
    if (*row.tp < 1 || pp < 1 || ep < 1 || *row.tp % ep != 0) return SkipReason::parallelism_not_legal;
    engine.plan = trtllm_plan(narrow(*row.tp), narrow(pp), narrow(*row.tp / ep), narrow(ep), false);
  }
  if (engine.plan.world() != *row.gpus) return SkipReason::parallelism_missing;
  if (!plan_problem(engine.plan, run.model).empty()) return SkipReason::parallelism_not_legal;
  if (!run.model.is_moe()) return std::nullopt;
  if (!slots_problem(run.model.moe.experts, engine.plan.ep, engine.num_redundant_experts).empty()) {
    return SkipReason::parallelism_not_legal;
  }
  return std::nullopt;
}

std::optional<SkipReason> set_load(const ServingRow& row, ValidationCase& run) {
  const double input = row.input_tokens.value_or(0), output = row.output_tokens.value_or(0);
  if (input < 1 || input > 1e7) return SkipReason::length_missing;
  if (run.scope == ValidationScope::static_batch && (output < 1 || output > 1e7)) return SkipReason::length_missing;
  run.input_tokens = static_cast<std::int64_t>(input);
  run.output_tokens = run.scope == ValidationScope::first_token ? 1 : static_cast<std::int64_t>(output);
  const auto batch = run.scope == ValidationScope::expert_prefill ? row.max_num_tokens : row.max_batch;
  if (run.scope == ValidationScope::first_token) return std::nullopt;
  if (!batch || *batch < 1 || *batch > 10'000'000) return SkipReason::batch_missing;
  run.sequences =
      run.scope == ValidationScope::expert_prefill ? std::max<std::int64_t>(1, *batch / run.input_tokens) : *batch;
  return std::nullopt;
}

void set_host_times(ValidationCase& run) {
  HostTimes& host = run.engine.host;
  if (expert_phase(run.scope)) return;
  const HostTimes preset = default_host_times(run.engine.preset);
  host.step = preset.step;
  if (run.engine.preset != EnginePreset::trtllm) host.per_sequence = preset.per_sequence;
}

/// Cache tokens that a data-parallel rank needs at most.
std::int64_t cache_tokens(const ValidationCase& run) {
  const std::int64_t length = run.input_tokens + run.output_tokens;
  const std::int64_t block = run.engine.block_size;
  return run.sequences * ((length + block - 1) / block * block);
}

bool fits(const ValidationCase& run) {
  return pool_memory(run.model, *run.gpu, *run.cluster, run.engine).cache_capacity_tokens >= cache_tokens(run);
}

/// Limits of the scheduler; false where the batch does not fit.
bool set_limits(ValidationCase& run) {
  EngineSpec& engine = run.engine;
  engine.gpu_memory_utilization = 1;
  engine.max_num_seqs = narrow(run.sequences);
  if (run.scope == ValidationScope::expert_decode) {
    engine.max_num_batched_tokens = narrow(run.sequences);
    return fits(run);
  }
  // The context phase in the fewest equal parts.
  for (std::int64_t parts = 1;; parts *= 2) {
    const std::int64_t sequences = (run.sequences + parts - 1) / parts;
    const std::int64_t tokens = sequences * run.input_tokens;
    if (tokens <= 2'000'000'000) {
      engine.max_num_batched_tokens = narrow(std::max(tokens, run.sequences));
      if (fits(run)) return true;
    }
    if (sequences == 1) return false;
    if (run.scope == ValidationScope::expert_prefill) return false;
  }
}

}  // namespace

std::variant<ValidationCase, SkipReason> validation_case(const ServingRow& row, ValidationSources& sources) {
  ValidationCase run;
  const auto scope = scope_of(row);
  if (!scope) return SkipReason::scope_not_supported;
  run.scope = *scope;
  run.precision = row.weight_prec;
  if (!row.spec_decode.empty() && row.spec_decode != "off") return SkipReason::speculative_decoding;
  const auto preset = preset_of(row.engine);
  if (!preset) return SkipReason::engine_unknown;
  run.engine.preset = *preset;
  run.engine.fusion = default_fusions(*preset);
  const auto model = sources.model(row.model);
  if (!model) return SkipReason::model_without_config;
  run.model = *model;
  run.gpu = sources.gpu(row.gpu);
  if (!run.gpu) return SkipReason::gpu_unknown;
  if (!set_precision(row, *run.gpu, run)) return SkipReason::precision_unknown;
  if (expert_phase(run.scope) && !run.model.is_moe()) return SkipReason::scope_not_supported;
  set_routing(row, run);
  if (const auto problem = set_load(row, run)) return *problem;
  if (const auto problem = set_plan(row, run)) return *problem;
  const auto measured = measurement_of(row, run.scope);
  if (!measured || *measured <= 0) return SkipReason::measurement_missing;
  run.measured = *measured;
  run.cluster = sources.cluster(*run.gpu, *row.gpus);
  if (!run.cluster) return SkipReason::no_standard_node;
  const std::int32_t domain = run.cluster->scale_up_domain;
  const std::int64_t gpus = gpu_count(*run.cluster);
  if (run.cluster->nodes > 1 && gpus > domain && run.cluster->fabric == FabricKind::none) {
    return SkipReason::no_network_between_nodes;
  }
  const std::int32_t domains = (narrow(*row.gpus) + domain - 1) / domain;
  if (!backend_problem(run.engine.all2all_backend, run.engine.plan, run.model, static_cast<std::uint32_t>(domains))
           .empty()) {
    return SkipReason::parallelism_not_legal;
  }
  run.kernels = sources.kernels(*run.gpu, *preset);
  run.collectives = sources.collectives(*run.gpu, *run.cluster, run.engine.preset);
  set_host_times(run);
  if (!set_limits(run)) return SkipReason::does_not_fit_in_memory;
  return run;
}

}  // namespace moesim
