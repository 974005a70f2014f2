// Collectives as programs of transfers: textbook times alone, what contention does, bytes that are neither lost nor
// made up. Links at line rate (efficiency 1): 450 GB/s a GPU behind NVSwitch, 50 GB/s a NIC.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "collectives/collective_program.h"
#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

constexpr double kUp = 450e9, kNic = 50e9;

/// All shares 1 and round latencies, so that formulas are short.
CollectiveProfile plain_profile() {
  CollectiveProfile profile;
  profile.name = "plain";
  const auto us = [](std::int64_t n) { return Duration::microseconds(n); };
  profile.ring = {.base = us(5),
                  .step = us(1),
                  .ll_share = 0.5,
                  .ll128_extra = us(2),
                  .ll128_step = us(1),
                  .ll128_share = 0.75,
                  .simple_extra = us(10),
                  .simple_step = us(2),
                  .simple_share = 1};
  profile.domain_all_reduce = {{8, us(20), 1.2}};
  profile.all_to_all = {us(6), us(1), 0.25, us(4), 1, {}, 0};
  profile.send_recv = {us(7), 1};
  profile.network_send_recv = {us(19), 1};
  profile.network.hop = us(4);
  profile.network.bulk_hop = us(6);
  profile.network.ll128_hop = us(5);
  profile.network.share = profile.network.all_to_all_share = 1;
  profile.network.ll_share = 0.5;
  profile.network.two_node_factor = 2;
  profile.custom_all_reduce = {8, us(4), Duration::nanoseconds(50), 1, us(8), Duration::nanoseconds(200), 1};
  return profile;
}

ClusterSpec line_rate_hgx(std::int32_t nodes) {
  ClusterSpec cluster = ideal_hgx(nodes);
  cluster.host_link.efficiency = 1;
  return cluster;
}

Duration alone(const Topology& topology, const TransferProgram& program) {
  const ProgramStart start{&program, Instant()};
  return run_programs(topology, std::span(&start, 1)).end - Instant();
}

/// GPUs `first` to `first + n` of the cluster.
GpuGroup gpus_from(std::uint32_t first, std::uint32_t n) {
  GpuGroup group(n);
  for (std::uint32_t i = 0; i < n; ++i) group[i] = GpuId{first + i};
  return group;
}

class Programs : public ::testing::Test {
 protected:
  void expect_time(std::int32_t nodes, std::uint32_t ranks, const CollectiveCall& call, double latency_us,
                   double seconds) {
    const Topology topology(line_rate_hgx(nodes));
    const TransferProgram program = collective_program(topology, plain_profile(), first_gpus(ranks), call);
    const ProgramTime form = closed_form(topology, program);
    const std::string what = std::string(name(call.algorithm)) + " " + std::string(name(call.kind));
    EXPECT_NEAR(form.latency.microseconds(), latency_us, 1e-9) << what;
    // Whole bytes: parts of a buffer differ by one.
    EXPECT_NEAR(form.seconds, seconds, 1e-6 * seconds) << what;
    EXPECT_NEAR(alone(topology, program).seconds(), form.total().seconds(), 1e-6 * form.total().seconds()) << what;
  }
};

constexpr Bytes kBuffer{64'000'000};
constexpr double kSize = 64e6;

