// Rows of a serving table as runs, and the errors of their predictions.

#include "study/validate.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "config/json_reader.h"
#include "report/validation_text.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

/// A table in a file that goes with it.
class Table {
 public:
  explicit Table(const std::string& text)
      : path_(fs::temp_directory_path() / fmt::format("moesim_validate_{}.csv", getpid())) {
    std::ofstream(path_) << text;
  }
  ~Table() { fs::remove(path_); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  std::string path() const { return path_.string(); }
  std::vector<ServingRow> rows() const { return read_serving_table(path_); }
  std::string problem() const {
    try {
      rows();
    } catch (const ConfigError& error) {
      exit_code_ = error.exit_code();
      return error.what();
    }
    return "no problem";
  }
  int exit_code() const { return exit_code_; }

 private:
  fs::path path_;
  mutable int exit_code_ = 0;
};

const std::string header =
    "id,family,metric_scope,model,arch,weight_prec,kv_prec,gpu,gpu_class,engine,spec_decode,eplb,n_gpus,tp,pp,"
    "dp_replicas,ep,attn_dp,cp,max_batch,max_num_tokens,isl,osl,out_tok_s,in_tok_s,ttft_mean_ms\n";

/// A complete row of a static batch; tests change one field.
ServingRow static_row() {
  ServingRow row;
  row.family = "f";
  row.metric_scope = "static_batch_prefill+decode";
  row.model = "Llama-7B";
  row.arch = "dense";
  row.weight_prec = "FP8";
  row.kv_prec = "fp8";
  row.gpu = "H100";
  row.engine = "TensorRT-LLM";
  row.gpus = row.tp = 1;
  row.max_batch = 8;
  row.input_tokens = 128;
  row.output_tokens = 16;
  row.output_tokens_per_s = 1000;
  return row;
}

/// A decode step of a wide expert-parallel deployment.
ServingRow expert_row() {
  ServingRow row = static_row();
  row.metric_scope = "decode_only";
  row.model = "DeepSeek-V3/R1";
  row.arch = "moe";
  row.weight_prec = "FP8 (native block)";
  row.kv_prec = "bf16";
  row.engine = "SGLang";
  row.gpus = row.ep = row.attention_dp = 72;
  row.eplb = "32 redundant, in-distribution";
  row.max_batch = 256;
  row.input_tokens = 2000;
  row.output_tokens = 100;
  return row;
}

ValidationCase case_of(const ServingRow& row) {
  ValidationSources sources;
  return std::get<ValidationCase>(validation_case(row, sources));
}

std::string reason_of(const ServingRow& row) {
  ValidationSources sources;
  const auto found = validation_case(row, sources);
  const auto* reason = std::get_if<SkipReason>(&found);
  return reason == nullptr ? "a case" : std::string(name(*reason));
}

TEST(ServingTable, TakesColumnsByNameAndQuotedFields) {
  const Table table(
      "osl,\"model\",id,family,metric_scope,arch,weight_prec,kv_prec,gpu,gpu_class,engine,spec_decode,eplb,n_gpus,tp,"
      "pp,"
      "dp_replicas,ep,attn_dp,cp,max_batch,max_num_tokens,isl,out_tok_s,in_tok_s,ttft_mean_ms,notes\n"
      "128,\"DeepSeek, V3\",a,fam,decode_only,moe,FP8,,H100,H100,SGLang,,,8,1,,,8,8,,4,,2e3,1.5,,,\"x, y\"\n");
  const auto rows = table.rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].line, 2);
  EXPECT_EQ(rows[0].model, "DeepSeek, V3");
  EXPECT_EQ(rows[0].output_tokens, 128);
  EXPECT_EQ(rows[0].input_tokens, 2000);
  EXPECT_EQ(rows[0].gpus, 8);
  EXPECT_EQ(rows[0].pp, std::nullopt);
  EXPECT_EQ(rows[0].output_tokens_per_s, 1.5);
}

