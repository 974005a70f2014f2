#include "study/energy_validation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/json_reader.h"
#include "report/energy_validation_text.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

constexpr const char* header =
    "config_id,model,hardware,framework,precision,spec_method,disagg,multinode,decode_tp,decode_ep,decode_attn_dp,"
    "total_gpus,isl,osl,concurrency,tot_tok_s_per_gpu,median_tpot_ms,joules_per_out_tok\n";

/// A table in a file that goes with it.
class Table {
 public:
  explicit Table(const std::string& rows)
      : path_(fs::temp_directory_path() / ("moesim_energy_" + std::to_string(getpid()) + ".csv")) {
    std::ofstream(path_) << header << rows;
  }
  ~Table() { fs::remove(path_); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  std::vector<EnergyRow> rows() const { return read_energy_table(path_); }
  std::string problem() const {
    try {
      rows();
    } catch (const ConfigError& error) {
      return std::string(error.what()).substr(path_.string().size());
    }
    return "";
  }
  fs::path path_;
};

EnergyRow sample_row() {
  EnergyRow row;
  row.config_id = "7";
  row.model = "gptoss120b";
  row.hardware = "h200";
  row.framework = "vllm";
  row.precision = "fp4";
  row.spec_method = "none";
  row.tp = row.gpus = 2;
  row.ep = 1;
  row.input_tokens = row.output_tokens = 100;
  row.concurrency = 4;
  row.tokens_per_s_per_gpu = 500;
  row.joules_per_output_token = 1.2;
  return row;
}

TEST(EnergyTable, IsToldByItsHeaderAndReadByName) {
  const Table table("12,dsr1,b200,sglang,fp4,none,0,0,4,1,0,4,1024,1024,16,535.5,14.4,2.5\n");
  EXPECT_TRUE(is_energy_table(table.path_));
  const std::vector<EnergyRow> rows = table.rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].hardware, "b200");
  EXPECT_EQ(rows[0].concurrency, 16);
  EXPECT_EQ(rows[0].joules_per_output_token, 2.5);
}

TEST(EnergyTable, NamesLineAndColumnOfWhatIsNoNumber) {
  const Table table("12,dsr1,b200,sglang,fp4,none,0,0,4,1,0,4,1024,1024,16,fast,14.4,2.5\n");
  EXPECT_EQ(table.problem(), ":2: tot_tok_s_per_gpu: expected a number that is not negative, got fast");
}

TEST(EnergyCase, SaysWhyARowIsNotSimulated) {
  ValidationSources sources;
  const auto reason = [&](auto&& change) {
    EnergyRow row = sample_row();
    change(row);
    const auto found = energy_case(row, sources);
    return std::holds_alternative<SkipReason>(found) ? name(std::get<SkipReason>(found)) : "";
  };
  EXPECT_EQ(reason([](EnergyRow&) {}), "");
  EXPECT_EQ(reason([](EnergyRow& row) { row.joules_per_output_token.reset(); }), name(SkipReason::measurement_missing));
  EXPECT_EQ(reason([](EnergyRow& row) { row.spec_method = "mtp"; }), name(SkipReason::speculative_decoding));
  EXPECT_EQ(reason([](EnergyRow& row) { row.framework = "atom"; }), name(SkipReason::engine_unknown));
  EXPECT_EQ(reason([](EnergyRow& row) { row.multinode = 1; }), name(SkipReason::scope_not_supported));
  EXPECT_EQ(reason([](EnergyRow& row) { row.tp = 1; }), name(SkipReason::parallelism_missing));
}

// 1.2 J a token at 500 / 2 output tokens a second are 300 W.
TEST(EnergyValidation, ScoresJoulesAndWatts) {
  ValidationSources sources;
  const std::vector<EnergyRow> rows{sample_row()};
  const EnergyValidation result = validate_energy(rows, sources, Clocks::locked, 1);
  ASSERT_EQ(result.scored.size(), 1u);
  const EnergyScore& score = result.scored[0];
  EXPECT_DOUBLE_EQ(score.measured_watts, 300);
  EXPECT_GT(score.watts_at_measured_rate, 75);
  EXPECT_LE(score.watts_at_measured_rate, 700);
  EXPECT_NEAR(score.joules_per_token.total(), score.predicted_joules, 1e-9 * score.predicted_joules);
  // The group of its half, of its GPU and of its GPU, model and precision.
  EXPECT_EQ(result.groups.size(), 3u);
  EXPECT_NE(energy_validation_table(result).find("h200_sxm  gptoss120b  fp4"), std::string::npos);
}

TEST(EnergyValidation, HalvesTheConfigurationsByAHash) {
  int fitted = 0;
  for (int id = 0; id < 1000; ++id) fitted += is_fitted(std::to_string(id)) ? 1 : 0;
  EXPECT_NEAR(fitted, 500, 50);
}

}  // namespace
}  // namespace moesim
