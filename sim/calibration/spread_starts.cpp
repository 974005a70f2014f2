#include "calibration/spread_starts.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace moesim {

namespace {

constexpr int kPrimes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41};

/// Radical inverse of `i` in `base`: evenly spread in (0, 1).
double halton(int i, int base) {
  double f = 1, r = 0;
  for (; i > 0; i /= base) {
    f /= base;
    r += f * (i % base);
  }
  return r;
}

template <class Place>
std::vector<std::vector<double>> starts(std::span<const double> start, int more, Place place) {
  std::vector<std::vector<double>> all{{start.begin(), start.end()}};
  for (int k = 1; k <= more; ++k) {
    std::vector<double> other;
    for (std::size_t j = 0; j < start.size(); ++j)
      other.push_back(place(j, halton(k, kPrimes[j % std::size(kPrimes)])));
    all.push_back(std::move(other));
  }
  return all;
}

}  // namespace

std::vector<std::vector<double>> spread_starts(std::span<const double> start, std::span<const double> low,
                                               std::span<const double> high, double reach, int more) {
  return starts(start, more,
                [&](std::size_t j, double h) { return std::clamp(start[j] + reach * (2 * h - 1), low[j], high[j]); });
}

std::vector<std::vector<double>> spread_over(std::span<const double> start, std::span<const double> low,
                                             std::span<const double> high, int more) {
  return starts(start, more, [&](std::size_t j, double h) { return low[j] + h * (high[j] - low[j]); });
}

}  // namespace moesim
