#include "config/standard_node.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "config/json_reader.h"
#include "config/read_cluster.h"

namespace moesim {

std::optional<std::filesystem::path> standard_node(std::string_view gpu) {
  namespace fs = std::filesystem;
  // Best first: kind of system, most GPUs a node, file name.
  std::vector<std::tuple<int, std::int32_t, fs::path>> candidates;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(product_root() / "topologies" / "cluster", ignored)) {
    if (entry.path().extension() != ".json") continue;
    const ClusterSpec cluster = read_cluster_file(entry.path());
    if (cluster.gpu != gpu) continue;
    const std::string stem = entry.path().stem().string();
    const int kind = stem.starts_with("dgx-") ? 0 : stem.starts_with("hgx-") ? 1 : 2;
    candidates.emplace_back(kind, -cluster.gpus_per_node, entry.path());
  }
  if (candidates.empty()) return std::nullopt;
  return std::get<2>(*std::min_element(candidates.begin(), candidates.end()));
}

}  // namespace moesim
