// The figures of `vllm bench serve` from requests whose times are written down.

#include "metrics/summary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moesim {
namespace {

Instant at(std::int64_t milliseconds) {
  return Instant::at(Duration::milliseconds(milliseconds));
}

RequestRecord finished(std::int32_t input, std::int32_t output, Instant arrival, Instant first, Instant last) {
  RequestRecord request;
  request.input_tokens = input;
  request.output_tokens = output;
  request.outcome = RequestOutcome::finished;
  request.arrival = request.scheduled = arrival;
  request.first_token = first;
  request.last_token = last;
  return request;
}

/// Three requests: (arrival, first, last) ms (0, 100, 1100) of 11 tokens, (500, 700, 1700) of 6, (1000, 1400, 1400)
/// of 1.
RunResult three_requests() {
  RunResult result;
  result.gpus = 2;
  result.requests = {finished(10, 11, at(0), at(100), at(1100)), finished(20, 6, at(500), at(700), at(1700)),
                     finished(30, 1, at(1000), at(1400), at(1400))};
  return result;
}

TEST(Summary, TakesTheDefinitionsOfVllm) {
  RunResult result = three_requests();
  result.gpu_hour_usd = 3.6;
  Distribution<std::int64_t> gaps;
  gaps.add(Duration::milliseconds(100).ps(), 10);
  gaps.add(Duration::milliseconds(200).ps(), 5);
  summarize(result, gaps, {});
  EXPECT_EQ(result.completed, 3);
  EXPECT_EQ(result.failed, 0);
  EXPECT_EQ(result.total_input_tokens, 60);
  EXPECT_EQ(result.total_output_tokens, 18);
  EXPECT_DOUBLE_EQ(result.duration_s, 1.7);
  EXPECT_DOUBLE_EQ(result.request_throughput, 3 / 1.7);
  EXPECT_DOUBLE_EQ(result.output_throughput, 18 / 1.7);
  EXPECT_DOUBLE_EQ(result.total_token_throughput, 78 / 1.7);
  EXPECT_DOUBLE_EQ(result.output_tokens_per_s_per_gpu, 9 / 1.7);
  EXPECT_FALSE(result.request_goodput.has_value());
  // TTFT 100, 200, 400 ms; position 0.99 x 2 = 1.98 between the second and the third.
  EXPECT_NEAR(result.ttft_ms.mean, 700.0 / 3, 1e-9);
  EXPECT_NEAR(result.ttft_ms.median, 200, 1e-9);
  EXPECT_NEAR(result.ttft_ms.p99, 200 + 0.98 * 200, 1e-9);
  EXPECT_NEAR(result.ttft_ms.std, std::sqrt(140000.0 / 9), 1e-9);
  // TPOT 1000/10 and 1000/5 ms; the request of one token has none.
  EXPECT_NEAR(result.tpot_ms.mean, 150, 1e-9);
  EXPECT_NEAR(result.interactivity_tokens_per_s_per_user, 1000 / 150.0, 1e-9);
  // ITL: ten of 100 and five of 200 ms.
  EXPECT_NEAR(result.itl_ms.mean, 2000.0 / 15, 1e-9);
  EXPECT_NEAR(result.itl_ms.median, 100, 1e-9);
  EXPECT_NEAR(result.e2el_ms.mean, (1100 + 1200 + 400) / 3.0, 1e-9);
  // Second 0 holds tokens at 100, 200 .. 900 ms of the first and 700, 900 of the second request; second 1 the other 7.
  EXPECT_DOUBLE_EQ(result.peak_output_throughput, 11);
  // All three overlap second 1.
  EXPECT_EQ(result.max_concurrent_requests, 3);
  // 3.6 USD/h x 2 GPUs x 1.7 s = 0.0034 USD for 18 tokens.
  EXPECT_NEAR(result.cost_usd_per_million_output_tokens.value(), 0.0034 / 18 * 1e6, 1e-9);
}

TEST(Summary, CountsARequestAsGoodOnlyWhenItHoldsEveryLimit) {
  RunResult result = three_requests();
  Slo slo;
  slo.ttft = Duration::milliseconds(200);  // the third is late, the second just in time
  summarize(result, {}, slo);
  EXPECT_DOUBLE_EQ(result.request_goodput.value(), 2 / 1.7);

  RunResult again = three_requests();
  slo = {};
  slo.tpot = Duration::milliseconds(100);  // 100, 200 and, with one token, 0
  summarize(again, {}, slo);
  EXPECT_DOUBLE_EQ(again.request_goodput.value(), 2 / 1.7);
}

TEST(Summary, LeavesRequestsThatDidNotFinishOutOfEveryFigureButFailed) {
  RunResult result = three_requests();
  result.requests.push_back({});
  result.requests.back().outcome = RequestOutcome::rejected;
  result.requests.back().input_tokens = 1000;
  summarize(result, {}, {});
  EXPECT_EQ(result.completed, 3);
  EXPECT_EQ(result.failed, 1);
  EXPECT_EQ(result.total_input_tokens, 60);
}

TEST(Summary, OfNoFinishedRequestIsEmptyAndNotAnError) {
  RunResult result;
  result.requests.resize(2);
  summarize(result, {}, {});
  EXPECT_EQ(result.completed, 0);
  EXPECT_EQ(result.failed, 2);
  EXPECT_EQ(result.request_throughput, 0);
}

TEST(SteadyState, OfAConstantStreamIsItsRate) {
  // One request every 100 ms, 20 tokens each, first token after 50 ms, 1 s long: 10 requests/s, 200 tokens/s.
  std::vector<RequestRecord> requests;
  for (int i = 0; i < 400; ++i) {
    const Instant arrival = at(100 * i);
    requests.push_back(finished(7, 20, arrival, arrival + Duration::milliseconds(50), arrival + Duration::seconds(1)));
  }
  const auto window = steady_state(requests);
  ASSERT_TRUE(window.has_value());
  EXPECT_DOUBLE_EQ(window->start_s, 5.0);  // the 41st of 400 ends 1 s after its arrival at 4 s
  EXPECT_DOUBLE_EQ(window->end_s, 39.9);
  EXPECT_NEAR(window->request_throughput, 10, 0.05);
  EXPECT_NEAR(window->output_throughput, 200, 1);
  EXPECT_NEAR(window->total_token_throughput, 270, 2);
  EXPECT_LT(window->output_throughput_half_width.value(), 5);
}

TEST(SteadyState, UnderOverloadIsTheTimeInWhichTheEngineIsFull) {
  // All arrive at once; one starts every 100 ms and takes 1 s for 20 tokens: 200 tokens/s from 1 s to the last start.
  std::vector<RequestRecord> requests;
  for (int i = 0; i < 400; ++i) {
    requests.push_back(finished(7, 20, at(0), at(100 * i + 50), at(100 * i + 1000)));
    requests.back().scheduled = at(100 * i);
  }
  const auto window = steady_state(requests);
  ASSERT_TRUE(window.has_value());
  EXPECT_DOUBLE_EQ(window->start_s, 5.0);
  EXPECT_DOUBLE_EQ(window->end_s, 39.9);
  EXPECT_NEAR(window->output_throughput, 200, 1);
}

TEST(SteadyState, IsAbsentWhenEverythingStartsAtOnce) {
  std::vector<RequestRecord> requests(100, finished(7, 20, at(0), at(50), at(1000)));
  EXPECT_FALSE(steady_state(requests).has_value());
}

TEST(SteadyState, IsAbsentInAShortStretchOfALongRun) {
  // One arrives every 100 ms for 40 s and takes 30 s: the first tenth has ended at 34 s, the last one starts at
  // 39.9 s, the run ends at 69.9 s: 5.9 s of it are 8 %.
  std::vector<RequestRecord> requests;
  for (int i = 0; i < 400; ++i) {
    requests.push_back(finished(7, 20, at(100 * i), at(100 * i + 50), at(100 * i + 30000)));
  }
  EXPECT_FALSE(steady_state(requests).has_value());
}

TEST(SteadyState, IsAbsentWhereTheThroughputStillRises) {
  // As the constant stream, but every request after the first 200 has 60 tokens instead of 20: from 22 s on 600
  // tokens/s instead of 200.
  std::vector<RequestRecord> requests;
  for (int i = 0; i < 400; ++i) {
    const Instant arrival = at(100 * i);
    requests.push_back(
        finished(7, i < 200 ? 20 : 60, arrival, arrival + Duration::milliseconds(50), arrival + Duration::seconds(1)));
  }
  EXPECT_FALSE(steady_state(requests).has_value());
  // A tenth more is still steady.
  for (RequestRecord& request : requests) request.output_tokens = request.output_tokens == 60 ? 22 : 20;
  EXPECT_TRUE(steady_state(requests).has_value());
}

TEST(Breakdown, SumsItsPartsAndNamesThem) {
  Breakdown a, b;
  a[TimePart::experts] = Duration::microseconds(3);
  b[TimePart::experts] = Duration::microseconds(4);
  b[TimePart::idle] = Duration::microseconds(5);
  a += b;
  EXPECT_EQ(a.total(), Duration::microseconds(12));
  EXPECT_EQ(a[TimePart::experts], Duration::microseconds(7));
  EXPECT_EQ(name(TimePart::tensor_parallel), "tensor_parallel");
  EXPECT_EQ(name(TimePart::idle), "idle");
}

}  // namespace
}  // namespace moesim
