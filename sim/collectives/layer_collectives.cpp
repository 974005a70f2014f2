#include "collectives/layer_collectives.h"

#include <fmt/core.h>

#include <utility>

#include "core/check.h"

namespace moesim {

namespace {

class Sequence {
 public:
  Sequence(const ParallelPlan& plan, const ModelSpec& model, std::int64_t tokens)
      : plan_(plan), hidden_(model.hidden), tokens_(tokens) {}

  void add(LayerPlace place, LayerOperation operation, GroupKind group, std::int64_t tokens) {
    const bool exchange = operation == LayerOperation::dispatch || operation == LayerOperation::combine;
    calls_.push_back({place, operation, group, tokens, exchange ? Bytes{} : Bytes{tokens * hidden_ * 2}});
  }
  void reduce_over_tensor_ranks(LayerPlace place) {
    if (plan_.tp > 1) add(place, LayerOperation::all_reduce, GroupKind::tensor, tokens_);
  }
  std::vector<LayerCollective> take() { return std::move(calls_); }

 private:
  const ParallelPlan& plan_;
  std::int64_t hidden_, tokens_;
  std::vector<LayerCollective> calls_;
};

/// The exchange of one backend over `group`, with the expert-TP steps inside it.
void add_exchange(Sequence& sequence, MoeBackend backend, const ParallelPlan& plan, GroupKind group,
                  std::int64_t all_tokens) {
  const auto before = [&](LayerOperation operation) {
    sequence.add(LayerPlace::before_experts, operation, group, all_tokens);
  };
  const auto after = [&](LayerOperation operation) {
    sequence.add(LayerPlace::after_experts, operation, group, all_tokens);
  };
  switch (backend) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
      before(LayerOperation::all_gather);
      after(LayerOperation::reduce_scatter);
      return;
    case MoeBackend::naive:
      before(LayerOperation::broadcast);
      after(LayerOperation::all_reduce);
      return;
    case MoeBackend::pplx:
    case MoeBackend::deepep_high_throughput:
    case MoeBackend::deepep_low_latency:
    case MoeBackend::flashinfer_nvlink_one_sided:
    case MoeBackend::flashinfer_nvlink_two_sided:
      before(LayerOperation::dispatch);
      if (plan.etp > 1) {
        sequence.add(LayerPlace::before_experts, LayerOperation::all_gather, GroupKind::expert_tensor, all_tokens);
        sequence.add(LayerPlace::after_experts, LayerOperation::reduce_scatter, GroupKind::expert_tensor, all_tokens);
      }
      after(LayerOperation::combine);
      return;
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

}  // namespace

std::string_view name(GroupKind kind) {
  switch (kind) {
    case GroupKind::tensor:
      return "tensor";
    case GroupKind::data:
      return "data";
    case GroupKind::expert:
      return "expert";
    case GroupKind::expert_tensor:
      return "expert_tensor";
  }
  fail_invariant(__FILE__, __LINE__, "unknown group");
}

std::string_view name(LayerOperation operation) {
  switch (operation) {
    case LayerOperation::all_reduce:
      return "all_reduce";
    case LayerOperation::all_gather:
      return "all_gather";
    case LayerOperation::reduce_scatter:
      return "reduce_scatter";
    case LayerOperation::broadcast:
      return "broadcast";
    case LayerOperation::dispatch:
      return "dispatch";
    case LayerOperation::combine:
      return "combine";
  }
  fail_invariant(__FILE__, __LINE__, "unknown operation");
}

std::vector<LayerCollective> layer_collectives(const ParallelPlan& plan, MoeBackend backend, const ModelSpec& model,
                                               const LayerSpec& layer, std::int64_t tokens) {
  Sequence sequence(plan, model, tokens);
  sequence.reduce_over_tensor_ranks(LayerPlace::after_mixer);
  if (!layer.moe) {
    if (layer.dense_width > 0) sequence.reduce_over_tensor_ranks(LayerPlace::after_dense_ffn);
    return sequence.take();
  }
  const std::int64_t meeting = plan.dp_ranks_per_expert_group();
  if (meeting == 1) {
    sequence.reduce_over_tensor_ranks(LayerPlace::after_experts);
    return sequence.take();
  }
  if (plan.ep == 1) {
    add_exchange(sequence, MoeBackend::allgather_reducescatter, plan, GroupKind::data, tokens * meeting);
    sequence.reduce_over_tensor_ranks(LayerPlace::after_experts);
    return sequence.take();
  }
  add_exchange(sequence, backend, plan, GroupKind::expert, tokens * meeting);
  if (plan.tp > 1) sequence.add(LayerPlace::after_experts, LayerOperation::all_gather, GroupKind::tensor, tokens);
  return sequence.take();
}

std::string backend_problem(MoeBackend backend, const ParallelPlan& plan, const ModelSpec& model, std::uint32_t nodes) {
  const bool exchanges =
      backend != MoeBackend::none && backend != MoeBackend::allgather_reducescatter && backend != MoeBackend::naive;
  if (!exchanges) return {};
  if (!model.is_moe()) return fmt::format("all2all_backend {} needs a model with experts", name(backend));
  if (plan.dp_ranks_per_expert_group() == 1) {
    return fmt::format(
        "all2all_backend {} needs experts that several data-parallel ranks share (data_parallel_size {})",
        name(backend), plan.dp);
  }
  if (plan.ep == 1) return fmt::format("all2all_backend {} needs enable_expert_parallel", name(backend));
  const bool one_domain =
      backend == MoeBackend::flashinfer_nvlink_one_sided || backend == MoeBackend::flashinfer_nvlink_two_sided;
  if (one_domain && nodes > 1) {
    return fmt::format("all2all_backend {} needs one scale-up domain, the {} expert-parallel ranks span {}",
                       name(backend), plan.ep, nodes);
  }
  return {};
}

bool goes_in_rounds(MoeBackend backend) {
  switch (backend) {
    case MoeBackend::pplx:
    case MoeBackend::deepep_low_latency:
      return true;
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
    case MoeBackend::naive:
    case MoeBackend::deepep_high_throughput:
    case MoeBackend::flashinfer_nvlink_one_sided:
    case MoeBackend::flashinfer_nvlink_two_sided:
      return false;
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

Bytes exchange_buffers(MoeBackend backend, const ParallelPlan& plan, const ModelSpec& model, std::int64_t tokens,
                       std::uint32_t nodes) {
  constexpr std::int64_t kGibibyte = 1 << 30;
  switch (backend) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
    case MoeBackend::naive:
      return {};
    case MoeBackend::deepep_high_throughput:
      return Bytes{(nodes > 1 ? 2 : 1) * kGibibyte};
    case MoeBackend::deepep_low_latency:
      return Bytes{4 * model.moe.experts * tokens * (2 * model.hidden + 16)};
    case MoeBackend::pplx:
    case MoeBackend::flashinfer_nvlink_one_sided:
    case MoeBackend::flashinfer_nvlink_two_sided:
      return Bytes{2 * plan.ep * tokens * 2 * model.hidden};
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

}  // namespace moesim
