// Who sends what to whom, from what the gates chose.

#include "collectives/traffic_matrix.h"

#include <gtest/gtest.h>

#include <numeric>

#include "collectives/exchange_links.h"
#include "collectives/sample_clusters.h"
#include "core/random.h"
#include "parallel/expert_load.h"

namespace moesim {
namespace {

constexpr TokenPayload kPayload{Bytes{1000}, Bytes{3000}};

/// 16 ranks on two nodes, uneven tokens, 4 of 64 experts a token with a bias to the first ones.
struct Drawn {
  Drawn() : loads(linear_placement(64, 16, 0), two_nodes()), counts(loads.exchange_counts()) {
    Stream stream(3, "test/traffic");
    std::vector<std::uint16_t> ids;
    for (std::size_t s = 0; s < 16; ++s) {
      counts.tokens[s] = static_cast<std::int64_t>(5 + 11 * s % 17);
      for (std::int64_t t = 0; t < counts.tokens[s]; ++t) {
        std::vector<std::uint16_t> chosen;
        while (chosen.size() < 4) {
          const auto e = static_cast<std::uint16_t>(std::min(stream.below(64), stream.below(64)));
          if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) chosen.push_back(e);
        }
        ids.insert(ids.end(), chosen.begin(), chosen.end());
      }
    }
    std::vector<ExpertLoad> out(16);
    loads.from_tokens(ids, 4, out, counts);
  }
  static std::vector<std::uint32_t> two_nodes() {
    std::vector<std::uint32_t> node(16, 0);
    std::fill(node.begin() + 8, node.end(), 1);
    return node;
  }
  RoutedTraffic exact() const {
    return {counts.tokens,          counts.rows,      counts.rank_copies,
            counts.node_copies,     counts.pair_rows, counts.pair_rank_copies,
            counts.pair_node_copies};
  }
  RoutedTraffic by_rows() const {
    return {counts.tokens, counts.rows, counts.rank_copies, counts.node_copies, counts.pair_rows};
  }
  RoutedTraffic by_tokens() const { return {counts.tokens, counts.rows, counts.rank_copies, counts.node_copies}; }

