#pragma once
// What each GPU stores: weights with their replication, the buffers that are neither weights nor cache, and what is
// left for the cache.

#include <cstdint>
#include <string>

#include "core/data_type.h"
#include "core/units.h"
#include "hardware/gpu_spec.h"
#include "model/model_spec.h"
#include "parallel/plan.h"

namespace moesim {

/// Bytes on one GPU of the fullest rank of the fullest pipeline stage: the one with room for the fewest tokens.
struct MemoryUse {
  Bytes attention, dense_ffn, experts, shared, router, embedding, head;  ///< weights, replication included
  Bytes activations, logits, graphs, communication, context;             ///< neither weights nor cache
  Bytes cache_capacity;                                                  ///< what is left for KV under the limit
  Bytes capacity;                                                        ///< of the GPU
  Bytes limit;                                                           ///< capacity x utilization
  Bytes cache_per_token;  ///< growth of the cache by one token on this GPU (0: constant states only)
  std::int32_t stage = 0;

  Bytes weights() const { return attention + dense_ffn + experts + shared + router + embedding + head; }
  Bytes buffers() const { return activations + logits + graphs + communication + context; }
  /// Tokens that the cache holds; 0 when nothing is left.
  std::int64_t cache_tokens() const {
    return cache_capacity.value <= 0 || cache_per_token.value <= 0 ? 0 : cache_capacity.value / cache_per_token.value;
  }
};

/// What the engine is allowed to use, and the sizes that set the peaks of activations.
struct MemoryLimits {
  double gpu_memory_utilization = 0.9;
  std::int64_t max_batched_tokens = 8192;
  std::int64_t max_sequences = 256;
  std::int32_t redundant_experts = 0;
  DataType cache = DataType::bf16;
  bool cuda_graphs = true;
  Bytes exchange_buffers{};  ///< of the MoE backend (`exchange_buffers` of collectives/layer_collectives.h)
};

/// Memory of the fullest GPU; `cache_capacity` is negative when it does not fit. Weights:
///  - attention: query and output projections over tp; KV projections over min(tp, kv_heads); MLA's down-projections
///    (q_a, kv_a), the sparse indexer and norms on every rank; the whole on every DP rank.
///  - dense FFN over tp; shared experts over tp, or whole on every rank under `sequence_parallel_experts`; router
///  whole.
///  - experts: slots of the fullest rank (ceil((experts + redundant) / ep)) over etp.
///  - embedding on the first stage and head on the last, over tp; a tied head is stored again when pp > 1.
/// Buffers, in bytes of one GPU:
///  - activations: T tokens live at once (T = max_batched_tokens), residual and normed input beside the widest pair of
///    intermediate tensors: QKV and attention output; gate-up and activation of the dense or shared FFN; of the experts
///    the gathered tokens, gate-up, activation and output of T dp k / ep rows.
///    Assumes rows balanced over the ranks and one layer alive at a time [vllm: profile_run runs one forward pass of
///    max_num_batched_tokens].
///  - logits: 10 bytes x max_sequences x vocabulary: bf16 gathered, fp32 copy, fp32 probabilities. Assumes a sampler
///    that keeps these three.
///  - graphs: Assumes 256 KiB a layer and captured size (parallel/graph_sizes.h): 0.40 GiB for 32 layers and 256
///    sequences, the order that vLLM logs for an 8B model.
///  - communication: Assumes 64 MiB for each communicator of more than one rank (8 channels x 2 directions x 4 MiB, the
///    default NCCL_BUFFSIZE), 16 MiB for custom all-reduce when tp > 1, and `exchange_buffers` of the MoE backend.
///  - context: Assumes 0.5 GiB for the driver context and loaded kernels, and 64 MiB of BLAS workspace.
MemoryUse memory_use(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits);

/// Bytes of cache that one token of a sequence takes on one GPU of the rank that serves it, in the given stage, while
/// no window is full: KV heads over tp but at least one; MLA latents whole on every TP rank; over cp.
Bytes cache_bytes_per_token_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format,
                                    std::int32_t stage);
/// The same in the stage where it is largest.
Bytes cache_bytes_per_token_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format);
/// Bytes of constant state (linear attention, Mamba) of one sequence on one GPU of a stage, over tp.
Bytes state_bytes_per_sequence_per_gpu(const ModelSpec& model, const ParallelPlan& plan, DataType format,
                                       std::int32_t stage);

/// What is too much and which single change would make room, found by trying legal ones (tensor parallelism within the
/// same world or a larger one, pipeline stages, narrower weights, a smaller token budget); empty when `tokens` tokens
/// of cache fit. For example "needs 93.4 GiB of weights and 2.1 GiB of buffers on a GPU of 80.0 GiB x 0.90; fits with
/// tensor_parallel_size 4 or fp8 weights".
std::string fit_advice(const ModelSpec& model, const ParallelPlan& plan, const GpuSpec& gpu, const MemoryLimits& limits,
                       std::int64_t tokens = 1);

}  // namespace moesim
