#pragma once
// Predictions for a table of measured results, and their errors.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error_summary.h"
#include "study/run_cases.h"
#include "study/validation_case.h"

namespace moesim {

/// The prediction of a case in the unit of its metric.
///  - static batch: all requests at time zero, batch x output / duration of the run;
///  - first token: TTFT of the only request;
///  - expert prefill: ranks x sequences x input / time of one step;
///  - expert decode: ranks x sequences / time of one step at a context of input + output / 2 tokens (input where no
///    output length is given), the mean over `kDecodeDraws` draws of the gates.
/// Ignores what overlaps between two micro-batches of a step.
double predict(const ValidationCase& run);
inline constexpr std::uint64_t kDecodeDraws = 8;

struct ScoredRow {
  ServingRow row;
  ValidationScope scope = ValidationScope::static_batch;
  std::string precision, gpu, profile;
  std::int64_t sequences = 0;
  double predicted = 0, measured = 0;
  bool extrapolated = false;  ///< kernels or collectives were measured on another GPU

  double log_ratio() const;  ///< ln(predicted / measured)
};

/// Errors of the rows that have these values; empty where rows of all values are in it.
struct ErrorGroup {
  std::string family = {}, arch = {}, gpu_class = {}, precision = {}, metric_scope = {};
  std::int64_t extrapolated = 0;  ///< rows of it
  ErrorSummary errors = {};
};

struct ValidationResult {
  std::string table;
  std::int64_t rows = 0;
  std::array<std::int64_t, kSkipReasons> skipped{};
  std::vector<ScoredRow> scored;  ///< in the order of the table
  ErrorSummary errors;
  std::vector<std::pair<std::string, ErrorSummary>> metrics;  ///< by name of the metric
  std::vector<ErrorGroup> groups;  ///< by family; by family, arch and gpu_class; by precision; by scope
  std::vector<std::string> profiles;
  std::int64_t extrapolated = 0;  ///< scored rows
};

/// Simulates every row that has a case, `jobs` at a time; the result does not depend on `jobs`. Rows that are left when
/// `interrupted` turns true are not scored.
ValidationResult validate(std::span<const ServingRow> rows, ValidationSources& sources, int jobs,
                          const CaseProgress& progress = {});

}  // namespace moesim
