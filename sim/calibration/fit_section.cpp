#include "calibration/fit_section.h"

#include <algorithm>

namespace moesim {

namespace {

double value(Duration t) {
  return t.microseconds();
}
double value(double share) {
  return share;
}
void assign(Duration& t, double microseconds) {
  t = Duration::from_microseconds(microseconds);
}
void assign(double& share, double x) {
  share = x;
}

/// The number at a chain of members.
template <auto... Members>
FitParameter at(std::string_view key, double low, double high, double usual) {
  return {key,
          [](const CollectiveProfile& profile) { return value((profile.*....*Members)); },
          [](CollectiveProfile& profile, double x) { assign((profile.*....*Members), x); },
          low,
          high,
          usual};
}

template <std::size_t I>
FitParameter domain_latency() {
  return {"all_reduce/latency",
          [](const CollectiveProfile& p) {
            return p.domain_all_reduce.size() > I ? p.domain_all_reduce[I].latency.microseconds() : 1.0;
          },
          [](CollectiveProfile& p, double x) {
            if (p.domain_all_reduce.size() > I) p.domain_all_reduce[I].latency = Duration::from_microseconds(x);
          },
          2,
          500,
          30};
}

template <std::size_t I>
FitParameter domain_share() {
  return {
      "all_reduce/rate",
      [](const CollectiveProfile& p) { return p.domain_all_reduce.size() > I ? p.domain_all_reduce[I].share : 1.0; },
      [](CollectiveProfile& p, double x) {
        if (p.domain_all_reduce.size() > I) p.domain_all_reduce[I].share = x;
      },
      0.05,
      2,
      1};
}

using P = CollectiveProfile;
using Ring = RingProtocols;
using Direct = DirectProtocols;
using Net = NetworkProtocols;
using Custom = CustomAllReduce;
using Low = LowLatencyExchange;
using Normal = NormalExchange;
using Nvlink = NvlinkExchange;

constexpr double kShort = 0.001;  ///< microseconds: as good as none

FitSection ring_section() {
  return {.name = "ring",
          .op = CommOp::nccl,
          .curves = {CostCurve::all_reduce, CostCurve::all_gather, CostCurve::reduce_scatter},
          .parameters = {at<&P::ring, &Ring::base>("base", 1, 60, 8), at<&P::ring, &Ring::step>("step", 0.1, 20, 1),
                         at<&P::ring, &Ring::ll_share>("ll_rate", 0.005, 1.2, 0.3),
                         at<&P::ring, &Ring::ll128_extra>("ll128_extra", kShort, 60, 10),
                         at<&P::ring, &Ring::ll128_step>("ll128_step", 0.1, 20, 1),
                         at<&P::ring, &Ring::ll128_share>("ll128_rate", 0.02, 1.3, 0.7),
                         at<&P::ring, &Ring::simple_extra>("simple_extra", kShort, 200, 20),
                         at<&P::ring, &Ring::simple_step>("simple_step", 0.1, 40, 2),
                         at<&P::ring, &Ring::simple_share>("simple_rate", 0.05, 1.3, 0.9), domain_latency<0>(),
                         domain_share<0>(), domain_latency<1>(), domain_share<1>()},
          .members = {"ring", "all_reduce"}};
}

FitSection all_to_all_section() {
  return {.name = "all_to_all",
          .op = CommOp::nccl,
          .curves = {CostCurve::all_to_all},
          .parameters = {at<&P::all_to_all, &Direct::base>("base", 1, 60, 9),
                         at<&P::all_to_all, &Direct::per_peer>("per_peer", kShort, 10, 0.2),
                         at<&P::all_to_all, &Direct::ll_share>("ll_rate", 0.002, 1.2, 0.04),
                         at<&P::all_to_all, &Direct::simple_extra>("simple_extra", kShort, 100, 6),
                         at<&P::all_to_all, &Direct::simple_share>("simple_rate", 0.05, 1.3, 0.7)},
          .members = {"all_to_all"}};
}

FitSection send_recv_section() {
  return {.name = "send_recv",
          .op = CommOp::nccl,
          .curves = {CostCurve::send_recv},
          .parameters = {at<&P::send_recv, &LatencyAndShare::latency>("latency", 1, 100, 8),
                         at<&P::send_recv, &LatencyAndShare::share>("rate", 0.01, 1.3, 0.95)},
          .members = {"send_recv"}};
}

/// LL sends a flag of 4 bytes with 4 bytes of data [nccl], so at most half the rate of the NICs. Small messages go in
/// one channel, that is through one of the 8 NICs of a node, which the law counts as all of them, and a channel may
/// leave half of its NIC idle. The logs say 2 GB/s of 46.5: their all-reduces of 4 KiB to 1 MiB on 2 and 4 machines.
constexpr double kLlPayload = 0.5, kOneNicOfEight = 0.125, kFilledLine = 0.5;

FitSection network_section() {
  return {.name = "network",
          .op = CommOp::nccl,
          .curves = {CostCurve::all_reduce, CostCurve::all_gather, CostCurve::reduce_scatter, CostCurve::all_to_all},
          .between_domains = true,
          .parameters = {at<&P::network, &Net::hop>("hop", 0.5, 200, 5),
                         at<&P::network, &Net::ll128_hop>("ll128_hop", 0.5, 300, 15),
                         at<&P::network, &Net::bulk_hop>("bulk_hop", 0.5, 500, 35),
                         at<&P::network, &Net::share>("rate", 0.1, 1.2, 0.92),
                         at<&P::network, &Net::ll_share>("ll_rate", kFilledLine * kOneNicOfEight * kLlPayload,
                                                         kLlPayload, 0.1),
                         at<&P::network, &Net::all_to_all_share>("all_to_all_rate", 0.1, 1.2, 0.92)},
          .members = {"network"}};
}

template <auto Section>
FitSection custom_section(std::string_view name, CostCurve curve) {
  return {.name = name,
          .op = CommOp::custom_allreduce,
          .curves = {curve},
          .parameters = {at<Section, &Custom::one_shot_base>("one_shot_base", 0.5, 40, 4.5),
                         at<Section, &Custom::one_shot_per_peer>("one_shot_per_peer", kShort, 5, 0.15),
                         at<Section, &Custom::one_shot_share>("one_shot_rate", 0.02, 2, 0.7),
                         at<Section, &Custom::two_shot_base>("two_shot_base", 0.5, 60, 8),
                         at<Section, &Custom::two_shot_per_peer>("two_shot_per_peer", kShort, 5, 0.4),
                         at<Section, &Custom::two_shot_share>("two_shot_rate", 0.05, 1.3, 0.75)},
          .members = {name}};
}

/// `per_log2_ranks` as in the one-sided exchanges of the same direction, measured from 2 to 32 ranks
/// [communication-cost section 4]: low-latency kernels were measured at one count inside a domain on every system.
template <auto Section>
FitSection low_latency_section(std::string_view name, std::string_view member, CostCurve curve, double per_log2_ranks) {
  return {.name = name,
          .op = CommOp::deepep_ll,
          .curves = {curve},
          .anywhere = true,
          .parameters = {at<Section, &Low::domain, &LatencyAndShare::latency>("latency", 1, 60, 10),
                         at<Section, &Low::per_log2_ranks>("per_log2_ranks", kShort, 10, per_log2_ranks),
                         at<Section, &Low::domain, &LatencyAndShare::share>("rate", 0.05, 1.5, 0.9),
                         at<Section, &Low::network, &LatencyAndShare::latency>("network_latency", 1, 100, 14),
                         at<Section, &Low::per_log2_nodes>("per_log2_nodes", kShort, 30, 4),
                         at<Section, &Low::network, &LatencyAndShare::share>("network_rate", 0.2, 1.2, 1),
                         at<Section, &Low::per_flag>("per_flag", 0.0001, 0.5, 0.015),
                         at<Section, &Low::token_latency>("token_latency", kShort, 20, 1),
                         at<Section, &Low::token_share>("token_rate", 0.001, 1000, 0.02)},
          .members = {member}};
}

template <auto Section>
FitSection normal_section(std::string_view name, std::string_view member, CostCurve curve) {
  return {.name = name,
          .op = CommOp::deepep_normal,
          .curves = {curve},
          .anywhere = true,
          .parameters = {at<Section, &Normal::latency>("latency", 1, 200, 30),
                         at<Section, &Normal::per_log2_nodes>("per_log2_nodes", kShort, 60, 4),
                         at<Section, &Normal::scale_up_share_per_sm>("rate_per_sm", 0.002, 1, 0.06),
                         at<Section, &Normal::scale_up_share>("rate", 0.1, 5, 0.95),
                         at<Section, &Normal::network_share_per_sm>("network_rate_per_sm", 0.002, 1, 0.037),
                         at<Section, &Normal::network_share>("network_rate", 0.1, 1.2, 0.92),
                         at<Section, &Normal::per_copy>("per_copy", kShort, 5, 0.08),
                         at<Section, &Normal::per_token>("per_token", kShort, 10, 0.5),
                         at<Section, &Normal::token_share>("token_rate", 0.0005, 1000, 0.005)},
          .members = {member}};
}

template <auto Section>
FitSection nvlink_section(std::string_view name, std::string_view member, CostCurve curve) {
  return {.name = name,
          .op = CommOp::nvlink_a2a,
          .curves = {curve},
          .parameters = {at<Section, &Nvlink::latency>("latency", 1, 100, 10.5),
                         at<Section, &Nvlink::per_log2_ranks>("per_log2_ranks", kShort, 20, 1.2),
                         at<Section, &Nvlink::per_token>("per_token", 1e-5, 2, 0.01),
                         at<Section, &Nvlink::share>("rate", 0.05, 1.5, 0.98)},
          .members = {member}};
}

template <auto Section>
FitSection transfer_section(std::string_view name, CostCurve curve) {
  return {.name = name,
          .op = CommOp::p2p,
          .curves = {curve},
          .anywhere = true,
          .parameters = {at<Section, &BatchTransfer::latency>("latency", 0.5, 1000, 8),
                         at<Section, &BatchTransfer::fill>("fill", kShort, 200, 15),
                         at<Section, &BatchTransfer::fill_messages>("fill_messages", 1, 1000, 30),
                         at<Section, &BatchTransfer::per_message>("per_message", kShort, 20, 0.15),
                         at<Section, &BatchTransfer::share>("rate", 0.05, 1.2, 1)},
          .members = {name}};
}

}  // namespace

bool FitSection::takes(const CommSample& sample) const {
  if (std::find(curves.begin(), curves.end(), sample.curve) == curves.end()) return false;
  return anywhere || (sample.domains > 1) == between_domains;
}

std::span<const FitSection> fit_sections() {
  static const std::vector<FitSection> sections{
      ring_section(),
      all_to_all_section(),
      send_recv_section(),
      network_section(),
      custom_section<&P::custom_all_reduce>("custom_all_reduce", CostCurve::custom_all_reduce),
      custom_section<&P::custom_all_reduce_sglang>("custom_all_reduce_sglang", CostCurve::custom_all_reduce_sglang),
      custom_section<&P::custom_all_reduce_trtllm>("custom_all_reduce_trtllm", CostCurve::custom_all_reduce_trtllm),
      low_latency_section<&P::low_latency_dispatch>("low_latency_dispatch", "exchange/low_latency_dispatch",
                                                    CostCurve::low_latency_dispatch, 1.85),
      low_latency_section<&P::low_latency_combine>("low_latency_combine", "exchange/low_latency_combine",
                                                   CostCurve::low_latency_combine, 3.8),
      normal_section<&P::normal_dispatch>("normal_dispatch", "exchange/normal_dispatch", CostCurve::normal_dispatch),
      normal_section<&P::normal_combine>("normal_combine", "exchange/normal_combine", CostCurve::normal_combine),
      nvlink_section<&P::two_sided_prepare>("two_sided_prepare", "exchange/two_sided_prepare",
                                            CostCurve::two_sided_prepare),
      nvlink_section<&P::two_sided_dispatch>("two_sided_dispatch", "exchange/two_sided_dispatch",
                                             CostCurve::two_sided_dispatch),
      nvlink_section<&P::two_sided_combine>("two_sided_combine", "exchange/two_sided_combine",
                                            CostCurve::two_sided_combine),
      nvlink_section<&P::one_sided_dispatch>("one_sided_dispatch", "exchange/one_sided_dispatch",
                                             CostCurve::one_sided_dispatch),
      nvlink_section<&P::one_sided_combine>("one_sided_combine", "exchange/one_sided_combine",
                                            CostCurve::one_sided_combine),
      transfer_section<&P::put>("put", CostCurve::put),
      transfer_section<&P::get>("get", CostCurve::get)};
  return sections;
}

}  // namespace moesim
