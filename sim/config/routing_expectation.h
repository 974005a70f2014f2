#pragma once
// What the busiest rank of a measured fused op had to do, from how its benchmark drew the routing.

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "hardware/operator_shape.h"

namespace moesim {

/// How a benchmark spread `tokens` x `top_k` rows over experts on `ep` ranks of equal size.
struct RoutingCase {
  std::int64_t tokens = 0, experts = 0, top_k = 0, ep = 1;
  std::optional<double> alpha;  ///< of the power law; absent: balanced
  /// Slots of the experts, those with most rows in several (EPLB); as many as experts and no EPLB where 0.
  std::int64_t slots = 0;

  auto operator<=>(const RoutingCase&) const = default;
};

/// Expected loads of the busiest rank.
///   balanced  exact: choice j of token i is expert (i + j ceil(E / k)) mod E; rank 0
///   power law [aiconfigurator collector]: the share of each expert is drawn from p(x) ~ x^-alpha on [1, 0.8 T]
///             ([0.01, 2] where T k <= E), scaled to T k rows, rounded by largest remainders, at most T an expert; the
///             rank with most rows is measured. A token's choices are dealt in turn to experts by falling count.
///             Means of 32 draws of fixed seed, the same for every T, rounded to whole rows.
///   EPLB      copies go to the expert with most rows a copy, slots to the rank with least rows that has room
///             [deepseek-ai/EPLB, one node]
class RoutingExpectations {
 public:
  /// Takes the loads of a table like `moe_routing_expectation.csv` before any computed ones. Throws ConfigError.
  void read(const std::filesystem::path& path);

  const ExpertLoad& load(const RoutingCase& routing);

 private:
  using Counts = std::vector<std::int64_t>;  // rows by expert
  const std::vector<Counts>& draws(const RoutingCase& routing);

  std::map<RoutingCase, ExpertLoad> loads_;
  std::map<RoutingCase, std::vector<Counts>> draws_;  // by the case without its ranks and slots
};

/// Sets how the rows are spread from a column `dist`: balanced, uniform, pl1.2, pl1.2_eplb. False: none of these.
bool read_distribution(std::string_view text, RoutingCase& routing);

/// Rows by expert of the stated round-robin.
std::vector<std::int64_t> balanced_counts(const RoutingCase& routing);

}  // namespace moesim
