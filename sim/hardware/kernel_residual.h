#pragma once
// What a functional form leaves of a family of kernels: a factor of its time, linear between knots.

#include <cstdint>
#include <utility>
#include <vector>

namespace moesim {

/// log2 of a positive number at powers of two, linear between them (0.086 below log2 at most): cheap, and the same on
/// every build.
double octave(double x);

/// factor(x, y): linear between knots along both coordinates (octaves). Outside the knots the nearest edge counts, and
/// fades to 1 over two octaves. Without knots 1. Fitted where cross-validation over unseen shapes gains by it; the
/// coordinates of a family stand at its function in kernel_cost.h. One call takes a few ns.
struct KernelResidual {
  std::vector<double> x, y;    ///< octaves, ascending
  std::vector<double> factor;  ///< x.size() y.size() values, those of one x together

  bool empty() const { return factor.empty(); }
  /// At positive numbers, not octaves.
  double operator()(double at_x, double at_y) const { return empty() ? 1 : interpolated(octave(at_x), octave(at_y)); }
  /// Weights of the (at most four) knots that count at a point; they sum to less than one outside.
  std::vector<std::pair<std::size_t, double>> weights(double octave_x, double octave_y) const;
  bool operator==(const KernelResidual&) const = default;

 private:
  double interpolated(double octave_x, double octave_y) const;
};

/// Most knots of one section.
inline constexpr std::size_t kMostResidualKnots = 64;

}  // namespace moesim
