// Scenarios: what is read, what is refused and in which words.

#include "config/scenario.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/file_hash.h"
#include "config/json_reader.h"
#include "config/network_scenario.h"
#include "config/scenario_fields.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

/// A scenario that is right, to break one thing at a time.
constexpr const char* good = R"({
  "model": "models/Mixtral-8x7B-v0.1.json", "cluster": "topologies/cluster/dgx-h100.json",
  "engine": {"tensor_parallel_size": 8},
  "workload": {"arrivals": {"kind": "poisson", "rate": "12 /s"},
               "input_tokens": {"kind": "constant", "mean": 100}, "output_tokens": {"kind": "constant", "mean": 10},
               "requests": 20}
})";

class ScenarioFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& text, const std::string& name = "s.json") {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  Scenario read(std::vector<Override> overrides = {}) { return read_scenario_file(write(good), overrides); }

  struct Refusal {
    int exit_code = 0;
    std::string line;
    bool operator==(const Refusal&) const = default;
  };
  /// The folder's name stands as DIR and the product's root as ROOT.
  Refusal refusal_of(const fs::path& path, std::vector<Override> overrides = {}) {
    try {
      read_scenario_file(path, overrides);
    } catch (const ConfigError& error) {
      std::string line = error.what();
      for (const auto& [from, to] :
           {std::pair{folder_.string(), std::string("DIR")}, std::pair{product_root().string(), std::string("ROOT")},
            std::pair{fs::current_path().string(), std::string("HERE")}}) {
        for (std::size_t at; (at = line.find(from)) != std::string::npos;) line.replace(at, from.size(), to);
      }
      return {error.exit_code(), line};
    }
    return {0, "no error"};
  }
  Refusal refusal(const std::vector<Override>& overrides) { return refusal_of(write(good), overrides); }
  Refusal refusal_of_text(const std::string& text) { return refusal_of(write(text)); }

  fs::path folder_;
};

