#include "calibration/comm_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

CommSystem system_of(const std::string& name, const std::string& gpu, const ClusterSpec& cluster) {
  const std::string architecture = gpu == "h100_sxm" ? "hopper" : "blackwell";
  return {name, gpu_named(gpu, architecture), std::make_shared<const Topology>(cluster),
          shipped_profile(cluster, gpu, architecture)};
}

const FitSection& section(std::string_view name) {
  const auto sections = fit_sections();
  return *std::find_if(sections.begin(), sections.end(), [&](const FitSection& s) { return s.name == name; });
}

std::vector<const CommSample*> pointers(const std::vector<CommSample>& samples) {
  std::vector<const CommSample*> list;
  for (const CommSample& sample : samples) list.push_back(&sample);
  return list;
}

/// Sweeps of the ring family in one node.
std::vector<CommSample> ring_samples(std::size_t system = 0) {
  std::vector<CommSample> samples;
  for (const CostCurve curve : {CostCurve::all_reduce, CostCurve::all_gather, CostCurve::reduce_scatter}) {
    for (const std::uint32_t ranks : {2U, 4U, 8U}) {
      for (std::int64_t bytes = 512; bytes <= (1LL << 29); bytes *= 4) {
        CommSample sample;
        sample.system = system;
        sample.curve = curve;
        sample.ranks = ranks;
        sample.bytes = bytes;
        samples.push_back(sample);
      }
    }
  }
  return samples;
}

/// A profile of three protocols without corrections, as measured times follow it.
CollectiveProfile truth_of(CollectiveProfile profile) {
  profile.corrections.clear();
  profile.ring = {.base = Duration::microseconds(6),
                  .step = Duration::nanoseconds(900),
                  .ll_share = 0.2,
                  .ll128_extra = Duration::microseconds(2),
                  .ll128_step = Duration::nanoseconds(1500),
                  .ll128_share = 0.6,
                  .simple_extra = Duration::microseconds(30),
                  .simple_step = Duration::nanoseconds(2500),
                  .simple_share = 0.95};
  profile.domain_all_reduce.clear();
  return profile;
}

void measure(CommPredictor& predictor, std::vector<CommSample>& samples, const std::vector<CollectiveProfile>& truth) {
  const std::vector<double> seconds = predictor.predict(pointers(samples), truth);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].measured = seconds[i];
}

TEST(CommFit, RecoversThreeProtocolsFromTheirTimes) {
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CommPredictor predictor(systems);
  const CollectiveProfile truth = truth_of(systems[0].profile);
  std::vector<CommSample> samples = ring_samples();
  measure(predictor, samples, {truth});
  std::vector<CollectiveProfile> fitted{systems[0].profile};
  fitted[0].domain_all_reduce.clear();
  fit_section(predictor, systems, section("ring"), pointers(samples), fitted, Corrections::none);
  const std::vector<double> seconds = predictor.predict(pointers(samples), fitted);
  std::vector<MeasuredPair> pairs;
  for (std::size_t i = 0; i < samples.size(); ++i) pairs.push_back({seconds[i], samples[i].measured});
  EXPECT_LT(summarize_errors(pairs).median_ape, 0.005);
  EXPECT_LT(summarize_errors(pairs).p90_ape, 0.02);
  EXPECT_NEAR(fitted[0].ring.simple_share, 0.95, 0.02);
}

TEST(CommFit, SharesOfTheLineRateCarryOverToAFasterSystemOfTheFamily) {
  // The same shares on links of twice the rate: a system that no fit saw is predicted by the other.
  const std::vector<CommSystem> systems{system_of("slow", "b200_sxm", hgx(1, 450)),
                                        system_of("fast", "b200_sxm", hgx(1, 900))};
  CommPredictor predictor(systems);
  std::vector<CollectiveProfile> truth;
  for (const CommSystem& system : systems) {
    truth.push_back(truth_of(system.profile));
  }
  std::vector<CommSample> samples = ring_samples(0), others = ring_samples(1);
  samples.insert(samples.end(), others.begin(), others.end());
  measure(predictor, samples, truth);
  std::vector<CollectiveProfile> start{systems[0].profile, systems[1].profile};
  for (CollectiveProfile& profile : start) profile.domain_all_reduce.clear();
  const HeldOutErrors errors =
      cross_validate(predictor, systems, section("ring"), pointers(samples), start, HoldOut::systems);
  EXPECT_EQ(errors.law.size(), samples.size());
  EXPECT_LT(errors_of(errors.law).median_ape, 0.01);
}

