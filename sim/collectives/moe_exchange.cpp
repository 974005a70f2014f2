#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "collectives/collective_cost.h"
#include "collectives/curve_correction.h"
#include "collectives/link_loads.h"
#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

/// Nodes, and ranks of one node, at most: scratch of this size lies on the stack.
constexpr std::size_t kMaxNodes = 1024;

enum class Direction { dispatch, combine };

double log2_of(double x) {
  return x <= 1 ? 0 : logarithm(x) / logarithm(2.0);
}

/// One direction of one backend, T the most tokens of a rank:
///     seconds = latency + per_flag E + per_round ceil(T / SMs) + per_token T
///               + max(port x scale-up copies, sm_copy x scale-up copies + sm_token T, network x network copies)
struct Rates {
  double latency = 0, per_flag = 0, per_round = 0, per_token = 0;
  double port = 0, sm_copy = 0, sm_token = 0, network = 0;
  PreparedCorrection correction = {};
};

/// Copies on the busiest port of each kind.
struct BusiestPort {
  double scale_up = 0, network = 0;
};

/// Copies that leave their GPU: to ranks of the same node, and to other nodes.
struct MovedCopies {
  double within = 0, between = 0;
};

std::int64_t sum(std::span<const std::int64_t> counts) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts) total += count;
  return total;
}

/// Copies from s to d: those of the pair where they are known, else the destination's in proportion to the rows.
double pair_copies(const RoutedTraffic& traffic, std::span<const std::int64_t> copies, std::size_t s, std::size_t d) {
  const std::size_t pair = s * traffic.rows.size() + d;
  if (!traffic.pair_rank_copies.empty() && copies.data() == traffic.rank_copies.data()) {
    return traffic.pair_rank_copies[pair];
  }
  if (traffic.rows[d] == 0) return 0;
  return traffic.pair_rows[pair] * static_cast<double>(copies[d]) / static_cast<double>(traffic.rows[d]);
}

bool sends_to_itself(MoeBackend backend) {
  return backend == MoeBackend::deepep_low_latency || backend == MoeBackend::deepep_high_throughput;
}

}  // namespace

std::string_view name(MoeBackend backend) {
  switch (backend) {
    case MoeBackend::none:
      return "none";
    case MoeBackend::allgather_reducescatter:
      return "allgather_reducescatter";
    case MoeBackend::naive:
      return "naive";
    case MoeBackend::pplx:
      return "pplx";
    case MoeBackend::deepep_high_throughput:
      return "deepep_high_throughput";
    case MoeBackend::deepep_low_latency:
      return "deepep_low_latency";
    case MoeBackend::flashinfer_nvlink_one_sided:
      return "flashinfer_nvlink_one_sided";
    case MoeBackend::flashinfer_nvlink_two_sided:
      return "flashinfer_nvlink_two_sided";
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

namespace {

/// Seconds of one byte at the full rate of the links; 0: no such traffic.
struct LineSeconds {
  double scale_up = 0, same_index = 0, all = 0;
};

}  // namespace

struct MoeExchange::Geometry {
  std::vector<std::uint32_t> node_of, index_in_node;
  std::uint32_t nodes = 1, widest_node = 1;
  bool includes_itself = false;
  LineSeconds line;
  CarriedBytes within_path{}, between_path{};  ///< links of each kind on the mean path of a copy

  /// Copies per token of all sources that destination d receives, or, with pairs, per row.
  BusiestPort direct(std::span<const std::int64_t> tokens, std::span<const std::int64_t> copies) const;
  BusiestPort direct_pairs(const RoutedTraffic& traffic, std::span<const std::int64_t> copies) const;
  BusiestPort by_node(const RoutedTraffic& traffic) const;
  BusiestPort by_node_pairs(const RoutedTraffic& traffic) const;
  double seconds(const Rates& rates, const RoutedTraffic& traffic, MoeBackend backend) const;

  MovedCopies moved_direct(const RoutedTraffic& traffic, std::span<const std::int64_t> copies) const;
  MovedCopies moved_direct_pairs(const RoutedTraffic& traffic, std::span<const std::int64_t> copies) const;
  MovedCopies moved_by_node(const RoutedTraffic& traffic) const;
  MovedCopies moved_by_node_pairs(const RoutedTraffic& traffic) const;
  CarriedBytes moved(Bytes payload, const RoutedTraffic& traffic, MoeBackend backend) const;
};

BusiestPort MoeExchange::Geometry::direct(std::span<const std::int64_t> tokens,
                                          std::span<const std::int64_t> copies) const {
  const std::size_t ranks = node_of.size();
  std::array<double, kMaxNodes> node_tokens, node_copies;
  std::fill_n(node_tokens.begin(), nodes, 0.0);
  std::fill_n(node_copies.begin(), nodes, 0.0);
  double all_tokens = 0, all_copies = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto t = static_cast<double>(tokens[r]), c = static_cast<double>(copies[r]);
    node_tokens[node_of[r]] += t;
    node_copies[node_of[r]] += c;
    all_tokens += t;
    all_copies += c;
  }
  // A source sends to destination d in proportion to its share of all tokens.
  BusiestPort busiest;
  const double itself = includes_itself ? 0 : 1;
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto t = static_cast<double>(tokens[r]), c = static_cast<double>(copies[r]);
    const double own_copies = node_copies[node_of[r]], own_tokens = node_tokens[node_of[r]];
    busiest.scale_up = std::max({busiest.scale_up, t * (own_copies - itself * c), c * (own_tokens - itself * t)});
    busiest.network = std::max({busiest.network, t * (all_copies - own_copies), c * (all_tokens - own_tokens)});
  }
  return {busiest.scale_up / all_tokens, busiest.network / all_tokens};
}