std::string with(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

#define EXPECT_REFUSED(refused, code, text) \
  do {                                      \
    const Refusal got = refused;            \
    EXPECT_EQ(got.exit_code, code);         \
    EXPECT_EQ(got.line, text);              \
  } while (false)

TEST_F(ScenarioFile, TakesDefaultsOfVllmByTheMemoryOfTheGpu) {
  const Scenario large = read();
  EXPECT_EQ(large.engine.max_num_seqs, 1024);
  EXPECT_EQ(large.engine.max_num_batched_tokens, 8192);
  EXPECT_EQ(large.engine.plan, vllm_plan(8, 1, 1, false));
  EXPECT_EQ(large.engine.all2all_backend, MoeBackend::none);
  EXPECT_EQ(large.engine.max_model_len, 32768);  // max_position_embeddings of Mixtral
  EXPECT_EQ(large.seed, 1u);
  EXPECT_EQ(large.stem, "s");
  // An A100 has the memory but not the defaults; a 48 GB card has neither.
  const Scenario ampere = read({{"/cluster", "dgx-a100"}});
  EXPECT_EQ(ampere.engine.max_num_seqs, 256);
  EXPECT_EQ(ampere.engine.max_num_batched_tokens, 2048);
}

TEST_F(ScenarioFile, SetsAnyFieldOfTheSchemaPresentOrNot) {
  const Scenario scenario = read({{"/engine/max_num_seqs", "64"},
                                  {"/slo/ttft", "1.5 s"},
                                  {"/precision/weights", "fp8"},
                                  {"/engine/host/step", "2 ms"},
                                  {"/routing", R"({"popularity": {"kind": "zipf", "exponent": 0.9}})"},
                                  {"/name", "fast"}});
  EXPECT_EQ(scenario.engine.max_num_seqs, 64);
  EXPECT_EQ(scenario.slo.ttft, Duration::milliseconds(1500));
  EXPECT_EQ(scenario.model.formats.experts, DataType::fp8);
  EXPECT_EQ(scenario.model.formats.router, DataType::bf16);
  EXPECT_EQ(scenario.engine.activation, DataType::fp8);
  EXPECT_EQ(scenario.engine.host.step, Duration::milliseconds(2));
  EXPECT_EQ(scenario.routing.popularity.exponent, 0.9);
  EXPECT_EQ(scenario.name, "fast");
}

TEST_F(ScenarioFile, DropsTheFieldsOfTheFormerKindWhenAnotherIsSet) {
  const Scenario scenario =
      read({{"/workload/arrivals/concurrency", "7"}, {"/workload/arrivals/kind", "closed"}});  // in any order
  EXPECT_EQ(scenario.workload.arrivals.kind, ArrivalKind::closed);
  EXPECT_EQ(scenario.workload.arrivals.concurrency, 7);
}

TEST_F(ScenarioFile, ReplacesTheGeneratedRequestsByATraceThatIsSet) {
  write("arrival_s,input_tokens,output_tokens\n0,10,2\n0.5,20,3\n", "t.csv");
  const Scenario scenario = read({{"/workload/trace", "t.csv"}, {"/workload/format", "csv"}});
  EXPECT_EQ(scenario.workload.arrivals.kind, ArrivalKind::trace);
  ASSERT_EQ(scenario.workload.trace.size(), 2u);
  EXPECT_EQ(scenario.workload.trace[1].arrival, Instant::at(Duration::milliseconds(500)));
}

TEST_F(ScenarioFile, HashesEveryInput) {
  const Scenario scenario = read();
  std::vector<std::string> names;
  for (const auto& [file, hash] : scenario.provenance.input_hashes) {
    names.push_back(file);
    EXPECT_EQ(hash.size(), 16u);
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"s.json", "models/Mixtral-8x7B-v0.1.json", "topologies/cluster/dgx-h100.json",
                                      "topologies/gpu/h100_sxm.json", "calibrate/profiles/h100_sxm-vllm.json",
                                      "calibrate/profiles/collectives-h100.json", "topologies/power.json"}));
  // Published vectors of FNV-1a, 64 bits.
  EXPECT_EQ(hash_of(""), "cbf29ce484222325");
  EXPECT_EQ(hash_of("foobar"), "85944171f73967e8");
}

TEST_F(ScenarioFile, ReadsCommentsAndNamesWithoutFolders) {
  const fs::path file = write(with(with(good, "models/Mixtral-8x7B-v0.1.json", "mixtral-8x7b"),
                                   "topologies/cluster/dgx-h100.json", "dgx-h100") +
                              "// end\n");
  EXPECT_EQ(read_scenario_file(file).model.name, "Mixtral-8x7B-v0.1");
}

TEST_F(ScenarioFile, GivesTheExchangeOnlyWhereSeveralRanksShareExperts) {
  const std::vector<Override> ranks = {{"/engine/tensor_parallel_size", "1"},
                                       {"/engine/data_parallel_size", "8"},
                                       {"/engine/enable_expert_parallel", "true"}};
  EXPECT_EQ(read(ranks).engine.all2all_backend, MoeBackend::allgather_reducescatter);
  EXPECT_EQ(read(ranks).engine.plan, vllm_plan(1, 1, 8, true));
  const Scenario unused = read({{"/engine/all2all_backend", "pplx"}});
  EXPECT_EQ(unused.engine.all2all_backend, MoeBackend::none);
  EXPECT_EQ(unused.provenance.notes.back(),
            "all2all_backend pplx is not used: no experts serve several data-parallel ranks");
}

TEST_F(ScenarioFile, CutsExpertsOverTheRanksThatDoNotSpreadThem) {
  // TensorRT-LLM's moe_tp 2 x moe_ep 4 of 8 ranks.
  EXPECT_EQ(read({{"/engine/expert_parallel_size", "4"}}).engine.plan, trtllm_plan(8, 1, 2, 4, false));
  EXPECT_REFUSED(refusal({{"/engine/expert_parallel_size", "3"}}), 5,
                 "DIR/s.json: /engine/expert_parallel_size: 3 does not divide the 8 ranks of TP x DP");
}

