#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "collectives/collective_cost.h"
#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

constexpr TokenPayload kDeepSeek{Bytes{7168 + 7168 / 128 * 4 + 16}, Bytes{7168 * 2}};

/// Every rank has `tokens` tokens; copies as real numbers rounded, equal on all ranks and nodes.
struct Balanced {
  Balanced(std::size_t ranks, std::size_t nodes, std::int64_t tokens, double copies_per_rank, double copies_per_node)
      : source(ranks, tokens) {
    const auto all = static_cast<double>(tokens) * static_cast<double>(ranks);
    rows.assign(ranks, tokens * 8);
    rank_copies.assign(ranks, std::llround(all * copies_per_rank));
    node_copies.assign(nodes, std::llround(all * copies_per_node));
  }
  RoutedTraffic traffic() const { return {source, rows, rank_copies, node_copies, {}}; }
  std::vector<std::int64_t> source, rows, rank_copies, node_copies;
};

TEST(MoeExchange, LowLatencyKernelsFollowTheirMeasuredLaw) {
  // a0 + a1 log2(nodes) + tokens x top-k x payload x (1 - 8 / EP) / B, H100 with 400G NICs, top-8 of 256:
  // dispatch 15.5, 5.5 us, 47.7 GB/s; combine 23.8, 2.2, 46.2 (median error of these 2 %). One node measured: 36.7
  // and 67.0 us.
  const auto times = [](std::int32_t nodes) {
    const ClusterSpec cluster = hgx(nodes);
    const Topology topology(cluster);
    const auto ranks = static_cast<std::uint32_t>(8 * nodes);
    const MoeExchange exchange(topology, shipped_profile(cluster), first_gpus(ranks), MoeBackend::deepep_low_latency,
                               kDeepSeek);
    const Balanced even(ranks, static_cast<std::size_t>(nodes), 128, 0, 0);
    RoutedTraffic traffic = even.traffic();
    traffic.experts_per_rank = 256 / ranks;
    return std::pair{exchange.dispatch(traffic).microseconds(), exchange.combine(traffic).microseconds()};
  };
  for (const std::int32_t nodes : {2, 4}) {
    const double remote = 1 - 1.0 / nodes;
    const double dispatch = 15.5 + 5.5 * std::log2(nodes) + 128 * 8 * 7408.0 * remote / 47.7e3;
    const double combine = 23.8 + 2.2 * std::log2(nodes) + 128 * 8 * 14336.0 * remote / 46.2e3;
    EXPECT_NEAR(times(nodes).first, dispatch, 0.06 * dispatch) << nodes;
    EXPECT_NEAR(times(nodes).second, combine, 0.06 * combine) << nodes;
  }
  EXPECT_NEAR(times(1).first, 36.7, 0.10 * 36.7);
  EXPECT_NEAR(times(1).second, 67.0, 0.10 * 67.0);
}

TEST(MoeExchange, NormalKernelsSendATokenOnceToEachNode) {
  // 4 nodes of 8, 4,096 tokens a rank. A token reaches a node with probability q = 0.78 (3.12 of 4 nodes), a rank with
  // p = 0.165: 3 x 0.78 copies on the NIC at the least of the SMs' rate and the cap, and NVLink is faster.
  const ClusterSpec cluster = hgx(4);
  const Topology topology(cluster);
  CollectiveProfile profile = shipped_profile(cluster);
  const NormalExchange& law = profile.normal_dispatch;
  const Balanced even(32, 4, 4096, 0.165, 0.78);
  const double nvlink = 450e9 * 0.81, nic = 50e9 * 0.93;
  for (const std::int32_t sms : {20, 40}) {
    profile.normal_sms = sms;
    const MoeExchange exchange(topology, profile, first_gpus(32), MoeBackend::deepep_high_throughput, kDeepSeek);
    const double rate = nic * std::min(law.network_share, sms * law.network_share_per_sm);
    const double alpha = law.latency.seconds() + 2 * law.per_log2_nodes.seconds() + 7408 / (law.token_share * nvlink);
    EXPECT_NEAR(exchange.dispatch(even.traffic()).seconds(), alpha + 4096 * 3 * 0.78 * 7408 / rate, 1e-6) << sms;
    // 400G NICs give DeepEP 45 to 47 GB/s.
    EXPECT_LE(rate, 47e9);
  }
}

