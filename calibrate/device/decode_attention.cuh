#pragma once
// Decode attention over a paged cache, keys split over blocks: grouped-query heads, and latent attention whose values
// are the first part of its keys. The heads that share a key-value head are the rows of the warp's matrix products.

#include "intrinsics.cuh"
#include "operands.h"

namespace moesim::calibrate {

inline constexpr int kDecodeThreads = 256;

/// A kernel's sizes: `kRowTiles` 16 query heads at once over tiles of `kTile` keys.
template <int KeyDim, int ValueDim, bool Latent, int RowTiles, int Tile>
struct DecodeShape {
  static constexpr int kKeyDim = KeyDim, kValueDim = ValueDim, kRowTiles = RowTiles, kTile = Tile;
  static constexpr bool kLatent = Latent;
  static constexpr int kRows = 16 * RowTiles;
  static constexpr int kKeyChunks = KeyDim / 8, kValueChunks = ValueDim / 8;
  static constexpr int kWarps = kDecodeThreads / 32;
  static constexpr int kScorePitch = Tile + 4;        // floats
  static constexpr int kWeightPitch = Tile * 2 + 16;  // bytes: 8 rows of a chunk lie in different banks
  static constexpr int kQueryBytes = kRows * KeyDim * 2;
  static constexpr int kStageBytes = Tile * (KeyDim + (Latent ? 0 : ValueDim)) * 2;
  static constexpr int kScoreBytes = kRows * kScorePitch * 4;
  static constexpr int kWeightBytes = kRows * kWeightPitch;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStageBytes + kScoreBytes + kWeightBytes + 3 * kRows * 4;
  // n8 tiles of scores of a warp; with small tiles some warps have none
  static constexpr int kScoreTiles = RowTiles * Tile / 8 < kWarps ? 1 : RowTiles * Tile / 8 / kWarps;
  static constexpr int kValueTiles = ValueDim / 8 / kWarps;  // n8 tiles of the output of a warp
  static_assert(KeyDim % 64 == 0 && ValueDim % 64 == 0 && Tile % 32 == 0 && kWarps % RowTiles == 0);
};

/// Grid: splits, key-value heads times blocks of their query heads, sequences.
template <class Shape>
__global__ void __launch_bounds__(kDecodeThreads) decode_attention(const DecodeAttention work) {
  constexpr int kTile = Shape::kTile, kRows = Shape::kRows, kKeyChunks = Shape::kKeyChunks;
  unsigned char* const shared = dynamic_shared();
  unsigned char* const stages = shared + Shape::kQueryBytes;
  float* const scores = reinterpret_cast<float*>(stages + 2 * Shape::kStageBytes);
  unsigned char* const weights = reinterpret_cast<unsigned char*>(scores) + Shape::kScoreBytes;
  float* const row_max = reinterpret_cast<float*>(weights + Shape::kWeightBytes);
  float* const row_sum = row_max + kRows;
  float* const row_factor = row_sum + kRows;

  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int group = work.query_heads / work.kv_heads;
  const int head_blocks = (group + kRows - 1) / kRows;
  const int kv_head = static_cast<int>(blockIdx.y) / head_blocks;
  const int first_head = kv_head * group + static_cast<int>(blockIdx.y) % head_blocks * kRows;
  const int heads = min(kRows, (kv_head + 1) * group - first_head);
  const int sequence = static_cast<int>(blockIdx.z);
  const int begin = static_cast<int>(blockIdx.x) * work.keys_per_split;
  const int end = min(begin + work.keys_per_split, work.length);
  const int tiles = (end - begin + kTile - 1) / kTile;
  const std::int32_t* const pages = work.pages + static_cast<std::size_t>(sequence) * work.pages_per_sequence;

  const Bf16* const queries =
      work.queries + (static_cast<std::size_t>(sequence) * work.query_heads + first_head) * Shape::kKeyDim;
  for (int i = thread; i < kRows * kKeyChunks; i += kDecodeThreads) {
    const int row = i / kKeyChunks, chunk = i % kKeyChunks;
    const bool valid = row < heads;
    copy_async(shared_address(shared) + swizzled(row, chunk, kKeyChunks),
               queries + (valid ? static_cast<std::size_t>(i) * 8 : 0), valid);
  }
  const auto fill = [&](int tile) {
    constexpr int kChunks = kKeyChunks + (Shape::kLatent ? 0 : Shape::kValueChunks);
    const std::uint32_t keys = shared_address(stages + tile % 2 * Shape::kStageBytes);
    const std::uint32_t values = keys + kTile * Shape::kKeyDim * 2;
    for (int i = thread; i < kTile * kChunks; i += kDecodeThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const int key = begin + tile * kTile + row;
      const bool valid = key < end;
      const bool of_keys = chunk < kKeyChunks;
      std::size_t place = 0;
      if (valid) {
        const std::size_t token =
            static_cast<std::size_t>(pages[key / work.page_size]) * work.page_size + key % work.page_size;
        place = (token * work.kv_heads + kv_head) * (of_keys ? Shape::kKeyDim : Shape::kValueDim) +
                static_cast<std::size_t>(of_keys ? chunk : chunk - kKeyChunks) * 8;
      }
      const std::uint32_t target = of_keys ? keys + swizzled(row, chunk, kKeyChunks)
                                           : values + swizzled(row, chunk - kKeyChunks, Shape::kValueChunks);
      copy_async(target, (of_keys ? work.keys : work.values) + place, valid);
    }
  };
  fill(0);
  copy_commit();
  if (thread < kRows) {
    row_max[thread] = -INFINITY;
    row_sum[thread] = 0;
  }

  float sums[Shape::kRowTiles][Shape::kValueTiles][4] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    copy_wait<0>();
    __syncthreads();  // this tile is there for all, and the one before is read by all
    if (tile + 1 < tiles) fill(tile + 1);
    copy_commit();
    const std::uint32_t keys = shared_address(stages + tile % 2 * Shape::kStageBytes);

    // scores: every warp some columns of some rows
    const int score_row = warp % Shape::kRowTiles * 16, column = warp / Shape::kRowTiles * Shape::kScoreTiles * 8;
    if (column < kTile) {
      float score[Shape::kScoreTiles][4] = {};
      MOESIM_UNROLL_4
      for (int chunk = 0; chunk < kKeyChunks; chunk += 4) {
        std::uint32_t a[2][4];
        load_matrices(a[0], shared_address(shared) + left_fragment(lane, score_row, chunk, kKeyChunks));
        load_matrices(a[1], shared_address(shared) + left_fragment(lane, score_row, chunk + 2, kKeyChunks));
        MOESIM_UNROLL
        for (int j = 0; j < Shape::kScoreTiles; ++j) {
          std::uint32_t b[4];
          load_matrices(b, keys + long_right_fragment(lane, column + 8 * j, chunk, kKeyChunks));
          multiply(score[j], a[0], b[0], b[1], Bf16{});
          multiply(score[j], a[1], b[2], b[3], Bf16{});
        }
      }
      MOESIM_UNROLL
      for (int j = 0; j < Shape::kScoreTiles; ++j) {
        MOESIM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int key = column + 8 * j + lane % 4 * 2 + i % 2;
          const bool valid = begin + tile * kTile + key < end;
          scores[(score_row + lane / 4 + i / 2 * 8) * Shape::kScorePitch + key] =
              valid ? score[j][i] * work.scale : -INFINITY;
        }
      }
    }
    __syncthreads();

