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

Bytes all_tokens(const RoutedTraffic& traffic, Bytes payload) {
  return payload * std::accumulate(traffic.tokens.begin(), traffic.tokens.end(), std::int64_t{0});
}

}  // namespace

void ExchangeLinks::collect(const RoutedTraffic& traffic, std::vector<double>& copies) {
  fill_traffic_matrix(traffic, nodes_.node_of_rank, matrix_);
  copies.resize(matrix_.ranks * matrix_.ranks);
  add_transfers(backend_, matrix_, nodes_, 1, copies);
}

void ExchangeLinks::add_dispatch(const RoutedTraffic& traffic) {
  if (gathers(backend_)) {
    gathered_ += all_tokens(traffic, payload_.dispatch);
  } else {
    collect(traffic, dispatched_);
  }
}

void ExchangeLinks::add_combine(const RoutedTraffic& traffic) {
  if (gathers(backend_)) {
    scattered_ += all_tokens(traffic, payload_.combine);
  } else {
    collect(traffic, combined_);
  }
}

void ExchangeLinks::add_both(const RoutedTraffic& traffic) {
  if (gathers(backend_)) {
    gathered_ += all_tokens(traffic, payload_.dispatch);
    scattered_ += all_tokens(traffic, payload_.combine);
  } else {
    collect(traffic, both_);
  }
}

void ExchangeLinks::lay_on(LinkBytes& to) {
  collectives_.add_link_bytes(Collective::all_gather, gathered_, to);
  collectives_.add_link_bytes(backend_ == MoeBackend::naive ? Collective::all_reduce : Collective::reduce_scatter,
                              scattered_, to);
  gathered_ = scattered_ = Bytes{};
  const GpuGroup& group = collectives_.group();
  const std::size_t ranks = group.size();
  const auto lay = [&](std::vector<double>& copies, Bytes forward, Bytes backward) {
    if (copies.empty()) return;
    for (std::size_t s = 0; s < ranks; ++s) {
      for (std::size_t d = 0; d < ranks; ++d) {
        const double bytes = copies[s * ranks + d] * static_cast<double>(forward.value) +
                             copies[d * ranks + s] * static_cast<double>(backward.value);
        if (bytes == 0) continue;
        for (const LinkId link : topology_->path(group[s], group[d])) to.add(link, bytes);
      }
    }
    std::fill(copies.begin(), copies.end(), 0.0);
  };
  lay(dispatched_, payload_.dispatch, {});
  lay(combined_, {}, payload_.combine);
  lay(both_, payload_.dispatch, payload_.combine);
}

}  // namespace moesim