  ExpertLoads loads;
  ExchangeCounts counts;
};

// Whatever is known of the pairs, the sources of each destination add up to what it receives.
TEST(TrafficMatrix, SourcesAddUpToTheDestinationsAtEveryResolution) {
  const Drawn drawn;
  for (const RoutedTraffic& traffic : {drawn.exact(), drawn.by_rows(), drawn.by_tokens()}) {
    const TrafficMatrix matrix = traffic_matrix(traffic, Drawn::two_nodes());
    ASSERT_EQ(matrix.ranks, 16u);
    ASSERT_EQ(matrix.nodes, 2u);
    for (std::size_t d = 0; d < 16; ++d) {
      double rows = 0, copies = 0;
      for (std::size_t s = 0; s < 16; ++s) {
        rows += matrix.rows[s * 16 + d];
        copies += matrix.rank_copies[s * 16 + d];
      }
      EXPECT_NEAR(rows, static_cast<double>(drawn.counts.rows[d]), 1e-9);
      EXPECT_NEAR(copies, static_cast<double>(drawn.counts.rank_copies[d]), 1e-9);
    }
    for (std::size_t n = 0; n < 2; ++n) {
      double copies = 0;
      for (std::size_t s = 0; s < 16; ++s) copies += matrix.node_copies[s * 2 + n];
      EXPECT_NEAR(copies, static_cast<double>(drawn.counts.node_copies[n]), 1e-9);
    }
  }
}

// A token is once on a node that it reaches, at most once on each of its ranks, and at most as often as it has rows.
TEST(TrafficMatrix, ExactCopiesLieBetweenNodesAndRows) {
  const Drawn drawn;
  const TrafficMatrix matrix = traffic_matrix(drawn.exact(), Drawn::two_nodes());
  for (std::size_t s = 0; s < 16; ++s) {
    double rows = 0, on_nodes = 0;
    for (std::size_t n = 0; n < 2; ++n) {
      double copies = 0;
      for (std::size_t d = n * 8; d < n * 8 + 8; ++d) {
        copies += matrix.rank_copies[s * 16 + d];
        rows += matrix.rows[s * 16 + d];
        EXPECT_LE(matrix.rank_copies[s * 16 + d], matrix.rows[s * 16 + d]);
      }
      EXPECT_LE(matrix.node_copies[s * 2 + n], copies);
      EXPECT_LE(matrix.node_copies[s * 2 + n], static_cast<double>(drawn.counts.tokens[s]));
      on_nodes += matrix.node_copies[s * 2 + n];
    }
    EXPECT_EQ(rows, static_cast<double>(4 * drawn.counts.tokens[s]));
    EXPECT_GE(on_nodes, static_cast<double>(drawn.counts.tokens[s]));
  }
}

// With tokens a, b of one source on ranks 0 and 8, its first copy crosses to rank 8 by the sender's own index: source 3
// sends to rank 11, which passes on to rank 8.
TEST(Transfers, NormalKernelsEnterANodeAtTheSendersIndex) {
  const Topology topology(hgx(2));
  const GroupNodes nodes = group_nodes(topology, first_gpus(16));
  TrafficMatrix matrix{16, 2, std::vector<double>(256), std::vector<double>(256), std::vector<double>(32)};
  matrix.rank_copies[3 * 16 + 0] = 5;   // inside the node, direct
  matrix.rank_copies[3 * 16 + 3] = 7;   // stays
  matrix.rank_copies[3 * 16 + 8] = 2;   // to the other node and on
  matrix.rank_copies[3 * 16 + 11] = 4;  // is there when it enters
  matrix.node_copies[3 * 2 + 0] = 9;
  matrix.node_copies[3 * 2 + 1] = 6;
  std::vector<double> bytes(256), expected(256);
  add_transfers(MoeBackend::deepep_high_throughput, matrix, nodes, 10, bytes);
  expected[3 * 16 + 0] = 50;
  expected[3 * 16 + 11] = 60;
  expected[11 * 16 + 8] = 20;
  EXPECT_EQ(bytes, expected);
}

// Ranks 0 and 1 have 100 rows each for ranks 8 and 9 of the other node, where 100 distinct tokens arrive: in proportion
// to the rows each source sends 50 to either, 100 in all. Known by pair, source 1 has 90 of them: 180 leave its port.
TEST(MoeExchange, TakesTheCopiesOfPairsWhereTheyAreKnown) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  const CollectiveProfile profile = shipped_profile(cluster);
  std::vector<std::int64_t> tokens(16, 0), rows(16, 0), copies(16, 0), node{0, 100}, twice(16, 0), node_twice{0, 200};
  std::vector<std::uint32_t> pair_rows(256, 0), pair_copies(256, 0), pair_nodes(32, 0);
  tokens[0] = tokens[1] = 100;
  for (const std::size_t d : {8, 9}) {
    rows[d] = 200;
    copies[d] = 100;
    twice[d] = 200;
    pair_rows[d] = pair_rows[16 + d] = 100;
    pair_copies[d] = 10;
    pair_copies[16 + d] = 90;
  }
  pair_nodes[1] = 10;
  pair_nodes[3] = 90;
  const RoutedTraffic even{tokens, rows, copies, node, pair_rows};
  const RoutedTraffic more{tokens, rows, twice, node_twice, pair_rows};
  const RoutedTraffic exact{tokens, rows, copies, node, pair_rows, pair_copies, pair_nodes};
  const MoeExchange direct(topology, profile, first_gpus(16), MoeBackend::pplx, kPayload);
  const double base = direct.dispatch(even).seconds(), a_hundred = direct.dispatch(more).seconds() - base;
  EXPECT_NEAR(direct.dispatch(exact).seconds() - base, 0.8 * a_hundred, 1e-11);
  // Once to the node: 50 of 100 tokens by rows, 90 when known.
  const MoeExchange by_node(topology, profile, first_gpus(16), MoeBackend::deepep_high_throughput, kPayload);
  EXPECT_GT(by_node.dispatch(exact), by_node.dispatch(even));
}

