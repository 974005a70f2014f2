#include "study/network_study.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "collectives/exchange_program.h"
#include "network/topology.h"
#include "serving/link_lanes.h"
#include "serving/network_use.h"
#include "study/network_traffic.h"

namespace moesim {

namespace {

struct Prepared {
  TransferProgram program;
  NetworkTaskResult result;
};

Prepared prepare(const NetworkScenario& scenario, const Topology& topology, const NetworkTask& task) {
  Prepared prepared;
  if (const auto* collective = std::get_if<CollectiveTask>(&task.what)) {
    const GpuGroup& ranks = collective->ranks;
    CollectiveCall call{collective->kind, collective->algorithm.value_or(Algorithm::ring), collective->protocol,
                        collective->bytes, collective->forwarding};
    if (collective->algorithm) {
      prepared.program = collective_program(topology, scenario.collectives, ranks, call);
    } else {
      ChosenProgram chosen =
          calibrated_program(topology, scenario.collectives, ranks, collective->kind, collective->bytes);
      call = chosen.call;
      prepared.program = std::move(chosen.program);
    }
    prepared.result.what = fmt::format("{} by {}, {}{}", name(call.kind), name(call.algorithm), name(call.protocol),
                                       collective->algorithm ? "" : " (auto)");
    prepared.result.ranks = static_cast<std::uint32_t>(ranks.size());
    prepared.result.bytes = collective->bytes;
  } else if (const auto* exchange = std::get_if<ExchangeTask>(&task.what)) {
    const std::vector<ExchangeRound> rounds = exchange_rounds(*exchange);
    std::string_view kernels = "nccl";
    std::optional<ExchangePrograms> programs;
    if (exchange->backend) {
      const TokenPayload payload{exchange->payload, exchange->payload};
      const MoeExchange closed(topology, scenario.collectives, exchange->ranks, *exchange->backend, payload);
      programs.emplace(topology, scenario.collectives, closed, exchange->ranks, payload);
      kernels = name(*exchange->backend);
    }
    double busiest = 0;
    for (const ExchangeRound& round : rounds) {
      const DrawnTraffic drawn = draw_traffic(*exchange, topology, scenario.seed, round);
      busiest = std::max(busiest, drawn.busiest_rank());
      prepared.program.append(
          !programs ? uneven_all_to_all(topology, scenario.collectives, exchange->ranks, row_messages(*exchange, drawn))
          : exchange->combine ? programs->combine(drawn.traffic())
                              : programs->dispatch(drawn.traffic()));
    }
    prepared.result.what =
        fmt::format("{} {}, busiest rank {:.2f} x", kernels, exchange->combine ? "combine" : "dispatch", busiest);
    if (rounds.size() > 1) prepared.result.what += fmt::format(", {} rounds", rounds.size());
    prepared.result.ranks = static_cast<std::uint32_t>(exchange->ranks.size());
    // Of the mean rank, as nccl-tests count: rows that stay included.
    prepared.result.bytes = exchange->payload * (exchange->tokens * exchange->moe.top_k);
  } else {
    const auto& cache = std::get<CacheTask>(task.what);
    prepared.program = cache_program(topology, scenario.collectives, cache.cache, cache.mode);
    prepared.result.what = cache.mode == CacheTransferMode::whole ? "transfer, whole" : "transfer by layers";
    prepared.result.ranks = 2;
    prepared.result.bytes = cache.cache.layer_bytes * cache.cache.layers;
  }
  prepared.result.name = task.name;
  prepared.result.start = Instant::at(task.start);
  prepared.result.transfers = prepared.program.transfers().size();
  prepared.result.closed_form = closed_form(topology, prepared.program).total();
  return prepared;
}

void time_alone(const Topology& topology, Prepared& prepared) {
  const AloneTime alone = alone_time(topology, prepared.program);
  prepared.result.alone = alone.time;
  prepared.result.lower = alone.lower;
  prepared.result.bounded = alone.bounded;
}

void describe_links(NetworkResult& result, const Topology& topology, const NetworkRun& run) {
  const double seconds = run.end.seconds();
  if (seconds <= 0) return;
  result.utilization.assign(topology.links().size(), 0.0);
  std::map<LinkKind, LinkClassUse> kinds;
  std::map<LinkKind, double> line_rate;
  for (const Link& link : topology.links()) line_rate[link.kind] += link.rate.bandwidth.value;
  for (const LinkCarried& carried : run.links) {
    const Link& link = topology.links()[carried.link.value];
    const double rate = link.rate.bandwidth.value;
    LinkUse use{topology.vertices()[link.from].name, topology.vertices()[link.to].name,
                std::string(name(link.kind)),        carried.bytes,
                carried.bytes / (rate * seconds),    carried.peak.value / rate};
    result.utilization[carried.link.value] = use.utilization;
    LinkClassUse& kind = kinds[link.kind];
    kind.kind = use.kind;
    kind.bytes += use.bytes;
    kind.peak = std::max(kind.peak, use.peak);
    result.links.push_back(std::move(use));
  }
  std::stable_sort(result.links.begin(), result.links.end(),
                   [](const LinkUse& a, const LinkUse& b) { return a.utilization > b.utilization; });
  for (auto& [kind, use] : kinds) {
    use.utilization = use.bytes / (line_rate[kind] * seconds);
    result.kinds.push_back(use);
  }
}

/// Of the only task, whose bytes are known and whose rates are not.
NetworkRun estimated(const Topology& topology, const Prepared& task) {
  NetworkRun run;
  run.finish.push_back(task.result.start + task.result.alone);
  run.end = run.finish.front();
  run.transfers = task.program.transfers().size();
  std::vector<double> bytes(topology.links().size());
  for (const Transfer& transfer : task.program.transfers()) {
    for (const LinkId link : task.program.links_of(transfer)) {
      bytes[link.value] += static_cast<double>(transfer.bytes.value) * transfer.count;
    }
  }
  for (std::uint32_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] > 0) run.links.push_back({LinkId{i}, bytes[i], {bytes[i] / task.result.alone.seconds()}});
  }
  return run;
}

}  // namespace

