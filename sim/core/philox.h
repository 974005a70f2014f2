#pragma once
// The block function of Philox4x32-10 [philox], from Random123: a keyed bijection of 128-bit counters whose outputs
// pass for random.

#include <Random123/philox.h>

#include <array>
#include <cstdint>

namespace moesim {

/// Ten rounds. Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 [philox].
inline std::array<std::uint32_t, 4> philox_block(const std::array<std::uint32_t, 4>& counter,
                                                 const std::array<std::uint32_t, 2>& key) {
  const r123::Philox4x32::ctr_type block =
      r123::Philox4x32{}({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
  return {block[0], block[1], block[2], block[3]};
}

}  // namespace moesim