TEST_F(Programs, RingsTakeTheBusBytesOfNcclTests) {
  // 8 ranks in a node: 2 (n - 1) / n s / B + b + 2 (n - 1) l; LL has half the rate here.
  expect_time(1, 8, {Collective::all_reduce, Algorithm::ring, Protocol::bulk, kBuffer}, 15 + 14 * 2,
              2 * 7.0 / 8 * kSize / kUp);
  expect_time(1, 8, {Collective::all_reduce, Algorithm::ring, Protocol::low_latency, kBuffer}, 5 + 14,
              2 * 7.0 / 8 * kSize / (0.5 * kUp));
  expect_time(1, 8, {Collective::all_reduce, Algorithm::ring, Protocol::ll128, kBuffer}, 7 + 14,
              2 * 7.0 / 8 * kSize / (0.75 * kUp));
  expect_time(1, 4, {Collective::all_gather, Algorithm::ring, Protocol::bulk, kBuffer}, 15 + 3 * 2,
              3.0 / 4 * kSize / kUp);
  expect_time(1, 5, {Collective::reduce_scatter, Algorithm::ring, Protocol::bulk, kBuffer}, 15 + 4 * 2,
              4.0 / 5 * kSize / kUp);
  expect_time(1, 8, {Collective::broadcast, Algorithm::ring, Protocol::bulk, kBuffer}, 15 + 7 * 2, kSize / kUp);
  // 4 nodes: 8 channels on 8 NICs, each boundary carries 2 (R - 1) / R s; R - N steps inside, N - 1 between.
  expect_time(4, 32, {Collective::all_reduce, Algorithm::ring, Protocol::bulk, kBuffer}, 15 + 2 * (28 * 2 + 3 * 6),
              2 * 31.0 / 32 * kSize / 8 / kNic);
}

TEST_F(Programs, TreesCrossTwoNodesWithHalfTheBytesOfARing) {
  // Two nodes: each tree is one edge with half of the buffer each way, so that a NIC carries s / 8 up and down; the
  // chains inside the nodes, 2 x 7/8 s a GPU, take longer at 450 GB/s.
  expect_time(2, 16, {Collective::all_reduce, Algorithm::tree, Protocol::bulk, kBuffer}, 15 + 2 * (7 * 2 + 1 * 6),
              2 * 7.0 / 8 * kSize / kUp);
  // From three nodes on the inner nodes of a tree have two children: 2 x s / 2 from them and 2 x s / 2 of the other
  // tree, where they are leaves: s / 2 from the parent. 4 nodes: the busiest NIC takes 2 s / 8.
  expect_time(4, 32, {Collective::all_reduce, Algorithm::tree, Protocol::bulk, kBuffer}, 15 + 2 * (7 * 2 + 2 * 6),
              2 * kSize / 8 / kNic);
}

TEST_F(Programs, RecursiveDoublingTakesLogRounds) {
  expect_time(1, 8, {Collective::all_reduce, Algorithm::recursive_doubling, Protocol::bulk, kBuffer}, 15 + 3 * 2,
              3 * kSize / kUp);
  expect_time(1, 8, {Collective::all_gather, Algorithm::recursive_doubling, Protocol::bulk, kBuffer}, 15 + 3 * 2,
              7.0 / 8 * kSize / kUp);
  // Two nodes: the last round crosses, with half of the result.
  expect_time(2, 16, {Collective::all_gather, Algorithm::recursive_doubling, Protocol::bulk, kBuffer}, 15 + 3 * 2 + 6,
              7.0 / 16 * kSize / kUp + 0.5 * kSize / kNic);
  expect_time(2, 16, {Collective::reduce_scatter, Algorithm::recursive_doubling, Protocol::bulk, kBuffer},
              15 + 6 + 3 * 2, 0.5 * kSize / kNic + 7.0 / 16 * kSize / kUp);
}

TEST_F(Programs, TheSwitchReducesWithOneAndAnEighthOfTheBuffer) {
  // The measured rate is 1.2 x 450 GB/s of bus bytes 2 (n - 1) / n s.
  expect_time(1, 8, {Collective::all_reduce, Algorithm::in_switch, Protocol::bulk, kBuffer}, 20,
              2 * 7.0 / 8 * kSize / (1.2 * kUp));
  const Topology topology(line_rate_hgx(1));
  const TransferProgram program =
      collective_program(topology, plain_profile(), first_gpus(8),
                         {Collective::all_reduce, Algorithm::in_switch, Protocol::bulk, kBuffer});
  const ProgramStart start{&program, Instant()};
  for (const LinkCarried& use : run_programs(topology, std::span(&start, 1)).links) {
    EXPECT_EQ(use.bytes, 1.125 * kSize);
  }
}

