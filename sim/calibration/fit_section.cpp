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
FitParameter at(std::string_view key, double low, double high) {
  return {key, [](const CollectiveProfile& profile) { return value((profile.*....*Members)); },
          [](CollectiveProfile& profile, double x) { assign((profile.*....*Members), x); }, low, high};
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
          2, 500};
}

template <std::size_t I>
FitParameter domain_share() {
  return {
      "all_reduce/rate",
      [](const CollectiveProfile& p) { return p.domain_all_reduce.size() > I ? p.domain_all_reduce[I].share : 1.0; },
      [](CollectiveProfile& p, double x) {
        if (p.domain_all_reduce.size() > I) p.domain_all_reduce[I].share = x;
      },
      0.05, 2};
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
          .parameters = {at<&P::ring, &Ring::base>("base", 1, 60), at<&P::ring, &Ring::step>("step", 0.1, 20),
                         at<&P::ring, &Ring::ll_share>("ll_rate", 0.005, 1.2),
                         at<&P::ring, &Ring::ll128_extra>("ll128_extra", kShort, 60),
                         at<&P::ring, &Ring::ll128_step>("ll128_step", 0.1, 20),
                         at<&P::ring, &Ring::ll128_share>("ll128_rate", 0.02, 1.3),
                         at<&P::ring, &Ring::simple_extra>("simple_extra", kShort, 200),
                         at<&P::ring, &Ring::simple_step>("simple_step", 0.1, 40),
                         at<&P::ring, &Ring::simple_share>("simple_rate", 0.05, 1.3), domain_latency<0>(),
                         domain_share<0>(), domain_latency<1>(), domain_share<1>()},
          .members = {"ring", "all_reduce"}};
}

FitSection all_to_all_section() {
  return {.name = "all_to_all",
          .op = CommOp::nccl,
          .curves = {CostCurve::all_to_all},
          .parameters = {at<&P::all_to_all, &Direct::base>("base", 1, 60),
                         at<&P::all_to_all, &Direct::per_peer>("per_peer", kShort, 10),
                         at<&P::all_to_all, &Direct::ll_share>("ll_rate", 0.002, 1.2),
                         at<&P::all_to_all, &Direct::simple_extra>("simple_extra", kShort, 100),
                         at<&P::all_to_all, &Direct::simple_share>("simple_rate", 0.05, 1.3)},
          .members = {"all_to_all"}};
}

FitSection send_recv_section() {
  return {.name = "send_recv",
          .op = CommOp::nccl,
          .curves = {CostCurve::send_recv},
          .parameters = {at<&P::send_recv, &LatencyAndShare::latency>("latency", 1, 100),
                         at<&P::send_recv, &LatencyAndShare::share>("rate", 0.01, 1.3)},
          .members = {"send_recv"}};
}

FitSection network_section() {
  return {.name = "network",
          .op = CommOp::nccl,
          .curves = {CostCurve::all_reduce, CostCurve::all_gather, CostCurve::reduce_scatter, CostCurve::all_to_all},
          .between_domains = true,
          .parameters = {at<&P::network, &Net::hop>("hop", 0.5, 200),
                         at<&P::network, &Net::ll128_hop>("ll128_hop", 0.5, 300),
                         at<&P::network, &Net::bulk_hop>("bulk_hop", 0.5, 500),
                         at<&P::network, &Net::share>("rate", 0.1, 1.2),
                         at<&P::network, &Net::ll_share>("ll_rate", 0.02, 1.2),
                         at<&P::network, &Net::all_to_all_share>("all_to_all_rate", 0.1, 1.2)},
          .members = {"network"}};
}

