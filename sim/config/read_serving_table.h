#pragma once
// Tables of measured serving results: one row is one operating point, a CSV file with a header.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace moesim {

/// What a row says, as the source spells it; empty where it does not say.
struct ServingRow {
  std::int64_t line = 0;  ///< in the file
  std::string id, family, metric_scope, model, arch;
  std::string weight_prec, kv_prec;
  std::string gpu, gpu_class, engine;
  std::string spec_decode, eplb;
  std::optional<std::int64_t> gpus, tp, pp, replicas, ep, attention_dp, context_parallel;
  std::optional<double> input_tokens, output_tokens;              ///< of a request; means where lengths vary
  std::optional<std::int64_t> max_batch, max_num_tokens;          ///< per replica or data-parallel rank
  std::optional<double> output_tokens_per_s, input_tokens_per_s;  ///< of the whole system
  std::optional<double> mean_ttft_ms;
};

/// Columns are taken by name, in any order. A column that is not known, one that is missing, a row of another width and
/// a number that is not one are refused with file, line and column. Throws ConfigError.
std::vector<ServingRow> read_serving_table(const std::filesystem::path& path);

}  // namespace moesim