TEST_F(Programs, EnginesReduceInOneOrTwoShots) {
  expect_time(1, 8, {Collective::all_reduce, Algorithm::one_shot, Protocol::bulk, kBuffer}, 4 + 7 * 0.05,
              7 * kSize / kUp);
  expect_time(1, 8, {Collective::all_reduce, Algorithm::two_shot, Protocol::bulk, kBuffer}, 8 + 7 * 0.2,
              2 * 7.0 / 8 * kSize / kUp);
}

TEST_F(Programs, HierarchiesAddTheirStages) {
  // In the node 7/8 s at NVLink rate, on the rails 2 (N - 1) / N of s / 8.
  expect_time(4, 32, {Collective::all_reduce, Algorithm::hierarchical, Protocol::bulk, kBuffer},
              15 + 2 * 7 * 2 + 2 * 3 * 6, 2 * 7.0 / 8 * kSize / kUp + 2 * 3.0 / 4 * kSize / 8 / kNic);
  expect_time(4, 32, {Collective::all_gather, Algorithm::hierarchical, Protocol::bulk, kBuffer}, 15 + 7 * 2 + 3 * 6,
              7.0 / 8 * kSize / kUp + 3.0 / 4 * kSize / 8 / kNic);
  // All-to-all, two calls: 7/8 s to local ranks, then (N - 1) / N s on the rail.
  expect_time(4, 32, {Collective::all_to_all, Algorithm::hierarchical, Protocol::bulk, kBuffer}, 10 + 7 + 10 + 3 + 4,
              7.0 / 8 * kSize / kUp + 3.0 / 4 * kSize / kNic);
}

TEST_F(Programs, DirectAllToAllIsBoundByTheNic) {
  expect_time(1, 8, {Collective::all_to_all, Algorithm::direct, Protocol::bulk, kBuffer}, 10 + 7,
              7.0 / 8 * kSize / kUp);
  expect_time(4, 32, {Collective::all_to_all, Algorithm::direct, Protocol::bulk, kBuffer}, 10 + 31 + 4,
              24.0 / 32 * kSize / kNic);
  // In pairs: 7 rounds inside the node, 24 between, each 1/32 of the buffer; 24 of 31 pay a network step.
  expect_time(4, 32, {Collective::all_to_all, Algorithm::pairwise, Protocol::bulk, kBuffer}, 10 + 31 + 24 * 4,
              7.0 / 32 * kSize / kUp + 24.0 / 32 * kSize / kNic);
  expect_time(1, 2, {Collective::send_recv, Algorithm::direct, Protocol::bulk, kBuffer}, 7, kSize / kUp);
  expect_time(1, 8, {Collective::all_gather, Algorithm::direct, Protocol::bulk, kBuffer}, 15 + 7 * 2,
              7.0 / 8 * kSize / kUp);
  expect_time(1, 8, {Collective::broadcast, Algorithm::direct, Protocol::bulk, kBuffer}, 15 + 7 * 2, 7 * kSize / kUp);
}

TEST_F(Programs, SmallAllToAllsAreFasterInAHierarchyAndLargeOnesDirect) {
  // 8 nodes: direct pays 63 peers of 1 us, the hierarchy 7 + 7 and a second call of 10 us, and moves 7/8 s over NVLink
  // before the NIC. Direct wins above s* with 63 - 14 - 10 us = 7/8 s / 450 GB/s: s* = 20.06 MB.
  const Topology topology(line_rate_hgx(8));
  const auto time = [&](Algorithm algorithm, std::int64_t bytes) {
    return alone(topology, collective_program(topology, plain_profile(), first_gpus(64),
                                              {Collective::all_to_all, algorithm, Protocol::bulk, Bytes{bytes}}));
  };
  EXPECT_LT(time(Algorithm::hierarchical, 20'000'000), time(Algorithm::direct, 20'000'000));
  EXPECT_GT(time(Algorithm::hierarchical, 20'120'000), time(Algorithm::direct, 20'120'000));
}