// --- the whole text of each error ---------------------------------------------------------------------------------

TEST_F(ScenarioFile, NamesAMisspeltKeyAndTheOneMeant) {
  EXPECT_REFUSED(refusal_of_text(with(good, R"("tensor_parallel_size": 8)", R"("max_num_batched_token": 8)")), 4,
                 "DIR/s.json: /engine/max_num_batched_token: unknown field; did you mean max_num_batched_tokens?");
  EXPECT_REFUSED(refusal_of_text(with(good, R"("engine": {)", R"("max_num_seqs": 3, "engine": {)")), 4,
                 "DIR/s.json: /max_num_seqs: unknown field; did you mean /engine/max_num_seqs?");
  EXPECT_REFUSED(refusal({{"/engine/max_num_seq", "3"}}), 4,
                 "--set: /engine/max_num_seq: unknown field; did you mean /engine/max_num_seqs?");
  EXPECT_REFUSED(refusal({{"engine/max_num_seqs", "3"}}), 4,
                 "--set: engine/max_num_seqs: expected a JSON pointer such as /engine/max_num_seqs");
}

TEST_F(ScenarioFile, RefusesWrongUnitsAndTypes) {
  EXPECT_REFUSED(refusal_of_text(with(good, "\"12 /s\"", "12")), 4,
                 "DIR/s.json: /workload/arrivals/rate: expected a rate such as \"12 /s\", got 12");
  EXPECT_REFUSED(refusal_of_text(with(good, "12 /s", "-12 /s")), 4,
                 "DIR/s.json: /workload/arrivals/rate: expected a rate such as \"12 /s\", got \"-12 /s\" (negative)");
  EXPECT_REFUSED(refusal_of_text(with(good, "12 /s", "0 /s")), 4,
                 "DIR/s.json: /workload/arrivals/rate: expected a rate above zero");
  EXPECT_REFUSED(
      refusal({{"/slo/ttft", "2 GB"}}), 4,
      "--set: /slo/ttft: expected a time such as \"50 ms\", got \"2 GB\"; units are s, ms, us, ns, ps, min, h");
  EXPECT_REFUSED(refusal({{"/engine/max_num_seqs", "many"}}), 4,
                 "--set: /engine/max_num_seqs: expected a whole number, got \"many\"");
  EXPECT_REFUSED(refusal({{"/engine/max_num_seqs", "0"}}), 4,
                 "--set: /engine/max_num_seqs: expected a whole number from 1 to 1000000, got 0");
  EXPECT_REFUSED(refusal({{"/engine/preset", "vlm"}}), 4,
                 "--set: /engine/preset: expected one of vllm, sglang, trtllm, got \"vlm\"; did you mean vllm?");
}

TEST_F(ScenarioFile, RefusesFieldsOfAnotherKind) {
  EXPECT_REFUSED(refusal({{"/workload/arrivals/burstiness", "2"}}), 4,
                 "DIR/s.json: /workload/arrivals/burstiness: belongs to kind gamma, but kind is poisson");
  EXPECT_REFUSED(refusal({{"/workload/speed", "2"}}), 4,
                 "DIR/s.json: /workload/speed: belongs to a trace; /workload/trace is missing");
}

TEST_F(ScenarioFile, SaysWhatIsMissing) {
  EXPECT_REFUSED(refusal_of(folder_ / "absent.json"), 3, "DIR/absent.json: no such file");
  EXPECT_REFUSED(refusal({{"/workload/requests", "null"}}), 4, "DIR/s.json: /workload/requests: missing");
  EXPECT_REFUSED(refusal({{"/model", "models/Mixtral.json"}}), 3,
                 "DIR/s.json: /model: models/Mixtral.json: no such file; tried DIR/models/Mixtral.json, "
                 "models/Mixtral.json, ROOT/models/Mixtral.json");
  EXPECT_REFUSED(refusal({{"/cluster", "dgx-h10"}}), 3,
                 "DIR/s.json: /cluster: no cluster of this name in topologies/cluster; did you mean dgx-h100?");
}

