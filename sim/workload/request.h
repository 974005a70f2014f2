#pragma once
// Requests and how they arrive.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"

namespace moesim {

struct Request {
  Instant arrival;  ///< closed loop: set when a slot frees
  std::int32_t input_tokens = 0;
  std::int32_t output_tokens = 0;
};

enum class ArrivalKind { poisson, gamma, constant, closed, batch, trace };

struct ArrivalSpec {
  ArrivalKind kind = ArrivalKind::poisson;
  double rate_per_second = 0;    ///< poisson, gamma, constant
  double burstiness = 1;         ///< gamma shape; 1 = Poisson, smaller = burstier (vllm bench serve)
  std::int32_t concurrency = 0;  ///< closed
};

enum class LengthKind { constant, uniform, lognormal, file };

/// Token counts, at least 1. lognormal: mean and p99 give sigma by the smaller root of
/// sigma^2/2 - z99 sigma + ln(p99/mean) = 0, mu = ln(mean) - sigma^2/2.
struct LengthSpec {
  LengthKind kind = LengthKind::constant;
  double mean = 0;  ///< constant: the value
  double p99 = 0;
  std::int64_t low = 0, high = 0;         ///< uniform, inclusive
  std::vector<std::int32_t> values = {};  ///< file: drawn with replacement
};

struct WorkloadSpec {
  ArrivalSpec arrivals;
  LengthSpec input, output;
  std::int64_t requests = 0;
  std::vector<Request> trace;      ///< kind == trace: already converted to seconds and scaled by `speed`
  std::vector<std::string> notes;  ///< what was assumed about a trace, for the output
};

/// sigma of the log-normal distribution with this mean and 99th percentile, the smaller of the two; nothing where there
/// is none: p99 < mean, or p99/mean > exp(z99^2 / 2) = 14.97.
std::optional<double> lognormal_sigma(double mean, double p99);

/// All requests of the workload. Streams: "workload/arrivals", "workload/input_tokens", "workload/output_tokens".
/// Poisson and gamma processes begin with a gap, a constant one at time zero. For closed and batch arrivals every
/// arrival is at time zero. Sorted by arrival, ties in order of generation. A trace is returned as it is.
std::vector<Request> generate_requests(const WorkloadSpec& spec, std::uint64_t seed);

}  // namespace moesim
