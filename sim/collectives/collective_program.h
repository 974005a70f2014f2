#pragma once
// Collectives as programs of transfers, one function an algorithm. The same parameters as the closed forms of
// `GroupCollectives`: latencies of steps and shares of the links by protocol.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "collectives/collective_cost.h"
#include "collectives/collective_profile.h"
#include "core/units.h"
#include "network/topology.h"
#include "network/transfer_program.h"

namespace moesim {

/// How ranks take part. R ranks, N nodes (scale-up domains) of g ranks, s bytes in the convention of nccl-tests, l and
/// h the latency of a step inside a node and over the network, b what every call costs.
///   ring                all_reduce, all_gather, reduce_scatter, broadcast. Pipelined: every hop carries 2 (R - 1) / R
///   s,
///                       (R - 1) / R s or s; k ((R - N) l + (N - 1) h), k = 2 for all_reduce [nccl: tuning]. Between
///                       nodes one channel a GPU, which enters and leaves a node by rails in turn.
///   tree                all_reduce: chains inside nodes, two complementary binary trees between them, each with half
///   of
///                       the bytes [nccl 2.4: double binary trees]; 2 ((g - 1) l + ceil(log2 N) h)
///   recursive_doubling  all_reduce s, all_gather s / R 2^i, reduce_scatter s / 2^(i + 1) in round i of log2(R); R is a
///                       power of two
///   in_switch           all_reduce with multicast in NVSwitch (NVLS): s + s / n up and down a GPU; between nodes rings
///   on
///                       the rails
///   one_shot, two_shot  all_reduce of engines inside one domain: s to every peer; s / n to every peer, twice
///   hierarchical        all_reduce: reduce-scatter in the node, ring on each rail, all-gather in the node; all_gather,
///                       reduce_scatter: rail, node; all_to_all: one call to the local ranks with the index of the
///                       receivers, one to the nodes on each rail
///   direct              every rank to every other at once: all_to_all, all_gather, reduce_scatter, broadcast,
///   send_recv pairwise            all_to_all in R - 1 rounds; with rank r + i, or r xor i where R is a power of two
enum class Algorithm { ring, tree, recursive_doubling, in_switch, one_shot, two_shot, hierarchical, direct, pairwise };
inline constexpr std::size_t kAlgorithms = static_cast<std::size_t>(Algorithm::pairwise) + 1;
std::string_view name(Algorithm algorithm);

/// NCCL's LL, LL128 (rings and trees, where the profile has it) and Simple.
enum class Protocol { low_latency, ll128, bulk };
inline constexpr std::size_t kProtocols = static_cast<std::size_t>(Protocol::bulk) + 1;
std::string_view name(Protocol protocol);

/// Where two GPUs of different nodes are on different rails: over NVLink to the GPU of the own node on the other's rail
/// and through its NIC, as NCCL does from 2.12 on (PXN), or through the own NIC and the spine.
enum class Forwarding { rails, none };
std::string_view name(Forwarding forwarding);

struct CollectiveCall {
  Collective kind = Collective::all_reduce;
  Algorithm algorithm = Algorithm::ring;
  Protocol protocol = Protocol::bulk;
  Bytes bytes;
  Forwarding forwarding = Forwarding::rails;
};

/// Why the group cannot run the algorithm, in a few words; empty when it can.
std::string algorithm_problem(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                              Collective kind, Algorithm algorithm);
/// The same of a protocol.
std::string protocol_problem(const CollectiveProfile& profile, Collective kind, Protocol protocol);

/// Without a problem as above. Bytes are split into whole ones, so that sums are exact. One rank: an empty program.
TransferProgram collective_program(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                   const CollectiveCall& call);

/// The algorithm and protocol that the library would take: the least closed form among rings, trees and in_switch for
/// all_reduce, rings for the others, direct for all_to_all and send_recv. Its latency is then set so that the program
/// alone takes what was calibrated (`GroupCollectives::time`); where even the bytes take longer, its ports are made
/// faster. Physical links stay as they are.
struct ChosenProgram {
  CollectiveCall call;
  TransferProgram program;
};
ChosenProgram calibrated_program(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                 Collective kind, Bytes bytes);

/// All-to-all by grouped send and receive with unequal messages: `messages[s * R + d]` bytes from rank s to rank d. The
/// protocol with the least closed form, with the latency and ports of the equal all-to-all.
TransferProgram uneven_all_to_all(const Topology& topology, const CollectiveProfile& profile, const GpuGroup& group,
                                  std::span<const Bytes> messages);

/// All-reduce as engines do it inside a CUDA graph (`GroupCollectives::custom_all_reduce_time`): their own kernels
/// where those are faster than the library.
ChosenProgram calibrated_engine_all_reduce(const Topology& topology, const CollectiveProfile& profile,
                                           const GpuGroup& group, Bytes bytes);

/// The cache of a prompt from one GPU to another, `layer_bytes` of each of `layers`; layer i has been computed at
/// i x `compute`. Whole: one message behind the last layer. By layers: one each, as soon as it is computed and the one
/// before has gone. With m = a + layer_bytes / B, a the latency of a message:
///     whole      layers compute + a + layers layer_bytes / B
///     by layers  compute + m + (layers - 1) max(compute, m)
struct CacheTransfer {
  GpuId from, to;
  Bytes layer_bytes;
  std::int32_t layers = 1;
  Duration compute;  ///< of one layer
};
enum class CacheTransferMode { whole, by_layers };
TransferProgram cache_program(const Topology& topology, const CollectiveProfile& profile, const CacheTransfer& cache,
                              CacheTransferMode mode);

}  // namespace moesim
