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

TEST(ResultJson, GivesEnergyWithThePowerItWasComputedFrom) {
  RunResult result = sample_result();
  EXPECT_FALSE(ordered_json::parse(result_json(result)).contains("energy_joules_per_token"));
  result.energy.emplace();
  result.energy->joules = {10, 20, 30, 40, 50};
  result.energy->joules_per_output_token = 1.5;
  result.energy->mean_watts_per_gpu = 400;
  result.energy->power.limit = 700;
  result.energy->power.idle = 75;
  const ordered_json json = ordered_json::parse(result_json(result));
  EXPECT_EQ(json["energy_joules_per_token"], 1.5);
  EXPECT_EQ(json["energy"]["mean_power_watts_per_gpu"], 400.0);
  EXPECT_EQ(json["energy"]["joules"]["memory"], 40.0);
  EXPECT_EQ(json["energy"]["limit_watts"], 700.0);
  EXPECT_EQ(json["energy"]["clocks"], "locked");
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
  TraceEvent attention;
  attention.gpu = 1;
  attention.name = "attention L0";
  attention.start = at_ms(90);
  attention.duration = Duration::microseconds(41);
  attention.tokens = 128;
  TraceEvent reduce = attention;
  reduce.lane = Resource::network;
  reduce.name = "say \"reduce\"";
  reduce.part = TimePart::tensor_parallel;
  reduce.start = at_ms(91);
  reduce.duration = Duration::nanoseconds(1500);
  reduce.bytes = {1048576};
  TraceEvent embedding;
  embedding.replica = 1;
  embedding.name = "embedding";
  embedding.part = TimePart::head;
  embedding.start = at_ms(92);
  embedding.duration = Duration::microseconds(2);
  TraceEvent counters;
  counters.start = at_ms(90);
  counters.counters = StepCounters{3, 130, 40, 60};
  const TraceEvent events[] = {counters, attention, reduce, embedding};
  const std::string text = chrome_trace(events);
  EXPECT_EQ(text,
            R"({"displayTimeUnit":"ms","traceEvents":[
{"ph":"M","name":"process_name","pid":0,"tid":0,"args":{"name":"replica 0"}},
{"ph":"M","name":"process_name","pid":1,"tid":0,"args":{"name":"replica 1"}},
{"ph":"M","name":"thread_name","pid":0,"tid":4,"args":{"name":"gpu1 compute"}},
{"ph":"M","name":"thread_sort_index","pid":0,"tid":4,"args":{"sort_index":4}},
{"ph":"M","name":"thread_name","pid":0,"tid":5,"args":{"name":"gpu1 communication"}},
{"ph":"M","name":"thread_sort_index","pid":0,"tid":5,"args":{"sort_index":5}},
{"ph":"M","name":"thread_name","pid":1,"tid":1,"args":{"name":"gpu0 compute"}},
{"ph":"M","name":"thread_sort_index","pid":1,"tid":1,"args":{"sort_index":1}},
{"ph":"C","name":"batch","pid":0,"tid":0,"ts":90000,"args":{"sequences":3,"tokens":130}},
{"ph":"C","name":"kv_blocks","pid":0,"tid":0,"ts":90000,"args":{"used":40,"free":60}},
{"ph":"X","cat":"compute","name":"attention L0","pid":0,"tid":4,"ts":90000,"dur":41,"args":{"part":"attention","tokens":128}},
{"ph":"X","cat":"comm","name":"say \"reduce\"","pid":0,"tid":5,"ts":91000,"dur":1.5,"args":{"part":"tensor_parallel","tokens":128,"bytes":1048576}},
{"ph":"X","cat":"compute","name":"embedding","pid":1,"tid":1,"ts":92000,"dur":2,"args":{"part":"head"}}
]}
)");
  EXPECT_TRUE(ordered_json::accept(text));
}

TEST(ChromeTrace, LinksHaveAProcessBehindTheReplicas) {
  TraceEvent bar;
  bar.replica = 1;
  bar.name = "attention L0";
  TraceEvent link;
  link.name = "gpu3->nvswitch0";
  link.start = at_ms(5);
  link.link_bytes_per_second = 123.4e9;
  const TraceEvent events[] = {bar, link};
  const std::string text = chrome_trace(events);
  EXPECT_TRUE(ordered_json::accept(text));
  EXPECT_NE(text.find(R"({"ph":"M","name":"process_name","pid":2,"tid":0,"args":{"name":"network"}})"),
            std::string::npos);
  EXPECT_NE(
      text.find(R"({"ph":"C","name":"link gpu3->nvswitch0 GB/s","pid":2,"tid":0,"ts":5000,"args":{"GB/s":123.4}})"),
      std::string::npos);
  EXPECT_EQ(text.find("replica 0"), std::string::npos);
}

TEST(ResultJson, ListsLinksAndHowManyItLeavesOut) {
  RunResult result = sample_result();
  EXPECT_FALSE(ordered_json::parse(result_json(result)).contains("network_links"));
  result.links = {{"gpu3", "nvswitch0", "scale_up", 1e9, 0.25, 0.5}};
  result.links_left_out = 7;
  const ordered_json json = ordered_json::parse(result_json(result))["network_links"];
  EXPECT_EQ(json["left_out"], 7);
  const ordered_json expected = {{{"from", "gpu3"},
                                  {"to", "nvswitch0"},
                                  {"link_class", "scale_up"},
                                  {"bytes", 1000000000},
                                  {"utilization", 0.25},
                                  {"peak", 0.5}}};
  EXPECT_EQ(json["links"], expected);
}

}  // namespace
}  // namespace moesim
