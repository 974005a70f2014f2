#pragma once
// Causal attention of whole sequences: a block holds 64 queries of one head, keys and values pass by in tiles, the
// softmax is kept up to date row by row and never written [flash-attention].

#include "intrinsics.cuh"
#include "operands.h"

namespace moesim::calibrate {

inline constexpr int kPrefillThreads = 128, kPrefillRows = 64, kPrefillTile = 64;

template <int KeyDim, int ValueDim>
struct PrefillShape {
  static constexpr int kKeyDim = KeyDim, kValueDim = ValueDim;
  static constexpr int kKeyChunks = KeyDim / 8, kValueChunks = ValueDim / 8;
  static constexpr int kQueryBytes = kPrefillRows * KeyDim * 2;
  static constexpr int kStageBytes = kPrefillTile * (KeyDim + ValueDim) * 2;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStageBytes;
  static_assert(KeyDim % 64 == 0 && ValueDim % 64 == 0);
};

/// Grid: blocks of queries (the last first: they have most keys), query heads, sequences.
template <class Shape>
__global__ void __launch_bounds__(kPrefillThreads) prefill_attention(const PrefillAttention work) {
  constexpr int kKeyChunks = Shape::kKeyChunks, kValueChunks = Shape::kValueChunks;
  unsigned char* const shared = dynamic_shared();
  unsigned char* const stages = shared + Shape::kQueryBytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int head = static_cast<int>(blockIdx.y), kv_head = head / (work.query_heads / work.kv_heads);
  const int first_query = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kPrefillRows;
  const std::size_t sequence = static_cast<std::size_t>(blockIdx.z) * work.length;  // its first token
  const int end = min(first_query + kPrefillRows, work.length);                     // of queries and of keys
  const int tiles = (end + kPrefillTile - 1) / kPrefillTile;

  // Rows of one head of [token][heads][dim] from `first` on; zeros beyond the sequence.
  const auto fill = [&](std::uint32_t target, const Bf16* source, int first, int heads, int at_head, int chunks) {
    for (int i = thread; i < kPrefillTile * chunks; i += kPrefillThreads) {
      const int row = i / chunks, chunk = i % chunks;
      const bool valid = first + row < work.length;
      const std::size_t token = sequence + (valid ? first + row : 0);
      copy_async(target + swizzled(row, chunk, chunks), source + ((token * heads + at_head) * chunks + chunk) * 8,
                 valid);
    }
  };
  const auto fill_tile = [&](int tile) {
    const std::uint32_t keys = shared_address(stages + tile % 2 * Shape::kStageBytes);
    fill(keys, work.keys, tile * kPrefillTile, work.kv_heads, kv_head, kKeyChunks);
    fill(keys + kPrefillTile * Shape::kKeyDim * 2, work.values, tile * kPrefillTile, work.kv_heads, kv_head,
         kValueChunks);
  };
  fill(shared_address(shared), work.queries, first_query, work.query_heads, head, kKeyChunks);
  fill_tile(0);
  copy_commit();

  float sums[Shape::kValueDim / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // of rows lane / 4 and lane / 4 + 8
  for (int tile = 0; tile < tiles; ++tile) {
    copy_wait<0>();
    __syncthreads();  // this tile is there for all, and the one before is read by all
    if (tile + 1 < tiles) fill_tile(tile + 1);
    copy_commit();
    const std::uint32_t keys = shared_address(stages + tile % 2 * Shape::kStageBytes);
    const std::uint32_t values = keys + kPrefillTile * Shape::kKeyDim * 2;

    float score[kPrefillTile / 8][4] = {};
    MOESIM_UNROLL
    for (int chunk = 0; chunk < kKeyChunks; chunk += 2) {
      std::uint32_t a[4];
      load_matrices(a, shared_address(shared) + left_fragment(lane, 16 * warp, chunk, kKeyChunks));
      MOESIM_UNROLL
      for (int j = 0; j < kPrefillTile / 16; ++j) {
        std::uint32_t b[4];
        load_matrices(b, keys + right_fragments(lane, 16 * j, chunk, kKeyChunks));
        multiply(score[2 * j], a, b[0], b[1], Bf16{});
        multiply(score[2 * j + 1], a, b[2], b[3], Bf16{});
      }
    }

    // Only the last tile holds keys that some query does not see.
    const bool masked = (tile + 1) * kPrefillTile > first_query + 16 * warp;
    float now[2] = {largest[0], largest[1]};
    MOESIM_UNROLL
    for (int j = 0; j < kPrefillTile / 8; ++j) {
      MOESIM_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int key = tile * kPrefillTile + 8 * j + lane % 4 * 2 + i % 2;
        const int query = first_query + 16 * warp + lane / 4 + i / 2 * 8;
        score[j][i] = masked && key > query ? -INFINITY : score[j][i] * work.scale;
        now[i / 2] = fmaxf(now[i / 2], score[j][i]);
      }
    }
    float factor[2], sum[2] = {0, 0};
    MOESIM_UNROLL
    for (int half = 0; half < 2; ++half) {
      now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 1));
      now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 2));
      factor[half] = exp2f(largest[half] - now[half]);  // key 0 is seen by all, so `now` is finite
      largest[half] = now[half];
    }
    MOESIM_UNROLL
    for (int j = 0; j < kPrefillTile / 8; ++j) {
      MOESIM_UNROLL
      for (int i = 0; i < 4; ++i) {
        score[j][i] = exp2f(score[j][i] - largest[i / 2]);
        sum[i / 2] += score[j][i];
      }
    }
    MOESIM_UNROLL
    for (int half = 0; half < 2; ++half) total[half] = total[half] * factor[half] + sum[half];
    MOESIM_UNROLL
    for (int j = 0; j < Shape::kValueDim / 8; ++j) {
      MOESIM_UNROLL
      for (int i = 0; i < 4; ++i) sums[j][i] *= factor[i / 2];
    }

    // The accumulator layout of two neighbouring score tiles is the left-operand layout of their 16 keys.
    MOESIM_UNROLL
    for (int step = 0; step < kPrefillTile / 16; ++step) {
      const float(&first)[4] = score[2 * step];
      const float(&second)[4] = score[2 * step + 1];
      const std::uint32_t a[4] = {pack(first[0], first[1]), pack(first[2], first[3]), pack(second[0], second[1]),
                                  pack(second[2], second[3])};
      MOESIM_UNROLL
      for (int j = 0; j < Shape::kValueDim / 16; ++j) {
        std::uint32_t b[4];
        load_matrices_transposed(b, values + swizzled(16 * step + lane % 16, 2 * j + lane / 16, kValueChunks));
        multiply(sums[2 * j], a, b[0], b[1], Bf16{});
        multiply(sums[2 * j + 1], a, b[2], b[3], Bf16{});
      }
    }
  }
  MOESIM_UNROLL
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int query = first_query + 16 * warp + lane / 4 + 8 * half;
    if (query >= work.length) continue;
    const float inverse = 1.0F / total[half];
    Bf16* const row = work.output + ((sequence + query) * work.query_heads + head) * Shape::kValueDim;
    MOESIM_UNROLL
    for (int j = 0; j < Shape::kValueDim / 8; ++j) {
      *reinterpret_cast<std::uint32_t*>(row + 8 * j + lane % 4 * 2) =
          pack(sums[j][2 * half] * inverse, sums[j][2 * half + 1] * inverse);
    }
  }
}

}  // namespace moesim::calibrate
