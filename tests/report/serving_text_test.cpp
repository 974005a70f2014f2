// What `moesim run` prints, character by character.

#include "report/serving_text.h"

#include <gtest/gtest.h>

#include "metrics/binding.h"
#include "report/number_text.h"
#include "report/sample_result.h"

namespace moesim {
namespace {

TEST(BenchmarkBlock, IsThatOfVllmToTheCharacter) {
  // Format strings of vllm, benchmarks/serve.py: "{:<40} {:<10}" and "{:<40} {:<10.2f}", titles centred in 50.
  EXPECT_EQ(benchmark_block(sample_result()),
            "============ Serving Benchmark Result ============\n"
            "Successful requests:                     1000      \n"
            "Failed requests:                         1         \n"
            "Maximum request concurrency:             256       \n"
            "Request rate configured (RPS):           20.00     \n"
            "Benchmark duration (s):                  61.42     \n"
            "Total input tokens:                      1024000   \n"
            "Total generated tokens:                  256000    \n"
            "Request throughput (req/s):              16.28     \n"
            "Request goodput (req/s):                 15.90     \n"
            "Output token throughput (tok/s):         4168.02   \n"
            "Peak output token throughput (tok/s):    5120.00   \n"
            "Peak concurrent requests:                241.00    \n"
            "Total token throughput (tok/s):          20840.12  \n"
            "---------------Time to First Token----------------\n"
            "Mean TTFT (ms):                          212.40    \n"
            "Median TTFT (ms):                        180.11    \n"
            "P99 TTFT (ms):                           702.90    \n"
            "-----Time per Output Token (excl. 1st token)------\n"
            "Mean TPOT (ms):                          20.50     \n"
            "Median TPOT (ms):                        20.00     \n"
            "P99 TPOT (ms):                           24.25     \n"
            "---------------Inter-token Latency----------------\n"
            "Mean ITL (ms):                           20.40     \n"
            "Median ITL (ms):                         19.50     \n"
            "P99 ITL (ms):                            41.00     \n"
            "==================================================\n");
}

TEST(BenchmarkBlock, LeavesOutWhatWasNotConfigured) {
  RunResult result = sample_result();
  result.request_rate = 0;
  result.concurrency = 0;
  result.request_goodput.reset();
  const std::string block = benchmark_block(result);
  EXPECT_EQ(block.find("concurrency:"), std::string::npos);
  EXPECT_EQ(block.find("RPS"), std::string::npos);
  EXPECT_EQ(block.find("goodput"), std::string::npos);
}

TEST(OwnLines, SayWhereTheTimeGoesLargestFirst) {
  // Means over both layers, waits of both together: 0.02 + 0.04 ms.
  EXPECT_EQ(own_lines(sample_result()),
            "simulated       Mixtral-8x7B-v0.1 on 8 x h100_sxm\n"
            "per GPU         521 output tok/s, 2,605 total tok/s\n"
            "per user        50.0 tok/s (1000 / median TPOT)\n"
            "end to end      mean 5.30 s, median 5.20 s, p99 6.20 s\n"
            "steady state    4,200 +- 41.5 output tok/s, 16.5 req/s, from 5.00 s to 60.0 s\n"
            "steps           3,000 of 85.4 sequences in the mean, 2 preemptions\n"
            "time goes to    experts 66.7 %, attention 25.0 %, tensor parallel 8.2 %, others 0.2 %\n"
            "busy            compute 90.0 %, network 10.0 %, host 5.0 %\n"
            "memory per GPU  weights 11.0 GiB (experts 10.0 GiB), buffers 2.0 GiB, KV cache 59.0 GiB, of 80.0 GiB\n"
            "KV cache        3,866,624 tokens a data-parallel rank, peak use 10.0 %\n"
            "experts         busiest expert 1.60 x the mean, busiest rank 1.30 x, 7.7 distinct a layer, wait 60.0 us a "
            "step\n"
            "network         scale_up 12.5 % of the line rate in the mean, 0.0 % at peak\n"
            "cost            1.333 USD per million output tokens at 2.5 USD per GPU and hour\n"
            "what binds      experts: 67 % of the working time\n"
            "                the KV cache: 10 % in use at the peak, 2 preemptions\n"
            "note            uses the first 8 of 16 GPUs\n");
}

TEST(OwnLines, SayWhatDrawsThePower) {
  RunResult result = sample_result();
  result.energy.emplace();
  result.energy->joules = {10, 20, 30, 40, 0};
  result.energy->joules_per_output_token = 1.5;
  result.energy->mean_watts_per_gpu = 400;
  result.energy->power.limit = 700;
  EXPECT_NE(
      own_lines(result).find("energy          1.50 J per output token, 400 W of 700 W per GPU (idle 10.0 %, awake "
                             "20.0 %, compute 30.0 %, memory 40.0 %)\n"),
      std::string::npos)
      << own_lines(result);
}

TEST(OwnLines, NameTheBusiestLinkAndThatOfAnotherKind) {
  RunResult result = sample_result();
  result.links = {{"leaf5", "nic5", "nic", 1e9, 0.25, 0.5},
                  {"nic5", "leaf5", "nic", 1e9, 0.2, 0.5},
                  {"gpu3", "nvswitch0", "scale_up", 1e9, 0.125, 0.375}};
  EXPECT_NE(
      own_lines(result).find("\nbusiest link    leaf5 -> nic5 (nic) 25.0 % of the line rate in the mean, 50.0 % at "
                             "peak, gpu3 -> nvswitch0 (scale_up) 12.5 % of the line rate in the mean, 37.5 % at "
                             "peak\n"),
      std::string::npos);
  result.links.resize(2);
  EXPECT_NE(own_lines(result).find("50.0 % at peak\n"), std::string::npos);
}

TEST(WhatBinds, NamesTheLoadBeforeTheLargestPart) {
  RunResult result = sample_result();
  result.breakdown[TimePart::idle] = Duration::seconds(60);  // of 120
  const std::vector<std::string> lines = what_binds(result);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "the load: engines have nothing to do in 50 % of the time");
  EXPECT_EQ(lines[1], "the KV cache: 10 % in use at the peak, 2 preemptions");
  EXPECT_EQ(lines[2], "experts: 67 % of the working time, reading and multiplying the experts that tokens chose");
  EXPECT_TRUE(what_binds(RunResult()).empty());
}

TEST(Numbers, KeepThreeDigitsAndExactTimes) {
  EXPECT_EQ(short_number(0.01234), "0.0123");
  EXPECT_EQ(short_number(9.996), "10.0");
  EXPECT_EQ(short_number(99.96), "100");
  EXPECT_EQ(short_number(1234567.8), "1,234,568");
  EXPECT_EQ(whole_number(-1234), "-1,234");
  EXPECT_EQ(whole_number(123), "123");
  EXPECT_EQ(exact_decimal(1'500'000'000'000, 12), "1.5");
  EXPECT_EQ(exact_decimal(-1, 12), "-0.000000000001");
  EXPECT_EQ(exact_decimal(3'000'000'000'000, 12), "3");
  EXPECT_EQ(size_text({1536}), "1.5 KiB");
  EXPECT_EQ(time_text(0.0213), "21.3 ms");
}

TEST(Names, AreShortenedByWholeCharacters) {
  EXPECT_EQ(shortened("abcd", 4), "abcd");
  EXPECT_EQ(shortened("abcde", 4), "abc…");
  EXPECT_EQ(shortened("äöüßé", 4), "äöü…");
  EXPECT_EQ(shortened(std::string(300, 'x'), 70), std::string(69, 'x') + "…");
}

}  // namespace
}  // namespace moesim
