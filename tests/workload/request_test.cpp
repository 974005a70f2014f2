#include "workload/request.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace moesim {
namespace {

constexpr std::int64_t many = 200'000;

WorkloadSpec poisson(double rate, std::int64_t requests = many) {
  WorkloadSpec spec;
  spec.arrivals = {.kind = ArrivalKind::poisson, .rate_per_second = rate};
  spec.input = {.kind = LengthKind::constant, .mean = 100};
  spec.output = {.kind = LengthKind::constant, .mean = 10};
  spec.requests = requests;
  return spec;
}

struct Moments {
  double mean = 0, deviation = 0;
};

template <class Values>
Moments moments(const Values& values) {
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = sum / static_cast<double>(values.size());
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {mean, std::sqrt(squares / static_cast<double>(values.size()))};
}

/// Times from each arrival to the next, from zero on, in seconds.
std::vector<double> gaps(const std::vector<Request>& requests) {
  std::vector<double> result;
  Instant last;
  for (const Request& request : requests) {
    result.push_back((request.arrival - last).seconds());
    last = request.arrival;
  }
  return result;
}

std::vector<double> inputs(const std::vector<Request>& requests) {
  std::vector<double> result;
  for (const Request& request : requests) result.push_back(request.input_tokens);
  return result;
}

TEST(Arrivals, PoissonGapsAreExponential) {
  // Mean 1/rate, deviation 1/rate, share beyond the mean exp(-1); standard error of the mean: mean / sqrt(n), of the
  // deviation: mean * sqrt(2 / n) (fourth moment 9), of a share p: sqrt(p (1-p) / n). Four of each.
  const auto g = gaps(generate_requests(poisson(8), 3));
  const auto [mean, deviation] = moments(g);
  const double n = many;
  EXPECT_NEAR(mean, 0.125, 4 * 0.125 / std::sqrt(n));
  EXPECT_NEAR(deviation, 0.125, 4 * 0.125 * std::sqrt(2 / n));
  const double beyond = static_cast<double>(std::count_if(g.begin(), g.end(), [](double x) { return x > 0.125; })) / n;
  EXPECT_NEAR(beyond, std::exp(-1.0), 4 * std::sqrt(0.3679 * 0.6321 / n));
}

TEST(Arrivals, BurstinessKeepsTheMeanAndSetsTheVariation) {
  // Gamma gaps of shape a: mean 1/rate, CV 1/sqrt(a). Standard error of the deviation s with excess kurtosis 6/a:
  // s sqrt((2 + 6/a) / 4n).
  for (const double shape : {0.25, 0.5, 4.0}) {
    WorkloadSpec spec = poisson(8);
    spec.arrivals.kind = ArrivalKind::gamma;
    spec.arrivals.burstiness = shape;
    const auto [mean, deviation] = moments(gaps(generate_requests(spec, 5)));
    const double expected = 0.125 / std::sqrt(shape);
    EXPECT_NEAR(mean, 0.125, 4 * expected / std::sqrt(double{many})) << shape;
    EXPECT_NEAR(deviation, expected, 4 * expected * std::sqrt((2 + 6 / shape) / (4.0 * many))) << shape;
  }
}

TEST(Arrivals, AConstantProcessStartsAtZeroWithEqualGaps) {
  WorkloadSpec spec = poisson(8, 100);
  spec.arrivals.kind = ArrivalKind::constant;
  const auto requests = generate_requests(spec, 1);
  for (std::int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(requests[static_cast<std::size_t>(i)].arrival.since_start(), Duration::milliseconds(125) * i);
  }
}

TEST(Arrivals, ClosedAndBatchRequestsAllComeAtZero) {
  for (const ArrivalKind kind : {ArrivalKind::closed, ArrivalKind::batch}) {
    WorkloadSpec spec = poisson(0, 50);
    spec.arrivals = {.kind = kind, .concurrency = 4};
    const auto requests = generate_requests(spec, 1);
    ASSERT_EQ(requests.size(), 50u);
    for (const Request& request : requests) EXPECT_EQ(request.arrival, Instant());
  }
}

TEST(Arrivals, ComeInOrder) {
  WorkloadSpec spec = poisson(1000, 20'000);
  spec.arrivals.kind = ArrivalKind::gamma;
  spec.arrivals.burstiness = 0.1;
  const auto requests = generate_requests(spec, 1);
  EXPECT_TRUE(std::is_sorted(requests.begin(), requests.end(),
                             [](const Request& a, const Request& b) { return a.arrival < b.arrival; }));
}

TEST(Arrivals, TwiceTheRateHalvesEveryInstant) {
  const auto slow = generate_requests(poisson(7, 10'000), 9);
  const auto fast = generate_requests(poisson(14, 10'000), 9);
  for (std::size_t i = 0; i < slow.size(); ++i) {
    // Each is rounded to a picosecond by itself.
    EXPECT_LE(std::abs(slow[i].arrival.ps() - 2 * fast[i].arrival.ps()), 1) << i;
  }
}

TEST(Lengths, LognormalHasTheGivenMeanAndP99) {
  // ShareGPT-like conversation: mean 1155, p99 4142. sigma = z - sqrt(z^2 - 2 ln(p99/mean)), z = 2.3263478740.
  const double z = 2.3263478740408408;
  const double sigma = z - std::sqrt(z * z - 2 * std::log(4142.0 / 1155.0));
  EXPECT_NEAR(lognormal_sigma(1155, 4142).value(), sigma, 1e-9);

  WorkloadSpec spec = poisson(1);
  spec.input = {.kind = LengthKind::lognormal, .mean = 1155, .p99 = 4142};
  auto lengths = inputs(generate_requests(spec, 2));
  const double deviation = 1155 * std::sqrt(std::exp(sigma * sigma) - 1);
  EXPECT_NEAR(moments(lengths).mean, 1155, 4 * deviation / std::sqrt(double{many}));
  // Standard error of a quantile: sqrt(p (1-p) / n) / density, density at p99 = phi(z) / (p99 sigma).
  std::sort(lengths.begin(), lengths.end());
  const double density = std::exp(-z * z / 2) / std::sqrt(2 * M_PI) / (4142 * sigma);
  EXPECT_NEAR(lengths[static_cast<std::size_t>(0.99 * many)], 4142, 4 * std::sqrt(0.99 * 0.01 / many) / density);
}

TEST(Lengths, NoLognormalExistsForATailThatIsTooLongOrTooShort) {
  // ln(p99/mean) reaches at most z^2/2 = 2.7059, a ratio of 14.97.
  EXPECT_TRUE(lognormal_sigma(100, 1490).has_value());
  EXPECT_FALSE(lognormal_sigma(100, 1500).has_value());
  EXPECT_FALSE(lognormal_sigma(100, 99).has_value());
  EXPECT_EQ(lognormal_sigma(100, 100).value(), 0);
}

TEST(Lengths, AreAtLeastOneToken) {
  WorkloadSpec spec = poisson(1, 20'000);
  spec.input = {.kind = LengthKind::lognormal, .mean = 1, .p99 = 10};
  const auto lengths = inputs(generate_requests(spec, 2));
  EXPECT_EQ(*std::min_element(lengths.begin(), lengths.end()), 1);
}

TEST(Lengths, UniformTakesEveryValueOfItsRangeEquallyOften) {
  WorkloadSpec spec = poisson(1);
  spec.input = {.kind = LengthKind::uniform, .low = 3, .high = 7};
  std::vector<std::int64_t> counts(11, 0);
  for (const double length : inputs(generate_requests(spec, 2))) ++counts[static_cast<std::size_t>(length)];
  // Binomial: n p = 40,000, deviation sqrt(n p (1-p)) = 179.
  for (std::size_t length = 0; length < counts.size(); ++length) {
    const double expected = length >= 3 && length <= 7 ? many / 5.0 : 0;
    EXPECT_NEAR(static_cast<double>(counts[length]), expected, expected == 0 ? 0 : 4 * 179) << length;
  }
}

TEST(Lengths, OfAFileAreDrawnWithReplacement) {
  WorkloadSpec spec = poisson(1);
  spec.input = {.kind = LengthKind::file, .values = {5, 5, 5, 80}};
  const auto lengths = inputs(generate_requests(spec, 2));
  const double of_80 = static_cast<double>(std::count(lengths.begin(), lengths.end(), 80));
  EXPECT_EQ(of_80 + static_cast<double>(std::count(lengths.begin(), lengths.end(), 5)), double{many});
  EXPECT_NEAR(of_80, many / 4.0, 4 * std::sqrt(many * 0.25 * 0.75));
}

TEST(Workload, AnotherLengthDistributionMovesNeitherArrivalsNorOtherLengths) {
  WorkloadSpec spec = poisson(8, 1000);
  spec.output = {.kind = LengthKind::uniform, .low = 1, .high = 500};
  const auto before = generate_requests(spec, 4);
  spec.input = {.kind = LengthKind::lognormal, .mean = 300, .p99 = 900};
  const auto after = generate_requests(spec, 4);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].arrival, after[i].arrival);
    EXPECT_EQ(before[i].output_tokens, after[i].output_tokens);
  }
}

TEST(Workload, MoreRequestsContinueTheFirstOnes) {
  WorkloadSpec spec = poisson(8, 100);
  spec.input = {.kind = LengthKind::lognormal, .mean = 300, .p99 = 900};
  const auto few = generate_requests(spec, 4);
  spec.requests = 1000;
  const auto more = generate_requests(spec, 4);
  for (std::size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].arrival, more[i].arrival);
    EXPECT_EQ(few[i].input_tokens, more[i].input_tokens);
  }
}

TEST(Workload, AnotherSeedGivesOtherRequests) {
  EXPECT_NE(generate_requests(poisson(8, 1), 1)[0].arrival, generate_requests(poisson(8, 1), 2)[0].arrival);
}

TEST(Workload, ATraceIsReturnedAsItIs) {
  WorkloadSpec spec;
  spec.arrivals.kind = ArrivalKind::trace;
  spec.trace = {{.arrival = Instant::at(Duration::seconds(3)), .input_tokens = 7, .output_tokens = 2}};
  const auto requests = generate_requests(spec, 1);
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].arrival, Instant::at(Duration::seconds(3)));
  EXPECT_EQ(requests[0].input_tokens, 7);
}

}  // namespace
}  // namespace moesim
