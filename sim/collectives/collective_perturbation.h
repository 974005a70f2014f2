#pragma once
// How far the true times of collectives may be from the predicted ones, as cost_perturbation.h for kernels: one
// log-normal factor a curve and regime of size.

#include <array>
#include <cstdint>
#include <string_view>

#include "collectives/collective_cost.h"
#include "collectives/collective_profile.h"

namespace moesim {

/// Of a collective or put by bytes, 64 KiB and 16 MiB; of an exchange by tokens of the rank with most, 64 and 512.
SizeRegime comm_regime(CostCurve curve, double size);

/// Standard normal numbers, from the streams "calibration/GPU/CURVE".
struct CommPerturbation {
  std::array<std::array<double, kSizeRegimes>, kCostCurves> normal{};

  static CommPerturbation draw(std::uint64_t seed, std::string_view gpu);
};

/// Standard deviation of ln(true / predicted) of a curve: ln(1 + p90) / 1.645 of the sizes that its fit did not see,
/// the worse of inside a domain and between domains, or `kUnmeasuredCommLogSd`; in quadrature with that of a transfer
/// where the profile is of another system.
double log_sd(const CollectiveProfile& profile, CostCurve curve);

/// Without a fit: the error of systems left out, p90 46 % [results/calibration/communication.md, network].
inline constexpr double kUnmeasuredCommLogSd = 0.23;

/// The profile with the factors e^(log_sd x normal).
CollectiveProfile perturbed(CollectiveProfile profile, const CommPerturbation& perturbation);

/// A time of a curve at a size, with the factor of the profile; as it is in a profile as read.
Duration perturbed_time(Duration time, const CollectiveProfile& profile, CostCurve curve, double size);
CostCurve cost_curve(Collective kind);

/// The times of an exchange of tokens, of `traffic` with `payload`.
struct ExchangeTimes {
  Duration dispatch, combine;
};
ExchangeTimes perturbed_times(ExchangeTimes times, const CollectiveProfile& profile, MoeBackend backend,
                              const RoutedTraffic& traffic, const TokenPayload& payload);

}  // namespace moesim