BusiestPort MoeExchange::Geometry::direct_pairs(const RoutedTraffic& traffic,
                                                std::span<const std::int64_t> copies) const {
  const std::size_t ranks = node_of.size();
  BusiestPort busiest;
  std::array<double, kMaxNodes> in_scale_up, in_network;
  std::fill_n(in_scale_up.begin(), ranks, 0.0);
  std::fill_n(in_network.begin(), ranks, 0.0);
  for (std::size_t s = 0; s < ranks; ++s) {
    double out_scale_up = 0, out_network = 0;
    for (std::size_t d = 0; d < ranks; ++d) {
      if (traffic.rows[d] == 0 || (s == d && !includes_itself)) continue;
      const double sent = pair_copies(traffic, copies, s, d);
      const bool within = node_of[s] == node_of[d];
      (within ? out_scale_up : out_network) += sent;
      (within ? in_scale_up : in_network)[d] += sent;
    }
    busiest.scale_up = std::max(busiest.scale_up, out_scale_up);
    busiest.network = std::max(busiest.network, out_network);
  }
  for (std::size_t d = 0; d < ranks; ++d) {
    busiest.scale_up = std::max(busiest.scale_up, in_scale_up[d]);
    busiest.network = std::max(busiest.network, in_network[d]);
  }
  return busiest;
}

BusiestPort MoeExchange::Geometry::by_node(const RoutedTraffic& traffic) const {
  const std::size_t ranks = node_of.size();
  std::array<double, kMaxNodes> index_tokens;
  std::fill_n(index_tokens.begin(), widest_node, 0.0);
  double all_tokens = 0, all_copies = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    index_tokens[index_in_node[r]] += static_cast<double>(traffic.tokens[r]);
    all_tokens += static_cast<double>(traffic.tokens[r]);
  }
  for (std::uint32_t n = 0; n < nodes; ++n) all_copies += static_cast<double>(traffic.node_copies[n]);
  BusiestPort busiest;
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto t = static_cast<double>(traffic.tokens[r]);
    const auto own = static_cast<double>(traffic.node_copies[node_of[r]]);
    // Out to the other nodes; in from the ranks with the same index there; on to every chosen rank of the node.
    busiest.network = std::max({busiest.network, t * (all_copies - own), own * (index_tokens[index_in_node[r]] - t)});
    busiest.scale_up = std::max(busiest.scale_up, static_cast<double>(traffic.rank_copies[r]));
  }
  return {busiest.scale_up, busiest.network / all_tokens};
}

