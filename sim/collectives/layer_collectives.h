#pragma once
// Which communication one layer does: it follows from the parallel plan and the backend of the MoE exchange.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/collective_cost.h"
#include "core/units.h"
#include "model/model_spec.h"
#include "parallel/plan.h"

namespace moesim {

/// Who takes part: the TP ranks of one DP rank; ranks with the same TP position of all DP ranks that share experts; all
/// ranks that share experts; the ranks that hold slices of the same experts.
enum class GroupKind { tensor, data, expert, expert_tensor };
std::string_view name(GroupKind kind);

/// Where in the layer: behind the mixer, before and behind the experts, behind a dense FFN.
enum class LayerPlace { after_mixer, before_experts, after_experts, after_dense_ffn };

/// What is done. `dispatch` and `combine` are one exchange of a MoE backend (`MoeExchange`), the rest
/// `GroupCollectives`.
enum class LayerOperation { all_reduce, all_gather, reduce_scatter, broadcast, dispatch, combine };
std::string_view name(LayerOperation operation);

struct LayerCollective {
  LayerPlace place = LayerPlace::after_mixer;
  LayerOperation operation = LayerOperation::all_reduce;
  GroupKind group = GroupKind::tensor;
  std::int64_t tokens = 0;  ///< in the whole buffer: of one DP rank, or of all that meet (nccl-tests convention)
  Bytes bytes;              ///< tokens x hidden x 2; 0 for dispatch and combine, whose copies the gates decide
  bool operator==(const LayerCollective&) const = default;
};

/// Collectives of one layer in order when every DP rank has `tokens` tokens. Activations between kernels are bf16.
///  - tp > 1: the mixer's output projection and a dense FFN end in an all-reduce over tp.
///  - A MoE layer whose experts serve one DP rank (`dp_ranks_per_expert_group` 1): activations are replicated, each
///  rank
///    runs its local experts (ep) or slices (etp), one all-reduce over all ranks ends the layer; no exchange. Shared
///    experts add their partial sums to the same all-reduce.
///  - Experts on several DP ranks, no EP: all-gather of the tokens over the DP ranks, slices of all experts,
///    reduce-scatter, and an all-reduce over tp > 1, whatever the backend.
///  - Experts on several DP ranks, EP: the backend. With tp > 1 each TP rank sends its slice of the tokens over the
///  whole
///    expert group and the slices are gathered over tp at the end [vllm: use_sequence_parallel_moe]. With etp > 1 the
///    dispatched tokens are gathered over the expert-TP ranks and the partial sums scattered back [megatron].
/// Backend `none` on several DP ranks counts as allgather_reducescatter.
std::vector<LayerCollective> layer_collectives(const ParallelPlan& plan, MoeBackend backend, const ModelSpec& model,
                                               const LayerSpec& layer, std::int64_t tokens);

/// Why a backend cannot serve a plan, in one sentence; empty when it can. `nodes`: scale-up domains of the expert
/// group.
std::string backend_problem(MoeBackend backend, const ParallelPlan& plan, const ModelSpec& model, std::uint32_t nodes);

/// The kernels write into buffers for a limited number of tokens a rank: a larger step goes in rounds, each of which
/// sends, computes and returns its share [vllm: FusedMoE forward_impl_chunked].
bool goes_in_rounds(MoeBackend backend);

/// Buffers that a backend keeps on every GPU. DeepEP normal: 1 GiB for NVLink and 1 GiB for RDMA [vllm:
/// VLLM_DEEPEP_BUFFER_SIZE_MB 1024]; low latency: two sets of send and receive buffers for `tokens` tokens a rank from
/// every expert, 2 x 2 x experts x tokens x (2 hidden + 16) [deepep: get_low_latency_rdma_size_hint]; pplx and NVLink
/// exchanges: Assumes room for `tokens` tokens of every rank, in and out; the others use NCCL's own.
Bytes exchange_buffers(MoeBackend backend, const ParallelPlan& plan, const ModelSpec& model, std::int64_t tokens,
                       std::uint32_t nodes);

}  // namespace moesim
