#include "network/bounded_sharing.h"

#include <gtest/gtest.h>

#include "bench/fat_tree_traffic.h"
#include "network/flow_network.h"

namespace moesim {
namespace {

std::vector<SizedPath> paths(const Traffic& traffic) {
  std::vector<SizedPath> flows;
  for (const SizedFlow& flow : traffic.flows) flows.push_back({flow.links, flow.bytes});
  return flows;
}

Duration exact_time(const Traffic& traffic) {
  FlowNetwork network(traffic.capacities);
  for (const SizedFlow& flow : traffic.flows) network.start(Instant(), flow.links, flow.bytes);
  Instant now;
  std::vector<FlowId> finished;
  while (network.next_time() < Instant::never()) network.advance(now = network.next_time(), finished);
  return now.since_start();
}

// Up to 64 flows every finish is followed.
TEST(BoundedTime, IsExactForFewFlows) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Traffic traffic = all_to_all_on_fat_tree(8, 1, seed);
    const BoundedTime bounded = bounded_time(traffic.capacities, paths(traffic), 1);
    EXPECT_NEAR(bounded.estimate / exact_time(traffic), 1, 1e-7);  // every finish is rounded up to a picosecond
    EXPECT_LE(bounded.lower, bounded.estimate);
  }
}

// A sends {X: 2, P: 1, Q: 1} and B the same through unit ports: no port has more than 4 bytes, sharing takes 5 s.
TEST(BoundedTime, KeepsTheBoundApartFromTheTime) {
  const std::vector<BytesPerSecond> ports(5, {1});
  std::vector<std::vector<std::uint32_t>> links;
  for (const std::uint32_t from : {0u, 1u})
    for (const std::uint32_t to : {2u, 3u, 4u}) links.push_back({from, to});
  std::vector<SizedPath> flows;
  for (const auto& path : links) flows.push_back({path, {path[1] == 2 ? 2 : 1}});
  const BoundedTime bounded = bounded_time(ports, flows, 4);
  EXPECT_EQ(bounded.lower, Duration::seconds(4));
  EXPECT_EQ(bounded.estimate, Duration::seconds(5));
}

// More epochs come closer; the errors at 64 GPUs and 32 epochs are below one in a thousand (flow_bench.cpp).
TEST(BoundedTime, ComesCloserWithMoreEpochs) {
  for (const double oversubscription : {1.0, 2.0}) {
    const Traffic traffic = all_to_all_on_fat_tree(64, oversubscription, 1);
    const Duration exact = exact_time(traffic);
    const auto error = [&](std::uint32_t epochs) {
      return std::abs(bounded_time(traffic.capacities, paths(traffic), epochs).estimate / exact - 1);
    };
    EXPECT_LT(error(32), 1e-3);
    EXPECT_LT(error(32), error(4));
  }
}

}  // namespace
}  // namespace moesim
