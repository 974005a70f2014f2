#include "workload/request.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/math.h"
#include "core/random.h"

namespace moesim {

namespace {

constexpr double longest = INT32_MAX;

/// Draws token counts of one distribution.
class LengthDraw {
 public:
  LengthDraw(const LengthSpec& spec, std::uint64_t seed, std::string_view stream) : spec_(spec), stream_(seed, stream) {
    switch (spec.kind) {
      case LengthKind::constant:
        MOESIM_CHECK(spec.mean >= 1 && spec.mean <= longest, "constant length {}", spec.mean);
        return;
      case LengthKind::uniform:
        MOESIM_CHECK(1 <= spec.low && spec.low <= spec.high && spec.high <= INT32_MAX, "uniform lengths {} to {}",
                     spec.low, spec.high);
        return;
      case LengthKind::lognormal: {
        const std::optional<double> sigma = lognormal_sigma(spec.mean, spec.p99);
        MOESIM_CHECK(sigma.has_value(), "no log-normal distribution has mean {} and p99 {}", spec.mean, spec.p99);
        sigma_ = *sigma;
        mu_ = logarithm(spec.mean) - sigma_ * sigma_ / 2;
        return;
      }
      case LengthKind::file:
        MOESIM_CHECK(!spec.values.empty(), "no lengths to draw from");
        return;
    }
  }

  std::int32_t next() {
    switch (spec_.kind) {
      case LengthKind::constant:
        return tokens(spec_.mean);
      case LengthKind::uniform:
        return static_cast<std::int32_t>(spec_.low + static_cast<std::int64_t>(stream_.below(
                                                         static_cast<std::uint64_t>(spec_.high - spec_.low + 1))));
      case LengthKind::lognormal:
        return tokens(exponential(mu_ + sigma_ * stream_.normal()));
      case LengthKind::file:
        return spec_.values[stream_.below(spec_.values.size())];
    }
    return 1;
  }

 private:
  static std::int32_t tokens(double length) {
    return static_cast<std::int32_t>(std::lrint(std::clamp(length, 1.0, longest)));
  }

  const LengthSpec& spec_;
  Stream stream_;
  double mu_ = 0, sigma_ = 0;
};

/// Arrival instants of an open process. Gaps are drawn with mean 1 and divided by the rate at the end, so a doubled
/// rate halves every instant.
class ArrivalDraw {
 public:
  ArrivalDraw(const ArrivalSpec& spec, std::uint64_t seed) : spec_(spec), stream_(seed, "workload/arrivals") {
    const bool open =
        spec.kind == ArrivalKind::poisson || spec.kind == ArrivalKind::gamma || spec.kind == ArrivalKind::constant;
    MOESIM_CHECK(!open || spec.rate_per_second > 0, "rate {}", spec.rate_per_second);
    MOESIM_CHECK(spec.kind != ArrivalKind::gamma || spec.burstiness > 0, "burstiness {}", spec.burstiness);
  }

  Instant next() {
    switch (spec_.kind) {
      case ArrivalKind::poisson:
        gaps_ += stream_.exponential();
        return at(gaps_);
      case ArrivalKind::gamma:
        gaps_ += stream_.gamma(spec_.burstiness) / spec_.burstiness;
        return at(gaps_);
      case ArrivalKind::constant:
        return at(gaps_++);
      case ArrivalKind::closed:
      case ArrivalKind::batch:
      case ArrivalKind::trace:
        break;
    }
    return Instant();
  }

 private:
  Instant at(double gaps) const { return Instant::at(Duration::from_seconds(gaps / spec_.rate_per_second)); }

  const ArrivalSpec& spec_;
  Stream stream_;
  double gaps_ = 0;  ///< sum of the gaps so far, in units of the mean gap
};

}  // namespace

std::optional<double> lognormal_sigma(double mean, double p99) {
  if (!(mean > 0) || !(p99 >= mean)) return std::nullopt;
  const double z99 = normal_quantile(0.99);
  const double square = z99 * z99 - 2 * logarithm(p99 / mean);
  if (square < 0) return std::nullopt;
  return z99 - std::sqrt(square);
}

std::vector<Request> generate_requests(const WorkloadSpec& spec, std::uint64_t seed) {
  if (spec.arrivals.kind == ArrivalKind::trace) return spec.trace;
  MOESIM_CHECK(spec.requests >= 0, "{} requests", spec.requests);
  ArrivalDraw arrivals(spec.arrivals, seed);
  LengthDraw input(spec.input, seed, "workload/input_tokens");
  LengthDraw output(spec.output, seed, "workload/output_tokens");
  std::vector<Request> requests(static_cast<std::size_t>(spec.requests));
  for (Request& request : requests) {
    request = {.arrival = arrivals.next(), .input_tokens = input.next(), .output_tokens = output.next()};
  }
  return requests;
}

}  // namespace moesim
