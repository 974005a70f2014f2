#pragma once
// The parts of a MoE op around its products: top-k of the gate, permutation by expert, SwiGLU, quantisation, weighted
// sum.

#include "../number_formats.h"
#include "platform.h"

namespace moesim::calibrate {

inline constexpr int kMostExperts = 512;  ///< a lane of the router holds a thirty-second of them
inline constexpr int kMostChosen = 16;
inline constexpr int kSlotsPerChunk = 1024;  ///< of the permutation

/// The `top_k` largest of each token's scores [tokens][experts], the lower expert first at ties, with the softmax over
/// those chosen. One warp a token.
__global__ void choose_experts(const float* scores, std::int32_t* chosen, float* weights, int tokens, int experts,
                               int top_k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int token = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (token >= tokens) return;
  constexpr int kHeld = kMostExperts / 32;
  float held[kHeld];
  MOESIM_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    const int expert = i * 32 + lane;
    held[i] = expert < experts ? scores[static_cast<std::size_t>(token) * experts + expert] : -INFINITY;
  }
  float best_score[kMostChosen];
  MOESIM_UNROLL
  for (int j = 0; j < kMostChosen; ++j) {
    best_score[j] = -INFINITY;
    if (j >= top_k) continue;
    float best = -INFINITY;
    int expert = kMostExperts;
    MOESIM_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (held[i] > best) {
        best = held[i];
        expert = i * 32 + lane;
      }
    }
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, best, step);
      const int other_expert = __shfl_xor_sync(0xffffffffu, expert, step);
      if (other > best || (other == best && other_expert < expert)) {
        best = other;
        expert = other_expert;
      }
    }
    MOESIM_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (i * 32 + lane == expert) held[i] = -INFINITY;
    }
    best_score[j] = best;
    if (lane == 0) chosen[static_cast<std::size_t>(token) * top_k + j] = expert;
  }
  float sum = 0;
  MOESIM_UNROLL
  for (int j = 0; j < kMostChosen; ++j) {
    if (j < top_k) sum += expf(best_score[j] - best_score[0]);
  }
  MOESIM_UNROLL
  for (int j = 0; j < kMostChosen; ++j) {
    if (j < top_k && lane == 0) {
      weights[static_cast<std::size_t>(token) * top_k + j] = expf(best_score[j] - best_score[0]) / sum;
    }
  }
}

/// counts[expert][chunk]: slots of each chunk that chose a local expert. One block a chunk.
__global__ void count_chunk(const std::int32_t* chosen, std::int32_t* counts, int slots, int local_experts) {
  __shared__ std::int32_t count[kMostExperts];
  for (int e = static_cast<int>(threadIdx.x); e < local_experts; e += static_cast<int>(blockDim.x)) count[e] = 0;
  __syncthreads();
  const int first = static_cast<int>(blockIdx.x) * kSlotsPerChunk;
  const int end = first + kSlotsPerChunk < slots ? first + kSlotsPerChunk : slots;
  for (int slot = first + static_cast<int>(threadIdx.x); slot < end; slot += static_cast<int>(blockDim.x)) {
    if (chosen[slot] < local_experts) atomicAdd(&count[chosen[slot]], 1);
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < local_experts; e += static_cast<int>(blockDim.x)) {
    counts[static_cast<std::size_t>(e) * gridDim.x + blockIdx.x] = count[e];
  }
}

/// Replaces counts[expert][0 .. chunks) by the sums before each, and puts the whole sum in total[expert]. One warp an
/// expert.
__global__ void sum_chunks(std::int32_t* counts, std::int32_t* total, int chunks) {
  std::int32_t* const row = counts + static_cast<std::size_t>(blockIdx.x) * chunks;
  const int lane = static_cast<int>(threadIdx.x);
  std::int32_t before = 0;
  for (int start = 0; start < chunks; start += 32) {
    const std::int32_t count = start + lane < chunks ? row[start + lane] : 0;
    std::int32_t sum = count;
    for (int step = 1; step < 32; step *= 2) {
      const std::int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += other;
    }
    if (start + lane < chunks) row[start + lane] = before + sum - count;
    before += __shfl_sync(0xffffffffu, sum, 31);
  }
  if (lane == 0) total[blockIdx.x] = before;
}

/// offsets[0 .. local_experts]: the first row of every expert, and of the end. One warp.
__global__ void sum_experts(const std::int32_t* total, std::int32_t* offsets, int local_experts) {
  const int lane = static_cast<int>(threadIdx.x);
  std::int32_t before = 0;
  for (int start = 0; start < local_experts; start += 32) {
    const std::int32_t count = start + lane < local_experts ? total[start + lane] : 0;
    std::int32_t sum = count;
    for (int step = 1; step < 32; step *= 2) {
      const std::int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += other;
    }
    if (start + lane < local_experts) offsets[start + lane] = before + sum - count;
    before += __shfl_sync(0xffffffffu, sum, 31);
  }
  if (lane == 0) offsets[local_experts] = before;
}