    // softmax so far: every warp whole rows
    for (int row = warp; row < kRows; row += Shape::kWarps) {
      float value[kTile / 32];
      const float before = row_max[row];
      float largest = before;
      MOESIM_UNROLL
      for (int i = 0; i < kTile / 32; ++i) {
        value[i] = scores[row * Shape::kScorePitch + i * 32 + lane];
        largest = fmaxf(largest, value[i]);
      }
      for (int step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
      float sum = 0;
      MOESIM_UNROLL
      for (int i = 0; i < kTile / 32; ++i) {
        const float weight = exp2f(value[i] - largest);  // every tile has a key, so `largest` is finite
        sum += weight;
        reinterpret_cast<Bf16*>(weights + row * Shape::kWeightPitch)[i * 32 + lane] = to_bf16(weight);
      }
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
      if (lane == 0) {
        const float factor = exp2f(before - largest);
        row_factor[row] = factor;
        row_sum[row] = row_sum[row] * factor + sum;
        row_max[row] = largest;
      }
    }
    __syncthreads();

    // output: every warp some columns of all rows
    constexpr int kChunks = Shape::kLatent ? kKeyChunks : Shape::kValueChunks;
    const std::uint32_t values = Shape::kLatent ? keys : keys + kTile * Shape::kKeyDim * 2;
    MOESIM_UNROLL
    for (int m = 0; m < Shape::kRowTiles; ++m) {
      const float low = row_factor[16 * m + lane / 4], high = row_factor[16 * m + lane / 4 + 8];
      MOESIM_UNROLL
      for (int j = 0; j < Shape::kValueTiles; ++j) {
        sums[m][j][0] *= low;
        sums[m][j][1] *= low;
        sums[m][j][2] *= high;
        sums[m][j][3] *= high;
      }
    }
    MOESIM_UNROLL
    for (int key = 0; key < kTile; key += 32) {
      std::uint32_t a[Shape::kRowTiles][2][4];
      MOESIM_UNROLL
      for (int m = 0; m < Shape::kRowTiles; ++m) {
        MOESIM_UNROLL
        for (int half = 0; half < 2; ++half) {
          load_matrices(a[m][half], shared_address(weights) + (16 * m + lane % 16) * Shape::kWeightPitch +
                                        (key / 8 + 2 * half + lane / 16) * 16);
        }
      }
      MOESIM_UNROLL
      for (int j = 0; j < Shape::kValueTiles; ++j) {
        std::uint32_t b[4];
        load_matrices_transposed(b, values + swizzled(key + lane, warp * Shape::kValueTiles + j, kChunks));
        MOESIM_UNROLL
        for (int m = 0; m < Shape::kRowTiles; ++m) {
          multiply(sums[m][j], a[m][0], b[0], b[1], Bf16{});
          multiply(sums[m][j], a[m][1], b[2], b[3], Bf16{});
        }
      }
    }
  }

