#pragma once
// Named, counter-based random streams (Philox4x32-10 of Random123 [philox]): a new consumer of randomness moves
// nobody else, and a draw depends on (seed, name, substream, position) only, never on who drew before.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace moesim {

class Stream {
 public:
  /// `name` is a path such as "routing/layer/12". Equal (seed, name) give equal draws on every machine.
  Stream(std::uint64_t seed, std::string_view name);

  /// An independent stream of the same name, for example one per step. Position starts at zero. Indices do not nest:
  /// a substream of a substream is that of the named stream. `index` < 2^64 - 1.
  Stream substream(std::uint64_t index) const;

  std::uint32_t bits32();
  std::uint64_t bits64();
  /// The next `out.size()` words, the same that as many calls of `bits32` give; faster in bulk.
  void fill(std::span<std::uint32_t> out);
  /// Uniform on the odd multiples of 2^-53 in the open interval (0, 1).
  double uniform();
  /// Uniform integer in [0, n), n > 0, without bias.
  std::uint64_t below(std::uint64_t n);
  /// Mean 1.
  double exponential();
  /// Mean 0, standard deviation 1.
  double normal();
  /// Shape > 0, scale 1 (mean = shape).
  double gamma(double shape);

 private:
  void refill();
  std::array<std::uint32_t, 2> key_{};
  std::uint64_t substream_ = 0;
  std::uint64_t block_ = 0;
  std::array<std::uint32_t, 4> buffer_{};
  unsigned used_ = 4;
};

}  // namespace moesim
