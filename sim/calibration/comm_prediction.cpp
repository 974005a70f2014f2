#include "calibration/comm_prediction.h"

#include <algorithm>
#include <cmath>

#include "collectives/link_loads.h"
#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

std::string_view engine_of(CostCurve curve) {
  return curve == CostCurve::custom_all_reduce_sglang   ? "sglang"
         : curve == CostCurve::custom_all_reduce_trtllm ? "trtllm"
                                                        : "vllm";
}

Collective collective_of(CostCurve curve) {
  switch (curve) {
    case CostCurve::all_gather:
      return Collective::all_gather;
    case CostCurve::reduce_scatter:
      return Collective::reduce_scatter;
    case CostCurve::all_to_all:
      return Collective::all_to_all;
    case CostCurve::send_recv:
      return Collective::send_recv;
    default:
      return Collective::all_reduce;
  }
}

enum class Family { collective, custom, exchange, put };

Family family_of(CostCurve curve) {
  switch (curve) {
    case CostCurve::all_reduce:
    case CostCurve::all_gather:
    case CostCurve::reduce_scatter:
    case CostCurve::all_to_all:
    case CostCurve::send_recv:
      return Family::collective;
    case CostCurve::custom_all_reduce:
    case CostCurve::custom_all_reduce_sglang:
    case CostCurve::custom_all_reduce_trtllm:
      return Family::custom;
    case CostCurve::put:
    case CostCurve::get:
      return Family::put;
    case CostCurve::low_latency_dispatch:
    case CostCurve::low_latency_combine:
    case CostCurve::normal_dispatch:
    case CostCurve::normal_combine:
    case CostCurve::two_sided_prepare:
    case CostCurve::two_sided_dispatch:
    case CostCurve::two_sided_combine:
    case CostCurve::one_sided_dispatch:
    case CostCurve::one_sided_combine:
      return Family::exchange;
  }
  fail_invariant(__FILE__, __LINE__, "unknown curve");
}

MoeBackend backend_of(CostCurve curve) {
  switch (curve) {
    case CostCurve::low_latency_dispatch:
    case CostCurve::low_latency_combine:
      return MoeBackend::deepep_low_latency;
    case CostCurve::normal_dispatch:
    case CostCurve::normal_combine:
      return MoeBackend::deepep_high_throughput;
    case CostCurve::one_sided_dispatch:
    case CostCurve::one_sided_combine:
      return MoeBackend::flashinfer_nvlink_one_sided;
    default:
      return MoeBackend::flashinfer_nvlink_two_sided;
  }
}

/// Chances that a token goes to a given rank and to a given node.
struct Reach {
  double rank = 0, node = 0;
};

Reach reach_of(const CommSample& sample) {
  const double ranks = sample.ranks, k = static_cast<double>(sample.top_k),
               experts = static_cast<double>(sample.experts);
  const double nodes = sample.domains;
  if (backend_of(sample.curve) != MoeBackend::deepep_high_throughput) return {std::min(k, ranks) / ranks, 0};
  const double groups = std::min(nodes, 4.0);
  const double allowed = experts * groups / nodes;
  return {groups / nodes * reach_probability(allowed, experts / ranks, k),
          groups / nodes * reach_probability(allowed, experts / nodes, k)};
}

}  // namespace

double reach_probability(double experts, double own, double k) {
  double none = 1;
  for (double i = 0; i < k; ++i) none *= std::max(0.0, experts - own - i) / (experts - i);
  return 1 - none;
}

const GroupCollectives& CommPredictor::group(const CommSample& sample) {
  const GroupKey key{sample.system, sample.nodes, sample.ranks};
  const auto known = groups_.find(key);
  if (known != groups_.end()) return known->second;
  const CommSystem& system = systems_[sample.system];
  return groups_
      .emplace(key, GroupCollectives(*system.topology, system.profile,
                                     sample_group(system.topology->cluster(), sample.nodes, sample.ranks)))
      .first->second;
}

const MoeExchange& CommPredictor::exchange(const CommSample& sample, MoeBackend backend) {
  const std::pair key{GroupKey{sample.system, sample.nodes, sample.ranks}, backend};
  const auto known = exchanges_.find(key);
  if (known != exchanges_.end()) return known->second;
  const CommSystem& system = systems_[sample.system];
  return exchanges_
      .emplace(key, MoeExchange(*system.topology, system.profile,
                                sample_group(system.topology->cluster(), sample.nodes, sample.ranks), backend,
                                sample.payload))
      .first->second;
}

