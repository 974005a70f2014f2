#include "core/random.h"

#include <fmt/core.h>

#include <cmath>

#include "core/check.h"
#include "core/math.h"
#include "core/philox.h"

namespace moesim {

namespace {

/// The finalizer of SplitMix64: every bit of the argument moves every bit of the result.
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// FNV-1a over the bytes of the name, started from the mixed seed.
std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325u ^ mix(seed + 0x9E3779B97F4A7C15u);
  for (const char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001B3u;
  }
  return mix(hash);
}

__extension__ typedef unsigned __int128 uint128;

}  // namespace

Stream::Stream(std::uint64_t seed, std::string_view name) {
  const std::uint64_t key = stream_key(seed, name);
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

Stream Stream::substream(std::uint64_t index) const {
  MOESIM_CHECK(index < UINT64_MAX, "substream {} is out of range", index);
  Stream result = *this;
  // Region 0 of the counters is the stream itself.
  result.substream_ = index + 1;
  result.block_ = 0;
  result.used_ = 4;
  return result;
}

void Stream::refill() {
  buffer_ = philox_block({static_cast<std::uint32_t>(block_), static_cast<std::uint32_t>(block_ >> 32),
                          static_cast<std::uint32_t>(substream_), static_cast<std::uint32_t>(substream_ >> 32)},
                         key_);
  ++block_;
  used_ = 0;
}

std::uint32_t Stream::bits32() {
  if (used_ == 4) refill();
  return buffer_[used_++];
}

void Stream::fill(std::span<std::uint32_t> out) {
  std::size_t i = 0;
  while (i < out.size() && used_ < 4) out[i++] = buffer_[used_++];
  // Whole blocks go straight to the output and do not wait for each other.
  for (; i + 4 <= out.size(); i += 4, ++block_) {
    const auto block =
        philox_block({static_cast<std::uint32_t>(block_), static_cast<std::uint32_t>(block_ >> 32),
                      static_cast<std::uint32_t>(substream_), static_cast<std::uint32_t>(substream_ >> 32)},
                     key_);
    for (std::size_t j = 0; j < 4; ++j) out[i + j] = block[j];
  }
  while (i < out.size()) out[i++] = bits32();
}

std::uint64_t Stream::bits64() {
  const std::uint64_t low = bits32();
  return low | std::uint64_t{bits32()} << 32;
}

double Stream::uniform() {
  // 52 bits and a half: exact, never 0 or 1, and u is as likely as 1 - u.
  return (static_cast<double>(bits64() >> 12) + 0.5) * 0x1p-52;
}

std::uint64_t Stream::below(std::uint64_t n) {
  MOESIM_CHECK(n > 0, "no integer lies in [0, 0)");
  // Lemire, "Fast random integer generation in an interval", 2019: the high word of a product, where the few low words
  // that would make some results likelier are drawn again.
  uint128 product = static_cast<uint128>(bits64()) * n;
  if (static_cast<std::uint64_t>(product) < n) {
    const std::uint64_t threshold = (0 - n) % n;
    while (static_cast<std::uint64_t>(product) < threshold) product = static_cast<uint128>(bits64()) * n;
  }
  return static_cast<std::uint64_t>(product >> 64);
}

double Stream::exponential() {
  return -logarithm(uniform());
}

double Stream::normal() {
  return normal_quantile(uniform());
}

double Stream::gamma(double shape) {
  MOESIM_CHECK(shape > 0, "gamma shape {} is not positive", shape);
  // Below 1 the density has a pole: gamma(a) = gamma(a + 1) U^(1/a).
  if (shape < 1) {
    const double u = uniform();
    return gamma(shape + 1) * power(u, 1 / shape);
  }
  // Marsaglia and Tsang, "A simple method for generating gamma variables", 2000: d (1 + c z)^3, accepted by its
  // density.
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double z = normal();
    const double root = 1 + c * z;
    if (root <= 0) continue;
    const double cube = root * root * root;
    if (logarithm(uniform()) < 0.5 * z * z + d * (1 - cube + logarithm(cube))) return d * cube;
  }
}

}  // namespace moesim
