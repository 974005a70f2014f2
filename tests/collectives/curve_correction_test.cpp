#include "collectives/curve_correction.h"

#include <gtest/gtest.h>

#include <cmath>

#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

CurveCorrection knots(std::uint32_t ranks, std::vector<double> sizes, std::vector<double> factors) {
  CurveCorrection correction{CostCurve::all_reduce, ranks, std::move(sizes), std::move(factors)};
  for (double& size : correction.log_size) size = std::log(size);
  for (double& factor : correction.log_factor) factor = std::log(factor);
  return correction;
}

TEST(CurveCorrection, IsItsFactorAtAKnotAndTheGeometricMeanHalfWay) {
  const std::vector<CurveCorrection> list{knots(8, {1024, 4096}, {1.2, 0.9})};
  const PreparedCorrection correction(list, CostCurve::all_reduce, 8);
  EXPECT_NEAR(correction.factor(1024), 1.2, 1e-12);
  EXPECT_NEAR(correction.factor(2048), std::sqrt(1.2 * 0.9), 1e-12);
  EXPECT_NEAR(correction.factor(1), 1.2, 1e-12);
  EXPECT_NEAR(correction.factor(1e9), 0.9, 1e-12);
  EXPECT_TRUE(PreparedCorrection(list, CostCurve::all_gather, 8).empty());
}

TEST(CurveCorrection, LiesBetweenTheRanksThatWereMeasuredAndFadesBeyond) {
  const std::vector<CurveCorrection> list{knots(2, {1024, 4096}, {1.2, 1.2}), knots(8, {1024, 4096}, {1.0, 1.0})};
  const auto at = [&](double ranks) { return PreparedCorrection(list, CostCurve::all_reduce, ranks).factor(2048); };
  EXPECT_NEAR(at(4), std::sqrt(1.2), 1e-12);
  const std::vector<CurveCorrection> one{knots(4, {1024, 4096}, {1.44, 1.44})};
  EXPECT_NEAR(PreparedCorrection(one, CostCurve::all_reduce, 8).factor(2048), 1.2, 1e-12);
  EXPECT_NEAR(PreparedCorrection(one, CostCurve::all_reduce, 2).factor(2048), 1.2, 1e-12);
}

TEST(CurveCorrection, TimesNeverFallWithSize) {
  // Factors that would make 2 KB faster than 1 KB: both get their geometric mean.
  const std::vector<CurveCorrection> list{knots(8, {1024, 2048, 4096}, {1.3, 0.8, 1.0})};
  PreparedCorrection correction(list, CostCurve::all_reduce, 8);
  const auto law = [](double size) { return 10e-6 + size * 1e-10; };
  correction.make_monotone(law);
  double last = 0;
  for (double size = 256; size < 65536; size *= 1.05) {
    const double t = correction.corrected(law(size), size);
    EXPECT_GT(t, last) << size;
    last = t;
  }
  EXPECT_NEAR(correction.corrected(law(1024), 1024), std::sqrt(law(1024) * 1.3 * law(2048) * 0.8), 1e-10);
}

TEST(CurveCorrection, ShippedCurvesRiseWithBytes) {
  for (const auto& [gpu, architecture, rate] : {std::tuple{"a100_sxm", "ampere", 300.0},
                                                {"h100_sxm", "hopper", 450.0},
                                                {"b200_sxm", "blackwell", 900.0},
                                                {"b300_sxm", "blackwell_ultra", 900.0}}) {
    const ClusterSpec cluster = hgx(1, rate);
    const Topology topology(cluster);
    const CollectiveProfile profile = shipped_profile(cluster, gpu, architecture);
    for (const std::uint32_t ranks : {2U, 3U, 4U, 6U, 8U}) {
      const GroupCollectives group(topology, profile, first_gpus(ranks));
      for (const Collective kind :
           {Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter, Collective::all_to_all}) {
        Duration last;
        for (double bytes = 64; bytes < 4e9; bytes *= 1.3) {
          const Duration t = group.time(kind, Bytes{static_cast<std::int64_t>(bytes)});
          EXPECT_GE(t, last) << gpu << ' ' << name(kind) << " of " << bytes << " on " << ranks;
          last = t;
        }
      }
    }
  }
}

}  // namespace
}  // namespace moesim