template <auto Section>
FitSection custom_section(std::string_view name, CostCurve curve) {
  return {.name = name,
          .op = CommOp::custom_allreduce,
          .curves = {curve},
          .parameters = {at<Section, &Custom::one_shot_base>("one_shot_base", 0.5, 40),
                         at<Section, &Custom::one_shot_per_peer>("one_shot_per_peer", kShort, 5),
                         at<Section, &Custom::one_shot_share>("one_shot_rate", 0.02, 2),
                         at<Section, &Custom::two_shot_base>("two_shot_base", 0.5, 60),
                         at<Section, &Custom::two_shot_per_peer>("two_shot_per_peer", kShort, 5),
                         at<Section, &Custom::two_shot_share>("two_shot_rate", 0.05, 1.3)},
          .members = {name}};
}

template <auto Section>
FitSection low_latency_section(std::string_view name, std::string_view member, CostCurve curve) {
  return {.name = name,
          .op = CommOp::deepep_ll,
          .curves = {curve},
          .anywhere = true,
          .parameters = {at<Section, &Low::domain, &LatencyAndShare::latency>("latency", 1, 60),
                         at<Section, &Low::domain, &LatencyAndShare::share>("rate", 0.05, 1.5),
                         at<Section, &Low::network, &LatencyAndShare::latency>("network_latency", 1, 100),
                         at<Section, &Low::per_log2_nodes>("per_log2_nodes", kShort, 30),
                         at<Section, &Low::network, &LatencyAndShare::share>("network_rate", 0.2, 1.2),
                         at<Section, &Low::per_expert>("per_expert", kShort, 2),
                         at<Section, &Low::token_latency>("token_latency", kShort, 20),
                         at<Section, &Low::token_share>("token_rate", 0.001, 1000)},
          .members = {member}};
}

template <auto Section>
FitSection normal_section(std::string_view name, std::string_view member, CostCurve curve) {
  return {.name = name,
          .op = CommOp::deepep_normal,
          .curves = {curve},
          .anywhere = true,
          .parameters = {at<Section, &Normal::latency>("latency", 1, 200),
                         at<Section, &Normal::per_log2_nodes>("per_log2_nodes", kShort, 60),
                         at<Section, &Normal::scale_up_share_per_sm>("rate_per_sm", 0.002, 1),
                         at<Section, &Normal::scale_up_share>("rate", 0.1, 5),
                         at<Section, &Normal::network_share_per_sm>("network_rate_per_sm", 0.002, 1),
                         at<Section, &Normal::network_share>("network_rate", 0.1, 1.2),
                         at<Section, &Normal::per_copy>("per_copy", kShort, 5),
                         at<Section, &Normal::per_token>("per_token", kShort, 10),
                         at<Section, &Normal::token_share>("token_rate", 0.0005, 1000)},
          .members = {member}};
}

template <auto Section>
FitSection nvlink_section(std::string_view name, std::string_view member, CostCurve curve) {
  return {.name = name,
          .op = CommOp::nvlink_a2a,
          .curves = {curve},
          .parameters = {at<Section, &Nvlink::latency>("latency", 1, 100),
                         at<Section, &Nvlink::per_log2_ranks>("per_log2_ranks", kShort, 20),
                         at<Section, &Nvlink::per_token>("per_token", 1e-5, 2),
                         at<Section, &Nvlink::share>("rate", 0.05, 1.5)},
          .members = {member}};
}

FitSection put_section() {
  return {.name = "put",
          .op = CommOp::p2p,
          .curves = {CostCurve::put},
          .anywhere = true,
          .parameters = {at<&P::put, &PutTransfer::latency>("latency", 0.5, 1000),
                         at<&P::put, &PutTransfer::per_message>("per_message", kShort, 20),
                         at<&P::put, &PutTransfer::share>("rate", 0.05, 1.2)},
          .members = {"put"}};
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
                                                    CostCurve::low_latency_dispatch),
      low_latency_section<&P::low_latency_combine>("low_latency_combine", "exchange/low_latency_combine",
                                                   CostCurve::low_latency_combine),
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
      put_section()};
  return sections;
}

}  // namespace moesim