TEST_F(ScenarioFile, SaysWhereTruncatedJsonEnds) {
  const Refusal refused = refusal_of_text("{\"model\": \"x\",\n \"engine\": {");
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_TRUE(refused.line.starts_with("DIR/s.json:2:")) << refused.line;
  EXPECT_REFUSED(refusal_of_text(""), 4, "DIR/s.json: is empty; expected a JSON object");
  EXPECT_REFUSED(refusal_of_text("[]"), 4, "DIR/s.json: expected an object of a scenario's fields");
}

TEST_F(ScenarioFile, SaysWhatIsNotBuiltYet) {
  const auto expect = [&](const char* pointer, const char* value, const std::string& line) {
    EXPECT_REFUSED(refusal({{pointer, value}}), 2, line);
  };
  expect("/mode", "training", "--set: /mode: mode training is not built yet; leave it out");
  expect("/engine/enable_prefix_caching", "true",
         "--set: /engine/enable_prefix_caching: enable_prefix_caching true is not built yet; leave it out");
  expect("/engine/enable_dbo", "true", "--set: /engine/enable_dbo: enable_dbo true is not built yet; leave it out");
  expect("/routing/drift_per_hour", "0.1",
         "--set: /routing/drift_per_hour: drift_per_hour 0.1 is not built yet; leave it out");
  expect("/pools", "[]", "--set: /pools: pools is not built yet; leave it out");
  expect("/engine/speculative_config", "{}",
         "--set: /engine/speculative_config: speculative_config is not built yet; leave it out");
  EXPECT_NO_THROW(read({{"/engine/enable_dbo", "false"}, {"/routing/drift_per_hour", "0.0"}, {"/mode", "serving"}}));
}

TEST_F(ScenarioFile, RefusesWhatCannotGoTogether) {
  EXPECT_REFUSED(refusal({{"/engine/replicas", "2"}}), 5,
                 "DIR/s.json: /engine: tensor 8 x pipeline 1 x data 1 x 2 replicas = 16 GPUs, but 1 node of NVIDIA DGX "
                 "H100 have 8; set /nodes to 2");
  EXPECT_REFUSED(refusal({{"/engine/tensor_parallel_size", "6"}}), 5,
                 "DIR/s.json: /engine: 32 query heads do not divide by tensor_parallel_size 6");
  EXPECT_REFUSED(refusal({{"/engine/max_num_seqs", "64"}, {"/engine/max_num_batched_tokens", "32"}}), 5,
                 "DIR/s.json: /engine/max_num_batched_tokens: 32 tokens a step cannot hold 64 sequences; expected at "
                 "least max_num_seqs");
  EXPECT_REFUSED(refusal({{"/engine/max_model_len", "100"}}), 5,
                 "DIR/s.json: /workload: a request of 100 input and 10 output tokens is longer than max_model_len 100");
  EXPECT_REFUSED(refusal({{"/engine/enable_chunked_prefill", "false"},
                          {"/engine/max_num_batched_tokens", "90"},
                          {"/engine/max_num_seqs", "8"}}),
                 5,
                 "DIR/s.json: /engine/max_num_batched_tokens: 90 tokens a step cannot hold a prompt of 100 without "
                 "chunked prefill");
  // 8 experts and 3 more are 11 slots, which 8 ranks do not divide.
  const Refusal slots = refusal({{"/engine/enable_expert_parallel", "true"}, {"/engine/num_redundant_experts", "3"}});
  EXPECT_EQ(slots.exit_code, 5);
  EXPECT_NE(slots.line.find("/engine/num_redundant_experts: "), std::string::npos) << slots.line;
  EXPECT_NE(slots.line.find(" 8"), std::string::npos) << slots.line;
}

