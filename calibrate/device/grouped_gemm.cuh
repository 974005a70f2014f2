#pragma once
// Grouped product of rows sorted by expert with each expert's weights, for every GPU since sm_80 (fp8 since sm_89):
// persistent blocks, offsets on the device, mma.sync on tiles that a ring of asynchronous copies fills.

#include "intrinsics.cuh"
#include "operands.h"

namespace moesim::calibrate {

inline constexpr int kMostGroups = 512;

/// A tile of the product.
struct GroupedTile {
  int expert, first_row, end_row, first_column;
};

/// Tiles of all experts in order: experts, then columns, then rows, so that blocks that run at the same time read the
/// same weights. Built by the block in shared memory from the offsets; experts without rows have none.
struct GroupedTiles {
  std::int32_t first[kMostGroups + 1];  ///< tile of each expert, and of the end

  /// By the whole block; ends with a barrier.
  __device__ void build(const std::int32_t* offsets, int experts, int tile_rows, int column_tiles) {
    const int lane = static_cast<int>(threadIdx.x);
    if (lane < 32) {
      std::int32_t before = 0;
      for (int start = 0; start < experts; start += 32) {
        const int e = start + lane;
        const std::int32_t rows = e < experts ? offsets[e + 1] - offsets[e] : 0;
        const std::int32_t tiles = (rows + tile_rows - 1) / tile_rows * column_tiles;
        std::int32_t sum = tiles;
        for (int step = 1; step < 32; step *= 2) {
          const std::int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
          if (lane >= step) sum += other;
        }
        if (e < experts) first[e] = before + sum - tiles;
        before += __shfl_sync(0xffffffffu, sum, 31);
      }
      if (lane == 0) first[experts] = before;
    }
    __syncthreads();
  }

  __device__ GroupedTile at(int tile, const std::int32_t* offsets, int experts, int tile_rows, int tile_columns) const {
    int low = 0, high = experts;  // first[low] <= tile < first[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first[middle] <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    const int begin = offsets[low], end = offsets[low + 1];
    const int row_tiles = (end - begin + tile_rows - 1) / tile_rows;
    const int within = tile - first[low];
    return {low, begin + within % row_tiles * tile_rows, end, within / row_tiles * tile_columns};
  }
};

inline constexpr int kMmaRows = 64, kMmaColumns = 128, kMmaStages = 3, kMmaThreads = 128;
inline constexpr int kChunksPerRow = 8;  ///< a stage is 128 bytes deep
inline constexpr int kMmaStageBytes = (kMmaRows + kMmaColumns) * kChunksPerRow * 16;
inline constexpr int kMmaSharedBytes = kMmaStages * kMmaStageBytes;

template <class Element>
__global__ void __launch_bounds__(kMmaThreads) grouped_mma(const GroupedProduct<Element> product) {
  constexpr int kElements = 16 / sizeof(Element);  // in a chunk
  __shared__ GroupedTiles tiles;
  unsigned char* const stages = dynamic_shared();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 64;
  const int chunks = product.k / kElements;  // of a whole row
  const int depth = (chunks + kChunksPerRow - 1) / kChunksPerRow;
  const float scale = (product.row_scale != nullptr ? *product.row_scale : 1.0F) *
                      (product.weight_scale != nullptr ? *product.weight_scale : 1.0F);

  tiles.build(product.offsets, product.experts, kMmaRows, (product.n + kMmaColumns - 1) / kMmaColumns);
  const int end = tiles.first[product.experts];
  for (int t = static_cast<int>(blockIdx.x); t < end; t += static_cast<int>(gridDim.x)) {
    const GroupedTile tile = tiles.at(t, product.offsets, product.experts, kMmaRows, kMmaColumns);
    const Element* const weights =
        product.weights + static_cast<std::size_t>(tile.expert) * product.n * static_cast<std::size_t>(product.k);

    const auto fill = [&](int step) {
      unsigned char* const stage = stages + step % kMmaStages * kMmaStageBytes;
      const std::uint32_t left = shared_address(stage), right = left + kMmaRows * kChunksPerRow * 16;
      for (int i = thread; i < (kMmaRows + kMmaColumns) * kChunksPerRow; i += kMmaThreads) {
        const bool of_rows = i < kMmaRows * kChunksPerRow;
        const int row = (of_rows ? i : i - kMmaRows * kChunksPerRow) / kChunksPerRow, chunk = i % kChunksPerRow;
        const int source_row = (of_rows ? tile.first_row : tile.first_column) + row;
        const int source_chunk = step * kChunksPerRow + chunk;
        const bool valid = source_row < (of_rows ? tile.end_row : product.n) && source_chunk < chunks;
        const Element* const source = of_rows ? product.rows : weights;
        const std::size_t place = valid ? static_cast<std::size_t>(source_row) * product.k +
                                              static_cast<std::size_t>(source_chunk) * kElements
                                        : 0;
        copy_async((of_rows ? left : right) + swizzled(row, chunk, kChunksPerRow), source + place, valid);
      }
    };

    float sums[2][8][4] = {};
    for (int step = 0; step < kMmaStages - 1; ++step) {
      if (step < depth) fill(step);
      copy_commit();
    }
    for (int step = 0; step < depth; ++step) {
      copy_wait<kMmaStages - 2>();
      __syncthreads();  // this stage is full for all, and the one before is read by all
      if (step + kMmaStages - 1 < depth) fill(step + kMmaStages - 1);
      copy_commit();
      const std::uint32_t left = shared_address(stages + step % kMmaStages * kMmaStageBytes);
      const std::uint32_t right = left + kMmaRows * kChunksPerRow * 16;
      MOESIM_UNROLL
      for (int chunk = 0; chunk < kChunksPerRow; chunk += 2) {
        std::uint32_t a[2][4], b[4][4];
        MOESIM_UNROLL
        for (int i = 0; i < 2; ++i) {
          load_matrices(a[i], left + left_fragment(lane, warp_row + 16 * i, chunk, kChunksPerRow));
        }
        MOESIM_UNROLL
        for (int j = 0; j < 4; ++j) {
          load_matrices(b[j], right + right_fragments(lane, warp_column + 16 * j, chunk, kChunksPerRow));
        }
        MOESIM_UNROLL
        for (int i = 0; i < 2; ++i) {
          MOESIM_UNROLL
          for (int j = 0; j < 8; ++j)
            multiply(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1], Element{});
        }
      }
    }
    copy_wait<0>();
    __syncthreads();  // the next tile fills the stages that were just read
    MOESIM_UNROLL
    for (int i = 0; i < 2; ++i) {
      MOESIM_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int column = tile.first_column + warp_column + 8 * j + lane % 4 * 2;
        if (column >= product.n) continue;
        MOESIM_UNROLL
        for (int half = 0; half < 2; ++half) {
          const int row = tile.first_row + warp_row + 16 * i + lane / 4 + 8 * half;
          if (row >= tile.end_row) continue;
          *reinterpret_cast<std::uint32_t*>(product.output + static_cast<std::size_t>(row) * product.n + column) =
              pack(sums[i][j][2 * half] * scale, sums[i][j][2 * half + 1] * scale);
        }
      }
    }
  }
}

}  // namespace moesim::calibrate
