#pragma once
// Where the time of a step or a run goes: one part a cause, on the critical path.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/units.h"

namespace moesim {

enum class TimePart : std::uint8_t {
  attention,  ///< projections, attention kernel, KV write, their norms
  dense_ffn,
  experts,  ///< mean over the ranks; what the slowest rank adds is straggler_wait
  dispatch,
  combine,
  tensor_parallel,  ///< all-reduces and gathers of TP
  pipeline_wait,    ///< stage transfers and waiting for another stage
  straggler_wait,   ///< all ranks waiting for the slowest one
  router,
  head,  ///< embedding, final norm, LM head, sampling
  host,  ///< device idle because the host has not launched or scheduled
  kv_transfer,
  offload,
  draft,
  idle  ///< nothing to do
};
inline constexpr std::size_t kTimeParts = 15;
std::string_view name(TimePart part);

/// Durations by part; the sum is the length of the critical path.
struct Breakdown {
  std::array<Duration, kTimeParts> parts{};
  Duration& operator[](TimePart p) { return parts[static_cast<std::size_t>(p)]; }
  Duration operator[](TimePart p) const { return parts[static_cast<std::size_t>(p)]; }
  Duration total() const;
  Breakdown& operator+=(const Breakdown& other);
};

/// Time in which a resource worked, whether or not on the critical path. Indexed like Resource of execution/.
enum class Resource : std::uint8_t { compute, network, host };
inline constexpr std::size_t kResources = 3;
std::string_view name(Resource resource);

}  // namespace moesim
