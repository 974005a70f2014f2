// Starts of the parts of a MoE op.

#include "moe_kernels.cuh"

#include <algorithm>

#include "cuda_error.h"
#include "launches.h"

namespace moesim::calibrate {

namespace {

/// Enough blocks to fill any GPU; kernels that take rows in turn need no more.
constexpr unsigned kFillingBlocks = 2048;

unsigned blocks_of(long long work, long long per_block) {
  return static_cast<unsigned>(std::clamp<long long>((work + per_block - 1) / per_block, 1, kFillingBlocks));
}
unsigned threads_of(int work) {
  return static_cast<unsigned>(std::clamp((work + 31) / 32 * 32, 32, 256));
}

}  // namespace

void launch_choose_experts(const float* scores, std::int32_t* chosen, float* weights, int tokens, int experts,
                           int top_k, cudaStream_t stream) {
  if (experts > kMostExperts || top_k > kMostChosen) {
    throw RowError(Failure::Kind::not_supported, "more experts than the router holds");
  }
  choose_experts<<<static_cast<unsigned>((tokens + 3) / 4), 128, 0, stream>>>(scores, chosen, weights, tokens, experts,
                                                                              top_k);
  CUDA_LAUNCHED("choose_experts");
}

int permutation_chunks(int slots) {
  return (slots + kSlotsPerChunk - 1) / kSlotsPerChunk;
}

void launch_permute(const std::int32_t* chosen, const PermutationBuffers& to, int slots, int local_experts,
                    cudaStream_t stream) {
  const int chunks = permutation_chunks(slots);
  const auto blocks = static_cast<unsigned>(chunks);
  count_chunk<<<blocks, 256, 0, stream>>>(chosen, to.counts, slots, local_experts);
  CUDA_LAUNCHED("count_chunk");
  sum_chunks<<<static_cast<unsigned>(local_experts), 32, 0, stream>>>(to.counts, to.total, chunks);
  CUDA_LAUNCHED("sum_chunks");
  sum_experts<<<1, 32, 0, stream>>>(to.total, to.offsets, local_experts);
  CUDA_LAUNCHED("sum_experts");
  place_slots<<<blocks, 32, 0, stream>>>(chosen, to.counts, to.offsets, to.row_of, to.slot_of, slots, local_experts);
  CUDA_LAUNCHED("place_slots");
}

void launch_gather(const void* tokens, const std::int32_t* slot_of, const std::int32_t* rows_end, void* rows, int top_k,
                   int row_bytes, cudaStream_t stream) {
  const int chunks = row_bytes / 16;
  gather_rows<<<kFillingBlocks, threads_of(chunks), 0, stream>>>(static_cast<const uint4*>(tokens), slot_of, rows_end,
                                                                 static_cast<uint4*>(rows), top_k, chunks);
  CUDA_LAUNCHED("gather_rows");
}

void launch_swiglu(const Bf16* in, const std::int32_t* rows_end, Bf16* out, int inter, cudaStream_t stream) {
  swiglu<<<kFillingBlocks, threads_of(inter), 0, stream>>>(in, rows_end, out, inter);
  CUDA_LAUNCHED("swiglu");
}

void launch_compute_scale(const Bf16* in, const std::int32_t* rows, long long row_length, long long count, float* scale,
                          cudaStream_t stream) {
  CUDA_TRY(cudaMemsetAsync(scale, 0, sizeof *scale, stream));
  const unsigned blocks = rows != nullptr ? kFillingBlocks : blocks_of(count / 8, 256);
  compute_scale<<<blocks, 256, 0, stream>>>(in, rows, row_length, count, reinterpret_cast<std::uint32_t*>(scale));
  CUDA_LAUNCHED("compute_scale");
}

void launch_quantize(const Bf16* in, const std::int32_t* rows, long long row_length, long long count,
                     const float* scale, Fp8* out, cudaStream_t stream) {
  const unsigned blocks = rows != nullptr ? kFillingBlocks : blocks_of(count / 8, 256);
  quantize<<<blocks, 256, 0, stream>>>(in, rows, row_length, count, reinterpret_cast<const std::uint32_t*>(scale), out);
  CUDA_LAUNCHED("quantize");
}

void launch_combine(const Bf16* rows, const std::int32_t* row_of, const float* weights, Bf16* out, int tokens,
                    int top_k, int hidden, cudaStream_t stream) {
  combine_rows<<<static_cast<unsigned>(tokens), threads_of(hidden / 2), 0, stream>>>(rows, row_of, weights, out, top_k,
                                                                                     hidden);
  CUDA_LAUNCHED("combine_rows");
}

}  // namespace moesim::calibrate
