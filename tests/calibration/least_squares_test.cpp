#include "calibration/least_squares.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moesim {
namespace {

/// ln t of t = e^x0 + e^x1 s, against t = 3 + 2 s.
LeastSquares line(const std::vector<double>& sizes, std::vector<double> measured) {
  LeastSquares problem;
  problem.residuals = sizes.size();
  problem.evaluate = [sizes, measured](std::span<const double> x, std::span<double> r) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      r[i] = std::log(std::exp(x[0]) + std::exp(x[1]) * sizes[i]) - std::log(measured[i]);
    }
  };
  problem.low = {std::log(1e-3), std::log(1e-3)};
  problem.high = {std::log(1e3), std::log(1e3)};
  problem.starts = {{0, 0}, {3, -3}};
  return problem;
}

std::vector<double> sizes() {
  return {0.1, 0.3, 1, 3, 10, 30, 100};
}

TEST(LeastSquares, FindsTheParametersOfExactData) {
  std::vector<double> measured;
  for (const double s : sizes()) measured.push_back(3 + 2 * s);
  const LeastSquaresEnd end = minimize(line(sizes(), measured));
  EXPECT_NEAR(std::exp(end.x[0]), 3, 1e-4);
  EXPECT_NEAR(std::exp(end.x[1]), 2, 1e-4);
  EXPECT_LT(end.cost, 1e-8);
}

TEST(LeastSquares, OneBadMeasurementMovesLittle) {
  std::vector<double> measured;
  for (const double s : sizes()) measured.push_back(3 + 2 * s);
  measured[3] *= 10;
  const LeastSquaresEnd end = minimize(line(sizes(), measured));
  // Plain least squares would share ln 10 = 2.3 over seven points: a third each.
  EXPECT_NEAR(std::exp(end.x[0]), 3, 0.3);
  EXPECT_NEAR(std::exp(end.x[1]), 2, 0.2);
}

TEST(LeastSquares, BoundsHoldAndUnusedParametersStay) {
  std::vector<double> measured;
  for (const double s : sizes()) measured.push_back(3 + 2 * s);
  LeastSquares problem = line(sizes(), measured);
  problem.high[1] = std::log(1.5);
  const auto inner = problem.evaluate;
  problem.evaluate = [inner](std::span<const double> x, std::span<double> r) { inner(x.subspan(0, 2), r); };
  problem.low.push_back(-1);
  problem.high.push_back(1);
  for (auto& start : problem.starts) start.push_back(0.5);
  const LeastSquaresEnd end = minimize(problem);
  EXPECT_NEAR(std::exp(end.x[1]), 1.5, 1e-6);
  EXPECT_EQ(end.x[2], 0.5);
}

}  // namespace
}  // namespace moesim
