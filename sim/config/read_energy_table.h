#pragma once
// Tables of measured serving energy: InferenceX points, one row a configuration and concurrency, a CSV file with a
// header that has the column joules_per_out_tok.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace moesim {

/// What a row says, as the source spells it; empty where it does not say.
struct EnergyRow {
  std::int64_t line = 0;  ///< in the file
  std::string config_id, model, hardware, framework, precision, spec_method;
  std::int64_t disaggregated = 0, multinode = 0;            ///< 0 or 1
  std::int64_t tp = 0, ep = 0, attention_dp = 0, gpus = 0;  ///< of decoding; attention_dp: 0 or 1
  std::int64_t input_tokens = 0, output_tokens = 0;         ///< longest; lengths are uniform in [0.8 L, L]
  std::int64_t concurrency = 0;                             ///< of the whole system
  std::optional<double> tokens_per_s_per_gpu;               ///< input and output together
  std::optional<double> joules_per_output_token;            ///< of all GPUs
};

/// Tells such a table by its header.
bool is_energy_table(const std::filesystem::path& path);

/// Columns are taken by name, in any order; others are passed over. A column that is missing, a row of another width
/// and a number that is not one are refused with file, line and column. Throws ConfigError.
std::vector<EnergyRow> read_energy_table(const std::filesystem::path& path);

}  // namespace moesim
