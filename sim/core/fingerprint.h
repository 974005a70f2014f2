#pragma once
// A short number that changes when a run changes: equal for equal sequences, on every machine and build.

#include <bit>
#include <cstdint>

namespace moesim {

/// A 64-bit hash of the numbers added so far, in their order. Two sequences of equal length that differ in one number
/// never collide; other pairs do with probability near 2^-64. Not for adversaries.
class Fingerprint {
 public:
  void add(std::uint64_t x) {
    // Each step is one-to-one in `x` and in the state; the shift carries high bits back to the low ones.
    state_ = (state_ ^ x) * 0x9E3779B97F4A7C15u;
    state_ ^= state_ >> 32;
  }
  void add(std::int64_t x) { add(static_cast<std::uint64_t>(x)); }
  void add(double x) { add(std::bit_cast<std::uint64_t>(x)); }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0x6A09E667F3BCC908u;
};

}  // namespace moesim
