// Bytes that collectives and MoE exchanges put on the links, by kind of link. Every directed link counts what it
// carries: through one switch a byte counts twice, once up and once down.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "collectives/collective_cost.h"
#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

constexpr TokenPayload kPayload{Bytes{1000}, Bytes{3000}};

double of(const CarriedBytes& bytes, LinkKind kind) {
  return bytes[static_cast<std::size_t>(kind)];
}

/// Copies of one direction of an exchange between `ranks` ranks on nodes of 8.
struct Copies {
  std::vector<std::int64_t> tokens, rows, rank_copies, node_copies;
  std::vector<std::uint32_t> pairs;
  RoutedTraffic traffic() const { return {tokens, rows, rank_copies, node_copies, pairs}; }
};

Copies even_copies(std::size_t ranks, std::int64_t tokens, std::int64_t rows, std::int64_t rank, std::int64_t node) {
  Copies copies;
  copies.tokens.assign(ranks, tokens);
  copies.rows.assign(ranks, rows);
  copies.rank_copies.assign(ranks, rank);
  copies.node_copies.assign(ranks / 8, node);
  return copies;
}

TEST(MovedBytes, RingsBehindASwitchLoadUpAndDownLinksAlike) {
  // all-reduce 2 (n - 1) s over the up-links and as much over the down-links; all-gather, reduce-scatter and all-to-all
  // (n - 1) s each way; a message s each way. Nothing elsewhere.
  const Topology topology(hgx(1));
  const double s = 1 << 20;
  for (const std::uint32_t n : {2U, 5U, 8U}) {
    const GroupCollectives group(topology, shipped_profile(hgx(1)), first_gpus(n));
    const auto one_way = [&](Collective kind) {
      const CarriedBytes moved = group.moved_bytes(kind, Bytes{1 << 20});
      EXPECT_EQ(of(moved, LinkKind::pcie) + of(moved, LinkKind::nic) + of(moved, LinkKind::fabric), 0);
      return of(moved, LinkKind::scale_up) / 2;
    };
    EXPECT_NEAR(one_way(Collective::all_reduce), 2 * (n - 1) * s, 1e-6 * s);
    EXPECT_NEAR(one_way(Collective::all_gather), (n - 1) * s, 1e-6 * s);
    EXPECT_NEAR(one_way(Collective::reduce_scatter), (n - 1) * s, 1e-6 * s);
    EXPECT_NEAR(one_way(Collective::all_to_all), (n - 1.0) / n * s * n, 1e-6 * s);
    EXPECT_NEAR(one_way(Collective::send_recv), s, 1e-6 * s);
  }
}

TEST(MovedBytes, AMeshHasNoSwitchToPassThrough) {
  ClusterSpec cluster = hgx(1);
  cluster.scale_up = ScaleUpKind::mesh;
  const Topology topology(cluster);
  const GroupCollectives group(topology, shipped_profile(cluster), first_gpus(8));
  EXPECT_NEAR(of(group.moved_bytes(Collective::all_reduce, Bytes{1000}), LinkKind::scale_up), 14000, 1e-6);
  EXPECT_NEAR(of(group.moved_bytes(Collective::all_to_all, Bytes{1000}), LinkKind::scale_up), 7000, 1e-6);
}

TEST(MovedBytes, OneRankOrNoBytesMoveNothing) {
  const Topology topology(hgx(1));
  const CollectiveProfile profile = shipped_profile(hgx(1));
  const CarriedBytes nothing{};
  EXPECT_EQ(GroupCollectives(topology, profile, first_gpus(1)).moved_bytes(Collective::all_reduce, Bytes{9}), nothing);
  EXPECT_EQ(GroupCollectives(topology, profile, first_gpus(8)).moved_bytes(Collective::all_reduce, Bytes{}), nothing);
  const Copies idle = even_copies(8, 0, 0, 0, 0), busy = even_copies(8, 4, 8, 8, 32);
  for (const MoeBackend backend :
       {MoeBackend::none, MoeBackend::allgather_reducescatter, MoeBackend::naive, MoeBackend::pplx,
        MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput, MoeBackend::flashinfer_nvlink_two_sided}) {
    const MoeExchange exchange(topology, profile, first_gpus(8), backend, kPayload);
    EXPECT_EQ(exchange.dispatch_bytes(idle.traffic()), nothing) << name(backend);
    EXPECT_EQ(exchange.combine_bytes(idle.traffic()), nothing) << name(backend);
    EXPECT_EQ(exchange.dispatch_bytes(busy.traffic()) == nothing, backend == MoeBackend::none) << name(backend);
  }
}