NetworkResult simulate_network(const NetworkScenario& scenario, RecordRates record) {
  const Topology topology(scenario.cluster);
  NetworkResult result;
  result.name = scenario.name;
  result.cluster = scenario.cluster.name;
  result.gpu = scenario.gpu.name;
  result.gpus = topology.gpu_count();
  result.provenance = scenario.provenance;
  std::vector<Prepared> prepared;
  for (const NetworkTask& task : scenario.tasks) {
    prepared.push_back(prepare(scenario, topology, task));
    time_alone(topology, prepared.back());
  }
  std::vector<ProgramStart> starts;
  for (const Prepared& task : prepared) starts.push_back({&task.program, task.result.start});
  const bool bounded =
      std::any_of(prepared.begin(), prepared.end(), [](const Prepared& p) { return p.result.bounded; });
  NetworkRun run = bounded ? estimated(topology, prepared.front()) : run_programs(topology, starts, record);
  for (std::size_t i = 0; i < prepared.size(); ++i) {
    prepared[i].result.finish = run.finish[i];
    result.tasks.push_back(std::move(prepared[i].result));
  }
  result.end = run.end;
  describe_links(result, topology, run);
  result.steps = std::move(run.steps);
  return result;
}

std::vector<NetworkTaskResult> network_plan(const NetworkScenario& scenario) {
  const Topology topology(scenario.cluster);
  std::vector<NetworkTaskResult> plan;
  for (const NetworkTask& task : scenario.tasks) plan.push_back(prepare(scenario, topology, task).result);
  return plan;
}

std::vector<TraceEvent> network_timeline(const NetworkScenario& scenario, const NetworkResult& result, Instant from,
                                         std::optional<Instant> to) {
  const Topology topology(scenario.cluster);
  std::vector<TraceEvent> events;
  for (std::size_t i = 0; i < result.tasks.size(); ++i) {
    const NetworkTaskResult& task = result.tasks[i];
    if (task.finish <= from || (to && task.start >= *to)) continue;
    TraceEvent event;
    event.gpu = static_cast<std::uint32_t>(i);  // a lane each: bars of one lane must not overlap
    event.lane = Resource::network;
    event.name = task.name;
    event.lane_name = task.name;
    event.start = task.start;
    event.duration = task.finish - task.start;
    event.bytes = task.bytes;
    events.push_back(std::move(event));
  }
  std::map<std::string, std::vector<const RateStep*>> by_link;
  for (const RateStep& step : result.steps) by_link[link_name(topology, step.link)].push_back(&step);
  for (std::size_t i = 0; i < result.links.size() && i < kMostLanes; ++i) {
    const std::string link = result.links[i].from + "->" + result.links[i].to;
    const std::vector<const RateStep*>& steps = by_link[link];
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const RateStep* step = steps[s];
      if (to && step->from >= *to) break;
      if (s + 1 < steps.size() && steps[s + 1]->from <= from) continue;  // over before the window
      TraceEvent event;
      event.name = link;
      event.start = std::max(step->from, from);
      event.link_bytes_per_second = step->rate.value;
      events.push_back(std::move(event));
    }
  }
  return events;
}

}  // namespace moesim
