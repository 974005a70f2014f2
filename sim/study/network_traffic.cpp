#include "study/network_traffic.h"

#include <algorithm>

#include "collectives/link_loads.h"
#include "parallel/placement.h"
#include "routing/router.h"

namespace moesim {

double DrawnTraffic::busiest_rank() const {
  std::int64_t most = 0, sum = 0;
  for (const std::int64_t rows : counts.rows) {
    most = std::max(most, rows);
    sum += rows;
  }
  return static_cast<double>(most) * static_cast<double>(counts.rows.size()) / static_cast<double>(sum);
}

std::vector<ExchangeRound> exchange_rounds(const ExchangeTask& task) {
  const std::int64_t most = task.round_tokens > 0 ? task.round_tokens : task.tokens;
  std::vector<ExchangeRound> rounds;
  for (std::int64_t sent = 0; sent < task.tokens; sent += most) {
    rounds.push_back({rounds.size(), std::min(most, task.tokens - sent)});
  }
  return rounds;
}

DrawnTraffic draw_traffic(const ExchangeTask& task, const Topology& topology, std::uint64_t seed, ExchangeRound round) {
  const std::size_t ranks = task.ranks.size();
  const Router router(task.moe, 1, {task.popularity, RoutingResolution::token}, seed);
  const ExpertLoads loads(linear_placement(task.moe.experts, static_cast<std::int32_t>(ranks), task.redundant_experts),
                          group_nodes(topology, task.ranks).node_of_rank);
  const std::int64_t tokens = round.tokens * static_cast<std::int64_t>(ranks);
  std::vector<std::uint16_t> ids(static_cast<std::size_t>(tokens * task.moe.top_k));
  router.draw_tokens(0, round.number, tokens, ids);
  DrawnTraffic drawn{loads.exchange_counts()};
  drawn.counts.tokens.assign(ranks, round.tokens);
  std::vector<ExpertLoad> of_ranks(ranks);
  loads.from_tokens(ids, task.moe.top_k, of_ranks, drawn.counts);
  return drawn;
}

std::vector<Bytes> row_messages(const ExchangeTask& task, const DrawnTraffic& drawn) {
  const std::size_t ranks = task.ranks.size();
  std::vector<Bytes> messages(ranks * ranks);
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t d = 0; d < ranks; ++d) {
      const std::size_t pair = task.combine ? d * ranks + s : s * ranks + d;
      if (s != d) messages[s * ranks + d] = task.payload * drawn.counts.pair_rows[pair];
    }
  }
  return messages;
}

}  // namespace moesim