// The links of a kind carry together what the prepared exchange says it moves: exactly where every copy takes a path of
// its own length class.
TEST(ExchangeLinks, AddUpToTheBytesThatTheExchangeMoves) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  const CollectiveProfile profile = shipped_profile(cluster);
  const Drawn drawn;
  for (const MoeBackend backend : {MoeBackend::allgather_reducescatter, MoeBackend::naive, MoeBackend::pplx,
                                   MoeBackend::deepep_high_throughput, MoeBackend::deepep_low_latency}) {
    const MoeExchange exchange(topology, profile, first_gpus(16), backend, kPayload);
    ExchangeLinks links(topology, profile, first_gpus(16), backend, kPayload);
    for (const RoutedTraffic& traffic : {drawn.exact(), drawn.by_rows(), drawn.by_tokens()}) {
      LinkBytes apart(topology.links().size()), together(topology.links().size());
      links.add_dispatch(traffic);
      links.lay_on(apart);
      const CarriedBytes out = total_by_kind(apart, topology), moved = exchange.dispatch_bytes(traffic);
      for (std::size_t kind = 0; kind < kLinkKinds; ++kind) {
        // Which rails meet follows the mean path in `dispatch_bytes`.
        const double tolerance = static_cast<LinkKind>(kind) == LinkKind::fabric ? 0.2 : 1e-9;
        EXPECT_NEAR(out[kind], moved[kind], tolerance * moved[kind] + 1e-6) << name(backend) << " kind " << kind;
      }
      links.add_combine(traffic);
      links.lay_on(apart);
      links.add_both(traffic);
      links.lay_on(together);
      for (std::uint32_t link = 0; link < topology.links().size(); ++link) {
        EXPECT_NEAR(apart[LinkId{link}], together[LinkId{link}], 1e-6) << name(backend);
      }
    }
  }
}

// All choices fall on rank 3 of 8, 100 rows from each: its port takes 700 messages in, those of the others nothing; in
// the combine it sends as many back.
TEST(ExchangeLinks, ShowTheHotRank) {
  const Topology topology(hgx(1));
  const CollectiveProfile profile = shipped_profile(hgx(1));
  std::vector<std::int64_t> tokens(8, 100), rows(8, 0), node(1, 800);
  rows[3] = 800;
  const RoutedTraffic traffic{tokens, rows, rows, node};
  ExchangeLinks links(topology, profile, first_gpus(8), MoeBackend::deepep_low_latency, kPayload);
  LinkBytes bytes(topology.links().size());
  links.add_both(traffic);
  links.lay_on(bytes);
  for (std::uint32_t gpu = 0; gpu < 8; ++gpu) {
    const LinkId in = topology.path(GpuId{(gpu + 1) % 8}, GpuId{gpu}).back();
    const LinkId out = topology.path(GpuId{gpu}, GpuId{(gpu + 1) % 8}).front();
    EXPECT_NEAR(bytes[in], gpu == 3 ? 700 * 1000 : 100 * 3000, 1e-6);
    EXPECT_NEAR(bytes[out], gpu == 3 ? 700 * 3000 : 100 * 1000, 1e-6);
  }
}

TEST(GroupCollectives, PutOnTheirLinksWhatTheyMove) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  GpuGroup group;  // four GPUs of each node
  for (const std::uint32_t gpu : {2U, 3U, 5U, 7U, 8U, 9U, 10U, 12U}) group.push_back(GpuId{gpu});
  const GroupCollectives collectives(topology, shipped_profile(cluster), group);
  for (const Collective kind : {Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter,
                                Collective::all_to_all, Collective::send_recv}) {
    LinkBytes bytes(topology.links().size());
    collectives.add_link_bytes(kind, Bytes{12345}, bytes);
    const CarriedBytes sum = total_by_kind(bytes, topology), moved = collectives.moved_bytes(kind, Bytes{12345});
    for (std::size_t k = 0; k < kLinkKinds; ++k) EXPECT_NEAR(sum[k], moved[k], 1e-6) << name(kind);
  }
}

}  // namespace
}  // namespace moesim
