#include "calibration/comm_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "calibration/version_eras.h"
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
  // a + E e + ceil(T / min(E, 132)) (c + payload / r) + bytes / B; T = 128 tokens on 8 experts go in 16 rounds.
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CollectiveProfile& profile = systems[0].profile;
  const double line = 450e9 * 0.81;
  profile.corrections.clear();
  profile.low_latency_dispatch = {.domain = {Duration::microseconds(7), 300e9 / line},
                                  .network = {Duration::microseconds(10), 1},
                                  .per_log2_ranks = Duration::microseconds(2),
                                  .per_log2_nodes = {},
                                  .per_flag = Duration::nanoseconds(12),
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
        7 + static_cast<double>(experts) * 0.012 + rounds * (1.3 + 4240 / 5e3) + 128 * 2 * 4240 / 300e3;
    EXPECT_NEAR(predictor.predict({&one, 1}, std::vector{profile})[0] * 1e6, expected, 0.01) << experts;
  }
}

TEST(CommPrediction, LowLatencyKernelsOfHalfTheRanksAreOneDoublingFaster) {
  // a + b log2(n / 8): 4 ranks b less than 8; all else, experts and tokens of a rank, the same.
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CollectiveProfile& profile = systems[0].profile;
  profile.corrections.clear();
  profile.low_latency_combine.per_log2_ranks = Duration::microseconds(3);
  CommSample sample;
  sample.curve = CostCurve::low_latency_combine;
  sample.tokens = 8;
  sample.hidden = 4096;
  sample.top_k = 2;
  sample.experts = 64;
  sample.payload = {Bytes{4240}, Bytes{8192}};
  std::vector<double> seconds;
  for (const std::uint32_t ranks : {4U, 8U}) {
    sample.ranks = ranks;
    const CommSample* const one = &sample;
    seconds.push_back(CommPredictor(systems).predict({&one, 1}, std::vector{profile})[0]);
  }
  EXPECT_NEAR((seconds[1] - seconds[0]) * 1e6, 3, 0.01);
}

TEST(CommPrediction, PutsGoInBatches) {
  // One: latency + bytes over the NIC. Of 16 small ones the NIC takes one each 0.5 us; of 16 large ones the line binds;
  // 15 of them start half a fill late, as many as fill_messages.
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(2))};
  systems[0].profile.put = {.latency = Duration::microseconds(6),
                            .fill = Duration::microseconds(10),
                            .fill_messages = 15,
                            .per_message = Duration::nanoseconds(500),
                            .share = 1};
  const double line = 50e3 * 0.93;  // bytes a microsecond
  const auto time = [&](std::int64_t bytes, std::int64_t messages) {
    CommSample sample;
    sample.curve = CostCurve::put;
    sample.bytes = bytes;
    sample.messages = messages;
    const CommSample* const one = &sample;
    return CommPredictor(systems).predict({&one, 1}, std::vector{systems[0].profile})[0] * 1e6;
  };
  EXPECT_NEAR(time(1 << 20, 1), 6 + 1048576 / line, 0.01);
  EXPECT_NEAR(time(8, 16), 6 + 5 + 16 * 0.5, 0.01);
  EXPECT_NEAR(time(1 << 20, 16), 6 + 5 + 16 * 1048576 / line, 0.01);
}