TEST_F(ScenarioFile, SaysByHowMuchAModelDoesNotFitAndWhatWould) {
  const Refusal refused = refusal({{"/engine/tensor_parallel_size", "1"}});
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_TRUE(
      refused.line.starts_with("DIR/s.json: /engine: Mixtral-8x7B-v0.1 does not fit: needs 87.0 GiB of weights"))
      << refused.line;
  EXPECT_NE(refused.line.find("fits with"), std::string::npos) << refused.line;
}

TEST_F(ScenarioFile, RefusesAnEmptyTrace) {
  write("arrival_s,input_tokens,output_tokens\n", "t.csv");
  const Refusal refused = refusal({{"/workload/trace", "t.csv"}, {"/workload/format", "csv"}});
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_TRUE(refused.line.starts_with("DIR/t.csv")) << refused.line;
}

// --- power ---------------------------------------------------------------------------------------------------------

TEST_F(ScenarioFile, TakesClocksAndALimitOfPower) {
  const Scenario usual = read();
  ASSERT_TRUE(usual.power);
  EXPECT_EQ(usual.power->limit, 700);
  EXPECT_EQ(usual.clocks, Clocks::locked);
  const Scenario capped = read({{"/power/clocks", "sustained"}, {"/power/limit", "450 W"}});
  EXPECT_EQ(capped.power->limit, 450);
  EXPECT_EQ(capped.clocks, Clocks::sustained);
}

TEST_F(ScenarioFile, RefusesALimitThatNoBoardKeeps) {
  for (const char* limit : {"60 W", "900 W"}) {
    const Refusal refused = refusal({{"/power/limit", limit}});
    EXPECT_EQ(refused.exit_code, 4);
    EXPECT_NE(refused.line.find("/power/limit: expected above"), std::string::npos) << refused.line;
  }
}

// --- what is made from the table ----------------------------------------------------------------------------------

std::string shipped(const std::string& name) {
  std::ifstream in(product_root() / name);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(ScenarioSchema, IsTheOneThatIsShipped) {
  EXPECT_EQ(scenario_schema(), shipped("docs/scenario.schema.json"));
  EXPECT_EQ(scenario_reference(), shipped("docs/scenario.md"));
}

TEST(ScenarioSchema, DescribesEveryField) {
  const auto schema = nlohmann::json::parse(scenario_schema());
  for (const ScenarioField& field : scenario_fields()) {
    std::string place;
    for (const char c : field.pointer) place += c == '/' ? "/properties/" : std::string(1, c);
    ASSERT_TRUE(schema.contains(nlohmann::json::json_pointer(place))) << field.pointer;
    EXPECT_FALSE(schema.at(nlohmann::json::json_pointer(place)).value("description", "").empty()) << field.pointer;
  }
}

TEST(ScenarioSchema, GivesDefaultsThatTheReaderTakes) {
  for (const ScenarioField& field : scenario_fields()) {
    if (field.fallback.empty() || field.fallback.starts_with('[') || !field.only_with.empty()) continue;
    nlohmann::ordered_json document = nlohmann::ordered_json::object();
    EXPECT_NO_THROW(set_scenario_field(document, std::string(field.pointer), std::string(field.fallback)))
        << field.pointer;
  }
}

TEST(Scenarios, ThatAreShippedAreRight) {
  int read = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(product_root() / "scenarios")) {
    if (entry.path().extension() != ".json") continue;
    nlohmann::ordered_json document = parse_json_file(entry.path());
    EXPECT_NO_THROW(check_scenario_fields(JsonReader(document, entry.path().string()))) << entry.path();
    if (is_network_scenario(entry.path(), {})) {
      EXPECT_NO_THROW(read_network_scenario(entry.path(), {})) << entry.path();
      continue;
    }
    if (document["workload"].contains("trace")) continue;  // the user brings it
    EXPECT_NO_THROW(read_scenario_file(entry.path())) << entry.path();
    ++read;
  }
  EXPECT_GE(read, 4);
}