BusiestPort MoeExchange::Geometry::by_node_pairs(const RoutedTraffic& traffic) const {
  const std::size_t ranks = node_of.size();
  std::array<double, kMaxNodes> node_rows, to_node, in_network;
  std::fill_n(node_rows.begin(), nodes, 0.0);
  std::fill_n(in_network.begin(), nodes * widest_node, 0.0);
  BusiestPort busiest;
  for (std::size_t d = 0; d < ranks; ++d) {
    node_rows[node_of[d]] += static_cast<double>(traffic.rows[d]);
    busiest.scale_up = std::max(busiest.scale_up, static_cast<double>(traffic.rank_copies[d]));
  }
  for (std::size_t s = 0; s < ranks; ++s) {
    std::fill_n(to_node.begin(), nodes, 0.0);
    for (std::size_t d = 0; d < ranks; ++d) to_node[node_of[d]] += traffic.pair_rows[s * ranks + d];
    double out = 0;
    for (std::uint32_t n = 0; n < nodes; ++n) {
      if (n == node_of[s] || node_rows[n] == 0) continue;
      const double sent = traffic.pair_node_copies.empty()
                              ? to_node[n] * static_cast<double>(traffic.node_copies[n]) / node_rows[n]
                              : traffic.pair_node_copies[s * nodes + n];
      out += sent;
      in_network[n * widest_node + index_in_node[s]] += sent;
    }
    busiest.network = std::max(busiest.network, out);
  }
  for (std::size_t port = 0; port < nodes * widest_node; ++port) {
    busiest.network = std::max(busiest.network, in_network[port]);
  }
  return busiest;
}

double MoeExchange::Geometry::seconds(const Rates& rates, const RoutedTraffic& traffic, MoeBackend backend) const {
  std::int64_t most_tokens = 0, all_tokens = 0;
  for (const std::int64_t t : traffic.tokens) {
    most_tokens = std::max(most_tokens, t);
    all_tokens += t;
  }
  if (all_tokens == 0) return 0;
  const bool pairs = !traffic.pair_rows.empty();
  BusiestPort busiest;
  if (backend == MoeBackend::deepep_high_throughput) {
    busiest = pairs ? by_node_pairs(traffic) : by_node(traffic);
  } else {
    const auto copies = backend == MoeBackend::deepep_low_latency ? traffic.rows : traffic.rank_copies;
    busiest = pairs ? direct_pairs(traffic, copies) : direct(traffic.tokens, copies);
  }
  const auto most = static_cast<double>(most_tokens);
  double seconds = rates.latency + rates.per_token * most +
                   std::max({busiest.scale_up * rates.port, busiest.scale_up * rates.sm_copy + most * rates.sm_token,
                             busiest.network * rates.network});
  if (traffic.experts_per_rank > 0) {
    const std::int64_t experts = traffic.experts_per_rank * static_cast<std::int64_t>(node_of.size());
    const std::int64_t sms = std::min(experts, kLowLatencySms), rounds = (most_tokens + sms - 1) / sms;
    seconds += rates.per_flag * static_cast<double>(experts) + rates.per_round * static_cast<double>(rounds);
  }
  return rates.correction.empty() || most == 0 ? seconds : seconds * rates.correction.factor(most);
}

