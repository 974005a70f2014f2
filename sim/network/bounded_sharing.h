#pragma once
// The time of many transfers that start together, without following every single finish: a bound and an estimate.

#include <cstdint>
#include <span>

#include "core/units.h"

namespace moesim {

struct SizedPath {
  std::span<const std::uint32_t> links;  ///< distinct, not empty
  Bytes bytes;
};

struct BoundedTime {
  Duration lower;     ///< max over links of bytes / capacity: no sharing can be faster
  Duration estimate;  ///< of max-min fair sharing, at least `lower`
  std::uint32_t solves = 0;
};

/// Rates are found twice an epoch instead of at every finish. An epoch of length T lasts until a share of the flows has
/// ended at the rates of its start; then those flows count with their mean rate, bytes left / T, and the others share
/// what that leaves. The share is such that the flows are down to 64 after `epochs` of them; the last ones are
/// followed finish by finish. For an approximation labelled as such: `FlowNetwork` is exact.
/// All-to-all of log-normal sizes on a two-level fat tree, against the exact time: see tests/bench/flow_bench.cpp.
BoundedTime bounded_time(std::span<const BytesPerSecond> capacities, std::span<const SizedPath> flows,
                         std::uint32_t epochs);

}  // namespace moesim
