#pragma once
// Bounded nonlinear least squares. The only place that knows Ceres.

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace moesim {

/// min over x in [low, high] of sum rho(r_i(x)^2) with soft-L1 rho of scale `soft`, from every one of `starts`; the
/// best end, the first on ties. Parameters that move no residual at any start stay where they are. Derivatives are
/// differences of step 1e-4, so that x should be logarithms. Levenberg-Marquardt [ceres].
struct LeastSquares {
  std::size_t residuals = 0;
  std::function<void(std::span<const double> x, std::span<double> residuals)> evaluate;
  std::vector<double> low, high;
  std::vector<std::vector<double>> starts;
  double soft = 0.1;
  int iterations = 60;  ///< at most, from each start
};
struct LeastSquaresEnd {
  std::vector<double> x;
  double cost = 0;  ///< half the sum
};
/// Half the sum of the losses at `x`.
double cost_of(const LeastSquares& problem, std::span<const double> x);

LeastSquaresEnd minimize(const LeastSquares& problem);

}  // namespace moesim