TEST(ServingTable, SaysWhatIsWrongInOneLine) {
  const std::string row = "a,f,decode_only,m,moe,FP8,,H100,H100,SGLang,,,8,1,,,8,8,,4,,2000,1,5,,\n";
  struct Wrong {
    std::string text, message;
    int code;
  };
  const Wrong wrongs[] = {
      {"", ": empty; expected a header and rows", 4},
      {header, ": no rows behind the header", 4},
      {"a,b\n1,2\n", ":1: missing column metric_scope; expected the header of a table of serving results", 4},
      {"id,step_time_s\n", ": validation of training tables is not built yet", 2},
      {"id,decode_tok_s\n", ": validation of offload tables is not built yet", 2},
      {"modle," + header, ":1: column 1: unknown column modle; did you mean model?", 4},
      {"id," + header, ":1: column 2: id stands twice", 4},
      {header.substr(3), ":1: missing column id", 4},
      {header + row + "a,f\n", ":3: 2 fields, expected 26 as in the header", 4},
      {header + row + "a,f,decode_only,m,moe,FP8,,H100,H100,SGLang,,,8,1,,,8,8,,4,,long,1,5,,\n",
       ":3: isl: expected a number that is not negative, got long", 4},
      {header + "a,f,decode_only,m,moe,FP8,,H100,H100,SGLang,,,8,1,,,8,8,,4,,-1,1,5,,\n",
       ":2: isl: expected a number that is not negative, got -1", 4},
      {header + "a,f,decode_only,m,moe,FP8,,H100,H100,SGLang,,,8.5,1,,,8,8,,4,,1,1,5,,\n",
       ":2: n_gpus: expected a whole number up to 1e9, got 8.5", 4},
  };
  for (const Wrong& wrong : wrongs) {
    const Table table(wrong.text);
    EXPECT_EQ(table.problem(), table.path() + wrong.message);
    EXPECT_EQ(table.exit_code(), wrong.code) << wrong.message;
  }
}

TEST(ValidationCase, MapsAStaticBatchOfTensorRt) {
  const ValidationCase run = case_of(static_row());
  EXPECT_EQ(run.gpu->id, "h100_sxm");
  EXPECT_EQ(run.cluster->gpus_per_node, 8);
  EXPECT_EQ(run.cluster->nodes, 1);
  EXPECT_EQ(run.kernels->profile.name, "h100_sxm-trtllm");
  EXPECT_TRUE(run.measured_profiles());
  EXPECT_EQ(run.model.formats.attention, DataType::fp8);
  EXPECT_EQ(run.model.formats.dense_ffn, DataType::fp8);
  EXPECT_EQ(run.model.formats.head, DataType::fp16);
  EXPECT_EQ(run.engine.activation, DataType::fp8);
  EXPECT_EQ(run.engine.kv_cache, DataType::fp8);
  EXPECT_EQ(run.engine.max_num_seqs, 8);
  EXPECT_EQ(run.engine.max_num_batched_tokens, 8 * 128);  // the whole context phase at once
  EXPECT_EQ(run.engine.host.request, Duration());
  EXPECT_EQ(run.engine.host.per_sequence, Duration());
  EXPECT_EQ(run.engine.host.step, default_host_times(EnginePreset::trtllm).step);
}

TEST(ValidationCase, SplitsAContextPhaseThatDoesNotFitBesideItsCache) {
  // Llama-2-70B in fp8 on 2 x 80 GB: 120 prompts of 2,048 tokens at once would need 19.5 GB for gate and up products
  // and their activation alone (245,760 tokens x 3 x 14,336 x 2 B are 21 GB), beside 34.3 GB of weights and
  // 120 x 4,096 x 81,920 B = 40.3 GB of cache.
  ServingRow row = static_row();
  row.model = "Llama-70B";
  row.gpus = row.tp = 2;
  row.max_batch = 120;
  row.input_tokens = row.output_tokens = 2048;
  const ValidationCase run = case_of(row);
  EXPECT_LT(run.engine.max_num_batched_tokens, 120 * 2048);
  EXPECT_EQ(run.engine.max_num_batched_tokens % 2048, 0);
}

TEST(ValidationCase, SixteenBitsHoldForAllWeights) {
  ServingRow row = static_row();
  row.weight_prec = "BF16";
  row.kv_prec = "";
  const ValidationCase run = case_of(row);
  EXPECT_EQ(run.model.formats.head, DataType::bf16);
  EXPECT_EQ(run.model.formats.dense_ffn, DataType::bf16);
  EXPECT_EQ(run.engine.activation, DataType::bf16);
  EXPECT_EQ(run.engine.kv_cache, DataType::bf16);
}

