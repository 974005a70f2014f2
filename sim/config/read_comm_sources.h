#pragma once
// Where the rows of measured tables are from.

#include <set>
#include <span>
#include <string>

namespace moesim {

struct CommSources {
  std::string where, licence;  ///< of all ids that are known; empty: none
};

/// Looks the `source_id`s up in a `sources.csv` (source_id,where,licence) beside the tables, where there is one.
CommSources read_comm_sources(std::span<const std::string> tables, const std::set<std::string>& ids);

}  // namespace moesim