MovedCopies MoeExchange::Geometry::moved_direct(const RoutedTraffic& traffic,
                                                std::span<const std::int64_t> copies) const {
  std::array<double, kMaxNodes> node_tokens, node_copies;
  std::fill_n(node_tokens.begin(), nodes, 0.0);
  std::fill_n(node_copies.begin(), nodes, 0.0);
  double all_tokens = 0, all_copies = 0, kept = 0;
  for (std::size_t r = 0; r < node_of.size(); ++r) {
    const auto t = static_cast<double>(traffic.tokens[r]), c = static_cast<double>(copies[r]);
    node_tokens[node_of[r]] += t;
    node_copies[node_of[r]] += c;
    kept += t * c;
  }
  double within = 0;
  for (std::uint32_t n = 0; n < nodes; ++n) {
    all_tokens += node_tokens[n];
    all_copies += node_copies[n];
    within += node_tokens[n] * node_copies[n];
  }
  return {(within - kept) / all_tokens, all_copies - within / all_tokens};
}

MovedCopies MoeExchange::Geometry::moved_direct_pairs(const RoutedTraffic& traffic,
                                                      std::span<const std::int64_t> copies) const {
  const std::size_t ranks = node_of.size();
  MovedCopies moved;
  for (std::size_t d = 0; d < ranks; ++d) {
    for (std::size_t s = 0; s < ranks; ++s) {
      if (s != d) (node_of[s] == node_of[d] ? moved.within : moved.between) += pair_copies(traffic, copies, s, d);
    }
  }
  return moved;
}

MovedCopies MoeExchange::Geometry::moved_by_node(const RoutedTraffic& traffic) const {
  const std::size_t ranks = node_of.size();
  std::array<double, kMaxNodes> index_tokens, node_tokens;
  std::fill_n(index_tokens.begin(), widest_node, 0.0);
  std::fill_n(node_tokens.begin(), nodes, 0.0);
  double all_tokens = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto t = static_cast<double>(traffic.tokens[r]);
    index_tokens[index_in_node[r]] += t;
    node_tokens[node_of[r]] += t;
    all_tokens += t;
  }
  MovedCopies moved;
  for (std::uint32_t n = 0; n < nodes; ++n) {
    moved.between += static_cast<double>(traffic.node_copies[n]) * (all_tokens - node_tokens[n]);
  }
  // Tokens of sources with the receiver's index are at the receiver when they enter the node.
  for (std::size_t d = 0; d < ranks; ++d) {
    moved.within += static_cast<double>(traffic.rank_copies[d]) * (all_tokens - index_tokens[index_in_node[d]]);
  }
  return {moved.within / all_tokens, moved.between / all_tokens};
}

MovedCopies MoeExchange::Geometry::moved_by_node_pairs(const RoutedTraffic& traffic) const {
  const std::size_t ranks = node_of.size();
  std::array<double, kMaxNodes> node_rows, from_others;
  std::fill_n(node_rows.begin(), nodes, 0.0);
  std::fill_n(from_others.begin(), nodes, 0.0);
  MovedCopies moved;
  for (std::size_t d = 0; d < ranks; ++d) {
    for (std::size_t s = 0; s < ranks; ++s) {
      if (node_of[s] != node_of[d]) from_others[node_of[d]] += traffic.pair_rows[s * ranks + d];
      if (index_in_node[s] != index_in_node[d]) moved.within += pair_copies(traffic, traffic.rank_copies, s, d);
    }
    node_rows[node_of[d]] += static_cast<double>(traffic.rows[d]);
  }
  for (std::uint32_t n = 0; n < nodes; ++n) {
    if (traffic.pair_node_copies.empty()) {
      if (node_rows[n] > 0) {
        moved.between += from_others[n] * static_cast<double>(traffic.node_copies[n]) / node_rows[n];
      }
      continue;
    }
    for (std::size_t s = 0; s < ranks; ++s) {
      if (node_of[s] != n) moved.between += traffic.pair_node_copies[s * nodes + n];
    }
  }
  return moved;
}

