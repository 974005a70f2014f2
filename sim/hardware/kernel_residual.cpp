#include "hardware/kernel_residual.h"

#include <algorithm>
#include <bit>

namespace moesim {

namespace {

constexpr double kFade = 2;  // octaves

/// Between which knots a point lies: knot `left` with weight 1 - `share`, the next with `share`, all times `inside`.
struct Place {
  std::size_t left = 0;
  double share = 0, inside = 1;
};

Place place_of(const std::vector<double>& knots, double at) {
  if (at <= knots.front()) return {0, 0, std::max(0.0, 1 - (knots.front() - at) / kFade)};
  const std::size_t last = knots.size() - 1;
  if (at >= knots.back()) return {last, 0, std::max(0.0, 1 - (at - knots.back()) / kFade)};
  std::size_t i = 0;
  while (at >= knots[i + 1]) ++i;
  return {i, (at - knots[i]) / (knots[i + 1] - knots[i]), 1};
}

}  // namespace

double octave(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  constexpr std::uint64_t mantissa = (std::uint64_t{1} << 52) - 1;
  const double fraction = std::bit_cast<double>((bits & mantissa) | std::bit_cast<std::uint64_t>(1.0));
  return static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023) + (fraction - 1);
}

double KernelResidual::interpolated(double octave_x, double octave_y) const {
  const Place a = place_of(x, octave_x), b = place_of(y, octave_y);
  const std::size_t columns = y.size();
  const double* const row = factor.data() + a.left * columns + b.left;
  const std::size_t right = b.share > 0 ? 1 : 0;
  double value = row[0] + b.share * (row[right] - row[0]);
  if (a.share > 0) {
    const double* const next = row + columns;
    value += a.share * (next[0] + b.share * (next[right] - next[0]) - value);
  }
  return 1 + a.inside * b.inside * (value - 1);
}

std::vector<std::pair<std::size_t, double>> KernelResidual::weights(double octave_x, double octave_y) const {
  const Place a = place_of(x, octave_x), b = place_of(y, octave_y);
  std::vector<std::pair<std::size_t, double>> found;
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
    for (const std::size_t j : {std::size_t{0}, std::size_t{1}}) {
      const double weight = (i == 0 ? 1 - a.share : a.share) * (j == 0 ? 1 - b.share : b.share) * a.inside * b.inside;
      if (weight > 0) found.emplace_back((a.left + i) * y.size() + b.left + j, weight);
    }
  }
  return found;
}

}  // namespace moesim
