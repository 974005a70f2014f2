#pragma once
// Who works together: two independent factorisations of the same world, one for attention and dense layers and one for
// experts, and what the arguments of the serving and training engines mean in them.

#include <cstdint>
#include <string>

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
  /// Data-parallel ranks whose tokens meet in one set of experts; 1: every set of experts serves one DP rank alone.
  std::int32_t dp_ranks_per_expert_group() const { return ep * etp / (tp * cp); }
  bool operator==(const ParallelPlan&) const = default;
};

/// A problem of a plan in one sentence, empty when it is legal: degrees at least 1, both products equal, heads and
/// widths divide, no more stages than layers, no more expert ranks than experts.
std::string plan_problem(const ParallelPlan& plan, const ModelSpec& model);

/// What the engines' own arguments mean. vLLM: experts on TP x DP ranks, as EP when `expert_parallel`, else sharded.
ParallelPlan vllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, bool expert_parallel);
/// SGLang: with DP attention `tp` is the whole model-parallel world and the attention TP is tp / dp; without it there
/// are `dp` independent copies of `tp` ranks. With the DeepEP and Mooncake backends SGLang forces ep to tp: give it so.
ParallelPlan sglang_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, std::int32_t ep, bool dp_attention);
/// TensorRT-LLM: moe_tp x moe_ep = tp. With attention DP every rank attends to its own requests.
ParallelPlan trtllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t moe_tp, std::int32_t moe_ep, bool attention_dp);
/// Megatron-LM: dense tp x cp x dp, experts etp x ep x edp of the same world.
ParallelPlan megatron_plan(std::int32_t world, std::int32_t tp, std::int32_t pp, std::int32_t cp, std::int32_t ep,
                           std::int32_t etp);

/// Decoder layers [first, first + count) of one pipeline stage.
struct LayerRange {
  std::int32_t first = 0, count = 0;
};

/// vLLM's split: layers / pp each; the remainder goes one by one to the stages before the last, backwards, since the
/// last one also holds the head (61 layers at pp 4: 15, 15, 16, 15). [vllm: distributed/utils.py get_pp_indices]
LayerRange layers_of_stage(const ModelSpec& model, std::int32_t pp, std::int32_t stage);

/// True where each TP rank sends its own slice of the tokens to the experts and the slices are gathered again behind
/// them: experts on several DP ranks that are themselves tensor-parallel. [vllm: use_sequence_parallel_moe]
bool sequence_parallel_experts(const ParallelPlan& plan);

}  // namespace moesim