double CommPredictor::exchange_seconds(const CommSample& sample, const MoeExchange& made) const {
  const std::size_t ranks = sample.ranks;
  const Reach reach = reach_of(sample);
  const double all = static_cast<double>(sample.tokens) * static_cast<double>(ranks);
  const std::vector<std::int64_t> tokens(ranks, sample.tokens), rows(ranks, sample.tokens * sample.top_k),
      rank_copies(ranks, std::llround(all * reach.rank)), node_copies(sample.domains, std::llround(all * reach.node));
  RoutedTraffic traffic{tokens, rows, rank_copies, node_copies};
  traffic.experts_per_rank = std::max<std::int64_t>(1, sample.experts / static_cast<std::int64_t>(ranks));
  switch (sample.curve) {
    case CostCurve::two_sided_prepare:
      return made.preparation(traffic).seconds();
    case CostCurve::two_sided_dispatch:
      return (made.dispatch(traffic) - made.preparation(traffic)).seconds();
    case CostCurve::low_latency_dispatch:
    case CostCurve::normal_dispatch:
    case CostCurve::one_sided_dispatch:
      return made.dispatch(traffic).seconds();
    default:
      return made.combine(traffic).seconds();
  }
}

double CommPredictor::transfer_seconds(const CommSample& sample, const CollectiveProfile& profile) const {
  const LinkClass& nic = systems_[sample.system].topology->cluster().nic;
  const BatchTransfer& law = sample.curve == CostCurve::get ? profile.get : profile.put;
  const auto messages = static_cast<double>(sample.messages);
  double wire = law.per_message.seconds() * messages;
  if (law.share > 0) {
    wire = std::max(wire,
                    static_cast<double>(sample.bytes) * messages / (law.share * nic.bandwidth.value * nic.efficiency));
  }
  return law.latency.seconds() + law.fill.seconds() * (messages - 1) / (messages - 1 + law.fill_messages) + wire;
}

std::vector<double> CommPredictor::predict(std::span<const CommSample* const> samples,
                                           std::span<const CollectiveProfile> profiles) {
  std::map<std::tuple<GroupKey, std::string_view, const OlderAllReduce*>, GroupCollectives> prepared;
  std::map<ExchangeKey, MoeExchange> exchanges;
  std::vector<CollectiveProfile> with_sms(profiles.begin(), profiles.end());
  std::vector<double> seconds;
  seconds.reserve(samples.size());
  for (const CommSample* sample : samples) {
    const Family family = family_of(sample->curve);
    if (family == Family::put) {
      seconds.push_back(transfer_seconds(*sample, profiles[sample->system]));
      continue;
    }
    if (family == Family::exchange) {
      const ExchangeKey key{{sample->system, sample->nodes, sample->ranks},
                            backend_of(sample->curve),
                            sample->payload.dispatch.value,
                            sample->payload.combine.value,
                            sample->sms};
      auto ready = exchanges.find(key);
      if (ready == exchanges.end()) {
        CollectiveProfile& profile = with_sms[sample->system];
        profile.normal_sms =
            sample->sms > 0 ? static_cast<std::int32_t>(sample->sms) : profiles[sample->system].normal_sms;
        ready =
            exchanges.emplace(key, exchange(*sample, backend_of(sample->curve)).with(profile, sample->payload)).first;
      }
      seconds.push_back(exchange_seconds(*sample, ready->second));
      continue;
    }
    const bool custom = family == Family::custom;
    const std::string_view engine = custom ? engine_of(sample->curve) : "";
    const CollectiveProfile& profile = profiles[sample->system];
    const OlderAllReduce* const older = custom ? older_all_reduce(profile, sample->curve, sample->version) : nullptr;
    const std::tuple key{GroupKey{sample->system, sample->nodes, sample->ranks}, engine, older};
    auto ready = prepared.find(key);
    if (ready == prepared.end()) {
      const auto own = [&] { return group(*sample).with(with_engine(profile, engine, sample->version)); };
      ready = prepared.emplace(key, custom ? own() : group(*sample).with(profile)).first;
    }
    const Bytes bytes{sample->bytes};
    seconds.push_back(
        (custom ? ready->second.custom_all_reduce_time(bytes) : ready->second.time(collective_of(sample->curve), bytes))
            .seconds());
  }
  return seconds;
}

}  // namespace moesim
