#pragma once
// Random inputs as a function of (seed, position): the GPU fills buffers with them, and a reference on the host takes
// the few that it needs without a copy of the buffer.

#include "number_formats.h"

namespace moesim::calibrate {

/// A well-mixed word of (seed, index): the output function of SplitMix64 [splitmix64].
MOESIM_BOTH std::uint64_t random_word(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t word = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
  return word ^ (word >> 31);
}

/// Uniform on (-1, 1), variance 1/3: full exponents and mantissas, as real activations have. Zeros and constants take
/// less power and so run at a higher clock.
MOESIM_BOTH float random_value(std::uint64_t seed, std::uint64_t index) {
  const auto high = static_cast<std::int32_t>(random_word(seed, index) >> 40);  // 24 bits
  return (static_cast<float>(high - (1 << 23)) + 0.5F) / 8388608.0F;
}

template <class Element>
MOESIM_BOTH Element random_element(std::uint64_t seed, std::uint64_t index) {
  return from_float<Element>(random_value(seed, index));
}

}  // namespace moesim::calibrate
