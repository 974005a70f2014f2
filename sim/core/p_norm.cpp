#include "core/p_norm.h"

#include <fmt/core.h>

#include <bit>
#include <utility>

#include "core/check.h"
#include "core/math.h"

namespace moesim {

PNorm::PNorm(double p) {
  MOESIM_CHECK(p >= 1, "p-norm with p = {}", p);
  // g <= 2^(1/p): from here on it is 1 within the stated error.
  if (p > 2e6) return;
  // 64 cells an octave, twice as many when p doubles: g bends over a width of t near 1/p.
  unsigned cell_exponent = 6;
  for (double q = 4; q < p; q *= 2) ++cell_exponent;
  cell_bits_ = 52 - cell_exponent;
  // g - 1 is at most t^p / p: 2.5e-7 at the first cell.
  const double first = power(2.5e-7 * p, 1 / p);
  first_cell_ = std::bit_cast<std::uint64_t>(first) >> cell_bits_;
  first_ = std::bit_cast<double>(first_cell_ << cell_bits_);
  const std::uint64_t last_cell = std::bit_cast<std::uint64_t>(1.0) >> cell_bits_;
  std::vector<Parabola> cells;
  cells.reserve(last_cell - first_cell_ + 1);
  double g0 = p_norm(first_, 1, p);
  for (std::uint64_t cell = first_cell_; cell <= last_cell; ++cell) {
    const double left = std::bit_cast<double>(cell << cell_bits_);
    const double width = std::bit_cast<double>((cell + 1) << cell_bits_) - left;
    const double g1 = p_norm(left + width / 2, 1, p);
    const double g2 = p_norm(left + width, 1, p);
    cells.push_back({g0, (4 * g1 - 3 * g0 - g2) / width, 2 * (g0 - 2 * g1 + g2) / (width * width)});
    g0 = g2;
  }
  table_ = std::make_shared<const std::vector<Parabola>>(std::move(cells));
  cells_ = table_->data();
}

}  // namespace moesim
