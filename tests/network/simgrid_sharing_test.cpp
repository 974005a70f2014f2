// SimGrid as an independent solver of max-min sharing, where it is installed.

#include <gtest/gtest.h>

#ifdef MOESIM_SIMGRID
#include <simgrid/s4u.hpp>

#include "network/sharing_cases.h"
#endif

namespace moesim {
namespace {

#ifdef MOESIM_SIMGRID

namespace s4u = simgrid::s4u;

// SimGrid's engine exists once in a process: all cases run side by side, as disjoint parts of one platform. CM02 with
// these settings is plain max-min sharing without a model of TCP. Sizes and starts are those of `RandomCase` times
// 10^5, so that its times are long against the nanosecond to which SimGrid resolves them.
TEST(FlowNetwork, AgreesWithSimGrid) {
  const std::size_t cases = 200;
  const std::int64_t scale = 100'000;
  int argc = 2;
  char name[] = "test", quiet[] = "--log=root.thresh:error";
  char* argv[] = {name, quiet, nullptr};
  s4u::Engine engine(&argc, argv);
  for (const char* setting : {"network/model:CM02", "network/TCP-gamma:0", "network/crosstraffic:0",
                              "network/latency-factor:1", "network/bandwidth-factor:1"})
    engine.set_config(setting);
  s4u::NetZone* root = s4u::create_full_zone("root");
  std::vector<std::vector<std::int64_t>> ours;
  std::vector<std::vector<double>> theirs(cases);
  for (std::size_t number = 0; number < cases; ++number) {
    RandomCase c(number);
    const std::string id = std::to_string(number) + "_";
    s4u::NetZone* zone = s4u::create_full_zone("zone" + id);
    zone->set_parent(root);
    std::vector<s4u::Link*> links;
    for (std::size_t l = 0; l < c.capacities.size(); ++l)
      links.push_back(zone->create_link("link" + id + std::to_string(l), c.capacities[l])->set_latency(0.0)->seal());
    for (std::size_t f = 0; f < c.plan.size(); ++f) {
      PlannedFlow& flow = c.plan[f];
      flow.bytes *= scale;
      flow.start *= scale;
      const std::string flow_id = id + std::to_string(f);
      s4u::Host* from = zone->create_host("from" + flow_id, 1e9)->seal();
      s4u::Host* to = zone->create_host("to" + flow_id, 1e9)->seal();
      std::vector<s4u::LinkInRoute> route;
      for (const std::uint32_t l : flow.links) route.emplace_back(links[l]);
      zone->add_route(from->get_netpoint(), to->get_netpoint(), nullptr, nullptr, route, false);
      theirs[number].push_back(0);
      s4u::Actor::create("flow" + flow_id, from, [from, to, flow, finish = &theirs[number], f] {
        if (flow.start > 0) s4u::this_actor::sleep_until(static_cast<double>(flow.start) * 1e-12);
        std::vector<s4u::CommPtr> group;
        for (std::uint32_t i = 0; i < flow.count; ++i)
          group.push_back(s4u::Comm::sendto_async(from, to, static_cast<std::uint64_t>(flow.bytes)));
        s4u::Comm::wait_all(group);
        (*finish)[f] = s4u::Engine::get_clock();
      });
    }
    zone->seal();
    ours.push_back(finishes(c.capacities, c.plan));
  }
  root->seal();
  engine.run();
  for (std::size_t number = 0; number < cases; ++number)
    for (std::size_t f = 0; f < ours[number].size(); ++f) {
      const double expected = theirs[number][f];
      EXPECT_NEAR(static_cast<double>(ours[number][f]) * 1e-12, expected, 1e-6 * expected)
          << "case " << number << " flow " << f;
    }
}

#else

TEST(FlowNetwork, AgreesWithSimGrid) {
  GTEST_SKIP() << "libsimgrid-dev is not installed (or this is a build with sanitizers)";
}

#endif

}  // namespace
}  // namespace moesim