TEST(ValidationCase, MapsTheDecodePhaseOfAWideExpertGroup) {
  const ValidationCase run = case_of(expert_row());
  EXPECT_EQ(run.engine.plan, (ParallelPlan{.dp = 72, .ep = 72}));
  EXPECT_EQ(run.cluster->nodes, 9);
  EXPECT_EQ(run.engine.all2all_backend, MoeBackend::deepep_low_latency);
  EXPECT_EQ(run.engine.num_redundant_experts, 32);
  EXPECT_EQ(run.routing.popularity.kind, PopularityKind::uniform);
  EXPECT_EQ(run.model.formats.experts, DataType::fp8_block);  // the checkpoint's own
  EXPECT_EQ(run.engine.kv_cache, DataType::bf16);
  EXPECT_EQ(run.engine.host.step, Duration());

  ServingRow unbalanced = expert_row();
  unbalanced.eplb = "off";
  EXPECT_EQ(case_of(unbalanced).routing.popularity.kind, PopularityKind::zipf);
  EXPECT_EQ(case_of(unbalanced).engine.num_redundant_experts, 0);
}

TEST(ValidationCase, APrefillStepHoldsAsManySequencesAsItsTokens) {
  ServingRow row = expert_row();
  row.metric_scope = "prefill_only";
  row.gpus = row.ep = row.attention_dp = 32;
  row.eplb = "simulated perfect balance";
  row.max_num_tokens = 16384;
  row.input_tokens = 4096;
  row.input_tokens_per_s = 2e5;
  const ValidationCase run = case_of(row);
  EXPECT_EQ(run.sequences, 4);
  EXPECT_EQ(run.engine.all2all_backend, MoeBackend::deepep_high_throughput);
  EXPECT_EQ(run.engine.num_redundant_experts, 0);
  row.eplb = "32 redundant";  // 256 experts are balanced on 32 ranks as they are
  EXPECT_EQ(case_of(row).engine.num_redundant_experts, 0);
}

TEST(ValidationCase, EveryReasonToSkipHasItsRow) {
  struct Change {
    std::string reason;
    void (*change)(ServingRow&);
  };
  const Change changes[] = {
      {"scope not supported yet", [](ServingRow& row) { row.metric_scope = "e2e_open_loop"; }},
      {"speculative decoding not supported yet", [](ServingRow& row) { row.spec_decode = "MTP steps=1"; }},
      {"engine unknown", [](ServingRow& row) { row.engine = "ATOM"; }},
      {"model has no config", [](ServingRow& row) { row.model = "Nobody-7B"; }},
      {"GPU unknown", [](ServingRow& row) { row.gpu = "Abacus"; }},
      {"no cluster of this GPU", [](ServingRow& row) { row.gpu = "h100_pcie"; }},
      {"precision unknown", [](ServingRow& row) { row.weight_prec = "FP6"; }},
      {"precision unknown", [](ServingRow& row) { row.weight_prec = "FP8 (native block)"; }},
      {"length missing", [](ServingRow& row) { row.output_tokens = std::nullopt; }},
      {"batch missing", [](ServingRow& row) { row.max_batch = std::nullopt; }},
      {"parallelism missing", [](ServingRow& row) { row.tp = std::nullopt; }},
      {"parallelism missing", [](ServingRow& row) { row.gpus = 2; }},
      {"parallelism not legal", [](ServingRow& row) { row.gpus = row.tp = 3; }},
      {"does not fit in memory", [](ServingRow& row) { row.model = "Meta-Llama-3.1-405B"; }},
      {"measurement missing", [](ServingRow& row) { row.output_tokens_per_s = std::nullopt; }},
  };
  for (const Change& change : changes) {
    ServingRow row = static_row();
    change.change(row);
    EXPECT_EQ(reason_of(row), change.reason);
  }
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kSkipReasons; ++i) names.insert(name(static_cast<SkipReason>(i)));
  EXPECT_EQ(names.size(), kSkipReasons);
  EXPECT_FALSE(names.contains(""));
}

