#pragma once
// A serving engine as its operator configures it. Names are vLLM's; limits are per data-parallel rank, as there.

#include <cstdint>
#include <optional>
#include <string>

#include "collectives/collective_cost.h"
#include "collectives/group_times.h"
#include "core/data_type.h"
#include "core/units.h"
#include "execution/execution_spec.h"
#include "model/operators.h"
#include "parallel/plan.h"

namespace moesim {

/// Which engine's conventions hold: how parallel sizes map to the plan, which kernels' profile is used, which passes
/// are fused, and the host time of a step.
enum class EnginePreset { vllm, sglang, trtllm };
std::string_view name(EnginePreset preset);

/// Replica that takes the next request.
enum class Balancing { round_robin, least_loaded };

/// Time on the host. A step costs `step + per_sequence x sequences` before the device starts; a request passes the
/// front end (tokenizer, HTTP) in `request + per_input_token x tokens`, and each output token leaves it after
/// `detokenize`.
struct HostTimes {
  Duration step, per_sequence;
  Duration request, per_input_token, detokenize;
};

struct EngineSpec {
  EnginePreset preset = EnginePreset::vllm;
  ParallelPlan plan;
  std::int32_t replicas = 1;
  std::int32_t max_num_seqs = 256;
  std::int32_t max_num_batched_tokens = 8192;
  bool enable_chunked_prefill = true;
  std::int32_t block_size = 16;
  double gpu_memory_utilization = 0.9;
  std::int64_t max_model_len = 0;  ///< 0: the model's own limit
  MoeBackend all2all_backend = MoeBackend::none;
  std::optional<MoeBackend> decode_backend;       ///< of steps without a prompt; empty: the same
  std::int64_t max_dispatch_tokens_per_rank = 0;  ///< of one round of a low-latency exchange; 0: no limit
  std::int32_t num_redundant_experts = 0;
  NetworkModel network = NetworkModel::closed_form;
  bool cuda_graphs = true;
  bool async_scheduling = false;
  Balancing balancing = Balancing::round_robin;
  HostTimes host;
  FusionTable fusion;
  DataType activation = DataType::bf16, kv_cache = DataType::bf16;
};

/// Host times, fusions and round of a low-latency exchange of a preset; sources in the definition.
HostTimes default_host_times(EnginePreset preset);
FusionTable default_fusions(EnginePreset preset);
std::int64_t default_max_dispatch_tokens(EnginePreset preset);

/// What of a configuration sets the time of a step.
ExecutionSpec execution_spec(const EngineSpec& engine);

}  // namespace moesim
