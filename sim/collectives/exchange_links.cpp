#include "collectives/exchange_links.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace moesim {

ExchangeLinks::ExchangeLinks(const Topology& topology, const CollectiveProfile& profile, GpuGroup group,
                             MoeBackend backend, TokenPayload payload)
    : topology_(&topology),
      collectives_(topology, profile, std::move(group)),
      nodes_(group_nodes(topology, collectives_.group())),
      backend_(backend),
      payload_(payload) {}

namespace {

/// The backend moves all tokens to all ranks, whatever the gates chose.
bool gathers(MoeBackend backend) {
  return backend == MoeBackend::allgather_reducescatter || backend == MoeBackend::naive;
}

void collect(MoeBackend backend, const TrafficMatrix& matrix, const GroupNodes& nodes, Bytes payload,
             std::vector<double>& bytes) {
  bytes.resize(matrix.ranks * matrix.ranks);
  add_transfers(backend, matrix, nodes, static_cast<double>(payload.value), bytes);
}

}  // namespace

void ExchangeLinks::add_dispatch(const RoutedTraffic& traffic) {
  if (gathers(backend_)) {
    gathered_ += payload_.dispatch * std::accumulate(traffic.tokens.begin(), traffic.tokens.end(), std::int64_t{0});
    return;
  }
  fill_traffic_matrix(traffic, nodes_.node_of_rank, matrix_);
  collect(backend_, matrix_, nodes_, payload_.dispatch, forward_);
}

void ExchangeLinks::add_combine(const RoutedTraffic& traffic) {
  if (gathers(backend_)) {
    scattered_ += payload_.combine * std::accumulate(traffic.tokens.begin(), traffic.tokens.end(), std::int64_t{0});
    return;
  }
  fill_traffic_matrix(traffic, nodes_.node_of_rank, matrix_);
  collect(backend_, matrix_, nodes_, payload_.combine, backward_);
}

void ExchangeLinks::lay_on(LinkBytes& to) {
  collectives_.add_link_bytes(Collective::all_gather, gathered_, to);
  collectives_.add_link_bytes(backend_ == MoeBackend::naive ? Collective::all_reduce : Collective::reduce_scatter,
                              scattered_, to);
  gathered_ = scattered_ = Bytes{};
  const GpuGroup& group = collectives_.group();
  const std::size_t ranks = group.size();
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t d = 0; d < ranks; ++d) {
      const double sent = forward_.empty() ? 0 : forward_[s * ranks + d];
      const double returned = backward_.empty() ? 0 : backward_[d * ranks + s];
      if (sent + returned == 0) continue;
      for (const LinkId link : topology_->path(group[s], group[d])) to.add(link, sent + returned);
    }
  }
  std::fill(forward_.begin(), forward_.end(), 0.0);
  std::fill(backward_.begin(), backward_.end(), 0.0);
}

}  // namespace moesim
