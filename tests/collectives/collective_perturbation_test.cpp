// Collectives with perturbed times: by their own deviation, in their own regime, on both network models.

#include "collectives/collective_perturbation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moesim {
namespace {

TEST(CommPerturbation, MovesItsOwnCurveAndRegime) {
  CollectiveProfile profile;
  profile.fitted.emplace_back().curve = CostCurve::all_gather;
  profile.fitted.back().p90_ape = 0.15;
  EXPECT_NEAR(log_sd(profile, CostCurve::all_gather), std::log(1.15) / 1.645, 1e-12);
  EXPECT_EQ(log_sd(profile, CostCurve::all_reduce), kUnmeasuredCommLogSd);
  CommPerturbation one;
  one.normal[static_cast<std::size_t>(CostCurve::all_gather)][static_cast<std::size_t>(SizeRegime::large)] = 2;
  const CollectiveProfile moved = perturbed(profile, one);
  const Duration time = Duration::microseconds(100);
  const double factor = std::pow(1.15, 2 / 1.645);
  EXPECT_NEAR(perturbed_time(time, moved, CostCurve::all_gather, 64e6) / time, factor, 1e-6);
  EXPECT_EQ(perturbed_time(time, moved, CostCurve::all_gather, 1e6), time);
  EXPECT_EQ(perturbed_time(time, moved, CostCurve::all_reduce, 64e6), time);
  EXPECT_EQ(perturbed_time(time, profile, CostCurve::all_gather, 64e6), time);
}

TEST(CommPerturbation, ExchangesGoByTheMostTokensOfARank) {
  CollectiveProfile profile;
  CommPerturbation one;
  one.normal[static_cast<std::size_t>(CostCurve::low_latency_combine)][static_cast<std::size_t>(SizeRegime::medium)] =
      1;
  profile = perturbed(profile, one);
  const std::vector<std::int64_t> few{10, 63}, more{10, 64};
  const ExchangeTimes times{Duration::microseconds(50), Duration::microseconds(70)};
  const TokenPayload payload{Bytes{7168}, Bytes{14336}};
  const auto with = [&](const std::vector<std::int64_t>& tokens) {
    RoutedTraffic traffic{.tokens = tokens, .rows = {}, .rank_copies = {}, .node_copies = {}};
    return perturbed_times(times, profile, MoeBackend::deepep_low_latency, traffic, payload);
  };
  EXPECT_EQ(with(few).combine, times.combine);
  EXPECT_NEAR(with(more).combine / times.combine, std::exp(kUnmeasuredCommLogSd), 1e-6);
  EXPECT_EQ(with(more).dispatch, times.dispatch);
}

}  // namespace
}  // namespace moesim
