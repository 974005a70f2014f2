#include "collectives/collective_perturbation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/math.h"
#include "core/random.h"
#include "hardware/cost_perturbation.h"

namespace moesim {

namespace {

bool by_tokens(CostCurve curve) {
  return curve >= CostCurve::low_latency_dispatch && curve <= CostCurve::one_sided_combine;
}

}  // namespace

SizeRegime comm_regime(CostCurve curve, double size) {
  const double medium = by_tokens(curve) ? 64 : 64 * 1024.0, large = by_tokens(curve) ? 512 : 16 * 1024.0 * 1024;
  return size < medium ? SizeRegime::small : size < large ? SizeRegime::medium : SizeRegime::large;
}

CommPerturbation CommPerturbation::draw(std::uint64_t seed, std::string_view gpu) {
  CommPerturbation perturbation;
  for (std::size_t c = 0; c < kCostCurves; ++c) {
    const Stream curve(seed, fmt::format("calibration/{}/{}", gpu, name(static_cast<CostCurve>(c))));
    for (std::size_t r = 0; r < kSizeRegimes; ++r) perturbation.normal[c][r] = curve.substream(r).normal();
  }
  return perturbation;
}

double log_sd(const CollectiveProfile& profile, CostCurve curve) {
  constexpr double normal_95 = 1.645;
  double p90 = 0;
  for (const FittedRange& range : profile.fitted) {
    if (range.curve == curve) p90 = std::max(p90, range.p90_ape);
  }
  const double own = p90 > 0 ? logarithm(1 + p90) / normal_95 : kUnmeasuredCommLogSd;
  const double transfer = profile.extrapolated ? kTransferLogSd : 0;
  return std::sqrt(own * own + transfer * transfer);
}

CollectiveProfile perturbed(CollectiveProfile profile, const CommPerturbation& perturbation) {
  for (std::size_t c = 0; c < kCostCurves; ++c) {
    const double sd = log_sd(profile, static_cast<CostCurve>(c));
    for (std::size_t r = 0; r < kSizeRegimes; ++r) {
      profile.factors.by_curve[c][r] = exponential(sd * perturbation.normal[c][r]);
    }
  }
  return profile;
}

CostCurve cost_curve(Collective kind) {
  switch (kind) {
    case Collective::all_reduce:
      return CostCurve::all_reduce;
    case Collective::all_gather:
    case Collective::broadcast:
      return CostCurve::all_gather;
    case Collective::reduce_scatter:
      return CostCurve::reduce_scatter;
    case Collective::all_to_all:
      return CostCurve::all_to_all;
    case Collective::send_recv:
      return CostCurve::send_recv;
  }
  fail_invariant(__FILE__, __LINE__, "unknown collective");
}

Duration perturbed_time(Duration time, const CollectiveProfile& profile, CostCurve curve, double size) {
  const auto regime = static_cast<std::size_t>(comm_regime(curve, size));
  const double factor = profile.factors.by_curve[static_cast<std::size_t>(curve)][regime];
  return factor == 1 ? time : Duration::from_seconds(time.seconds() * factor);
}

namespace {

struct ExchangeCurves {
  CostCurve dispatch, combine;
};

ExchangeCurves exchange_curves(MoeBackend backend) {
  switch (backend) {
    case MoeBackend::none:
    case MoeBackend::allgather_reducescatter:
      return {CostCurve::all_gather, CostCurve::reduce_scatter};
    case MoeBackend::naive:
      return {CostCurve::all_gather, CostCurve::all_reduce};
    case MoeBackend::pplx:
    case MoeBackend::deepep_low_latency:
      return {CostCurve::low_latency_dispatch, CostCurve::low_latency_combine};
    case MoeBackend::deepep_high_throughput:
      return {CostCurve::normal_dispatch, CostCurve::normal_combine};
    case MoeBackend::flashinfer_nvlink_one_sided:
      return {CostCurve::one_sided_dispatch, CostCurve::one_sided_combine};
    case MoeBackend::flashinfer_nvlink_two_sided:
      return {CostCurve::two_sided_dispatch, CostCurve::two_sided_combine};
  }
  fail_invariant(__FILE__, __LINE__, "unknown MoE backend");
}

}  // namespace

ExchangeTimes perturbed_times(ExchangeTimes times, const CollectiveProfile& profile, MoeBackend backend,
                              const RoutedTraffic& traffic, const TokenPayload& payload) {
  std::int64_t most = 0, all = 0;
  for (const std::int64_t tokens : traffic.tokens) {
    most = std::max(most, tokens);
    all += tokens;
  }
  const ExchangeCurves curves = exchange_curves(backend);
  const auto size = [&](CostCurve curve, Bytes token) {
    return static_cast<double>(by_tokens(curve) ? most : all * token.value);
  };
  return {perturbed_time(times.dispatch, profile, curves.dispatch, size(curves.dispatch, payload.dispatch)),
          perturbed_time(times.combine, profile, curves.combine, size(curves.combine, payload.combine))};
}

}  // namespace moesim