TEST(MoeExchange, NormalKernelsOfOneNodeAreBoundByTheirSms) {
  // Measured with 8 SMs, 7168 x top-8 of 256: 574 us for 2,048 tokens, 2,128 us for 8,192 (aiconfigurator 095f58a5).
  CollectiveProfile profile = shipped_profile(hgx(1));
  profile.normal_sms = 8;
  const Topology topology(hgx(1));
  const TokenPayload payload{Bytes{7168 + 7168 / 128 * 4}, Bytes{14336}};
  const MoeExchange exchange(topology, profile, first_gpus(8), MoeBackend::deepep_high_throughput, payload);
  EXPECT_NEAR(exchange.dispatch(Balanced(8, 1, 2048, 0.66, 1).traffic()).microseconds(), 574, 0.08 * 574);
  EXPECT_NEAR(exchange.dispatch(Balanced(8, 1, 8192, 0.66, 1).traffic()).microseconds(), 2128, 0.08 * 2128);
}

TEST(MoeExchange, NvlinkExchangeOfAnNvl72FollowsItsMeasuredLaw) {
  // GB200, EP 32, 256 tokens a rank, d = 8 (1 - 1/32) copies a token of balanced routing; two-sided: prepare
  // 10.8 + 0.75 log2 EP + 0.007 T, dispatch 9.5 + 0.94 log2 EP + 0.030 T + T m d / 713 GB/s; corrections by size are
  // within 4 us of these.
  ClusterSpec cluster = hgx(18, 900);
  cluster.gpu = "gb200";
  cluster.gpus_per_node = cluster.nics_per_node = 4;
  cluster.scale_up_domain = 72;
  cluster.fabric = FabricKind::none;
  cluster.scale_up_link.efficiency = 0.80;
  const Topology topology(cluster);
  const CollectiveProfile profile = shipped_profile(cluster, "gb200", "blackwell");
  const TokenPayload bf16{Bytes{14336}, Bytes{14336}};
  const MoeExchange exchange(topology, profile, first_gpus(32), MoeBackend::flashinfer_nvlink_two_sided, bf16);
  const Balanced even(32, 1, 256, 8.0 / 32, 1);
  const double wire = 256 * 14336 * 8 * (1 - 1.0 / 32);
  EXPECT_NEAR(exchange.dispatch(even.traffic()).microseconds(),
              10.8 + 0.75 * 5 + 0.007 * 256 + 9.5 + 0.94 * 5 + 0.030 * 256 + wire / 713e3, 4);
  EXPECT_NEAR(exchange.combine(even.traffic()).microseconds(), 10.1 + 0.98 * 5 + 0.058 * 256 + wire / 725e3, 4);
}

TEST(MoeExchange, BusiestReceiverDecides) {
  // All choices fall on rank 3: its ingress carries every other rank's messages, 7/8 of all tokens within the node.
  const Topology topology(hgx(1));
  CollectiveProfile profile = shipped_profile(hgx(1));
  profile.corrections.clear();
  const MoeExchange exchange(topology, profile, first_gpus(8), MoeBackend::deepep_low_latency, kDeepSeek);
  Balanced skewed(8, 1, 128, 0, 1);
  std::fill(skewed.rows.begin(), skewed.rows.end(), 0);
  skewed.rows[3] = 8 * 128 * 8;
  const LatencyAndShare& law = profile.low_latency_dispatch.domain;
  EXPECT_NEAR(exchange.dispatch(skewed.traffic()).seconds(),
              law.latency.seconds() + 8 * 128 * 8 * 7408.0 / (law.share * 450e9 * 0.81), 1e-8);
}