// |p/m - 1| of the three: 0.1, 0.5, 1; ln: -0.105361, -0.693147, 0.693147. 0.9-quantile at 1.8: 0.5 + 0.8 x 0.5.
TEST(ValidationErrors, FollowTheirFormulas) {
  const MeasuredPair pairs[] = {{90, 100}, {50, 100}, {200, 100}};
  const ErrorSummary errors = summarize_errors(pairs);
  EXPECT_EQ(errors.scored, 3);
  EXPECT_NEAR(errors.mape, 1.6 / 3, 1e-12);
  EXPECT_NEAR(errors.median_ape, 0.5, 1e-12);
  EXPECT_NEAR(errors.p90_ape, 0.9, 1e-12);
  EXPECT_NEAR(errors.bias, std::log(0.9), 1e-12);
  EXPECT_EQ(summarize_errors({}).scored, 0);
}

// At least one read of all weights a step: Llama-2-7B in fp8 has 6.6 GB of matrices, 3.35 TB/s, 16 tokens of 8
// sequences; at most the peak of its FLOPs (6.6e9 x 2 x 8 x 144 at 1979 TFLOPS are far below).
TEST(Validation, PredictsBelowTheRateThatBandwidthAllows) {
  const double rate = predict(case_of(static_row()));
  EXPECT_LT(rate, 8 / (6.6e9 / 3.35e12));
  EXPECT_GT(rate, 0.3 * 8 / (6.6e9 / 3.35e12));
}

// TBO off, 256 sequences a GPU at 2,000 tokens, EP72: every layer sends 2,048 rows x 8/9 to other nodes and back,
// 26.1 MB of bf16 at 50 GB/s: 58 layers take 30 ms, so that at most 256 / 30 ms a GPU come out.
TEST(Validation, WideExpertDecodeIsBoundByItsNics) {
  const double rate = predict(case_of(expert_row()));
  EXPECT_LT(rate, 72 * 256 / (58 * 2048 * 8.0 / 9 * 14336 / 50e9));
}

TEST(Validation, ResultDoesNotDependOnTheNumberOfJobs) {
  std::vector<ServingRow> rows;
  for (const std::int64_t batch : {1, 4, 2, 16, 8}) {
    rows.push_back(static_row());
    rows.back().max_batch = batch;
    rows.back().line = static_cast<std::int64_t>(rows.size()) + 1;
  }
  rows.push_back(static_row());
  rows.back().metric_scope = "e2e";
  ValidationSources sources;
  const ValidationResult one = validate(rows, sources, 1), four = validate(rows, sources, 4);
  EXPECT_EQ(validation_csv(one), validation_csv(four));
  EXPECT_EQ(validation_json(one), validation_json(four));
  EXPECT_EQ(one.rows, 6);
  EXPECT_EQ(one.errors.scored, 5);
  EXPECT_EQ(one.skipped[static_cast<std::size_t>(SkipReason::scope_not_supported)], 1);
  ASSERT_EQ(one.scored.size(), 5u);
  EXPECT_EQ(one.scored[1].sequences, 4);  // in the order of the table
  EXPECT_NE(validation_json(one).find("\"scope not supported yet\": 1"), std::string::npos);
}

TEST(Validation, NothingScoredIsSaidAsNull) {
  std::vector<ServingRow> rows = {static_row()};
  rows[0].metric_scope = "e2e";
  ValidationSources sources;
  const std::string json = validation_json(validate(rows, sources, 2));
  EXPECT_NE(json.find("\"scored\": 0"), std::string::npos);
  EXPECT_NE(json.find("\"median_ape\": null"), std::string::npos);
}

// The aim that docs state for published results without a queue: a median of at most 25 %.
TEST(Validation, PublishedResultsWithoutAQueueAreWithinAQuarterInTheMedian) {
  const fs::path table = fs::path(MOESIM_SHARED_DATA) / "e2e/serving.csv";
  if (!fs::exists(table)) GTEST_SKIP() << "no measured results here";
  std::vector<ServingRow> rows;
  for (const ServingRow& row : read_serving_table(table)) {
    if (row.output_tokens.value_or(0) <= 128) rows.push_back(row);  // the quick ones
  }
  ValidationSources sources;
  const ValidationResult result = validate(rows, sources, 2);
  EXPECT_GT(result.errors.scored, 130);
  EXPECT_LT(result.errors.median_ape, 0.25);
}

}  // namespace
}  // namespace moesim