TEST(CommPrediction, AnEngineOfAnOldVersionHasItsOldKernels) {
  // Small messages: the one-shot base. Up to 0.5.10 4 us, newer ones 2 us.
  std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CollectiveProfile& profile = systems[0].profile;
  profile.corrections.clear();
  profile.custom_all_reduce_sglang = {.max_ranks = 8,
                                      .one_shot_base = Duration::microseconds(2),
                                      .one_shot_per_peer = {},
                                      .one_shot_share = 1e6,
                                      .two_shot_base = Duration::microseconds(50),
                                      .two_shot_per_peer = {},
                                      .two_shot_share = 1};
  OlderAllReduce older{CostCurve::custom_all_reduce_sglang, "0.5.10", profile.custom_all_reduce_sglang, {}};
  older.kernels.one_shot_base = Duration::microseconds(4);
  profile.older_all_reduce = {older};
  for (const auto& [version, expected] :
       {std::pair{"0.5.9", 4.0}, {"0.5.10", 4.0}, {"0.5.11", 2.0}, {"0.6.0", 2.0}, {"", 2.0}}) {
    CommSample sample;
    sample.curve = CostCurve::custom_all_reduce_sglang;
    sample.ranks = 4;
    sample.bytes = 256;
    sample.version = version;
    const CommSample* const one = &sample;
    EXPECT_NEAR(CommPredictor(systems).predict({&one, 1}, std::vector{profile})[0] * 1e6, expected, 1e-3) << version;
  }
}

TEST(VersionEras, AnEraBeginsWhereMoreThanATenthOfThePointsHaveAnotherTime) {
  // 10 sizes in 4 versions: 0.5.10 as 0.5.9 but for one outlier; 0.5.12 twice as fast at two sizes; 0.5.14 as 0.5.12.
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  std::vector<CommSample> samples;
  for (const std::string version : {"0.5.14", "0.5.9", "0.5.12", "0.5.10"}) {
    for (int i = 0; i < 10; ++i) {
      CommSample sample;
      sample.curve = CostCurve::custom_all_reduce_sglang;
      sample.ranks = 8;
      sample.bytes = 1 << (8 + i);
      sample.version = version;
      sample.measured = 1e-5;
      if (version == "0.5.10" && i == 3) sample.measured = 3e-5;
      if ((version == "0.5.12" || version == "0.5.14") && i < 2) sample.measured = 5e-6;
      samples.push_back(sample);
    }
  }
  const std::vector<VersionEra> eras = version_eras(systems, pointers(samples));
  ASSERT_EQ(eras.size(), 2U);
  EXPECT_EQ(eras[0].through, "0.5.10");
  EXPECT_EQ(eras[1].through, "0.5.14");
  EXPECT_EQ(eras[0].samples.size(), 20U);
  EXPECT_EQ(era_of(eras, "0.5.6").through, "0.5.10");
  EXPECT_EQ(era_of(eras, "0.5.11").through, "0.5.14");
  EXPECT_EQ(era_of(eras, "0.6").through, "0.5.14");
}

TEST(CommFit, AFitRepeatedOnItsOwnResultChangesNothing) {
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CommPredictor predictor(systems);
  std::vector<CommSample> samples = ring_samples();
  measure(predictor, samples, {truth_of(systems[0].profile)});
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].measured *= i % 2 == 0 ? 1.1 : 0.95;
  std::vector<CollectiveProfile> once{systems[0].profile};
  fit_section(predictor, systems, section("ring"), pointers(samples), once, Corrections::none, Given::kept);
  std::vector<CollectiveProfile> twice = once;
  fit_section(predictor, systems, section("ring"), pointers(samples), twice, Corrections::none, Given::kept);
  for (const FitParameter& parameter : section("ring").parameters) {
    EXPECT_EQ(parameter.get(twice[0]), parameter.get(once[0])) << parameter.key;
  }
}

TEST(CommFit, WhatIsLeftOutDoesNotReachAFitThroughTheProfilesGiven) {
  // Folds start from what is usual: profiles that were fitted to everything, or to nothing, give the same errors.
  const std::vector<CommSystem> systems{system_of("h", "h100_sxm", hgx(1))};
  CommPredictor predictor(systems);
  std::vector<CommSample> samples = ring_samples();
  const CollectiveProfile truth = truth_of(systems[0].profile);
  measure(predictor, samples, {truth});
  CollectiveProfile far = truth;
  far.ring.base = Duration::microseconds(30);
  far.ring.ll_share = 1;
  const auto median = [&](const CollectiveProfile& given) {
    return errors_of(
               cross_validate(predictor, systems, section("ring"), pointers(samples), {given}, HoldOut::points).law)
        .median_ape;
  };
  EXPECT_EQ(median(truth), median(far));
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
