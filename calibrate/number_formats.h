#pragma once
// The two number formats that the kernels read and write, converted by the same code on host and GPU, so that a
// reference on the host rounds as the kernel does.

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define MOESIM_BOTH __host__ __device__ inline
#else
#define MOESIM_BOTH inline
#endif

namespace moesim::calibrate {

struct Bf16 {
  std::uint16_t bits;
};
/// e4m3 without infinities: largest 448, smallest positive 2^-9; NaN is 0x7f and 0xff [ocp fp8].
struct Fp8 {
  std::uint8_t bits;
};
inline constexpr float kLargestFp8 = 448;

MOESIM_BOTH std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
MOESIM_BOTH float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

MOESIM_BOTH float to_float(float value) {
  return value;
}
MOESIM_BOTH float to_float(Bf16 value) {
  return float_of(static_cast<std::uint32_t>(value.bits) << 16);
}
MOESIM_BOTH float to_float(Fp8 value) {
  const std::uint32_t magnitude = value.bits & 0x7fu;
  float result;
  if (magnitude == 0x7f) {
    result = float_of(0x7fc00000u);
  } else if (magnitude < 8) {  // subnormal: steps of 2^-9
    result = static_cast<float>(magnitude) / 512.0F;
  } else {
    result = float_of((magnitude << 20) + (120u << 23));  // exponent bias 127 - 7
  }
  return (value.bits & 0x80u) != 0 ? -result : result;
}

/// To nearest, ties to even.
MOESIM_BOTH Bf16 to_bf16(float value) {
  const std::uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
/// To nearest, ties to even; beyond the largest to the largest.
MOESIM_BOTH Fp8 to_fp8(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t result;
  if (magnitude > 0x7f800000u) {
    result = 0x7f;
  } else if (magnitude < (121u << 23)) {  // below 2^-6: steps of 2^-9
    result = static_cast<std::uint32_t>(rintf(float_of(magnitude) * 512.0F));
  } else {
    const std::uint32_t rounded = (magnitude + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
    result = rounded - (120u << 3);
    if (result > 0x7e) result = 0x7e;
  }
  return {static_cast<std::uint8_t>(result | sign)};
}

template <class Element>
MOESIM_BOTH Element from_float(float value);
template <>
MOESIM_BOTH float from_float<float>(float value) {
  return value;
}
template <>
MOESIM_BOTH Bf16 from_float<Bf16>(float value) {
  return to_bf16(value);
}
template <>
MOESIM_BOTH Fp8 from_float<Fp8>(float value) {
  return to_fp8(value);
}

}  // namespace moesim::calibrate
