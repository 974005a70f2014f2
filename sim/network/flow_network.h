#pragma once
// Transfers in flight on links that they share max-min fairly. Knows links and bytes, neither topology nor latency.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/units.h"

namespace moesim {

/// A group of equal transfers in flight. Ids count starts and are never used again.
using FlowId = Id<struct FlowTag>;

/// Bytes of fluid: a flow runs at its max-min fair rate (`max_min_sharing.h`) and ends at the first picosecond at which
/// its bytes are through,
///     finish = ceil(bytes left / rate),
/// rounded this once: rates and bytes left are integers in between. Rates change when flows start or finish, and only
/// where that reaches: links and flows that a change does not touch cost nothing. Starts and finishes of one picosecond
/// are one change. Neither the order of starts at a time nor the numbers of links matter to times.
class FlowNetwork {
 public:
  /// Link i has capacity `capacities[i]`, between 2^-12 and 10^15 B/s.
  explicit FlowNetwork(std::span<const BytesPerSecond> capacities);
  ~FlowNetwork();
  FlowNetwork(FlowNetwork&&) noexcept;
  FlowNetwork& operator=(FlowNetwork&&) noexcept;

  /// A private port, for example of one collective: its counters begin at zero. Takes the id of a removed link first.
  std::uint32_t add_link(BytesPerSecond capacity);
  /// No flow is on it.
  void remove_link(std::uint32_t link);

  /// `bytes` > 0 over all of `links` (distinct, not empty) from `now` on. `count` equal flows are one group: each moves
  /// `bytes`, they share alike and end together. `now` is not before the last call's nor after `next_time()`.
  FlowId start(Instant now, std::span<const std::uint32_t> links, Bytes bytes, std::uint32_t count = 1);

  /// The earliest finish; never() when nothing is in flight.
  Instant next_time() const;

  /// Goes to `now`, not after `next_time()`; appends the flows that end then in the order of their starts.
  void advance(Instant now, std::vector<FlowId>& finished);

  /// Present rate of one flow of a group in flight.
  BytesPerSecond rate(FlowId flow) const;

  /// Bytes that have crossed the link up to the last call's time. A flow that has ended counts exactly its bytes.
  double carried(std::uint32_t link) const;
  /// The highest rate of all its flows together so far, B/s.
  double peak_rate(std::uint32_t link) const;

  /// How many times the level of a link was looked at so far: what the changes have cost.
  std::uint64_t work() const;

 private:
  struct State;
  std::unique_ptr<State> state_;  // questions bring it up to date
};

}  // namespace moesim
