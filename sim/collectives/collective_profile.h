#pragma once
// Measured parameters of communication libraries on one family of scale-up domains. Rates are shares of what the link
// that carries them can reach (line rate x efficiency of the cluster), so that a family serves another system with its
// own links; latencies are times.

#include <cstdint>
#include <string>
#include <vector>

#include "core/units.h"

namespace moesim {

/// Ring collectives of NCCL inside one domain: t = min(base + k step + w / ll_share B,
/// base + simple_extra + k simple_step + w / simple_share B), k = 2 (n - 1) for all-reduce and n - 1 for all-gather and
/// reduce-scatter, w = 2 (n - 1) / n s or (n - 1) / n s.
struct RingProtocols {
  Duration base, step;
  double ll_share = 0;
  Duration simple_extra, simple_step;
  double simple_share = 0;
};

/// A protocol of all-reduce that needs at least `ranks` GPUs of one domain: reduction inside the switch, tree.
struct DomainAllReduce {
  std::uint32_t ranks = 0;
  Duration latency;
  double share = 0;
};

/// All-to-all of NCCL: t = base + u (n - 1) + w / share B, + simple_extra with simple_share; a third rate holds from
/// `bulk_from` on (0: none) and meets the second one there.
struct DirectProtocols {
  Duration base, per_peer;
  double ll_share = 0;
  Duration simple_extra;
  double simple_share = 0;
  Bytes bulk_from;
  double bulk_share = 0;
};

struct LatencyAndShare {
  Duration latency;
  double share = 0;
};

/// Between domains: `hop` for every step over the network; shares of the rate of NICs and fabric links.
struct NetworkProtocols {
  Duration hop;         ///< of the low-latency protocol
  Duration bulk_hop;    ///< of the others, which move chunks
  double share = 0;     ///< of the bulk protocol
  double ll_share = 0;  ///< of the low-latency protocol, which carries a flag with every word
  double all_to_all_share = 0;
  double two_node_factor = 2;  ///< all-reduce between two domains is a tree of one edge: half the bytes of a ring
};

/// Custom all-reduce of the engines, inside a CUDA graph and one domain of at most `max_ranks` (0: none). One shot:
/// every rank reads all buffers, b + c (n - 1) + (n - 1) s / B; two shots: reduce-scatter and all-gather, b + c (n - 1)
/// + 2 (n - 1) / n s / B.
struct CustomAllReduce {
  std::uint32_t max_ranks = 0;
  Duration one_shot_base, one_shot_per_peer;
  double one_shot_share = 0;
  Duration two_shot_base, two_shot_per_peer;
  double two_shot_share = 0;
};

/// One direction of a low-latency exchange: `domain` alone inside one domain; between several
/// network.latency + per_log2_nodes log2(domains), the busier of NVLink and NIC.
struct LowLatencyExchange {
  LatencyAndShare domain, network;
  Duration per_log2_nodes;
};

/// One direction of DeepEP's normal kernels: rates grow with the SMs that the kernels may use, up to a cap.
struct NormalExchange {
  Duration latency, per_log2_nodes;
  double scale_up_share_per_sm = 0, scale_up_share = 0;
  double network_share_per_sm = 0, network_share = 0;
};

/// One kernel of an NVLink exchange: latency + per_log2_ranks log2(n) + per_token T + bytes / (share B).
struct NvlinkExchange {
  Duration latency, per_log2_ranks, per_token;
  double share = 0;
};

struct CollectiveProfile {
  std::string name;      ///< file stem
  std::string provider;  ///< libraries that were measured: "nccl, deepep"
  std::string date;      ///< of the fit, YYYY-MM-DD
  std::vector<std::string> sources;
  std::vector<std::string> notes;  ///< what was extrapolated, one sentence each
  bool extrapolated = false;       ///< not measured on this GPU and kind of scale-up
  RingProtocols ring;
  std::vector<DomainAllReduce> domain_all_reduce;
  DirectProtocols all_to_all;
  LatencyAndShare send_recv, network_send_recv;
  NetworkProtocols network;
  CustomAllReduce custom_all_reduce;
  LowLatencyExchange low_latency_dispatch, low_latency_combine;
  NormalExchange normal_dispatch, normal_combine;
  std::int32_t normal_sms = 20;  ///< [deepep: Buffer.num_sms]
  NvlinkExchange two_sided_prepare, two_sided_dispatch, two_sided_combine, one_sided_dispatch, one_sided_combine;
};

}  // namespace moesim
