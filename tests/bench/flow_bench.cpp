// All-to-alls of unequal sizes on a two-level fat tree: the exact sharing of links, the bounded time, and SimGrid with
// the same flows where it is installed (64 GPUs and the small ones; 256 take it hours).
//
// Arguments: GPUs / oversubscription in percent [/ epochs]. `end_ms` is the simulated end, `error` that of the bounded
// time against the exact one.
//
// Processor time in seconds, one run on a quiet 2-core EPYC of 2.45 GHz, GCC 12, release; in brackets the error of the
// bounded time:
//
//                             exact   bounded, 32 epochs  SimGrid 3.32
//   10,000 of 8 GPUs          0.43                        3.6
//   64 GPUs, non-blocking     0.033   0.003 (0.007%)      2.7
//   64 GPUs, 2:1              0.016   0.003 (0.008%)
//   256 GPUs, non-blocking    3.9     0.03  (0.06%)       hours
//   256 GPUs, 2:1             0.96    0.02  (0.06%)
//   1,024 GPUs, non-blocking          0.92  (0.13% above its lower bound)
//   1,024 GPUs, 2:1                   0.74  (0.43% above its lower bound)
//
// Non-blocking costs more: each end moves the levels of nearly all ports above it, 280 links of 256 GPUs, where 2:1
// moves those of 20 trunks.

#include <benchmark/benchmark.h>

#include <map>
#include <utility>

#include "bench/fat_tree_traffic.h"
#include "network/bounded_sharing.h"
#include "network/flow_network.h"

#ifdef MOESIM_SIMGRID
#include <simgrid/s4u.hpp>
#endif

namespace moesim {
namespace {

constexpr std::size_t small_all_to_alls = 10'000;

/// The traffic of a benchmark and, for the small ones, of its successors: 100 different ones, over and over.
std::vector<Traffic> traffic_of(const benchmark::State& state, std::uint64_t different = 1) {
  std::vector<Traffic> traffic;
  for (std::uint64_t seed = 1; seed <= different; ++seed)
    traffic.push_back(all_to_all_on_fat_tree(static_cast<std::uint32_t>(state.range(0)),
                                             static_cast<double>(state.range(1)) / 100, seed));
  return traffic;
}

/// One all-to-all after the other; returns the end of the last.
Instant run_exactly(const std::vector<Traffic>& traffic, std::size_t repeats) {
  FlowNetwork network(traffic.front().capacities);
  Instant now;
  std::vector<FlowId> finished;
  for (std::size_t i = 0; i < repeats; ++i) {
    for (const SizedFlow& flow : traffic[i % traffic.size()].flows) network.start(now, flow.links, flow.bytes);
    while (network.next_time() < Instant::never()) {
      finished.clear();
      network.advance(now = network.next_time(), finished);
    }
  }
  return now;
}

/// Ends of the exact runs so far, by GPUs and oversubscription.
std::map<std::pair<std::int64_t, std::int64_t>, Instant> exact_ends;

void exact(benchmark::State& state) {
  const std::vector<Traffic> traffic = traffic_of(state);
  Instant& end = exact_ends[{state.range(0), state.range(1)}];
  for (auto _ : state) end = run_exactly(traffic, 1);
  state.counters["end_ms"] = end.since_start().milliseconds();
}

void exact_small(benchmark::State& state) {
  const std::vector<Traffic> traffic = traffic_of(state, 100);
  Instant end;
  for (auto _ : state) end = run_exactly(traffic, small_all_to_alls);
  state.counters["end_ms"] = end.since_start().milliseconds();
}

void bounded(benchmark::State& state) {
  const Traffic traffic = traffic_of(state).front();
  std::vector<SizedPath> flows;
  for (const SizedFlow& flow : traffic.flows) flows.push_back({flow.links, flow.bytes});
  BoundedTime time;
  for (auto _ : state) time = bounded_time(traffic.capacities, flows, static_cast<std::uint32_t>(state.range(2)));
  state.counters["lower_ms"] = time.lower.milliseconds();
  state.counters["end_ms"] = time.estimate.milliseconds();
  if (const auto end = exact_ends.find({state.range(0), state.range(1)}); end != exact_ends.end())
    state.counters["error"] = time.estimate / end->second.since_start() - 1;
}

BENCHMARK(exact_small)->Args({8, 100})->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(exact)->Args({64, 100})->Args({64, 200})->Unit(benchmark::kMillisecond);
BENCHMARK(exact)->Args({256, 100})->Args({256, 200})->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(bounded)->ArgsProduct({{64, 256, 1024}, {100, 200}, {32}})->Unit(benchmark::kMillisecond)->Iterations(1);

#ifdef MOESIM_SIMGRID

namespace s4u = simgrid::s4u;

/// SimGrid's engine exists once in a process, so that both of its platforms are made before either runs.
class SimGrid {
 public:
  static SimGrid& instance() {
    static SimGrid simgrid;
    return simgrid;
  }

