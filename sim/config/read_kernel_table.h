#pragma once
// Tables of measured kernels; columns by op, filters and reasons in docs/calibration.md.

#include <span>
#include <string>

#include "calibration/kernel_sample.h"

namespace moesim {

struct KernelTableOptions {
  KernelOp op = KernelOp::gemm;
  /// Id: the GPU of tables without a column `gpu`; rows of another one in that column are skipped. Empty: the column,
  /// else the one in the file's name.
  std::string gpu;
  /// In lower case; the same with the column `provider` and the file's name FAMILY_GPU_PROVIDER-VERSION.
  std::string provider;
  std::string version;  ///< rows of others are skipped, where the table or its name tells; empty: all
};

/// Reads the tables, `-` being standard input. A row that the op does not score is counted with its reason. Throws
/// ConfigError, file and line, on: missing columns, fields that are no numbers, NaN, negative, times outside of
/// 0.1 us to 100 s, products at more than twice the GPU's peak rate. Counts as warnings, and uses: rows that stand
/// twice, with the same time or another, and times below half of that of the next smaller size of their series.
/// Power-law rows take the loads of `moe_routing_expectation.csv` beside their table, else computed ones.
KernelSamples read_kernel_tables(std::span<const std::string> paths, const KernelTableOptions& options);

}  // namespace moesim
