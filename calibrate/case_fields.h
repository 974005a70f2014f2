#pragma once
// The columns of the tables, those of the shared tables with who measured what, when and how sure.

#include <string>
#include <string_view>
#include <vector>

#include "cases.h"
#include "timing.h"

namespace moesim::calibrate {

/// Of the machine and the run; the same in every row of a run.
struct Provenance {
  std::string gpu;     ///< as the driver calls it; an alias of topologies/gpu resolves it
  std::string driver;  ///< version of the driver
  std::string cuda;    ///< version of the runtime that is loaded: the version of what is ours
  std::string cublas, cudnn, nccl;
  std::string date;  ///< YYYY-MM-DD
  int gpus_per_node = 1, nodes = 1;

  const std::string& version_of(std::string_view provider) const;
};

std::vector<std::string_view> columns(Family family);
/// How many of the columns, from the first, and `provider` tell a case from every other of its family.
std::size_t key_columns(Family family);

/// The values of the key columns.
std::vector<std::string> shape_fields(const Case& measured);
/// What resuming goes by: the key columns and the provider.
std::string key_of(const Case& measured);
/// All values of the row.
std::vector<std::string> row_fields(const Case& measured, const Measured& result, const Provenance& provenance);
/// How many times a row of the family holds.
std::size_t times_of(Family family);

/// Bus bandwidth over algorithm bandwidth [nccl-tests].
double bus_factor(std::string_view collective, int ranks);

}  // namespace moesim::calibrate