TEST(CommFit, RepeatsOfAPointAreNeverOnBothSidesOfAFold) {
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CommPredictor predictor(systems);
  std::vector<CommSample> samples = ring_samples();
  measure(predictor, samples, {truth_of(systems[0].profile)});
  // A copy with other times: were a twin seen, its point would be met exactly.
  std::vector<CommSample> twice = samples;
  for (CommSample& sample : samples) {
    sample.library = "another version";
    twice.push_back(sample);
  }
  const HeldOutErrors once =
      cross_validate(predictor, systems, section("ring"), pointers(samples), {systems[0].profile}, HoldOut::points);
  const HeldOutErrors doubled =
      cross_validate(predictor, systems, section("ring"), pointers(twice), {systems[0].profile}, HoldOut::points);
  EXPECT_EQ(doubled.law.size(), 2 * once.law.size());
  EXPECT_NEAR(errors_of(doubled.law).median_ape, errors_of(once.law).median_ape, 1e-3);
}

TEST(CommFit, ACountOfRanksAloneInItsKindIsNotScored) {
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CommPredictor predictor(systems);
  std::vector<CommSample> samples = ring_samples();
  measure(predictor, samples, {truth_of(systems[0].profile)});
  std::erase_if(samples, [](const CommSample& sample) { return sample.ranks != 8; });
  EXPECT_TRUE(
      cross_validate(predictor, systems, section("ring"), pointers(samples), {systems[0].profile}, HoldOut::ranks)
          .law.empty());
}

TEST(CommPrediction, LowLatencyKernelsOfFewExpertsWaitForTheirSms) {
  // a + L e + ceil(T / min(E, 132)) (c + payload / r) + bytes / B; T = 128 tokens on 8 experts go in 16 rounds.
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CollectiveProfile& profile = systems[0].profile;
  const double line = 450e9 * 0.81;
  profile.corrections.clear();
  profile.low_latency_dispatch = {.domain = {Duration::microseconds(7), 300e9 / line},
                                  .network = {Duration::microseconds(10), 1},
                                  .per_log2_nodes = {},
                                  .per_expert = Duration::nanoseconds(100),
                                  .token_latency = Duration::nanoseconds(1300),
                                  .token_share = 5e9 / line};
  CommSample sample;
  sample.curve = CostCurve::low_latency_dispatch;
  sample.ranks = 8;
  sample.tokens = 128;
  sample.hidden = 4096;
  sample.top_k = 2;
  sample.payload = {Bytes{4240}, Bytes{8192}};
  const CommSample* const one = &sample;
  CommPredictor predictor(systems);
  for (const std::int64_t experts : {8, 64, 256}) {
    sample.experts = experts;
    const double rounds = std::ceil(128.0 / static_cast<double>(std::min<std::int64_t>(experts, 132)));
    const double expected =
        7 + static_cast<double>(experts) / 8 * 0.1 + rounds * (1.3 + 4240 / 5e3) + 128 * 2 * 4240 / 300e3;
    EXPECT_NEAR(predictor.predict({&one, 1}, std::vector{profile})[0] * 1e6, expected, 0.01) << experts;
  }
}

TEST(CommPrediction, PutsGoInBatches) {
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(2))};
  systems[0].profile.put = {Duration::microseconds(6), Duration::nanoseconds(200), 1};
  CommSample sample;
  sample.curve = CostCurve::put;
  sample.bytes = 1 << 20;
  sample.messages = 16;
  const CommSample* const one = &sample;
  CommPredictor predictor(systems);
  EXPECT_NEAR(predictor.predict({&one, 1}, std::vector{systems[0].profile})[0] * 1e6,
              6 + 16 * 0.2 + 16 * 1048576 / (50e3 * 0.93), 0.01);
}

TEST(CommPrediction, ChanceOfReachingARank) {
  // 8 of 256 experts, 32 on the rank: 1 - C(224, 8) / C(256, 8) = 1 - prod (224 - i) / (256 - i).
  double none = 1;
  for (int i = 0; i < 8; ++i) none *= (224.0 - i) / (256.0 - i);
  EXPECT_NEAR(reach_probability(256, 32, 8), 1 - none, 1e-12);
  EXPECT_EQ(reach_probability(8, 8, 1), 1);
  EXPECT_EQ(reach_probability(8, 2, 7), 1);  // more than the others hold
}

TEST(CommSample, RanksOfTwoRacksAreSpreadEvenly) {
  // 32 machines of 4 GPUs in racks of 18: 16 in each, so that rank 64 is the first of the second rack.
  ClusterSpec cluster = hgx(1);
  cluster.gpus_per_node = 4;
  cluster.scale_up_domain = 72;
  EXPECT_EQ(machines_for(cluster, 32), 36);
  const GpuGroup group = sample_group(cluster, 32, 128);
  ASSERT_EQ(group.size(), 128U);
  EXPECT_EQ(group[63].value, 63U);
  EXPECT_EQ(group[64].value, 72U);
}

}  // namespace
}  // namespace moesim
