#pragma once
// Measured parameters of communication libraries on one family of scale-up domains. Rates are shares of what the link
// that carries them can reach (line rate x efficiency of the cluster), so that a family serves another system with its
// own links; latencies are times.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.h"
#include "hardware/kernel_regime.h"

namespace moesim {

/// Ring collectives of NCCL inside one domain: t = min over the protocols of base + extra + k step + w / share B,
/// k = 2 (n - 1) for all-reduce and n - 1 for all-gather and reduce-scatter, w = 2 (n - 1) / n s or (n - 1) / n s.
/// LL has no extra; LL128 is left out where its share is 0.
struct RingProtocols {
  Duration base, step;
  double ll_share = 0;
  Duration ll128_extra, ll128_step;
  double ll128_share = 0;
  Duration simple_extra, simple_step;
  double simple_share = 0;
};

/// Words that LL128 carries of the 16 in a line; the others are flags [nccl].
inline constexpr double kLl128Payload = 15.0 / 16;

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
  Duration ll128_hop;   ///< of LL128
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
/// network.latency + per_log2_nodes log2(domains), the busier of NVLink and NIC. Besides, every expert of a rank is
/// polled (`per_expert`), and the kernel gives one SM to an expert, at most `sms` in all: its T tokens go in
/// ceil(T / min(experts, sms)) rounds of token_latency + payload / token_share B. With few experts that is what takes
/// the time: 8 experts use 8 SMs.
struct LowLatencyExchange {
  LatencyAndShare domain, network;
  Duration per_log2_nodes;
  Duration per_expert, token_latency;
  double token_share = 0;  ///< 0: no rounds
};
inline constexpr std::int64_t kLowLatencySms = 132;  ///< of an H100; from there on bytes bind

/// One direction of DeepEP's normal kernels: rates grow with the SMs that the kernels may use, up to a cap. An SM needs
/// `per_copy` for a copy and `per_token` for a token beside the bytes; the first token passes alone, at token_share B.
struct NormalExchange {
  Duration latency, per_log2_nodes;
  double scale_up_share_per_sm = 0, scale_up_share = 0;
  double network_share_per_sm = 0, network_share = 0;
  Duration per_copy, per_token;
  double token_share = 0;  ///< 0: takes no time
};

/// One kernel of an NVLink exchange: latency + per_log2_ranks log2(n) + per_token T + bytes / (share B).
struct NvlinkExchange {
  Duration latency, per_log2_ranks, per_token;
  double share = 0;
};

/// One-sided writes over one NIC, as KV transfers do: latency + per_message m + bytes / (share B) for m in one batch.
struct PutTransfer {
  Duration latency, per_message;
  double share = 0;
};

/// What a measured series is of: a collective or a kernel of an exchange.
enum class CostCurve {
  all_reduce,
  all_gather,
  reduce_scatter,
  all_to_all,
  send_recv,
  custom_all_reduce,
  custom_all_reduce_sglang,
  custom_all_reduce_trtllm,
  low_latency_dispatch,
  low_latency_combine,
  normal_dispatch,
  normal_combine,
  two_sided_prepare,
  two_sided_dispatch,
  two_sided_combine,
  one_sided_dispatch,
  one_sided_combine,
  put
};
inline constexpr std::size_t kCostCurves = static_cast<std::size_t>(CostCurve::put) + 1;
std::string_view name(CostCurve curve);

/// What the law leaves of a series in one domain: NCCL picks channels, chunks and protocols by size in steps that no
/// smooth law has. Time is multiplied by e^log_factor, linear in the logarithm of bytes (of tokens, for exchanges);
/// constant beyond the ends. Where the profile was measured at `ranks` on either side of a group, both are weighed by
/// the logarithm of its ranks.
struct CurveCorrection {
  CostCurve curve = CostCurve::all_reduce;
  std::uint32_t ranks = 0;
  std::vector<double> log_size;  ///< rising
  std::vector<double> log_factor;
};

/// What a curve was fitted to: predictions outside are extrapolations.
struct FittedRange {
  CostCurve curve = CostCurve::all_reduce;
  std::uint32_t fewest_ranks = 0, most_ranks = 0;
  double smallest = 0, largest = 0;  ///< bytes, or tokens a rank
  bool between_domains = false;
  double p90_ape = 0;  ///< of sizes that no fit saw; 0: not known
};

/// Multiplies the time of a curve by regime of size (collective_perturbation.h): all ones, but in a perturbed profile.
struct CurveFactors {
  CurveFactors() {
    for (auto& curve : by_curve) curve = {1, 1, 1};
  }
  std::array<std::array<double, kSizeRegimes>, kCostCurves> by_curve;
};

struct CollectiveProfile {
  std::string name;      ///< file stem
  std::string provider;  ///< libraries that were measured: "nccl, deepep"
  std::string date;      ///< of the fit, YYYY-MM-DD
  std::vector<std::string> sources;
  std::vector<std::string> notes;  ///< what was extrapolated, one sentence each
  bool extrapolated = false;       ///< not measured on this GPU and kind of scale-up
  std::string transport;           ///< of a known cloud network, whose hops are other than those of InfiniBand and RoCE
  RingProtocols ring;
  std::vector<DomainAllReduce> domain_all_reduce;
  DirectProtocols all_to_all;
  LatencyAndShare send_recv, network_send_recv;
  NetworkProtocols network;
  CustomAllReduce custom_all_reduce;  ///< of vLLM, and of an engine that was not measured
  CustomAllReduce custom_all_reduce_sglang, custom_all_reduce_trtllm;  ///< max_ranks 0: not measured
  LowLatencyExchange low_latency_dispatch, low_latency_combine;
  NormalExchange normal_dispatch, normal_combine;
  std::int32_t normal_sms = 20;  ///< [deepep: Buffer.num_sms]
  NvlinkExchange two_sided_prepare, two_sided_dispatch, two_sided_combine, one_sided_dispatch, one_sided_combine;
  PutTransfer put;
  std::vector<CurveCorrection> corrections;
  std::vector<FittedRange> fitted;
  CurveFactors factors;
};

/// The same with the all-reduce kernels of `engine` ("vllm", "sglang", "trtllm") as `custom_all_reduce`, where the
/// profile has them.
CollectiveProfile with_engine(CollectiveProfile profile, std::string_view engine);

}  // namespace moesim