  const std::size_t first_row = (static_cast<std::size_t>(blockIdx.x) * work.batch + sequence) * work.query_heads;
  MOESIM_UNROLL
  for (int m = 0; m < Shape::kRowTiles; ++m) {
    MOESIM_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + lane / 4 + 8 * half;
      if (row >= heads) continue;
      const float factor = 1.0F / row_sum[row];
      const std::size_t place = first_row + first_head + row;
      if (gridDim.x > 1 && warp == 0 && lane % 4 == 0) work.partial_weight[place] = row_max[row] + log2f(row_sum[row]);
      MOESIM_UNROLL
      for (int j = 0; j < Shape::kValueTiles; ++j) {
        const int column = (warp * Shape::kValueTiles + j) * 8 + lane % 4 * 2;
        const float low = sums[m][j][2 * half] * factor, high = sums[m][j][2 * half + 1] * factor;
        if (gridDim.x > 1) {
          *reinterpret_cast<float2*>(work.partial + place * Shape::kValueDim + column) = make_float2(low, high);
        } else {
          *reinterpret_cast<std::uint32_t*>(work.output + place * Shape::kValueDim + column) = pack(low, high);
        }
      }
    }
  }
}

/// output[row] = sum of the splits' parts, weighted by 2^partial_weight. One block a row (sequence and head).
__global__ void combine_splits(const float* partial, const float* partial_weight, Bf16* output, int splits, int rows,
                               int value_dim) {
  const std::size_t row = blockIdx.x;
  float largest = -INFINITY, sum = 0;
  for (int s = 0; s < splits; ++s) largest = fmaxf(largest, partial_weight[static_cast<std::size_t>(s) * rows + row]);
  for (int s = 0; s < splits; ++s) sum += exp2f(partial_weight[static_cast<std::size_t>(s) * rows + row] - largest);
  for (int i = static_cast<int>(threadIdx.x); i < value_dim; i += static_cast<int>(blockDim.x)) {
    float value = 0;
    for (int s = 0; s < splits; ++s) {
      const std::size_t place = static_cast<std::size_t>(s) * rows + row;
      value += exp2f(partial_weight[place] - largest) * partial[place * value_dim + i];
    }
    output[row * value_dim + i] = to_bf16(value / sum);
  }
}

}  // namespace moesim::calibrate
