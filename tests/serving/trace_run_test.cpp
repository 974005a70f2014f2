// Whole public traces run to the end: every request is finished or accounted for.

#include <gtest/gtest.h>

#include <filesystem>

#include "config/read_trace.h"
#include "support/serving_setup.h"

namespace moesim {
namespace {

std::filesystem::path shared_trace(const char* name) {
  return std::filesystem::path(MOESIM_SHARED_DATA) / "workloads" / name;
}

struct Count {
  std::size_t finished = 0, rejected = 0;
  std::int64_t output_tokens = 0;
};

Count count(const ServingOutcome& outcome) {
  Count c;
  for (const RequestRecord& r : outcome.requests) {
    c.finished += r.outcome == RequestOutcome::finished ? 1 : 0;
    c.rejected += r.outcome == RequestOutcome::rejected ? 1 : 0;
    if (r.outcome == RequestOutcome::finished) c.output_tokens += r.output_tokens;
  }
  return c;
}

// 19,366 requests of one hour on two engines of Llama-3.1-8B: all fit and all finish; tokens out are gaps plus first
// tokens.
TEST(TraceRun, AzureConversationFinishesOnTwoReplicas) {
  const auto path = shared_trace("azure_2023_conv.csv");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs azure_2023_conv.csv";
  ServingSetup setup = serving_setup("Meta-Llama-3.1-8B", "dgx-h100");
  setup.engine.replicas = 2;
  setup.engine.host = default_host_times(EnginePreset::vllm);
  TraceOptions options;
  options.format = TraceFormat::csv;
  setup.requests = read_trace(path, options).requests;
  ASSERT_EQ(setup.requests.size(), 19366u);
  const ServingOutcome outcome = setup.run();
  const Count c = count(outcome);
  EXPECT_EQ(c.finished, 19366u);
  EXPECT_EQ(outcome.token_gaps.count(), c.output_tokens - 19366);
}

// 12,031 requests with prompts up to 126k tokens at four times the speed, beyond what the engines bear.
TEST(TraceRun, MooncakeConversationIsAccountedForOnEightReplicasOfLlama70B) {
  const auto path = shared_trace("mooncake_conversation.jsonl");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs mooncake_conversation.jsonl";
  ServingSetup setup = serving_setup("Meta-Llama-3.1-70B", "dgx-h100", 8);
  setup.engine.plan = vllm_plan(8, 1, 1, false);
  setup.engine.replicas = 8;
  setup.engine.host = default_host_times(EnginePreset::vllm);
  TraceOptions options;
  options.format = TraceFormat::mooncake;
  options.speed = 4;
  setup.requests = read_trace(path, options).requests;
  ASSERT_EQ(setup.requests.size(), 12031u);
  const ServingOutcome outcome = setup.run();
  const Count c = count(outcome);
  EXPECT_EQ(c.finished + c.rejected, 12031u);
  EXPECT_EQ(c.rejected, 0u);
  EXPECT_EQ(outcome.token_gaps.count(), c.output_tokens - 12031);
}

}  // namespace
}  // namespace moesim