TEST(MovedBytes, RingsBetweenNodesCrossEachBoundaryOnce) {
  // N nodes of 8, R = 8 N. Each node boundary carries w = (R - 1) / R s once through a sending and a receiving NIC
  // (rings keep to their rail, so no spine); inside a node 8 hops of 7/8 w, up and down. Between two nodes all-reduce
  // is a tree of one edge with half the bytes of a ring there.
  const double s = 1e6;
  for (const std::int32_t n : {2, 4}) {
    const ClusterSpec cluster = hgx(n);
    const Topology topology(cluster);
    const auto ranks = static_cast<std::uint32_t>(8 * n);
    const GroupCollectives group(topology, shipped_profile(cluster), first_gpus(ranks));
    const double w = (ranks - 1.0) / ranks * s;
    const CarriedBytes gathered = group.moved_bytes(Collective::all_gather, Bytes{1000000});
    EXPECT_NEAR(of(gathered, LinkKind::scale_up), n * 8 * 7.0 / 8 * w * 2, 1e-3);
    EXPECT_NEAR(of(gathered, LinkKind::nic), n * w * 2, 1e-3);
    EXPECT_EQ(of(gathered, LinkKind::fabric), 0);
    const CarriedBytes reduced = group.moved_bytes(Collective::all_reduce, Bytes{1000000});
    EXPECT_NEAR(of(reduced, LinkKind::scale_up), 2 * of(gathered, LinkKind::scale_up), 1e-3);
    EXPECT_NEAR(of(reduced, LinkKind::nic), (n == 2 ? 1 : 2) * of(gathered, LinkKind::nic), 1e-3);
  }
}

TEST(MovedBytes, AllToAllBetweenNodesGoesOverNvlinkToTheRailOfItsReceiver) {
  // 2 nodes of 8: 8/16 of every buffer leaves the node, through two NICs; 7 of its 8 receivers are on other rails,
  // which a message reaches over NVLink to the GPU of its own node on that rail. Nothing takes the spine.
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  const GroupCollectives group(topology, shipped_profile(cluster), first_gpus(16));
  const CarriedBytes moved = group.moved_bytes(Collective::all_to_all, Bytes{1600});
  EXPECT_NEAR(of(moved, LinkKind::nic), 16 * 800 * 2, 1e-6);
  EXPECT_EQ(of(moved, LinkKind::fabric), 0);
  EXPECT_NEAR(of(moved, LinkKind::scale_up), 16 * (700 + 700) * 2, 1e-6);
}

TEST(MovedBytes, ExchangesAddUpToTheirCopiesOnTheGraph) {
  // Every source sends to destination d its share of the copies there, over the path of the graph; uneven tokens and
  // copies. What the buses of a node carry to its NICs, the NICs carry on, and the NICs of the others take in.
  const ClusterSpec cluster = hgx(4);
  const Topology topology(cluster);
  const CollectiveProfile profile = shipped_profile(cluster);
  Copies copies = even_copies(32, 0, 0, 0, 0);
  double all_tokens = 0;
  for (std::size_t r = 0; r < 32; ++r) {
    copies.tokens[r] = static_cast<std::int64_t>(10 + 7 * r % 11);
    copies.rows[r] = static_cast<std::int64_t>(100 + 13 * r % 37 + 20 * (r / 8));
    copies.rank_copies[r] = copies.rows[r] - 20;
    all_tokens += static_cast<double>(copies.tokens[r]);
  }
  for (const MoeBackend backend : {MoeBackend::deepep_low_latency, MoeBackend::pplx}) {
    const auto& asked = backend == MoeBackend::pplx ? copies.rank_copies : copies.rows;
    CarriedBytes expected{};
    double crossing = 0;
    for (std::uint32_t s = 0; s < 32; ++s) {
      for (std::uint32_t d = 0; d < 32; ++d) {
        const double bytes = 1000.0 * static_cast<double>(copies.tokens[s] * asked[d]) / all_tokens;
        for (const LinkId link : topology.path(GpuId{s}, GpuId{d})) {
          expected[static_cast<std::size_t>(topology.links()[link.value].kind)] += bytes;
        }
        if (s / 8 != d / 8) crossing += bytes;
      }
    }
    const MoeExchange exchange(topology, profile, first_gpus(32), backend, kPayload);
    const CarriedBytes moved = exchange.dispatch_bytes(copies.traffic());
    EXPECT_NEAR(of(moved, LinkKind::scale_up), of(expected, LinkKind::scale_up), 1e-3) << name(backend);
    EXPECT_NEAR(of(moved, LinkKind::nic), 2 * crossing, 1e-3);
    // GPU -> socket -> NIC, and back on the other side.
    EXPECT_NEAR(of(moved, LinkKind::pcie), 2 * of(moved, LinkKind::nic), 1e-3);
    EXPECT_NEAR(of(expected, LinkKind::pcie), 2 * of(expected, LinkKind::nic), 1e-3);
    // Which rails meet follows the mean path: the uneven copies are 1 % away at most.
    EXPECT_NEAR(of(moved, LinkKind::fabric) / of(expected, LinkKind::fabric), 1, 0.01);
    const CarriedBytes back = exchange.combine_bytes(copies.traffic());
    for (std::size_t kind = 0; kind < kLinkKinds; ++kind) EXPECT_NEAR(back[kind], 3 * moved[kind], 1e-3);
  }
}

