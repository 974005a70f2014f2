#include "hardware/kernel_profile.h"

namespace moesim {

BatchedGemmSection batched_from_single(const GemmSection& single) {
  constexpr double tile_size = 64.0 * 64 / (64 + 64);  // harmonic
  BatchedGemmSection batched{.math = single.math,
                             .fixed = single.batched_fixed,
                             .compute = single.compute * tile_size / (tile_size + single.tile_half),
                             .memory = single.memory,
                             .norm = single.norm,
                             .per_wave = single.per_wave,
                             .cache = single.cache,
                             .factor = single.factor,
                             .origin = single.origin};
  batched.origin.derived_from =
      single.origin.derived_from.empty()
          ? "no batch of products was measured: the constants of single ones stand in"
          : single.origin.derived_from + "; no batch of products was measured: the constants of single ones stand in";
  return batched;
}

}  // namespace moesim