CarriedBytes MoeExchange::Geometry::moved(Bytes payload, const RoutedTraffic& traffic, MoeBackend backend) const {
  if (std::all_of(traffic.tokens.begin(), traffic.tokens.end(), [](std::int64_t t) { return t == 0; })) return {};
  const bool pairs = !traffic.pair_rows.empty();
  MovedCopies copies;
  if (backend == MoeBackend::deepep_high_throughput) {
    copies = pairs ? moved_by_node_pairs(traffic) : moved_by_node(traffic);
  } else {
    const auto asked = backend == MoeBackend::deepep_low_latency ? traffic.rows : traffic.rank_copies;
    copies = pairs ? moved_direct_pairs(traffic, asked) : moved_direct(traffic, asked);
  }
  CarriedBytes carried;
  for (std::size_t kind = 0; kind < kLinkKinds; ++kind) {
    carried[kind] =
        static_cast<double>(payload.value) * (copies.within * within_path[kind] + copies.between * between_path[kind]);
  }
  return carried;
}

namespace {

/// Links of each kind that a byte crosses, when each of `senders` sends one.
CarriedBytes mean_path(const LinkLoads& loads, double senders) {
  CarriedBytes path = loads.total_by_kind();
  for (double& links : path) links = senders > 0 ? links / senders : 0;
  return path;
}

struct GroupSize {
  double ranks = 1, nodes = 1;
};

double seconds_or_zero(double bytes, double line, double share) {
  return share > 0 ? bytes * line / share : 0;
}

Rates low_latency(const LowLatencyExchange& exchange, const LineSeconds& line, GroupSize size, double bytes) {
  Rates rates;
  rates.latency =
      size.nodes > 1
          ? exchange.network.latency.seconds() + exchange.per_log2_nodes.seconds() * log2_of(size.nodes)
          : std::max(0.0, exchange.domain.latency.seconds() +
                              exchange.per_log2_ranks.seconds() * (log2_of(size.ranks) - log2_of(kLowLatencyRanks)));
  rates.per_flag = exchange.per_flag.seconds();
  rates.per_round = exchange.token_latency.seconds() + seconds_or_zero(bytes, line.scale_up, exchange.token_share);
  rates.port = bytes * line.scale_up / exchange.domain.share;
  rates.network = bytes * line.all / exchange.network.share;
  return rates;
}

Rates normal(const NormalExchange& exchange, const LineSeconds& line, double nodes, double bytes, std::int32_t sms) {
  Rates rates;
  rates.latency = exchange.latency.seconds() + exchange.per_log2_nodes.seconds() * log2_of(nodes) +
                  seconds_or_zero(bytes, line.scale_up, exchange.token_share);
  rates.port = bytes * line.scale_up / exchange.scale_up_share;
  rates.sm_copy =
      (exchange.per_copy.seconds() + seconds_or_zero(bytes, line.scale_up, exchange.scale_up_share_per_sm)) / sms;
  rates.sm_token = exchange.per_token.seconds() / sms;
  rates.network = bytes * line.same_index / std::min(exchange.network_share, sms * exchange.network_share_per_sm);
  return rates;
}

Rates nvlink(const NvlinkExchange& exchange, const LineSeconds& line, double ranks, double bytes) {
  Rates rates;
  rates.latency = exchange.latency.seconds() + exchange.per_log2_ranks.seconds() * log2_of(ranks);
  rates.per_token = exchange.per_token.seconds();
  rates.port = bytes * line.scale_up / exchange.share;
  // Not made for several domains; where asked for, copies cross at the rate of one byte a byte of line.
  rates.network = bytes * line.all;
  return rates;
}

Rates backend_rates(const CollectiveProfile& profile, MoeBackend backend, Direction direction, const LineSeconds& line,
                    double ranks, double nodes, double bytes) {
  const bool dispatch = direction == Direction::dispatch;
  const auto corrected = [&](Rates rates, CostCurve curve) {
    if (nodes == 1) rates.correction = PreparedCorrection(profile.corrections, curve, ranks);
    return rates;
  };
  switch (backend) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
    case MoeBackend::naive:
      return {};
    case MoeBackend::pplx:
    case MoeBackend::deepep_low_latency:
      return corrected(low_latency(dispatch ? profile.low_latency_dispatch : profile.low_latency_combine, line,
                                   {ranks, nodes}, bytes),
                       dispatch ? CostCurve::low_latency_dispatch : CostCurve::low_latency_combine);
    case MoeBackend::deepep_high_throughput:
      return corrected(
          normal(dispatch ? profile.normal_dispatch : profile.normal_combine, line, nodes, bytes, profile.normal_sms),
          dispatch ? CostCurve::normal_dispatch : CostCurve::normal_combine);
    case MoeBackend::flashinfer_nvlink_one_sided:
      return corrected(nvlink(dispatch ? profile.one_sided_dispatch : profile.one_sided_combine, line, ranks, bytes),
                       dispatch ? CostCurve::one_sided_dispatch : CostCurve::one_sided_combine);
    case MoeBackend::flashinfer_nvlink_two_sided:
      return corrected(nvlink(dispatch ? profile.two_sided_dispatch : profile.two_sided_combine, line, ranks, bytes),
                       dispatch ? CostCurve::two_sided_dispatch : CostCurve::two_sided_combine);
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

}  // namespace

struct MoeExchange::Tables {
  Rates preparation, dispatch, combine;
};

MoeExchange::MoeExchange(const Topology& topology, const CollectiveProfile& profile, GpuGroup group, MoeBackend backend,
                         TokenPayload payload)
    : collectives_(topology, profile, std::move(group)), backend_(backend), payload_(payload) {
  if (!depends_on_routing() || collectives_.ranks() == 1) return;
  const GroupNodes nodes = group_nodes(topology, collectives_.group());
  auto geometry = std::make_shared<Geometry>();
  geometry->node_of = nodes.node_of_rank;
  geometry->index_in_node = nodes.index_in_node;
  geometry->nodes = nodes.nodes();
  for (const auto& gpus : nodes.gpus) {
    geometry->widest_node = std::max(geometry->widest_node, static_cast<std::uint32_t>(gpus.size()));
  }
  geometry->includes_itself = sends_to_itself(backend);
  MOESIM_CHECK(geometry->nodes * geometry->widest_node <= kMaxNodes,
               "an expert group of {} ranks on {} nodes, at most {}", collectives_.ranks(), geometry->nodes, kMaxNodes);
  const LinkShares line_rate{1, 1, 1, 1};
  double not_alone = 0;
  for (const auto& gpus : nodes.gpus) not_alone += gpus.size() > 1 ? static_cast<double>(gpus.size()) : 0;
  const LinkLoads within = within_node_loads(topology, nodes);
  geometry->line.scale_up = within.seconds_per_byte(line_rate);
  geometry->within_path = mean_path(within, not_alone);
  if (nodes.nodes() > 1) {
    const LinkLoads all = between_node_loads(topology, nodes, CrossNodePeers::all);
    const LinkLoads same_index = between_node_loads(topology, nodes, CrossNodePeers::same_index);
    geometry->line.all = all.seconds_per_byte(line_rate);
    geometry->line.same_index = same_index.seconds_per_byte(line_rate);
    geometry->between_path =
        mean_path(backend == MoeBackend::deepep_high_throughput ? same_index : all, collectives_.ranks());
  }
  geometry_ = std::move(geometry);
  prepare(profile);
}

MoeExchange MoeExchange::with(const CollectiveProfile& profile, TokenPayload payload) const {
  MoeExchange other = *this;
  other.payload_ = payload;
  if (geometry_) {
    other.prepare(profile);
  } else {
    other.collectives_ = collectives_.with(profile);
  }
  return other;
}

void MoeExchange::prepare(const CollectiveProfile& profile) {
  const auto rates = [&](Direction direction, Bytes bytes) {
    return backend_rates(profile, backend_, direction, geometry_->line, collectives_.ranks(), geometry_->nodes,
                         static_cast<double>(bytes.value));
  };
  auto tables = std::make_shared<Tables>();
  tables->dispatch = rates(Direction::dispatch, payload_.dispatch);
  tables->combine = rates(Direction::combine, payload_.combine);
  if (backend_ == MoeBackend::flashinfer_nvlink_two_sided) {
    tables->preparation = nvlink(profile.two_sided_prepare, geometry_->line, collectives_.ranks(), 0);
    if (geometry_->nodes == 1) {
      tables->preparation.correction =
          PreparedCorrection(profile.corrections, CostCurve::two_sided_prepare, collectives_.ranks());
    }
  }
  tables_ = std::move(tables);
}

bool MoeExchange::depends_on_routing() const {
  switch (backend_) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
    case MoeBackend::naive:
      return false;
    case MoeBackend::pplx:
    case MoeBackend::deepep_high_throughput:
    case MoeBackend::deepep_low_latency:
    case MoeBackend::flashinfer_nvlink_one_sided:
    case MoeBackend::flashinfer_nvlink_two_sided:
      return true;
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

Duration MoeExchange::preparation(const RoutedTraffic& traffic) const {
  if (!tables_ || backend_ != MoeBackend::flashinfer_nvlink_two_sided) return {};
  return Duration::from_seconds(geometry_->seconds(tables_->preparation, traffic, backend_));
}

Duration MoeExchange::dispatch(const RoutedTraffic& traffic) const {
  if (backend_ == MoeBackend::none || collectives_.ranks() == 1) return {};
  if (tables_) {
    return preparation(traffic) + Duration::from_seconds(geometry_->seconds(tables_->dispatch, traffic, backend_));
  }
  std::int64_t tokens = 0;
  Duration broadcasts;
  for (const std::int64_t t : traffic.tokens) {
    tokens += t;
    if (backend_ == MoeBackend::naive) broadcasts += collectives_.time(Collective::broadcast, payload_.dispatch * t);
  }
  return backend_ == MoeBackend::naive ? broadcasts
                                       : collectives_.time(Collective::all_gather, payload_.dispatch * tokens);
}

Duration MoeExchange::combine(const RoutedTraffic& traffic) const {
  if (backend_ == MoeBackend::none || collectives_.ranks() == 1) return {};
  if (tables_) return Duration::from_seconds(geometry_->seconds(tables_->combine, traffic, backend_));
  std::int64_t tokens = 0;
  for (const std::int64_t t : traffic.tokens) tokens += t;
  return collectives_.time(backend_ == MoeBackend::naive ? Collective::all_reduce : Collective::reduce_scatter,
                           payload_.combine * tokens);
}

namespace {

/// On the port of a link, or on the SMs where they are slower.
MoeExchange::CopySeconds copy_seconds(const Rates& rates) {
  return {std::max(rates.port, rates.sm_copy), rates.network};
}

}  // namespace

MoeExchange::CopySeconds MoeExchange::dispatch_copy() const {
  return tables_ ? copy_seconds(tables_->dispatch) : CopySeconds{};
}

MoeExchange::CopySeconds MoeExchange::combine_copy() const {
  return tables_ ? copy_seconds(tables_->combine) : CopySeconds{};
}

CarriedBytes MoeExchange::dispatch_bytes(const RoutedTraffic& traffic) const {
  if (backend_ == MoeBackend::none || collectives_.ranks() == 1) return {};
  if (tables_) return geometry_->moved(payload_.dispatch, traffic, backend_);
  return collectives_.moved_bytes(Collective::all_gather, payload_.dispatch * sum(traffic.tokens));
}

CarriedBytes MoeExchange::combine_bytes(const RoutedTraffic& traffic) const {
  if (backend_ == MoeBackend::none || collectives_.ranks() == 1) return {};
  if (tables_) return geometry_->moved(payload_.combine, traffic, backend_);
  return collectives_.moved_bytes(backend_ == MoeBackend::naive ? Collective::all_reduce : Collective::reduce_scatter,
                                  payload_.combine * sum(traffic.tokens));
}

}  // namespace moesim
