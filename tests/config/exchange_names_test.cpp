// Both engines' names of the exchange of experts.

#include "config/exchange_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "config/json_reader.h"
#include "config/scenario.h"
#include "serving/serving_run.h"

namespace moesim {
namespace {

Scenario read(std::vector<Override> overrides) {
  return read_scenario_file(product_root() / "scenarios/deepseek-v3-32xh100.json", overrides);
}

/// The exit code and the line of a refusal, without the folder.
std::pair<int, std::string> refusal(const std::vector<Override>& overrides) {
  try {
    read(overrides);
  } catch (const ConfigError& error) {
    std::string line = error.what();
    const std::size_t name = line.find("deepseek-v3-32xh100.json");
    return {error.exit_code(), name == std::string::npos ? line : line.substr(name)};
  }
  return {0, ""};
}

TEST(ExchangeNames, StandOnceEach) {
  std::set<std::string_view> seen;
  for (const ExchangeName& row : exchange_names()) {
    EXPECT_TRUE(seen.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.meaning.empty()) << row.name;
    EXPECT_FALSE(row.source.empty()) << row.name;
    EXPECT_EQ(find_exchange_name(row.name), &row);
  }
  EXPECT_EQ(find_exchange_name("deepeep"), nullptr);
}

// Every backend but `none` has a name of its own among vLLM's.
TEST(ExchangeNames, IncludeOurOwn) {
  for (const MoeBackend backend : {MoeBackend::allgather_reducescatter, MoeBackend::naive, MoeBackend::pplx,
                                   MoeBackend::deepep_high_throughput, MoeBackend::deepep_low_latency,
                                   MoeBackend::flashinfer_nvlink_one_sided, MoeBackend::flashinfer_nvlink_two_sided}) {
    const ExchangeName* row = find_exchange_name(name(backend));
    ASSERT_NE(row, nullptr) << name(backend);
    EXPECT_EQ(row->choice, (ExchangeChoice{backend, backend}));
  }
}

TEST(ExchangeNames, AreReadWithTheModesOfDeepEp) {
  using enum MoeBackend;
  struct Row {
    std::string backend, mode;
    MoeBackend prefill, decode;
  };
  for (const Row& row :
       {Row{"deepep", "", deepep_high_throughput, deepep_low_latency},
        Row{"deepep", "auto", deepep_high_throughput, deepep_low_latency},
        Row{"deepep", "normal", deepep_high_throughput, deepep_high_throughput},
        Row{"deepep", "low_latency", deepep_low_latency, deepep_low_latency},
        Row{"mooncake", "auto", deepep_low_latency, deepep_low_latency},
        Row{"none", "", allgather_reducescatter, allgather_reducescatter}, Row{"naive", "", naive, naive}}) {
    std::vector<Override> overrides{{"/engine/all2all_backend", row.backend}};
    if (!row.mode.empty()) overrides.push_back({"/engine/deepep_mode", row.mode});
    const EngineSpec engine = read(overrides).engine;
    EXPECT_EQ(engine.all2all_backend, row.prefill) << row.backend << " " << row.mode;
    EXPECT_EQ(engine.decode_backend.value_or(engine.all2all_backend), row.decode) << row.backend << " " << row.mode;
  }
}

TEST(ExchangeNames, AreRefusedWhereTheyMeanNothing) {
  EXPECT_EQ(refusal({{"/engine/all2all_backend", "mori"}}).first, 2);
  const auto [code, line] = refusal({{"/engine/all2all_backend", "deep_ep"}});
  EXPECT_EQ(code, 4);
  EXPECT_NE(line.find("did you mean deepep?"), std::string::npos) << line;
  EXPECT_EQ(
      refusal({{"/engine/deepep_mode", "normal"}}),
      std::pair(5, std::string("deepseek-v3-32xh100.json: /engine/deepep_mode: belongs to all2all_backend deepep, "
                               "but all2all_backend is deepep_high_throughput")));
  EXPECT_EQ(refusal({{"/engine/all2all_backend", "mooncake"}, {"/engine/deepep_mode", "normal"}}),
            std::pair(5, std::string("deepseek-v3-32xh100.json: /engine/deepep_mode: mooncake has low-latency kernels "
                                     "only")));
  EXPECT_EQ(refusal({{"/engine/all2all_backend", "flashinfer"}}).first, 5);  // 32 ranks are four NVLink domains
}

// vLLM's chunk is 256 tokens, SGLang's buffer 128. DeepEP's buffers follow it: 2 x 2 x 256 experts x limit x
// (2 x 7168 + 16) bytes; with both kinds of kernels the normal ones' 1 GiB for NVLink stands beside the larger of the
// two for the network, 1 GiB and 1.75 GiB.
TEST(ExchangeNames, BringTheLimitOfARound) {
  EXPECT_EQ(read({}).engine.max_dispatch_tokens_per_rank, 256);
  EXPECT_EQ(read({{"/engine/preset", "sglang"}}).engine.max_dispatch_tokens_per_rank, 128);
  const auto buffers = [](const std::vector<Override>& overrides) {
    const Scenario scenario = read(overrides);
    return memory_limits(scenario.model, scenario.cluster, scenario.engine).exchange_buffers.value;
  };
  const auto low_latency = [](std::int64_t limit) { return 4 * 256 * limit * (2 * 7168 + 16); };
  EXPECT_EQ(buffers({{"/engine/all2all_backend", "deepep_low_latency"}}), low_latency(256));
  EXPECT_EQ(
      buffers({{"/engine/all2all_backend", "deepep_low_latency"}, {"/engine/max_dispatch_tokens_per_rank", "64"}}),
      low_latency(64));
  EXPECT_EQ(buffers({{"/engine/all2all_backend", "deepep"}, {"/engine/preset", "sglang"}}),
            (std::int64_t{1} << 30) + low_latency(128));
  EXPECT_EQ(buffers({{"/engine/all2all_backend", "deepep"}, {"/engine/max_dispatch_tokens_per_rank", "16"}}),
            std::int64_t{2} << 30);
}

// The scenario allows 256 tokens and 128 sequences a step.
TEST(ExchangeNames, SayWhereStepsGoInRounds) {
  const auto has_note = [](const std::vector<Override>& overrides, const std::string& text) {
    const std::vector<std::string> notes = read(overrides).provenance.notes;
    return std::find(notes.begin(), notes.end(), text) != notes.end();
  };
  const Override low_latency{"/engine/all2all_backend", "deepep_low_latency"};
  const std::string at_128 =
      "steps of up to 256 tokens a GPU exchange them in rounds of 128 (max_dispatch_tokens_per_rank)";
  EXPECT_FALSE(has_note({low_latency}, at_128));
  EXPECT_TRUE(has_note({low_latency, {"/engine/max_dispatch_tokens_per_rank", "128"}}, at_128));
  EXPECT_TRUE(has_note({low_latency, {"/engine/preset", "sglang"}}, at_128 + "; SGLang itself refuses such steps"));
  const Override deepep{"/engine/all2all_backend", "deepep"}, limit{"/engine/max_dispatch_tokens_per_rank", "64"};
  EXPECT_TRUE(has_note({deepep, limit},
                       "steps of up to 128 tokens a GPU exchange them in rounds of 64 (max_dispatch_tokens_per_rank)"));
}

}  // namespace
}  // namespace moesim
