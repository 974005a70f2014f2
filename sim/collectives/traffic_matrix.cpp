#include "collectives/traffic_matrix.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/check.h"

namespace moesim {

namespace {

/// Each destination's total in proportion to the sources' weights (sources x destinations, or one column for all).
void spread_tokens(std::span<const std::int64_t> tokens, std::span<const std::int64_t> totals, std::span<double> out) {
  double all = 0;
  for (const std::int64_t t : tokens) all += static_cast<double>(t);
  for (std::size_t s = 0; s < tokens.size(); ++s) {
    const double share = all > 0 ? static_cast<double>(tokens[s]) / all : 0;
    for (std::size_t d = 0; d < totals.size(); ++d) out[s * totals.size() + d] = share * static_cast<double>(totals[d]);
  }
}

}  // namespace

void fill_traffic_matrix(const RoutedTraffic& traffic, std::span<const std::uint32_t> node_of_rank,
                         TrafficMatrix& matrix) {
  const std::size_t ranks = traffic.tokens.size(), nodes = traffic.node_copies.size();
  MOESIM_CHECK(node_of_rank.size() == ranks && traffic.rows.size() == ranks, "{} ranks, {} rows, {} nodes of ranks",
               ranks, traffic.rows.size(), node_of_rank.size());
  matrix.ranks = ranks;
  matrix.nodes = nodes;
  matrix.rows.resize(ranks * ranks);
  matrix.rank_copies.resize(ranks * ranks);
  matrix.node_copies.resize(ranks * nodes);
  if (traffic.pair_rows.empty()) {
    spread_tokens(traffic.tokens, traffic.rows, matrix.rows);
    spread_tokens(traffic.tokens, traffic.rank_copies, matrix.rank_copies);
    spread_tokens(traffic.tokens, traffic.node_copies, matrix.node_copies);
    return;
  }
  std::copy(traffic.pair_rows.begin(), traffic.pair_rows.end(), matrix.rows.begin());
  if (!traffic.pair_rank_copies.empty()) {
    std::copy(traffic.pair_rank_copies.begin(), traffic.pair_rank_copies.end(), matrix.rank_copies.begin());
    std::copy(traffic.pair_node_copies.begin(), traffic.pair_node_copies.end(), matrix.node_copies.begin());
    return;
  }
  std::vector<double> node_rows(nodes);
  for (std::size_t d = 0; d < ranks; ++d) node_rows[node_of_rank[d]] += static_cast<double>(traffic.rows[d]);
  std::fill(matrix.node_copies.begin(), matrix.node_copies.end(), 0.0);
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t d = 0; d < ranks; ++d) {
      const double rows = matrix.rows[s * ranks + d];
      const auto all = static_cast<double>(traffic.rows[d]);
      matrix.rank_copies[s * ranks + d] = all > 0 ? rows * static_cast<double>(traffic.rank_copies[d]) / all : 0;
      matrix.node_copies[s * nodes + node_of_rank[d]] += rows;
    }
    for (std::size_t n = 0; n < nodes; ++n) {
      if (node_rows[n] > 0) {
        matrix.node_copies[s * nodes + n] *= static_cast<double>(traffic.node_copies[n]) / node_rows[n];
      }
    }
  }
}

TrafficMatrix traffic_matrix(const RoutedTraffic& traffic, std::span<const std::uint32_t> node_of_rank) {
  TrafficMatrix matrix;
  fill_traffic_matrix(traffic, node_of_rank, matrix);
  return matrix;
}

namespace {

void add_direct(std::span<const double> copies, std::size_t ranks, double payload, std::span<double> bytes) {
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t d = 0; d < ranks; ++d) {
      if (s != d) bytes[s * ranks + d] += payload * copies[s * ranks + d];
    }
  }
}

/// Once to each other node, between ranks of the same index, and on from there.
void add_by_node(const TrafficMatrix& matrix, const GroupNodes& nodes, double payload, std::span<double> bytes) {
  const std::size_t ranks = matrix.ranks;
  std::vector<std::vector<std::size_t>> rank_at(nodes.nodes());
  for (std::size_t n = 0; n < rank_at.size(); ++n) rank_at[n].resize(nodes.gpus[n].size());
  for (std::size_t r = 0; r < ranks; ++r) rank_at[nodes.node_of_rank[r]][nodes.index_in_node[r]] = r;
  std::vector<std::size_t> entry(rank_at.size());  // where the sender's tokens enter each node
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t n = 0; n < entry.size(); ++n) {
      entry[n] = rank_at[n][nodes.index_in_node[s] % rank_at[n].size()];
      if (n != nodes.node_of_rank[s]) {
        bytes[s * ranks + entry[n]] += payload * matrix.node_copies[s * matrix.nodes + n];
      }
    }
    for (std::size_t d = 0; d < ranks; ++d) {
      const std::size_t from = nodes.node_of_rank[d] == nodes.node_of_rank[s] ? s : entry[nodes.node_of_rank[d]];
      if (from != d) bytes[from * ranks + d] += payload * matrix.rank_copies[s * ranks + d];
    }
  }
}

}  // namespace

void add_transfers(MoeBackend backend, const TrafficMatrix& matrix, const GroupNodes& nodes, double payload,
                   std::span<double> bytes) {
  switch (backend) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
    case MoeBackend::naive:
      return;
    case MoeBackend::deepep_low_latency:
      return add_direct(matrix.rows, matrix.ranks, payload, bytes);
    case MoeBackend::pplx:
    case MoeBackend::flashinfer_nvlink_one_sided:
    case MoeBackend::flashinfer_nvlink_two_sided:
      return add_direct(matrix.rank_copies, matrix.ranks, payload, bytes);
    case MoeBackend::deepep_high_throughput:
      return add_by_node(matrix, nodes, payload, bytes);
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

}  // namespace moesim