TEST_F(Programs, EveryAlgorithmDeliversWhatTheCollectivePromises) {
  // Bytes that a rank takes in at least: all_reduce and reduce_scatter as busbw says for rings; all_to_all and
  // all_gather exactly s - s / R for direct and ring.
  const Topology topology(line_rate_hgx(2));
  const CollectiveProfile profile = plain_profile();
  const Bytes odd{1'000'003};
  for (const Collective kind : {Collective::all_gather, Collective::all_to_all, Collective::reduce_scatter}) {
    for (const Algorithm algorithm :
         {Algorithm::ring, Algorithm::recursive_doubling, Algorithm::direct, Algorithm::pairwise}) {
      if (!algorithm_problem(topology, profile, first_gpus(16), kind, algorithm).empty()) continue;
      const TransferProgram program =
          collective_program(topology, profile, first_gpus(16), {kind, algorithm, Protocol::bulk, odd});
      std::int64_t sum = 0;
      for (const Transfer& transfer : program.transfers()) sum += transfer.bytes.value;
      EXPECT_EQ(sum, 15 * odd.value) << name(kind) << " " << name(algorithm);
    }
  }
}

TEST_F(Programs, NothingIsLostOnTheLinks) {
  // The bytes on every kind of link are those of the closed form's loads.
  const Topology topology(line_rate_hgx(4));
  const CollectiveProfile profile = plain_profile();
  const GpuGroup group = first_gpus(32);
  const GroupCollectives closed(topology, profile, group);
  for (const Collective kind : {Collective::all_gather, Collective::reduce_scatter, Collective::all_to_all}) {
    const Algorithm algorithm = kind == Collective::all_to_all ? Algorithm::direct : Algorithm::ring;
    const TransferProgram program =
        collective_program(topology, profile, group, {kind, algorithm, Protocol::bulk, kBuffer});
    const ProgramStart start{&program, Instant()};
    CarriedBytes carried{};
    for (const LinkCarried& use : run_programs(topology, std::span(&start, 1)).links) {
      carried[static_cast<std::size_t>(topology.links()[use.link.value].kind)] += use.bytes;
    }
    const CarriedBytes expected = closed.moved_bytes(kind, kBuffer);
    for (std::size_t i = 0; i < carried.size(); ++i) {
      EXPECT_NEAR(carried[i], expected[i], 1e-9 * expected[i]) << name(kind) << " " << i;
    }
  }
}

