#pragma once
// The traffic of one exchange of a MoE layer, drawn from its gates.

#include <cstdint>
#include <vector>

#include "collectives/traffic_matrix.h"
#include "config/network_scenario.h"
#include "network/topology.h"
#include "parallel/expert_load.h"

namespace moesim {

/// Every token's experts through slots, ranks and nodes; exact pairs.
struct DrawnTraffic {
  ExchangeCounts counts;
  RoutedTraffic traffic() const {
    return {counts.tokens,          counts.rows,      counts.rank_copies,
            counts.node_copies,     counts.pair_rows, counts.pair_rank_copies,
            counts.pair_node_copies};
  }
  /// Rows of the busiest rank over the mean.
  double busiest_rank() const;
};
/// One round of an exchange: its number, and the tokens of every rank in it.
struct ExchangeRound {
  std::uint64_t number = 0;
  std::int64_t tokens = 0;
};
/// The rounds in which the backend sends the tokens of a rank: `round_tokens` each and a rest, as in runs.
std::vector<ExchangeRound> exchange_rounds(const ExchangeTask& task);
DrawnTraffic draw_traffic(const ExchangeTask& task, const Topology& topology, std::uint64_t seed, ExchangeRound round);

/// Messages of the exchange by NCCL: one row a (token, expert), none to itself.
std::vector<Bytes> row_messages(const ExchangeTask& task, const DrawnTraffic& drawn);

}  // namespace moesim
