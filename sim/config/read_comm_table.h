#pragma once
// Tables of measured communication (columns in docs/formats.md): nccl-tests sweeps and logs, engines' all-reduce,
// DeepEP, NVLink exchanges, puts.

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "calibration/comm_sample.h"

namespace moesim {

struct CommTableOptions {
  CommOp op = CommOp::nccl;
  std::optional<std::filesystem::path> cluster;  ///< the hardware of all rows
  std::string gpu;                               ///< id: rows of other GPUs are skipped; empty: all
  std::string provider;  ///< library in lower case: rows of others are skipped; empty: those that the op is of
  std::string version;   ///< of the library: rows of others are skipped; empty: all
};

/// Reads the tables, `-` being standard input. A row that cannot be used is counted with its reason; a broken one is a
/// ConfigError with file and line.
CommSamples read_comm_tables(std::span<const std::string> paths, const CommTableOptions& options);

/// The collective profile `file` over that of every system of the samples. Throws ConfigError.
void overlay_profile(CommSamples& samples, const std::filesystem::path& file);

}  // namespace moesim
