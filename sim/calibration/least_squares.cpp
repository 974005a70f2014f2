#include "calibration/least_squares.h"

#include <ceres/ceres.h>

#include <algorithm>
#include <cmath>

namespace moesim {

namespace {

constexpr double kStep = 1e-4;

/// All residuals as one block, each with its loss taken in: r' = sign(r) sqrt(rho(r^2)), smooth at zero.
class SoftResiduals : public ceres::CostFunction {
 public:
  SoftResiduals(const LeastSquares& problem, std::vector<std::size_t> free, std::vector<double> fixed)
      : problem_(problem), free_(std::move(free)), full_(std::move(fixed)) {
    set_num_residuals(static_cast<int>(problem.residuals));
    mutable_parameter_block_sizes()->push_back(static_cast<int>(free_.size()));
  }

  bool Evaluate(double const* const* parameters, double* residuals, double** jacobians) const override {
    const std::size_t n = free_.size(), m = problem_.residuals;
    std::vector<double> x(parameters[0], parameters[0] + n), moved(m);
    const std::span<double> at(residuals, m);
    soft(x, at);
    if (jacobians == nullptr || jacobians[0] == nullptr) return true;
    for (std::size_t j = 0; j < n; ++j) {
      // Towards the inside of the bounds.
      const double step = x[j] + kStep > problem_.high[free_[j]] ? -kStep : kStep;
      const double kept = x[j];
      x[j] += step;
      soft(x, moved);
      x[j] = kept;
      for (std::size_t i = 0; i < m; ++i) jacobians[0][i * n + j] = (moved[i] - at[i]) / step;
    }
    return true;
  }

 private:
  void soft(const std::vector<double>& x, std::span<double> out) const {
    std::vector<double> full = full_;
    for (std::size_t j = 0; j < free_.size(); ++j) full[free_[j]] = x[j];
    problem_.evaluate(full, out);
    const double b = problem_.soft * problem_.soft;
    for (double& r : out) {
      if (!std::isfinite(r)) r = 10;
      const double rho = 2 * b * (std::sqrt(1 + r * r / b) - 1);
      r = std::copysign(std::sqrt(rho), r);
    }
  }

  const LeastSquares& problem_;
  std::vector<std::size_t> free_;
  std::vector<double> full_;
};

std::vector<std::size_t> moving_parameters(const LeastSquares& problem) {
  std::vector<std::size_t> free;
  std::vector<double> at(problem.residuals), moved(problem.residuals);
  constexpr double wide = 0.02, least = 1e-9;
  for (std::size_t j = 0; j < problem.low.size(); ++j) {
    bool moves = false;
    for (std::vector<double> x : problem.starts) {
      problem.evaluate(x, at);
      x[j] += x[j] + wide > problem.high[j] ? -wide : wide;
      problem.evaluate(x, moved);
      for (std::size_t i = 0; i < at.size() && !moves; ++i) moves = std::abs(moved[i] - at[i]) > least;
      if (moves) break;
    }
    if (moves) free.push_back(j);
  }
  return free;
}

}  // namespace

double cost_of(const LeastSquares& problem, std::span<const double> x) {
  std::vector<double> residuals(problem.residuals);
  problem.evaluate(x, residuals);
  const double b = problem.soft * problem.soft;
  double cost = 0;
  for (const double r : residuals) cost += b * (std::sqrt(1 + r * r / b) - 1);
  return std::isfinite(cost) ? cost : INFINITY;
}

LeastSquaresEnd minimize(const LeastSquares& problem) {
  const std::vector<std::size_t> free = moving_parameters(problem);
  LeastSquaresEnd best{problem.starts.front(), INFINITY};
  if (free.empty() || problem.residuals == 0) return {problem.starts.front(), 0};
  for (const std::vector<double>& start : problem.starts) {
    std::vector<double> x;
    for (const std::size_t j : free) x.push_back(std::clamp(start[j], problem.low[j], problem.high[j]));
    ceres::Problem solved;
    solved.AddResidualBlock(new SoftResiduals(problem, free, problem.starts.front()), nullptr, x.data());
    for (std::size_t j = 0; j < free.size(); ++j) {
      solved.SetParameterLowerBound(x.data(), static_cast<int>(j), problem.low[free[j]]);
      solved.SetParameterUpperBound(x.data(), static_cast<int>(j), problem.high[free[j]]);
    }
    ceres::Solver::Options options;
    options.linear_solver_type = ceres::DENSE_QR;
    options.max_num_iterations = problem.iterations;
    options.function_tolerance = 1e-7;
    options.logging_type = ceres::SILENT;
    options.num_threads = 1;
    ceres::Solver::Summary summary;
    ceres::Solve(options, &solved, &summary);
    if (summary.final_cost < best.cost) {
      best.cost = summary.final_cost;
      best.x = problem.starts.front();
      for (std::size_t j = 0; j < free.size(); ++j) best.x[free[j]] = x[j];
    }
  }
  return best;
}

}  // namespace moesim
