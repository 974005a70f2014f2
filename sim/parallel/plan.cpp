#include "parallel/plan.h"

#include <fmt/core.h>

namespace moesim {

namespace {

/// A world that does not divide becomes an illegal plan (0 or a product that differs), which `plan_problem` names.
std::int32_t quotient(std::int32_t whole, std::int32_t part) {
  return part > 0 && whole % part == 0 ? whole / part : 0;
}

std::string mixer_problem(const MixerSpec& mixer, std::int32_t tp) {
  if (mixer.kind == MixerKind::mamba) return {};  // its channels are cut, not its heads
  if (mixer.query_heads > 0 && mixer.query_heads % tp != 0) {
    return fmt::format("{} query heads do not divide by tensor_parallel_size {}", mixer.query_heads, tp);
  }
  const bool keeps_heads =
      mixer.kind == MixerKind::full || mixer.kind == MixerKind::window || mixer.kind == MixerKind::chunked;
  if (keeps_heads && mixer.kv_heads % tp != 0 && tp % mixer.kv_heads != 0) {
    return fmt::format("{} KV heads neither divide by tensor_parallel_size {} nor into it", mixer.kv_heads, tp);
  }
  return {};
}

/// Columns of a width cut `parts` ways; quantised blocks of 128 must not be cut.
std::string width_problem(const char* what, std::int64_t width, std::int32_t parts, DataType format,
                          const char* parameter) {
  if (width % parts != 0) return fmt::format("{} {} does not divide by {} {}", what, width, parameter, parts);
  if (format == DataType::fp8_block && parts > 1 && width / parts % 128 != 0) {
    return fmt::format("{} {} over {} {} leaves {} columns, which cut the 128-wide blocks of fp8", what, width,
                       parameter, parts, width / parts);
  }
  return {};
}

}  // namespace

std::string plan_problem(const ParallelPlan& plan, const ModelSpec& model) {
  for (const std::int32_t degree : {plan.pp, plan.dp, plan.cp, plan.tp, plan.edp, plan.ep, plan.etp}) {
    if (degree < 1) {
      return fmt::format("parallel degrees pp {} dp {} cp {} tp {} and expert dp {} ep {} tp {} must all be at least 1",
                         plan.pp, plan.dp, plan.cp, plan.tp, plan.edp, plan.ep, plan.etp);
    }
  }
  if (plan.stage_ranks() != plan.edp * plan.ep * plan.etp) {
    return fmt::format(
        "attention uses dp {} x cp {} x tp {} = {} ranks of a stage but experts dp {} x ep {} x tp {} = {}", plan.dp,
        plan.cp, plan.tp, plan.stage_ranks(), plan.edp, plan.ep, plan.etp, plan.edp * plan.ep * plan.etp);
  }
  const std::int64_t layers = static_cast<std::int64_t>(model.layers.size());
  if (layers < plan.pp) return fmt::format("{} layers are fewer than pipeline_parallel_size {}", layers, plan.pp);
  for (const MixerSpec& mixer : model.mixers) {
    if (std::string problem = mixer_problem(mixer, plan.tp); !problem.empty()) return problem;
  }
  for (const LayerSpec& layer : model.layers) {
    if (layer.dense_width == 0) continue;
    std::string problem =
        width_problem("dense FFN width", layer.dense_width, plan.tp, model.formats.dense_ffn, "tensor_parallel_size");
    if (!problem.empty()) return problem;
  }
  if (!model.is_moe()) return {};
  if (plan.ep > model.moe.experts) {
    return fmt::format("expert-parallel size {} exceeds the {} experts of a layer", plan.ep, model.moe.experts);
  }
  std::string problem =
      width_problem("expert width", model.moe.width, plan.etp, model.formats.experts, "expert tensor-parallel size");
  if (problem.empty() && model.moe.shared_width > 0 && !sequence_parallel_experts(plan)) {
    problem = width_problem("shared-expert width", model.moe.shared_width, plan.tp, model.formats.shared,
                            "tensor_parallel_size");
  }
  return problem;
}

ParallelPlan vllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, bool expert_parallel) {
  ParallelPlan plan{.pp = pp, .dp = dp, .tp = tp};
  (expert_parallel ? plan.ep : plan.etp) = tp * dp;
  return plan;
}

ParallelPlan sglang_plan(std::int32_t tp, std::int32_t pp, std::int32_t dp, std::int32_t ep, bool dp_attention) {
  const std::int32_t attention_tp = dp_attention ? quotient(tp, dp) : tp;
  return {.pp = pp, .dp = dp, .tp = attention_tp, .edp = dp_attention ? 1 : dp, .ep = ep, .etp = quotient(tp, ep)};
}

ParallelPlan trtllm_plan(std::int32_t tp, std::int32_t pp, std::int32_t moe_tp, std::int32_t moe_ep,
                         bool attention_dp) {
  return {.pp = pp, .dp = attention_dp ? tp : 1, .tp = attention_dp ? 1 : tp, .ep = moe_ep, .etp = moe_tp};
}

ParallelPlan megatron_plan(std::int32_t world, std::int32_t tp, std::int32_t pp, std::int32_t cp, std::int32_t ep,
                           std::int32_t etp) {
  return {.pp = pp,
          .dp = quotient(world, tp * pp * cp),
          .cp = cp,
          .tp = tp,
          .edp = quotient(world, etp * ep * pp),
          .ep = ep,
          .etp = etp};
}

LayerRange layers_of_stage(const ModelSpec& model, std::int32_t pp, std::int32_t stage) {
  const auto layers = static_cast<std::int32_t>(model.layers.size());
  const std::int32_t share = layers / pp;
  const std::int32_t remainder = layers % pp;
  // Stages pp - 1 - remainder .. pp - 2 hold one layer more.
  const std::int32_t first_longer = pp - 1 - remainder;
  const auto extra_before = [&](std::int32_t s) {
    return s <= first_longer ? 0 : (s - first_longer < remainder ? s - first_longer : remainder);
  };
  return {stage * share + extra_before(stage), share + (extra_before(stage + 1) - extra_before(stage))};
}

bool sequence_parallel_experts(const ParallelPlan& plan) {
  return plan.tp > 1 && plan.ep > 1 && plan.dp_ranks_per_expert_group() > 1;
}

}  // namespace moesim
