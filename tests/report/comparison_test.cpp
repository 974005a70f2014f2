// What a comparison says and why.

#include "report/comparison.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/sample_result.h"

namespace moesim {
namespace {

TEST(Comparison, GivesTheReasonFromBreakdownAndMemory) {
  Scenario scenario;
  scenario.model.moe.experts = 8;
  RunResult a = sample_result();
  RunResult b = sample_result();
  a.requests.pop_back();  // the one that failed
  b.requests.pop_back();
  b.scenario_name = "other";
  b.output_throughput = a.output_throughput / 2;
  b.tpot_ms.median = 60;
  b.cost_usd_per_million_output_tokens = 2.665;
  b.breakdown[TimePart::experts] = Duration::seconds(100);  // 120 s in 3,000 steps against 60 s
  b.memory[0].experts = {std::int64_t{30} << 30};
  const ComparedRun runs[] = {{&scenario, &a}, {&scenario, &b}};
  const std::vector<Verdict> said = verdicts(runs);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(
      said[0].summary,
      "B against A: 0.50 x the output throughput, 1.00 x the median TTFT, 3.00 x the median TPOT, 2.00 x the cost");
  // Reads: attention 1 GiB + experts x 7.7 of 8: 10.625 GiB and 29.875 GiB.
  EXPECT_EQ(said[0].reasons,
            (std::vector<std::string>{"a step takes 40.0 ms instead of 20.0 ms: experts +20.0 ms",
                                      "a GPU reads 29.9 GiB of weights a step instead of 10.6 GiB (2.81 x)"}));
  EXPECT_DOUBLE_EQ(weight_bytes_read(runs[0]), (1 + 10 * 7.7 / 8) * 1073741824.0);
}

TEST(Comparison, SaysWhenTheLoadBinds) {
  Scenario scenario;
  RunResult a = sample_result();  // 16.28 of 20 requests/s
  a.requests.clear();
  a.breakdown[TimePart::idle] = Duration::seconds(60);
  RunResult b = a;
  b.breakdown[TimePart::idle] = Duration::seconds(20);
  const ComparedRun runs[] = {{&scenario, &a}, {&scenario, &b}};
  EXPECT_EQ(verdicts(runs)[0].reasons[0],
            "the load binds both: engines have nothing to do in 25.0 % of the time, A in 50.0 %");
  a.request_rate = b.request_rate = 16;
  EXPECT_EQ(verdicts(runs)[0].reasons[0], "both keep up with the load of 16.0 requests/s, so throughput says little");
}

TEST(Comparison, SaysWhyRequestsFailed) {
  Scenario scenario;
  scenario.engine.max_model_len = 4096;
  scenario.engine.block_size = 16;
  RunResult a = sample_result();
  a.requests.clear();
  RunResult b = a;
  b.memory[0].kv_blocks_total = 128;  // 2,048 tokens
  RequestRecord request;
  request.outcome = RequestOutcome::rejected;
  for (const std::int32_t tokens : {1900, 1960, 4000, 5000}) {  // with 100 more: 2,000, 2,060, 4,100 and 5,100
    request.input_tokens = tokens;
    request.output_tokens = 100;
    b.requests.push_back(request);
  }
  b.requests[0].outcome = RequestOutcome::unfinished;
  const ComparedRun runs[] = {{&scenario, &a}, {&scenario, &b}};
  EXPECT_EQ(
      verdicts(runs)[0].reasons[0],
      "B: 4 requests failed: 2 longer than max_model_len (4,096 tokens), 1 longer than the KV pool (2,048 tokens), "
      "1 not ended with the run");
  b.completed = 0;
  EXPECT_EQ(verdicts(runs)[0].reasons.size(), 1u);
}

TEST(Comparison, PrintsAColumnForEveryRun) {
  Scenario scenario;
  RunResult a = sample_result();
  a.requests.clear();
  const ComparedRun runs[] = {{&scenario, &a}, {&scenario, &a}, {&scenario, &a}};
  const std::string text = comparison_text(runs);
  EXPECT_NE(text.find("median TPOT (ms)"), std::string::npos);
  EXPECT_NE(text.find("\nC against A: 1.00 x"), std::string::npos);
  EXPECT_NE(text.find("no difference of 15 % or more"), std::string::npos);
  const auto json = nlohmann::json::parse(comparison_json(runs));
  EXPECT_EQ(json["results"].size(), 3u);
  EXPECT_EQ(json["verdicts"].size(), 2u);
}

}  // namespace
}  // namespace moesim