TEST(MoeExchange, AMatrixOfPairsWithEqualSourcesGivesTheSameTimes) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  const CollectiveProfile profile = shipped_profile(cluster);
  Balanced even(16, 2, 256, 0.4, 0.99);
  for (std::size_t r = 0; r < 16; ++r) {
    even.rows[r] = static_cast<std::int64_t>(16 * (100 + 5 * r));
    even.rank_copies[r] = static_cast<std::int64_t>(16 * (80 + 4 * r));
  }
  std::vector<std::uint32_t> pairs(256);
  for (std::size_t s = 0; s < 16; ++s) {
    for (std::size_t d = 0; d < 16; ++d) pairs[s * 16 + d] = static_cast<std::uint32_t>(even.rows[d] / 16);
  }
  RoutedTraffic with_pairs = even.traffic();
  with_pairs.pair_rows = pairs;
  for (const MoeBackend backend :
       {MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput, MoeBackend::pplx}) {
    const MoeExchange exchange(topology, profile, first_gpus(16), backend, kDeepSeek);
    EXPECT_NEAR(exchange.dispatch(with_pairs).microseconds(), exchange.dispatch(even.traffic()).microseconds(), 1e-3)
        << name(backend);
  }
  // One source sends everything: its NIC carries 16 times as much.
  Balanced one = even;
  std::fill(one.source.begin(), one.source.end(), 0);
  one.source[2] = 16 * 256;
  const MoeExchange exchange(topology, profile, first_gpus(16), MoeBackend::deepep_low_latency, kDeepSeek);
  const LowLatencyExchange& law = profile.low_latency_dispatch;
  const double fixed = law.network.latency.seconds() + law.per_log2_nodes.seconds();
  double remote_rows = 0;
  for (std::size_t d = 8; d < 16; ++d) remote_rows += static_cast<double>(even.rows[d]);
  EXPECT_NEAR(exchange.dispatch(one.traffic()).seconds(),
              fixed + remote_rows * 7408 / (law.network.share * 50e9 * 0.93), 1e-8);
}

TEST(MoeExchange, AllGatherBackendsIgnoreTheGates) {
  const Topology topology(hgx(1));
  const CollectiveProfile profile = shipped_profile(hgx(1));
  const MoeExchange exchange(topology, profile, first_gpus(8), MoeBackend::allgather_reducescatter, kDeepSeek);
  const GroupCollectives group(topology, profile, first_gpus(8));
  Balanced even(8, 1, 100, 0.6, 1), skewed = even;
  skewed.rows = {6400, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_FALSE(exchange.depends_on_routing());
  EXPECT_EQ(exchange.dispatch(even.traffic()), exchange.dispatch(skewed.traffic()));
  EXPECT_EQ(exchange.dispatch(even.traffic()), group.time(Collective::all_gather, Bytes{800 * 7408}));
  EXPECT_EQ(exchange.combine(even.traffic()), group.time(Collective::reduce_scatter, Bytes{800 * 14336}));
  const MoeExchange naive(topology, profile, first_gpus(8), MoeBackend::naive, kDeepSeek);
  EXPECT_EQ(naive.dispatch(even.traffic()), 8 * group.time(Collective::broadcast, Bytes{100 * 7408}));
  EXPECT_EQ(naive.combine(even.traffic()), group.time(Collective::all_reduce, Bytes{800 * 14336}));
}

TEST(MoeExchange, NothingToSendTakesNoTime) {
  const Topology topology(hgx(1));
  const Balanced idle(8, 1, 0, 0, 0);
  for (const MoeBackend backend :
       {MoeBackend::none, MoeBackend::allgather_reducescatter, MoeBackend::naive, MoeBackend::pplx,
        MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput, MoeBackend::flashinfer_nvlink_one_sided}) {
    const MoeExchange exchange(topology, shipped_profile(hgx(1)), first_gpus(8), backend, kDeepSeek);
    EXPECT_EQ(exchange.dispatch(idle.traffic()), Duration()) << name(backend);
    EXPECT_EQ(exchange.combine(idle.traffic()), Duration()) << name(backend);
  }
}

TEST(MoeExchange, RenumberingTheGpusOfANodeChangesNothing) {
  const ClusterSpec cluster = hgx(2);
  const Topology topology(cluster);
  GpuGroup group = first_gpus(16), turned = group;
  std::rotate(turned.begin(), turned.begin() + 3, turned.begin() + 8);
  std::rotate(turned.begin() + 8, turned.begin() + 11, turned.end());
  const Balanced even(16, 2, 512, 0.37, 0.985);
  for (const MoeBackend backend : {MoeBackend::deepep_low_latency, MoeBackend::deepep_high_throughput}) {
    const CollectiveProfile profile = shipped_profile(cluster);
    const MoeExchange a(topology, profile, group, backend, kDeepSeek), b(topology, profile, turned, backend, kDeepSeek);
    EXPECT_EQ(a.dispatch(even.traffic()), b.dispatch(even.traffic()));
    EXPECT_EQ(a.combine(even.traffic()), b.combine(even.traffic()));
  }
}

}  // namespace
}  // namespace moesim