/// row_of[slot]: rows by expert, within an expert in the order of slots; -1 where the expert is not local. slot_of[row]
/// is its inverse. One warp a chunk: the order depends on nothing but the choices.
__global__ void place_slots(const std::int32_t* chosen, const std::int32_t* counts, const std::int32_t* offsets,
                            std::int32_t* row_of, std::int32_t* slot_of, int slots, int local_experts) {
  __shared__ std::int32_t next[kMostExperts];
  const int lane = static_cast<int>(threadIdx.x);
  for (int e = lane; e < local_experts; e += 32) {
    next[e] = offsets[e] + counts[static_cast<std::size_t>(e) * gridDim.x + blockIdx.x];
  }
  __syncwarp();
  const int first = static_cast<int>(blockIdx.x) * kSlotsPerChunk;
  for (int i = 0; i < kSlotsPerChunk; i += 32) {
    const int slot = first + i + lane;
    const std::int32_t expert = slot < slots ? chosen[slot] : kMostExperts;
    const unsigned same = __match_any_sync(0xffffffffu, expert);
    const bool local = expert < local_experts;
    const int rank = __popc(same & ((1u << lane) - 1));
    const std::int32_t row = local ? next[expert] + rank : -1;
    __syncwarp();
    if (local && rank == 0) next[expert] += __popc(same);
    __syncwarp();
    if (slot < slots) row_of[slot] = row;
    if (local) slot_of[row] = slot;
  }
}

/// rows[row] = tokens[slot_of[row] / top_k] for the rows that there are. Elements of 16 bytes; a block takes rows in
/// turn.
__global__ void gather_rows(const uint4* tokens, const std::int32_t* slot_of, const std::int32_t* rows_end, uint4* rows,
                            int top_k, int chunks) {
  const int end = *rows_end;
  for (int row = static_cast<int>(blockIdx.x); row < end; row += static_cast<int>(gridDim.x)) {
    const std::size_t token = static_cast<std::size_t>(slot_of[row] / top_k);
    for (int c = static_cast<int>(threadIdx.x); c < chunks; c += static_cast<int>(blockDim.x)) {
      rows[static_cast<std::size_t>(row) * chunks + c] = tokens[token * chunks + c];
    }
  }
}

/// out[row, i] = silu(gate) up of in[row] = (gate[inter], up[inter]), rounded to bf16.
__global__ void swiglu(const Bf16* in, const std::int32_t* rows_end, Bf16* out, int inter) {
  const int end = *rows_end;
  for (int row = static_cast<int>(blockIdx.x); row < end; row += static_cast<int>(gridDim.x)) {
    const Bf16* const gate = in + static_cast<std::size_t>(row) * 2 * inter;
    for (int i = static_cast<int>(threadIdx.x); i < inter; i += static_cast<int>(blockDim.x)) {
      const float g = to_float(gate[i]);
      out[static_cast<std::size_t>(row) * inter + i] = to_bf16(g / (1.0F + expf(-g)) * to_float(gate[inter + i]));
    }
  }
}

/// scale = largest magnitude of `count` (or, where given, *rows * row_length) elements over 448. `scale` holds zero
/// before. Bits of floats that are not negative order as the floats do.
__global__ void compute_scale(const Bf16* in, const std::int32_t* rows, long long row_length, long long count,
                              std::uint32_t* scale) {
  const long long end = rows != nullptr ? *rows * row_length : count;
  float largest = 0;
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  const uint4* const chunks = reinterpret_cast<const uint4*>(in);
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < end / 8; i += stride) {
    const uint4 chunk = chunks[i];
    const std::uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
    MOESIM_UNROLL
    for (int j = 0; j < 4; ++j) {
      largest = fmaxf(largest, fmaxf(fabsf(float_of(pairs[j] << 16)), fabsf(float_of(pairs[j] & 0xffff0000u))));
    }
  }
  for (int step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  if (threadIdx.x % 32 == 0) atomicMax(scale, bits_of(largest / kLargestFp8));
}

/// out = in / scale as fp8; a scale of zero gives zeros. Row lengths are multiples of 8.
__global__ void quantize(const Bf16* in, const std::int32_t* rows, long long row_length, long long count,
                         const std::uint32_t* scale, Fp8* out) {
  const long long end = rows != nullptr ? *rows * row_length : count;
  const float divisor = float_of(*scale);
  const float factor = divisor > 0 ? 1.0F / divisor : 0.0F;
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  const uint4* const chunks = reinterpret_cast<const uint4*>(in);
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < end / 8; i += stride) {
    const uint4 chunk = chunks[i];
    const std::uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
    std::uint32_t packed[2] = {0, 0};
    MOESIM_UNROLL
    for (int j = 0; j < 8; ++j) {
      const std::uint32_t pair = pairs[j / 2];
      const float value = float_of(j % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
      packed[j / 4] |= static_cast<std::uint32_t>(to_fp8(value * factor).bits) << (j % 4 * 8);
    }
    reinterpret_cast<uint2*>(out)[i] = make_uint2(packed[0], packed[1]);
  }
}

/// out[token] = sum over its local slots of weight * rows[row_of[slot]]. One block a token; hidden is even.
__global__ void combine_rows(const Bf16* rows, const std::int32_t* row_of, const float* weights, Bf16* out, int top_k,
                             int hidden) {
  const std::size_t token = blockIdx.x;
  const std::uint32_t* const pairs = reinterpret_cast<const std::uint32_t*>(rows);
  std::uint32_t* const target = reinterpret_cast<std::uint32_t*>(out) + token * (hidden / 2);
  for (int i = static_cast<int>(threadIdx.x); i < hidden / 2; i += static_cast<int>(blockDim.x)) {
    float low = 0, high = 0;
    for (int j = 0; j < top_k; ++j) {
      const std::int32_t row = row_of[token * top_k + j];
      if (row < 0) continue;
      const float weight = weights[token * top_k + j];
      const std::uint32_t pair = pairs[static_cast<std::size_t>(row) * (hidden / 2) + i];
      low += weight * float_of(pair << 16);
      high += weight * float_of(pair & 0xffff0000u);
    }
    target[i] = static_cast<std::uint32_t>(to_bf16(low).bits) | static_cast<std::uint32_t>(to_bf16(high).bits) << 16;
  }
}

}  // namespace moesim::calibrate