TEST(MovedBytes, NormalKernelsCrossTheNetworkOnceANodeAndPassOnInside) {
  // 4 nodes of 8, 64 tokens a rank; 800 distinct tokens reach a node, 300 a rank. 3/4 of the 4 x 800 come from other
  // nodes, on their own rail: two NIC links, no spine. 7/8 of the 32 x 300 arrive at another rank than their own: up
  // and down.
  const ClusterSpec cluster = hgx(4);
  const Topology topology(cluster);
  const MoeExchange exchange(topology, shipped_profile(cluster), first_gpus(32), MoeBackend::deepep_high_throughput,
                             kPayload);
  const CarriedBytes moved = exchange.dispatch_bytes(even_copies(32, 64, 512, 300, 800).traffic());
  EXPECT_NEAR(of(moved, LinkKind::nic), 4 * 800 * 0.75 * 1000 * 2, 1e-3);
  EXPECT_EQ(of(moved, LinkKind::fabric), 0);
  EXPECT_NEAR(of(moved, LinkKind::scale_up), 32 * 300 * 7.0 / 8 * 1000 * 2, 1e-3);
}

TEST(MovedBytes, AMatrixOfPairsInProportionMovesTheSame) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  Copies copies = even_copies(16, 64, 0, 0, 700);
  for (std::size_t r = 0; r < 16; ++r) {
    copies.rows[r] = static_cast<std::int64_t>(16 * (20 + r));
    copies.rank_copies[r] = static_cast<std::int64_t>(16 * (10 + r));
  }
  Copies with_pairs = copies;
  for (std::size_t s = 0; s < 16; ++s) {
    for (std::size_t d = 0; d < 16; ++d) with_pairs.pairs.push_back(static_cast<std::uint32_t>(20 + d));
  }
  for (const MoeBackend backend :
       {MoeBackend::pplx, MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput}) {
    const MoeExchange exchange(topology, shipped_profile(cluster), first_gpus(16), backend, kPayload);
    const CarriedBytes a = exchange.dispatch_bytes(copies.traffic()), b = exchange.dispatch_bytes(with_pairs.traffic());
    for (std::size_t kind = 0; kind < kLinkKinds; ++kind) EXPECT_NEAR(a[kind], b[kind], 1e-3) << name(backend);
  }
  // All rows of one rank that keeps them to itself: nothing moves.
  Copies own = even_copies(16, 0, 0, 0, 0);
  own.tokens[5] = 64;
  own.rows[5] = own.rank_copies[5] = 64;
  own.node_copies[0] = 64;
  own.pairs.assign(256, 0);
  own.pairs[5 * 16 + 5] = 64;
  for (const MoeBackend backend : {MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput}) {
    const MoeExchange exchange(topology, shipped_profile(cluster), first_gpus(16), backend, kPayload);
    EXPECT_EQ(exchange.dispatch_bytes(own.traffic()), CarriedBytes{}) << name(backend);
    own.pairs.clear();
    EXPECT_EQ(exchange.dispatch_bytes(own.traffic()), CarriedBytes{}) << name(backend);
    own.pairs.assign(256, 0);
    own.pairs[5 * 16 + 5] = 64;
  }
}

TEST(MovedBytes, GatheringBackendsMoveTheTokensOfAllRanks) {
  // Broadcasts one after the other put every buffer on all links of the ring but one: as much as an all-gather.
  const Topology topology(hgx(1));
  const CollectiveProfile profile = shipped_profile(hgx(1));
  const Copies copies = even_copies(8, 100, 0, 0, 0);
  const double gathered = 7 * 800 * 1000.0 * 2, sum = 7 * 800 * 3000.0 * 2;
  const MoeExchange scatter(topology, profile, first_gpus(8), MoeBackend::allgather_reducescatter, kPayload);
  EXPECT_NEAR(of(scatter.dispatch_bytes(copies.traffic()), LinkKind::scale_up), gathered, 1e-3);
  EXPECT_NEAR(of(scatter.combine_bytes(copies.traffic()), LinkKind::scale_up), sum, 1e-3);
  const MoeExchange naive(topology, profile, first_gpus(8), MoeBackend::naive, kPayload);
  EXPECT_NEAR(of(naive.dispatch_bytes(copies.traffic()), LinkKind::scale_up), gathered, 1e-3);
  EXPECT_NEAR(of(naive.combine_bytes(copies.traffic()), LinkKind::scale_up), 2 * sum, 1e-3);
}

}  // namespace
}  // namespace moesim