TEST_F(ScenarioFile, RefusesARunThatOverflowsTheClock) {
  // 20 requests at 1e-6 a second: 20e6 s of mean gaps + 10 sqrt(20) of spread = 64.72e6 s = 749.1 days.
  EXPECT_REFUSED(refusal({{"/workload/arrivals/rate", "0.000001 /s"}}), 4,
                 "DIR/s.json: /workload/arrivals/rate: 20 requests at 1e-06 a second can take 749.1 days; a run spans "
                 "at most 50; give a higher rate or fewer requests");
  EXPECT_EQ(read({{"/workload/arrivals/rate", "0.0001 /s"}}).workload.requests, 20);  // 7.5 days
}

TEST_F(ScenarioFile, RefusesConstantStatesThatLeaveNoCache) {
  const Refusal refused = refusal({{"/model", "MiniMax-M1-80k"}, {"/cluster", "dgx-h200"}});
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_TRUE(
      refused.line.starts_with("DIR/s.json: /engine/max_num_seqs: the constant states of 1024 sequences leave "
                               "no room for a block of KV cache; at most "))
      << refused.line;
  // What is named fits, one more does not.
  const int fit = std::stoi(refused.line.substr(refused.line.find("at most ") + 8));
  const auto with = [&](int sequences) {
    return refusal({{"/model", "MiniMax-M1-80k"},
                    {"/cluster", "dgx-h200"},
                    {"/workload/input_tokens/mean", "8"},
                    {"/workload/output_tokens/mean", "2"},
                    {"/engine/max_num_seqs", std::to_string(sequences)}});
  };
  EXPECT_EQ(with(fit), (Refusal{0, "no error"}));
  EXPECT_EQ(with(fit + 1).exit_code, 5);
}

TEST_F(ScenarioFile, NamesTheCollectivesThatItUses) {
  const Provenance provenance = read({{"/strides", "false"}, {"/seed", "2"}}).provenance;
  ASSERT_EQ(provenance.profiles.size(), 2u);
  EXPECT_EQ(provenance.profiles[1].provider, "nccl, vllm, deepep");
  EXPECT_EQ(provenance.profiles[1].date.size(), 10u);
  EXPECT_TRUE(provenance.profiles[1].source.starts_with("aiconfigurator"));
  EXPECT_EQ(provenance.profiles[1].source.find("defaults"), std::string::npos);  // one node: nothing of them
  EXPECT_TRUE(provenance.notes.empty());  // neither changes what a run of this seed gives
  for (const std::string& line : provenance.extrapolated) EXPECT_FALSE(line.starts_with("collectives:")) << line;
}

TEST_F(ScenarioFile, SaysAtWhichRateAMissingFormatIsComputed) {
  // Hopper has fp8 matrix units and none for nvfp4.
  const Provenance provenance = read({{"/precision/weights", "nvfp4"}}).provenance;
  ASSERT_FALSE(provenance.extrapolated.empty());
  EXPECT_NE(provenance.extrapolated[0].find("no nvfp4 matrix units: computed at the rate of fp8"), std::string::npos);
  // Its products have no table on Hopper either.
  EXPECT_TRUE(std::any_of(provenance.extrapolated.begin(), provenance.extrapolated.end(),
                          [](const std::string& line) { return line.starts_with("kernels: gemm/nvfp4"); }));
}

TEST_F(ScenarioFile, FindsAShippedClusterByItsBareFileName) {
  EXPECT_EQ(read({{"/cluster", "dgx-h100.json"}}).cluster.gpus_per_node, 8);
  const Refusal refused = refusal({{"/cluster", "absent.json"}});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_NE(refused.line.find("ROOT/topologies/cluster/absent.json"), std::string::npos) << refused.line;
}

}  // namespace
}  // namespace moesim
