// result.json, requests.csv and the timeline.

#include "report/result_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/chrome_trace.h"
#include "report/sample_result.h"

namespace moesim {
namespace {

using nlohmann::ordered_json;

TEST(ResultJson, HasTheKeysOfVllmAndOurs) {
  const ordered_json json = ordered_json::parse(result_json(sample_result()));
  for (const char* metric : {"ttft", "tpot", "itl", "e2el"}) {
    for (const char* figure : {"mean", "median", "std", "p90", "p95", "p99"}) {
      EXPECT_TRUE(json.contains(std::string(figure) + "_" + metric + "_ms")) << figure << metric;
    }
  }
  for (const char* key : {"completed",
                          "failed",
                          "total_input_tokens",
                          "total_output_tokens",
                          "duration",
                          "request_throughput",
                          "request_goodput",
                          "output_throughput",
                          "total_token_throughput",
                          "max_concurrent_requests",
                          "output_tokens_per_s_per_gpu",
                          "total_tokens_per_s_per_gpu",
                          "interactivity_tokens_per_s_per_user",
                          "steady_state",
                          "breakdown",
                          "busy",
                          "experts",
                          "network",
                          "memory",
                          "cost_usd_per_million_output_tokens",
                          "provenance",
                          "fingerprint"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["output_throughput"].get<double>(), 4168.02);
  EXPECT_EQ(json["fingerprint"], "0000000000000abc");
  EXPECT_EQ(json["memory"]["pools"][0]["weights_bytes"], std::int64_t{11} << 30);
  EXPECT_EQ(json["memory"]["pools"][0]["free_bytes"], std::int64_t{80 - 11 - 2 - 59} << 30);
  EXPECT_EQ(json["provenance"]["input_hashes"]["s.json"], "cbf29ce484222325");
}

TEST(ResultJson, HasABreakdownThatSumsToOne) {
  const ordered_json json = ordered_json::parse(result_json(sample_result()));
  double sum = 0;
  for (const auto& [part, share] : json["breakdown"].items()) sum += share.get<double>();
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_FALSE(json["breakdown"].contains("draft"));  // nothing can fill it yet
  EXPECT_TRUE(json["breakdown"].contains("dense_ffn"));
}

TEST(ResultJson, LeavesOutWhatWasNotFilled) {
  const ordered_json json = ordered_json::parse(result_json(RunResult()));
  for (const char* key :
       {"mean_ttft_ms", "duration", "steady_state", "breakdown", "experts", "network", "memory", "request_goodput",
        "cost_usd_per_million_output_tokens", "request_rate", "uncertainty", "energy_joules_per_token"}) {
    EXPECT_FALSE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["completed"], 0);
}

TEST(RequestsCsv, IsExactAndEmptyWhereNothingHappened) {
  EXPECT_EQ(requests_csv(sample_result()),
            "request_id,input_tokens,output_tokens,arrival_s,queued_s,scheduled_s,first_token_s,last_token_s,ttft_ms,"
            "tpot_ms,latency_ms,replica,rank,preemptions,outcome\n"
            "0,10,5,0,0.001,0.002,0.1,0.5,100,100,500,0,0,0,finished\n"
            "1,20,1,0.25,0.251,0.252,0.4,0.4,150,,150,0,0,0,finished\n"
            "2,99999,0,0,,,,,,,,0,0,0,rejected\n");
}

TEST(ChromeTrace, GivesEveryGpuALaneForComputingAndOneForCommunicating) {
  std::vector<TraceEvent> events(3);
  events[0] = {0,  1, Resource::compute, "attention L0", TimePart::attention, at_ms(90), Duration::microseconds(41),
               128};
  events[1] = {0, 1, Resource::network, "say \"dispatch\"", TimePart::dispatch, at_ms(91), Duration::nanoseconds(1500),
               0};
  events[2] = {1, 0, Resource::compute, "head", TimePart::head, at_ms(92), Duration::microseconds(2), 1};
  const ordered_json json = ordered_json::parse(chrome_trace(events, sample_result().step_samples));
  std::vector<std::string> names;
  int bars = 0, counters = 0;
  for (const ordered_json& event : json["traceEvents"]) {
    if (event["name"] == "thread_name") names.push_back(event["args"]["name"]);
    bars += event["ph"] == "X";
    counters += event["ph"] == "C";
  }
  EXPECT_EQ(names, (std::vector<std::string>{"gpu1 compute", "gpu1 communication", "gpu0 compute"}));
  EXPECT_EQ(bars, 3);
  EXPECT_EQ(counters, 0);  // both steps start outside [90 ms, 92.002 ms]
  const ordered_json& dispatch = json["traceEvents"][json["traceEvents"].size() - 2];
  EXPECT_EQ(dispatch["name"], "say \"dispatch\"");
  EXPECT_EQ(dispatch["cat"], "comm");
  EXPECT_EQ(dispatch["ts"].get<double>(), 91000.0);
  EXPECT_EQ(dispatch["dur"].get<double>(), 1.5);
}

}  // namespace
}  // namespace moesim