  /// Starts each all-to-all when the last has ended and runs until all have.
  double run(const std::vector<Traffic>& traffic, std::size_t repeats, std::size_t gpus) {
    const std::vector<s4u::Host*>& hosts = hosts_.at(gpus);
    const double start = s4u::Engine::get_clock();
    s4u::Actor::create("all-to-alls", hosts[0], [&] {
      for (std::size_t i = 0; i < repeats; ++i) {
        std::vector<s4u::CommPtr> flows;
        for (const SizedFlow& flow : traffic[i % traffic.size()].flows)
          flows.push_back(s4u::Comm::sendto_async(hosts[flow.links.front()], hosts[flow.links.back() - gpus],
                                                  static_cast<std::uint64_t>(flow.bytes.value)));
        s4u::Comm::wait_all(flows);
      }
    });
    engine_.run();
    return s4u::Engine::get_clock() - start;
  }

 private:
  SimGrid() : engine_(&argc_, argv_) {
    for (const char* setting : {"network/model:CM02", "network/TCP-gamma:0", "network/crosstraffic:0",
                                "network/latency-factor:1", "network/bandwidth-factor:1"})
      engine_.set_config(setting);
    s4u::NetZone* root = s4u::create_full_zone("root");
    for (const std::uint32_t gpus : {8u, 64u}) {
      const std::string id = std::to_string(gpus) + "_";
      s4u::NetZone* zone = s4u::create_full_zone("zone" + id);
      zone->set_parent(root);
      const Traffic traffic = all_to_all_on_fat_tree(gpus, 1, 1);
      std::vector<s4u::Link*> links;
      for (std::size_t l = 0; l < traffic.capacities.size(); ++l)
        links.push_back(
            zone->create_link("link" + id + std::to_string(l), traffic.capacities[l].value)->set_latency(0.0)->seal());
      std::vector<s4u::Host*>& hosts = hosts_[gpus];
      for (std::uint32_t gpu = 0; gpu < gpus; ++gpu)
        hosts.push_back(zone->create_host("gpu" + id + std::to_string(gpu), 1e9)->seal());
      for (const SizedFlow& flow : traffic.flows) {
        std::vector<s4u::LinkInRoute> route;
        for (const std::uint32_t l : flow.links) route.emplace_back(links[l]);
        zone->add_route(hosts[flow.links.front()]->get_netpoint(), hosts[flow.links.back() - gpus]->get_netpoint(),
                        nullptr, nullptr, route, false);
      }
      zone->seal();
    }
    root->seal();
  }

  int argc_ = 2;
  char name_[11] = "flow_bench", quiet_[25] = "--log=root.thresh:error";
  char* argv_[3] = {name_, quiet_, nullptr};
  s4u::Engine engine_;
  std::map<std::size_t, std::vector<s4u::Host*>> hosts_;
};

void simgrid_exact(benchmark::State& state) {
  const bool small = state.range(0) == 8;
  const std::vector<Traffic> traffic = traffic_of(state, small ? 100 : 1);
  SimGrid& simgrid = SimGrid::instance();
  double seconds = 0;
  for (auto _ : state)
    seconds = simgrid.run(traffic, small ? small_all_to_alls : 1, static_cast<std::size_t>(state.range(0)));
  state.counters["end_ms"] = seconds * 1e3;
}

BENCHMARK(simgrid_exact)->Args({8, 100})->Args({64, 100})->Unit(benchmark::kMillisecond)->Iterations(1);

#endif

}  // namespace
}  // namespace moesim
