// Collectives on GPUs that a drawn graph joins in a ring: real paths, not those of a mesh.

#include <gtest/gtest.h>

#include "collectives/collective_program.h"
#include "collectives/link_loads.h"
#include "collectives/sample_clusters.h"

namespace moesim {
namespace {

constexpr double kLink = 100e9;
constexpr std::int64_t kBuffer = 800'000'000;

/// Eight GPUs, each with a link to the next in an order that is not that of their numbers: 0 3 6 1 4 7 2 5.
ClusterSpec drawn_ring() {
  ClusterGraph graph;
  for (int g = 0; g < 8; ++g) graph.add(VertexKind::gpu, "g" + std::to_string(g), 0);
  const LinkClass link{{kLink}, 1, Duration::nanoseconds(100)};
  for (std::uint32_t i = 0; i < 8; ++i) graph.connect(3 * i % 8, 3 * (i + 1) % 8, LinkKind::scale_up, link);
  ClusterSpec cluster;
  cluster.name = "drawn ring";
  cluster.gpu = "h100_sxm";
  cluster.graph = std::move(graph);
  sum_up_graph(cluster);
  return cluster;
}

CollectiveProfile plain() {
  CollectiveProfile profile;
  profile.ring.base = Duration::microseconds(5);
  profile.ring.simple_extra = Duration::microseconds(10);
  profile.ring.step = profile.ring.simple_step = Duration::microseconds(2);
  profile.ring.ll_share = 0.2;
  profile.ring.simple_share = 1;
  profile.all_to_all.base = Duration::microseconds(5);
  profile.all_to_all.ll_share = 0.2;
  profile.all_to_all.simple_share = 1;
  return profile;
}

Duration alone(const Topology& topology, const TransferProgram& program) {
  const ProgramStart start{&program, Instant()};
  return run_programs(topology, std::span(&start, 1)).end - Instant();
}

TEST(DrawnRing, IsFoundByItsLinks) {
  const Topology topology(drawn_ring());
  EXPECT_FALSE(is_full_mesh(topology, first_gpus(8)));
  const std::vector<GpuId> ring = ring_of_neighbours(topology, first_gpus(8));
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(topology.path(ring[i], ring[(i + 1) % 8]).size(), 1u) << i;
  // Four of eight that are no neighbours stay in their order; a switched node has no links between GPUs.
  const GpuGroup apart{GpuId{0}, GpuId{6}, GpuId{4}, GpuId{2}};
  EXPECT_EQ(ring_of_neighbours(topology, apart), apart);
  EXPECT_EQ(ring_of_neighbours(Topology(hgx(1)), first_gpus(8)), first_gpus(8));
}

TEST(DrawnRing, RunsARingAllReduceInTheTextbookTime) {
  // base + 2 (R - 1) steps + 2 (R - 1) / R s over one link; over the mesh of all pairs it took every link thrice.
  const Topology topology(drawn_ring());
  const double seconds = 15e-6 + 2 * 7 * 2e-6 + 2 * 7.0 / 8 * kBuffer / kLink;
  const CollectiveCall call{Collective::all_reduce, Algorithm::ring, Protocol::bulk, Bytes{kBuffer}};
  const TransferProgram program = collective_program(topology, plain(), first_gpus(8), call);
  EXPECT_NEAR(alone(topology, program).seconds(), seconds, 1e-6 * seconds);
  EXPECT_NEAR(GroupCollectives(topology, plain(), first_gpus(8)).time(Collective::all_reduce, Bytes{kBuffer}).seconds(),
              seconds, 1e-3 * seconds);
}

TEST(DrawnRing, SendsADirectAllToAllAsItsBisectionLets) {
  // Half of 8 x s/8 x 8 bytes crosses two links each way: 4 x 4 x s / 8 over 2 links. Shortest paths load no link by
  // more than (1 + 2 + 3 + 4) s / 8, when all messages to the farthest go the same way round.
  const Topology topology(drawn_ring());
  const CollectiveCall call{Collective::all_to_all, Algorithm::direct, Protocol::bulk, Bytes{kBuffer}};
  const double took = alone(topology, collective_program(topology, plain(), first_gpus(8), call)).seconds();
  EXPECT_GE(took, 2.0 * kBuffer / (2 * kLink));
  EXPECT_LE(took, 10.0 / 8 * kBuffer / kLink + 50e-6);
}

}  // namespace
}  // namespace moesim
