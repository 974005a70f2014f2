#include "hardware/kernel_residual.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moesim {
namespace {

TEST(KernelResidual, OctavesAreLogarithmsAtPowersOfTwo) {
  EXPECT_EQ(octave(1), 0);
  EXPECT_EQ(octave(1024), 10);
  EXPECT_EQ(octave(0.125), -3);
  EXPECT_EQ(octave(3), 1.5);  // log2(3) = 1.585
  for (double x = 0.01; x < 1e9; x *= 1.37) {
    EXPECT_LE(octave(x), std::log2(x) + 1e-12);
    EXPECT_GE(octave(x), std::log2(x) - 0.0861);
  }
}

// Factors 1.2 and 0.8 at 2 and 8 (octaves 1 and 3): 1.0 in the middle, at octave 2.
TEST(KernelResidual, IsLinearBetweenKnots) {
  const KernelResidual residual{.x = {1, 3}, .y = {0}, .factor = {1.2, 0.8}};
  EXPECT_DOUBLE_EQ(residual(2, 1), 1.2);
  EXPECT_DOUBLE_EQ(residual(4, 1), 1.0);
  EXPECT_DOUBLE_EQ(residual(8, 1), 0.8);
}

TEST(KernelResidual, IsBilinearInTwoSizes) {
  const KernelResidual residual{.x = {0, 2}, .y = {0, 2}, .factor = {1, 1.1, 1.2, 1.7}};
  // At octaves 1 and 1 the mean of the four.
  EXPECT_DOUBLE_EQ(residual(2, 2), (1 + 1.1 + 1.2 + 1.7) / 4);
  EXPECT_DOUBLE_EQ(residual(4, 4), 1.7);
}

// The edge is 1.4; an octave outside 1.2, two octaves or more outside 1.
TEST(KernelResidual, FadesOutsideOfItsKnots) {
  const KernelResidual residual{.x = {1, 3}, .y = {0}, .factor = {1.4, 1.4}};
  EXPECT_DOUBLE_EQ(residual(1, 1), 1.2);
  EXPECT_DOUBLE_EQ(residual(0.5, 1), 1);
  EXPECT_DOUBLE_EQ(residual(1e6, 1), 1);
  EXPECT_DOUBLE_EQ(residual(4, 2), 1.2);
}

TEST(KernelResidual, WeightsReproduceTheFactor) {
  const KernelResidual residual{.x = {0, 1, 4}, .y = {2, 5}, .factor = {1.1, 0.9, 1.3, 0.7, 1.2, 1}};
  for (double x = 0.3; x < 60; x *= 1.7) {
    for (double y = 1.5; y < 90; y *= 1.6) {
      double sum = 1;
      for (const auto& [knot, weight] : residual.weights(octave(x), octave(y))) {
        sum += weight * (residual.factor[knot] - 1);
      }
      EXPECT_NEAR(residual(x, y), sum, 1e-12);
    }
  }
}

TEST(KernelResidual, IsOneWithoutKnots) {
  EXPECT_EQ(KernelResidual{}(123, 4), 1);
}

}  // namespace
}  // namespace moesim
