#pragma once
// Who sends how much to whom in one exchange of a MoE layer, at every resolution of the gates.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collectives/collective_cost.h"
#include "collectives/link_loads.h"

namespace moesim {

/// Source-major. `rows` counts (token, expert) pairs, copies count distinct tokens; what stays on its rank or node is
/// in it. Sums over the sources are the totals of the destinations in the traffic it was made from.
struct TrafficMatrix {
  std::size_t ranks = 0, nodes = 0;
  std::vector<double> rows;         ///< ranks x ranks
  std::vector<double> rank_copies;  ///< ranks x ranks
  std::vector<double> node_copies;  ///< ranks x nodes
};

/// The full matrix of one exchange. Exact where the traffic gives its pairs (resolution `token`). With rows of pairs
/// only (`matrix`), copies follow the rows: copies(s, d) = rows(s, d) x copies(d) / rows(d). With neither (`counts`),
/// every source sends in proportion to its tokens: rows(s, d) = rows(d) x tokens(s) / all tokens, the expectation when
/// tokens of all ranks choose alike.
TrafficMatrix traffic_matrix(const RoutedTraffic& traffic, std::span<const std::uint32_t> node_of_rank);
/// Into a matrix that has been used before, without allocating.
void fill_traffic_matrix(const RoutedTraffic& traffic, std::span<const std::uint32_t> node_of_rank,
                         TrafficMatrix& matrix);

/// Adds what `backend` sends from GPU to GPU, `payload` bytes a copy, to `bytes` (ranks x ranks, source-major):
///   deepep_low_latency       rows, direct
///   pplx, flashinfer         rank copies, direct
///   deepep_high_throughput   node copies to the rank with the sender's index in each other node; from there, or inside
///                            the own node from the sender, rank copies to the chosen ranks
/// Nothing stays on the way, and what a GPU has for itself is not sent. Backends that gather all tokens do not send
/// from pair to pair: nothing is added.
void add_transfers(MoeBackend backend, const TrafficMatrix& matrix, const GroupNodes& nodes, double payload,
                   std::span<double> bytes);

}  // namespace moesim
