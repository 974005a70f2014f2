#pragma once
// `p_norm` for one fixed p, prepared once and then asked millions of times.

#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

namespace moesim {

/// (a^p + b^p)^(1/p) = m g(t) with m the larger, t the smaller over the larger, g(t) = (1 + t^p)^(1/p). Each octave of
/// t is cut into equal cells, each with the parabola through g at its ends and its middle; below the first cell g is 1.
/// Relative error at most 4e-7 for every p >= 1 (infinity: the maximum); exact where a or b is zero. Copies share their
/// cells.
class PNorm {
 public:
  explicit PNorm(double p);

  /// a, b >= 0 and finite.
  double operator()(double a, double b) const {
    const double larger = a < b ? b : a;
    const double smaller = a < b ? a : b;
    if (smaller <= first_ * larger) return larger;
    const double t = smaller / larger;
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(t);
    const std::uint64_t cell = bits >> cell_bits_;
    const Parabola& g = cells_[cell - first_cell_];
    const double x = t - std::bit_cast<double>(cell << cell_bits_);
    return larger * (g.at_left + x * (g.slope + x * g.curve));
  }

 private:
  struct Parabola {
    double at_left, slope, curve;
  };
  double first_ = 1;  // t of the left end of the first cell
  unsigned cell_bits_ = 0;
  std::uint64_t first_cell_ = 0;
  std::shared_ptr<const std::vector<Parabola>> table_;
  const Parabola* cells_ = nullptr;
};

}  // namespace moesim
