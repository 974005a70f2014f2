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

/// Rows by expert, and the experts by falling rows.
struct ExpertDraw {
  std::vector<std::int64_t> counts;
  std::vector<std::uint32_t> order;
};

/// Expected loads of the busiest rank.
///   balanced  exact, rank 0: choice j of token i is expert (i + j s) mod E, s = ceil(E / k), with i s / T for i
///             where T < s
///   power law [aiconfigurator]: the share of each expert is drawn from p(x) ~ x^-alpha on [1, 0.8 T]
///             ([0.01, 2] where T k <= E), scaled to T k rows and rounded, at most T an expert; what rounding leaves
///             over goes to the experts with fewest rows. The rank with most rows is measured. A token's choices are
///             dealt in turn to experts by falling count. Means of 64 draws of fixed seed (16 where packed), the same
///             for every T, rounded to whole rows.
///   EPLB      copies go to the expert with most rows a copy, slots to the rank with least rows that has room
///             [eplb]
class RoutingExpectations {
 public:
  /// Takes the power-law loads of a table like `moe_routing_expectation.csv` before any computed ones. Throws
  /// ConfigError.
  void read(const std::filesystem::path& path);

  const ExpertLoad& load(const RoutingCase& routing);

 private:
  const std::vector<ExpertDraw>& draws(const RoutingCase& routing);

  std::map<RoutingCase, ExpertLoad> loads_;
  std::map<RoutingCase, std::vector<ExpertDraw>> draws_;  // by the case without its ranks and slots
};

/// Sets how the rows are spread from a column `dist`: balanced, uniform, pl1.2, pl1.2_eplb. False: none of these.
bool read_distribution(std::string_view text, RoutingCase& routing);

}  // namespace moesim
