#include "collectives/exchange_program.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "collectives/collective_program.h"

namespace moesim {

ExchangePrograms::ExchangePrograms(const Topology& topology, const CollectiveProfile& profile, MoeExchange exchange,
                                   GpuGroup group, TokenPayload payload)
    : topology_(topology),
      profile_(profile),
      exchange_(std::move(exchange)),
      group_(std::move(group)),
      nodes_(group_nodes(topology, group_)),
      payload_(payload) {}

TransferProgram ExchangePrograms::gathered(Collective kind, Bytes bytes) const {
  if (bytes.value == 0) return {};
  return calibrated_program(topology_, profile_, group_, kind, bytes).program;
}

TransferProgram ExchangePrograms::dispatch(const RoutedTraffic& traffic) {
  if (exchange_.depends_on_routing()) {
    return exchanged(traffic,
                     {Way::forward, payload_.dispatch, exchange_.dispatch_copy(), exchange_.dispatch(traffic)});
  }
  std::int64_t tokens = 0;
  TransferProgram broadcasts;
  for (const std::int64_t t : traffic.tokens) {
    tokens += t;
    if (exchange_.backend() == MoeBackend::naive) {
      broadcasts.append(gathered(Collective::broadcast, payload_.dispatch * t));
    }
  }
  return exchange_.backend() == MoeBackend::naive ? broadcasts
                                                  : gathered(Collective::all_gather, payload_.dispatch * tokens);
}

TransferProgram ExchangePrograms::combine(const RoutedTraffic& traffic) {
  if (exchange_.depends_on_routing()) {
    return exchanged(traffic, {Way::backward, payload_.combine, exchange_.combine_copy(), exchange_.combine(traffic)});
  }
  std::int64_t tokens = 0;
  for (const std::int64_t t : traffic.tokens) tokens += t;
  return gathered(exchange_.backend() == MoeBackend::naive ? Collective::all_reduce : Collective::reduce_scatter,
                  payload_.combine * tokens);
}

TransferProgram ExchangePrograms::exchanged(const RoutedTraffic& traffic, const Leg& leg) {
  TransferProgram program;
  const std::size_t ranks = group_.size();
  if (ranks < 2 || leg.time == Duration()) return program;
  fill_traffic_matrix(traffic, nodes_.node_of_rank, matrix_);
  const auto payload = static_cast<double>(leg.payload.value);
  bytes_.assign(ranks * ranks, 0.0);
  add_transfers(exchange_.backend(), matrix_, nodes_, payload, bytes_);
  const bool low_latency = exchange_.backend() == MoeBackend::deepep_low_latency;
  if (low_latency || exchange_.backend() == MoeBackend::deepep_high_throughput) {
    const std::vector<double>& copies = low_latency ? matrix_.rows : matrix_.rank_copies;
    for (std::size_t r = 0; r < ranks; ++r) bytes_[r * ranks + r] = payload * copies[r * ranks + r];
  }

  struct Ports {
    std::uint32_t out = kNoPort, in = kNoPort;
  };
  std::vector<Ports> scale_up(ranks), network(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto ports = [&](double seconds) {
      if (seconds <= 0) return Ports{};
      const BytesPerSecond rate{payload / seconds};
      return Ports{program.add_port(rate), program.add_port(rate)};
    };
    scale_up[r] = ports(leg.copy.scale_up);
    network[r] = ports(leg.copy.network);
  }
  program.add_round({});
  for (std::size_t s = 0; s < ranks; ++s) {
    for (std::size_t d = 0; d < ranks; ++d) {
      const Bytes bytes{std::llround(bytes_[s * ranks + d])};
      if (bytes.value == 0) continue;
      const std::size_t from = leg.way == Way::forward ? s : d, to = leg.way == Way::forward ? d : s;
      const bool within = nodes_.node_of_rank[s] == nodes_.node_of_rank[d];
      const std::vector<Ports>& ports = within ? scale_up : network;
      for_each_way(topology_, group_[from], group_[to], program.transfers().size(),
                   [&](std::span<const LinkId> path, std::size_t way, std::size_t ways) {
                     program.add(group_[from], group_[to], path, nearly_equal_part(bytes, way, ways), ports[from].out,
                                 ports[to].in);
                   });
    }
  }
  const Duration of_ports = Duration::from_seconds(port_seconds(program));
  if (leg.time < of_ports) program.scale_ports(of_ports / leg.time);  // what a correction by size says
  program.set_latency(0, std::max(Duration(), leg.time - of_ports));
  return program;
}

}  // namespace moesim
