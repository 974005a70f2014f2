#pragma once
// Logs of nccl-tests and rccl-tests: the text on the terminal, or the JSON file of -J.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "network/cluster_spec.h"

namespace moesim {

struct NcclTestRow {
  std::int64_t bytes = 0;
  std::string type;
  // Out of place, then in place; nothing where the half is blank. Microseconds; GB/s of 10^9 bytes.
  std::optional<double> time, algbw, busbw, inplace_time, inplace_algbw, inplace_busbw;
};

struct NcclTestLog {
  std::string file;        ///< as messages name it
  std::string library;     ///< NCCL, RCCL
  std::string version;     ///< 2.28.9; empty: not said
  std::string collective;  ///< all_reduce, all_gather, reduce_scatter, alltoall, broadcast, ...; empty: not known
  std::string gpu;         ///< as the driver calls it; empty: not said
  std::int64_t nodes = 0, gpus_per_node = 0, ranks = 0;  ///< 0: not known
  std::vector<NcclTestRow> rows;
  std::vector<std::string> notes;  ///< what was concluded rather than read
};

/// Finds the rows by their shape: behind `0: ` of srun, without `#`, without a head. The collective is that of the
/// head ("Collective test starting: all_reduce_perf"), else `collective` (a user's word, refused as usage where
/// nccl-tests have no such collective; may be empty), else
/// it follows from busbw / algbw where that leaves one: above 1 it is an all-reduce (2 (n - 1) / n), with a reduction
/// and below 1 a reduce-scatter. Otherwise ConfigError (usage) asks for it. Ranks are counted on the rank lines, else
/// follow from bytes / count / size of the type, else from busbw / algbw: the n that every row allows within its
/// rounding, the most even one where several do. Rows of 0 bytes are left out. The environment that the JSON holds is
/// not read. Throws ConfigError: file and line, or JSON pointer.
NcclTestLog read_nccl_tests(const std::filesystem::path& path, const std::string& collective);

/// Fills what the log leaves open from the cluster it ran on: GPUs of a node, nodes, GPU.
void complete_from_cluster(NcclTestLog& log, const ClusterSpec& cluster);

}  // namespace moesim
