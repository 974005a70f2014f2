#pragma once
// Who holds what: two independent factorisations of the same world, and the places of the experts.

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/units.h"
#include "hardware/gpu_spec.h"
#include "model/model_spec.h"

namespace moesim {

/// World = pp x dp x cp x tp for attention and dense layers, pp x edp x ep x etp for experts; ranks are numbered with
/// tp (etp) fastest, then cp, then dp (edp slowest of the expert side), then pp.
struct ParallelPlan {
  std::int32_t pp = 1;
  std::int32_t dp = 1, cp = 1, tp = 1;
  std::int32_t edp = 1, ep = 1, etp = 1;

  std::int32_t world() const { return pp * dp * cp * tp; }
  /// Ranks of one pipeline stage.
  std::int32_t stage_ranks() const { return dp * cp * tp; }
  bool operator==(const ParallelPlan&) const = default;
};

/// A problem of a plan in one sentence, empty when it is legal: products equal, heads divide, layers >= pp ...
std::string plan_problem(const ParallelPlan& plan, const ModelSpec& model);

/// What the engines' own arguments mean. vLLM: experts on TP x DP ranks, as EP when `expert_parallel`, else sharded.
ParallelPlan vllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, bool expert_parallel);
/// SGLang: `tp` is the whole model-parallel world; with DP attention the attention TP is tp / dp.
ParallelPlan sglang_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, std::int32_t ep, bool dp_attention);
/// TensorRT-LLM: moe_tp x moe_ep = tp.
ParallelPlan trtllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t moe_tp, std::int32_t moe_ep,
                         bool attention_dp);
/// Megatron-LM: dense tp x cp x dp, experts etp x ep x edp of the same world.
ParallelPlan megatron_plan(std::int32_t world, std::int32_t tp, std::int32_t pp, std::int32_t cp, std::int32_t ep,
                           std::int32_t etp);

/// Physical copies of the experts of one layer. Slots are numbered rank-major: rank r holds
/// [first_slot[r], first_slot[r + 1]). `expert_of[slot]` is the logical expert; a redundant expert has several slots,
/// which share its tokens evenly.
struct ExpertPlacement {
  std::vector<std::uint32_t> expert_of;
  std::vector<std::uint32_t> first_slot;  ///< ep + 1 entries
  std::uint32_t experts = 0;

  std::uint32_t slots() const { return static_cast<std::uint32_t>(expert_of.size()); }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(first_slot.size()) - 1; }
};

/// The smallest number of redundant experts >= `redundant` whose slots divide by `ep`.
std::int32_t nearest_legal_redundancy(std::int64_t experts, std::int32_t ep, std::int32_t redundant);

/// vLLM's linear placement: expert e in order over the ranks, remainders on the first ranks (uneven allowed only
/// without redundancy); redundant copies follow round-robin after the last logical expert.
ExpertPlacement linear_placement(std::int64_t experts, std::int32_t ep, std::int32_t redundant);

/// Bytes on one GPU of the fullest rank.
struct MemoryUse {
  Bytes attention, dense_ffn, experts, shared, router, embedding, head;  ///< weights, replication included
  Bytes activations, logits, graphs, communication, context;             ///< neither weights nor cache
  Bytes cache_capacity;                                                  ///< what is left for KV under the limit
  Bytes capacity;                                                        ///< of the GPU
  Bytes limit;                                                           ///< capacity x utilization

  Bytes weights() const { return attention + dense_ffn + experts + shared + router + embedding + head; }
  Bytes buffers() const { return activations + logits + graphs + communication + context; }
};

/// What the engine is allowed to use, and the sizes that set the peaks of activations.
struct MemoryLimits {
  double gpu_memory_utilization = 0.9;
  std::int64_t max_batched_tokens = 8192;
  std::int64_t max_sequences = 256;
  std::int32_t redundant_experts = 0;
  DataType cache = DataType::bf16;
  bool cuda_graphs = true;
};

/// Memory of the fullest GPU. Attention, dense and shared weights are on every DP rank; MLA latents on every TP rank;
/// GQA heads are replicated when tp exceeds kv_heads; embeddings and head are split over tp. `cache_capacity` is
/// negative when it does not fit.
MemoryUse memory_use(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits);

/// Bytes of cache that one token of a sequence takes on one GPU of the rank that serves it.
Bytes cache_bytes_per_token_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format);

}  // namespace moesim