TEST_F(Programs, CalibratedProgramsAloneTakeTheCalibratedTime) {
  for (const std::int32_t nodes : {1, 2, 4}) {
    const ClusterSpec cluster = hgx(nodes);
    const Topology topology(cluster);
    const CollectiveProfile profile = shipped_profile(cluster);
    const GpuGroup group = first_gpus(static_cast<std::uint32_t>(8 * nodes));
    const GroupCollectives closed(topology, profile, group);
    for (const Collective kind :
         {Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter, Collective::all_to_all}) {
      for (const std::int64_t bytes : {1'000, 100'000, 10'000'000, 1'000'000'000}) {
        const ChosenProgram chosen = calibrated_program(topology, profile, group, kind, Bytes{bytes});
        const Duration expected = closed.time(kind, Bytes{bytes});
        EXPECT_NEAR(alone(topology, chosen.program) / expected, 1, 1e-3)
            << name(kind) << " of " << bytes << " on " << nodes << " nodes by " << name(chosen.call.algorithm);
      }
    }
  }
}

/// Two collectives side by side.
struct Pair {
  Duration first, second;
};
Pair together(const Topology& topology, const TransferProgram& a, const TransferProgram& b) {
  const ProgramStart starts[] = {{&a, Instant()}, {&b, Instant()}};
  const NetworkRun run = run_programs(topology, starts);
  return {run.finish[0] - Instant(), run.finish[1] - Instant()};
}

TEST_F(Programs, TwoOnTheSameLinksTakeTwiceTheTimeOfTheirBytes) {
  const Topology topology(line_rate_hgx(4));
  const CollectiveCall call{Collective::all_to_all, Algorithm::direct, Protocol::bulk, kBuffer};
  const TransferProgram program = collective_program(topology, plain_profile(), first_gpus(32), call);
  const ProgramTime form = closed_form(topology, program);
  const Pair pair = together(topology, program, program);
  EXPECT_NEAR(pair.first.seconds(), form.latency.seconds() + 2 * form.seconds, 1e-6 * form.seconds);
  EXPECT_EQ(pair.first, pair.second);
}

TEST_F(Programs, DisjointGroupsDoNotMeet) {
  // Two halves of one NVSwitch domain: every link belongs to one of them.
  const Topology topology(line_rate_hgx(1));
  const CollectiveCall call{Collective::all_reduce, Algorithm::ring, Protocol::bulk, kBuffer};
  const TransferProgram a = collective_program(topology, plain_profile(), gpus_from(0, 4), call);
  const TransferProgram b = collective_program(topology, plain_profile(), gpus_from(4, 4), call);
  const Pair pair = together(topology, a, b);
  EXPECT_EQ(pair.first, alone(topology, a));
  EXPECT_EQ(pair.second, alone(topology, b));
}

TEST_F(Programs, ABulkTransferSlowsOnlyWhatSharesItsNic) {
  // A cache transfer from GPU 0 to GPU 8 beside an all-gather on rails of nodes 2 and 3: disjoint. Beside one of nodes
  // 0 and 1 the ring's channel on that rail gets half of the NIC while the transfer lasts.
  const Topology topology(line_rate_hgx(4));
  const CollectiveCall call{Collective::all_gather, Algorithm::ring, Protocol::bulk, kBuffer};
  const CacheTransfer cache{GpuId{0}, GpuId{8}, Bytes{800'000'000}, 1, {}};
  const TransferProgram bulk = cache_program(topology, plain_profile(), cache, CacheTransferMode::whole);
  const TransferProgram far = collective_program(topology, plain_profile(), gpus_from(16, 16), call);
  EXPECT_EQ(together(topology, bulk, far).second, alone(topology, far));
  const TransferProgram near = collective_program(topology, plain_profile(), gpus_from(0, 16), call);
  const ProgramTime form = closed_form(topology, near);
  // From 19 us on both share the NIC; the ring has moved (latency difference) nothing before its own start at
  // 15 + 14 x 2 + 6 = 49 us, and the transfer outlasts it: 800 MB at 50 GB/s are 16 ms.
  EXPECT_NEAR(together(topology, bulk, near).second.seconds(), form.latency.seconds() + 2 * form.seconds,
              1e-6 * form.seconds);
}

TEST_F(Programs, AnOversubscribedSpineHalvesAnAllToAllAcrossRails) {
  // 8 nodes with 4 ports a leaf: rail leaves of two groups of nodes, so that even rails cross the spine between them.
  const auto time = [](double oversubscription, Forwarding forwarding) {
    ClusterSpec cluster = line_rate_hgx(8);
    cluster.leaf_ports = 4;
    cluster.oversubscription = oversubscription;
    const Topology topology(cluster);
    const CollectiveCall call{Collective::all_to_all, Algorithm::direct, Protocol::bulk, Bytes{640'000'000},
                              forwarding};
    const TransferProgram program = collective_program(topology, plain_profile(), first_gpus(64), call);
    return (alone(topology, program) - closed_form(topology, program).latency).seconds();
  };
  // A NIC sends 56/64 s to other nodes. Without forwarding all but the 3 of its own rail and leaf go through the spine:
  // 53/64 s. Uplink of a leaf: 4 NICs x 53/64 s over 4 x 50 / o GB/s: binds from o = 56 / 53 on.
  const double s = 640e6;
  EXPECT_NEAR(time(1, Forwarding::none), 56.0 / 64 * s / kNic, 1e-6 * s / kNic);
  EXPECT_NEAR(time(2, Forwarding::none), 53.0 / 64 * s * 2 / kNic, 1e-6 * s / kNic);
  EXPECT_NEAR(time(4, Forwarding::none) / time(2, Forwarding::none), 2, 1e-6);
  // On rails only the 32 GPUs of the other group of nodes are behind the spine: it binds from o = 56 / 32 on.
  EXPECT_NEAR(time(1, Forwarding::rails), 56.0 / 64 * s / kNic, 1e-6 * s / kNic);
  EXPECT_NEAR(time(2, Forwarding::rails), 32.0 / 64 * s * 2 / kNic, 1e-6 * s / kNic);
}

TEST_F(Programs, TheOrderOfGpusDoesNotMatter) {
  const Topology topology(line_rate_hgx(4));
  GpuGroup shuffled = first_gpus(32);
  std::reverse(shuffled.begin(), shuffled.begin() + 20);
  std::swap(shuffled[3], shuffled[30]);
  for (const Algorithm algorithm : {Algorithm::direct, Algorithm::pairwise, Algorithm::hierarchical}) {
    const CollectiveCall call{Collective::all_to_all, algorithm, Protocol::bulk, kBuffer};
    EXPECT_EQ(alone(topology, collective_program(topology, plain_profile(), first_gpus(32), call)),
              alone(topology, collective_program(topology, plain_profile(), shuffled, call)));
  }
}

/// 32 machines of one GPU on two leaves of 16, with 4 spines, 8:1 oversubscribed: 4 uplinks of 25 GB/s a leaf.
ClusterSpec two_leaves(Multipath multipath) {
  ClusterSpec cluster = line_rate_hgx(32);
  cluster.gpus_per_node = cluster.scale_up_domain = cluster.nics_per_node = 1;
  cluster.fabric = FabricKind::leaf_spine;
  cluster.leaf_ports = 16;
  cluster.oversubscription = 8;
  cluster.spines = 4;
  cluster.multipath = multipath;
  return cluster;
}

TEST_F(Programs, HashedFlowsCollideAndSprayedOnesDoNot) {
  // 4 GPUs on each leaf; every one sends s / 8 to each of the 4 behind the other leaf: 16 messages of 10 MB. Sprayed,
  // the trunk of 100 GB/s takes 1.6 ms whatever the GPUs' numbers. Hashed, the fullest of 4 cables holds at least 4 of
  // the 16, which 25 GB/s take 1.6 ms for, and mostly more. Other numbers are other draws from one distribution: two
  // sets of 60 numberings have the same mean within their spread.
  const CollectiveCall call{Collective::all_to_all, Algorithm::direct, Protocol::bulk, Bytes{80'000'000}};
  const auto seconds = [&](const Topology& topology, const GpuGroup& group) {
    const TransferProgram program = collective_program(topology, plain_profile(), group, call);
    return (alone(topology, program) - closed_form(topology, program).latency).seconds();
  };
  const Topology sprayed(two_leaves(Multipath::split)), hashed(two_leaves(Multipath::hash));
  std::vector<std::uint32_t> places(16);
  std::iota(places.begin(), places.end(), 0U);
  double sum[2] = {0, 0}, squares[2] = {0, 0}, least = 1;
  constexpr int kNumberings = 60;
  for (int i = 0; i < 2 * kNumberings; ++i) {
    GpuGroup group;
    for (const std::uint32_t leaf : {0U, 16U}) {
      std::next_permutation(places.begin() + 8, places.end());
      std::rotate(places.begin(), places.begin() + 5, places.end());
      for (std::size_t k = 0; k < 4; ++k) group.push_back(GpuId{leaf + places[k]});
    }
    EXPECT_NEAR(seconds(sprayed, group), 1.6e-3, 1e-9);
    const double time = seconds(hashed, group);
    least = std::min(least, time);
    sum[i / kNumberings] += time / kNumberings;
    squares[i / kNumberings] += time * time / kNumberings;
  }
  EXPECT_GE(least, 1.6e-3 - 1e-9);
  EXPECT_GT(sum[0], 2e-3);
  const double spread = std::sqrt((squares[0] - sum[0] * sum[0] + squares[1] - sum[1] * sum[1]) / kNumberings);
  EXPECT_GT(spread, 0);
  EXPECT_LT(std::abs(sum[0] - sum[1]), 4 * spread);
}

TEST_F(Programs, ADrawnGraphSpraysOverItsEqualPaths) {
  // Two GPUs with two switches between them, 10 and 10 GB/s: a message of 20 MB takes 1 ms on both, 2 ms on one.
  ClusterSpec cluster;
  cluster.name = "two ways";
  cluster.gpu = "h100_sxm";
  ClusterGraph graph;
  const std::uint32_t gpus[] = {graph.add(VertexKind::gpu, "g0"), graph.add(VertexKind::gpu, "g1")};
  const std::uint32_t switches[] = {graph.add(VertexKind::nvswitch, "s0"), graph.add(VertexKind::nvswitch, "s1")};
  for (const std::uint32_t s : switches) {
    for (const std::uint32_t g : gpus) graph.connect(g, s, LinkKind::scale_up, {gigabytes_per_second(10), 1, {}});
  }
  cluster.graph = graph;
  sum_up_graph(cluster);
  const auto seconds = [&](Multipath multipath) {
    cluster.multipath = multipath;
    const Topology topology(cluster);
    const CollectiveCall call{Collective::send_recv, Algorithm::direct, Protocol::bulk, Bytes{20'000'000}};
    const TransferProgram program = collective_program(topology, plain_profile(), first_gpus(2), call);
    return (alone(topology, program) - closed_form(topology, program).latency).seconds();
  };
  EXPECT_NEAR(seconds(Multipath::split), 1e-3, 1e-9);
  EXPECT_NEAR(seconds(Multipath::hash), 2e-3, 1e-9);
}

TEST_F(Programs, ACacheFollowsTheLayersThatAreComputed) {
  // 10 layers of 5 MB over a NIC, 0.1 ms each at 50 GB/s, alpha 19 us; a layer computes in 1 ms or in 50 us.
  const Topology topology(line_rate_hgx(2));
  const auto time = [&](Duration compute, CacheTransferMode mode) {
    const CacheTransfer cache{GpuId{0}, GpuId{8}, Bytes{5'000'000}, 10, compute};
    return alone(topology, cache_program(topology, plain_profile(), cache, mode)).microseconds();
  };
  const Duration slow = Duration::milliseconds(1), fast = Duration::microseconds(50);
  EXPECT_DOUBLE_EQ(time(slow, CacheTransferMode::whole), 10'000 + 19 + 1'000);
  EXPECT_DOUBLE_EQ(time(slow, CacheTransferMode::by_layers), 10'000 + 119);
  EXPECT_DOUBLE_EQ(time(fast, CacheTransferMode::whole), 500 + 19 + 1'000);
  EXPECT_DOUBLE_EQ(time(fast, CacheTransferMode::by_layers), 50 + 10 * 119);
}

TEST_F(Programs, OneRankOrNoBytesTakeNoTime) {
  const Topology topology(line_rate_hgx(1));
  for (const std::uint32_t ranks : {1U, 8U}) {
    const CollectiveCall call{Collective::all_gather, Algorithm::ring, Protocol::bulk, Bytes{ranks == 1 ? 100 : 0}};
    EXPECT_EQ(alone(topology, collective_program(topology, plain_profile(), first_gpus(ranks), call)), Duration());
  }
}

TEST_F(Programs, WhatAGroupCannotRunHasAReason) {
  const Topology topology(line_rate_hgx(2));
  const CollectiveProfile profile = plain_profile();
  const auto problem = [&](std::uint32_t ranks, Collective kind, Algorithm algorithm) {
    return algorithm_problem(topology, profile, first_gpus(ranks), kind, algorithm);
  };
  EXPECT_EQ(problem(12, Collective::all_reduce, Algorithm::recursive_doubling),
            "recursive_doubling takes a power of two of ranks");
  EXPECT_EQ(problem(12, Collective::all_to_all, Algorithm::hierarchical),
            "hierarchical needs as many ranks in every node");
  EXPECT_EQ(problem(16, Collective::all_reduce, Algorithm::one_shot), "one_shot needs one scale-up domain");
  EXPECT_EQ(problem(4, Collective::all_reduce, Algorithm::in_switch),
            "in_switch is not in profile plain for this many ranks");
  EXPECT_EQ(problem(8, Collective::all_to_all, Algorithm::ring), "all_to_all has no ring");
  EXPECT_EQ(problem(3, Collective::send_recv, Algorithm::direct), "send_recv takes two ranks");
}

}  // namespace
}  // namespace moesim
