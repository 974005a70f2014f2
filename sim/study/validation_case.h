#pragma once
// A measured row of a serving table as a run: what the row says, and what is assumed where it does not.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include "config/model_catalog.h"
#include "config/read_profile.h"
#include "config/read_serving_table.h"
#include "serving/engine_spec.h"
#include "serving/serving_run.h"

namespace moesim {

/// What is measured, with its main metric.
enum class ValidationScope {
  static_batch,    ///< a batch that starts and ends together: output tokens/s
  first_token,     ///< one request alone: time to its first token
  expert_prefill,  ///< one prefill step of an expert-parallel deployment: input tokens/s
  expert_decode,   ///< one decode step of it: output tokens/s
};
/// As in the column `metric_scope`.
std::string_view name(ValidationScope scope);
/// "output_tokens_per_s", "input_tokens_per_s" or "ttft_ms".
std::string_view metric_of(ValidationScope scope);

/// Why a row is not simulated.
enum class SkipReason {
  scope_not_supported,
  speculative_decoding,
  engine_unknown,
  model_without_config,
  gpu_unknown,
  no_standard_node,
  precision_unknown,
  length_missing,
  batch_missing,
  parallelism_missing,
  parallelism_not_legal,
  no_network_between_nodes,
  does_not_fit_in_memory,
  measurement_missing,
};
inline constexpr std::size_t kSkipReasons = 14;
/// In words, as tables print it.
std::string_view name(SkipReason reason);

/// Everything that one run needs. The shared parts are read once for all rows.
struct ValidationCase {
  ValidationScope scope = ValidationScope::static_batch;
  std::string precision;  ///< of weights, as the row spells it
  double measured = 0;    ///< in the unit of the metric
  ModelSpec model;        ///< formats already those of the row
  std::shared_ptr<const GpuSpec> gpu;
  std::shared_ptr<const ClusterSpec> cluster;
  std::shared_ptr<const KernelProfileChoice> kernels;
  std::shared_ptr<const CollectiveProfile> collectives;
  EngineSpec engine;
  RoutingSpec routing;
  std::int64_t sequences = 1;  ///< of one data-parallel rank
  std::int64_t input_tokens = 0, output_tokens = 0;
  /// Neither kernels nor collectives had to be taken over from another GPU.
  bool measured_profiles() const { return !kernels->extrapolated && !collectives->extrapolated; }
};

/// The files behind the cases, each read once. Throws ConfigError where a file is broken.
class ValidationSources {
 public:
  /// `models`: a folder of further model files, searched first; may be empty.
  explicit ValidationSources(const std::filesystem::path& models = {});

  std::shared_ptr<const ModelSpec> model(const std::string& name);  ///< null: no config of this name
  std::shared_ptr<const GpuSpec> gpu(const std::string& name);      ///< null: unknown
  /// The standard node of a GPU as often as needed for `gpus`; null: none is known.
  std::shared_ptr<const ClusterSpec> cluster(const GpuSpec& gpu, std::int64_t gpus);
  std::shared_ptr<const KernelProfileChoice> kernels(const GpuSpec& gpu, EnginePreset preset);
  /// With the all-reduce kernels of the engine.
  std::shared_ptr<const CollectiveProfile> collectives(const GpuSpec& gpu, const ClusterSpec& cluster,
                                                       EnginePreset preset);

 private:
  ModelCatalog own_models_, models_;
  std::map<std::string, std::shared_ptr<const GpuSpec>> gpus_;  ///< by `gpu_key` of id and aliases
  std::map<std::string, std::shared_ptr<const ModelSpec>> read_models_;
  std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const ClusterSpec>> clusters_;
  std::map<std::pair<std::string, EnginePreset>, std::shared_ptr<const KernelProfileChoice>> kernels_;
  std::map<std::tuple<std::string, std::int32_t, EnginePreset>, std::shared_ptr<const CollectiveProfile>> collectives_;
};

/// The run that stands for a row, or why there is none.
///  - Scopes: `static_batch_prefill+decode`, `prefill_only_bs1`, and `prefill_only` and `decode_only` of
///    expert-parallel deployments (column ep). Every other scope has a queue or mixes phases.
///  - Cluster: the standard node of the GPU, as many as n_gpus fill.
///  - Engine: TensorRT-LLM, vLLM and SGLang are the presets of these names; DeepSeek's own engine runs as SGLang, which
///    has its kernels (DeepGEMM, DeepEP, FlashMLA).
///  - Precision: FP16 and BF16 hold for all weights; FP8 for all matrices but head, embedding and router, activations
///    too; "FP8 (native block)" leaves the formats of the model's config.json. A cache without a format is as wide as
///    the unquantised activations.
///  - Plan: tp x pp, experts sharded over tp as TensorRT-LLM and vLLM do by default; with attn_dp as many data-parallel
///    ranks of one GPU and experts over all of them (ep = attn_dp).
///  - Exchange: DeepEP, normal kernels for prefill and low-latency ones for decode.
///  - Gates: "perfectly balanced" routing is uniform popularity; load balancing (eplb) is taken to reach that, with the
///    redundant experts that the row names where the experts do not divide by the ranks; otherwise the default
///    popularity of mixed traffic.
///  - Times of the host: TensorRT-LLM's static session has no scheduler and no server, a step costs its `step` alone;
///    other whole engines cost those of the preset without a front end; isolated phases cost none.
///  - A static batch starts its whole context phase at once where the activations of all its tokens fit beside the
///    cache, else in the fewest equal parts that fit. It may use all memory of a GPU.
std::variant<ValidationCase, SkipReason> validation_case(const ServingRow& row, ValidationSources& sources);

}  // namespace moesim
