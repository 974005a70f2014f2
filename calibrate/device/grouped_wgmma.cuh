#pragma once
// The grouped product on Hopper: persistent blocks with one producer warp, which lets the tensor memory accelerator
// fill a ring of tiles, and two warpgroups, which multiply 64 rows each. Shapes come from offsets on the device.

#include "grouped_gemm.cuh"
#include "hopper_intrinsics.cuh"

namespace moesim::calibrate {

inline constexpr int kWgmmaRows = 128, kWgmmaColumns = 128, kWgmmaStages = 4;
inline constexpr int kWgmmaThreads = 384;  ///< two warpgroups that multiply, then the one of the producer
inline constexpr int kWgmmaTileBytes = kWgmmaRows * 128;
inline constexpr int kWgmmaStageBytes = 2 * kWgmmaTileBytes;
/// The ring starts at the next 1024 bytes; two barriers a stage lie behind it.
inline constexpr int kWgmmaSharedBytes = 1024 + kWgmmaStages * (kWgmmaStageBytes + 16);
static_assert(kWgmmaRows == kWgmmaColumns);

/// `rows_map`: rows [k, rows] in boxes of 128 bytes x 128; `weights_map`: [k, n, experts] in boxes of 128 bytes x 128 x
/// 1; both swizzled by 128 bytes. Rows of a tile beyond its expert are those of the next: they are computed, not
/// stored.
template <class Element>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    grouped_wgmma(const __grid_constant__ TensorMap rows_map, const __grid_constant__ TensorMap weights_map,
                  const GroupedProduct<Element> product) {
  constexpr int kDepth = 128 / sizeof(Element);  // elements of k in a stage
  __shared__ GroupedTiles tiles;
  const int thread = static_cast<int>(threadIdx.x), warpgroup = thread / 128;
  const std::uint32_t ring = (shared_address(dynamic_shared()) + 1023u) / 1024u * 1024u;
  const std::uint32_t full = ring + kWgmmaStages * kWgmmaStageBytes, empty = full + 8 * kWgmmaStages;
  const int steps = (product.k + kDepth - 1) / kDepth;

  if (thread == 0) {
    for (int s = 0; s < kWgmmaStages; ++s) {
      barrier_init(full + 8 * s, 1);   // the producer
      barrier_init(empty + 8 * s, 8);  // a lane of each multiplying warp
    }
    barrier_init_fence();
  }
  tiles.build(product.offsets, product.experts, kWgmmaRows, (product.n + kWgmmaColumns - 1) / kWgmmaColumns);
  const int end = tiles.first[product.experts];

  int stage = 0;
  std::uint32_t parity = 0;
  const auto advance = [&] {
    if (++stage == kWgmmaStages) {
      stage = 0;
      parity ^= 1;
    }
  };

  if (warpgroup == 2) {
    if (thread != 256) return;
    prefetch_map(&rows_map);
    prefetch_map(&weights_map);
    for (int t = static_cast<int>(blockIdx.x); t < end; t += static_cast<int>(gridDim.x)) {
      const GroupedTile tile = tiles.at(t, product.offsets, product.experts, kWgmmaRows, kWgmmaColumns);
      for (int step = 0; step < steps; ++step) {
        barrier_wait(empty + 8 * stage, parity ^ 1);  // of the first round: complete from the start
        barrier_expect(full + 8 * stage, kWgmmaStageBytes);
        const std::uint32_t left = ring + stage * kWgmmaStageBytes;
        load_box(left, &rows_map, full + 8 * stage, step * kDepth, tile.first_row);
        load_box(left + kWgmmaTileBytes, &weights_map, full + 8 * stage, step * kDepth, tile.first_column, tile.expert);
        advance();
      }
    }
    // Nothing is left to copy; the block ends when the others have read it all.
    return;
  }

  const float scale = (product.row_scale != nullptr ? *product.row_scale : 1.0F) *
                      (product.weight_scale != nullptr ? *product.weight_scale : 1.0F);
  const int lane = thread % 32, warp = thread % 128 / 32;
  for (int t = static_cast<int>(blockIdx.x); t < end; t += static_cast<int>(gridDim.x)) {
    const GroupedTile tile = tiles.at(t, product.offsets, product.experts, kWgmmaRows, kWgmmaColumns);
    float sums[64];
    MOESIM_UNROLL
    for (int i = 0; i < 64; ++i) sums[i] = 0;
    int previous = -1;
    for (int step = 0; step < steps; ++step) {
      barrier_wait(full + 8 * stage, parity);
      const std::uint32_t left = ring + stage * kWgmmaStageBytes + warpgroup * (kWgmmaTileBytes / 2);
      const std::uint32_t right = ring + stage * kWgmmaStageBytes + kWgmmaTileBytes;
      pin(sums);
      warpgroup_fence();
      MOESIM_UNROLL
      for (int part = 0; part < 4; ++part) {  // 32 bytes of k each, within the 128 of the swizzle
        warpgroup_multiply(sums, operand_descriptor(left + 32 * part), operand_descriptor(right + 32 * part), 1,
                           Element{});
      }
      warpgroup_commit();
      pin(sums);
      warpgroup_wait<1>();  // the products of the stage before are done: it can be filled again
      if (previous >= 0 && lane == 0) barrier_arrive(empty + 8 * previous);
      previous = stage;
      advance();
    }
    pin(sums);
    warpgroup_wait<0>();
    pin(sums);
    if (previous >= 0 && lane == 0) barrier_arrive(empty + 8 * previous);
    MOESIM_UNROLL
    for (int j = 0; j < 16; ++j) {
      const int column = tile.first_column + 8 * j + lane % 4 * 2;
      if (column >= product.n) continue;
      MOESIM_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = tile.first_row + 64 * warpgroup + 16 * warp + lane / 4 + 8 * half;
        if (row >= tile.end_row) continue;
        *reinterpret_cast<std::uint32_t*>(product.output + static_cast<std::size_t>(row) * product.n + column) =
            pack(sums[4 * j + 2 * half] * scale, sums[4 * j + 2 * half + 1] * scale);
      }
    }
  }
}

}  // namespace moesim::calibrate
