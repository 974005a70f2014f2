#pragma once
// The flows that run at one common rate, in the order in which they will end.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/units.h"

namespace moesim {

/// Bytes in integers: units of 2^-12 B/s x 1 ps.
__extension__ typedef unsigned __int128 Service;
inline constexpr std::uint64_t kServiceUnits = 4096ull * 1'000'000'000'000ull;  ///< units in 1 byte

/// Counts what each flow of one link is given while the rate varies; a flow ends when the count reaches its goal. A
/// change of the rate therefore touches no flow. It is the virtual time of fair queueing
/// [parekh-gallager].
class ServiceClock {
 public:
  struct Goal {
    Service at;
    std::uint32_t flow;
  };

  /// Up to `now` at `rate` since the last call.
  void run(Instant now, std::int64_t rate) {
    given_ = given_at(now, rate);
    since_ = now;
  }
  Service given_at(Instant now, std::int64_t rate) const {
    return given_ + static_cast<Service>((now - since_).ps()) * static_cast<Service>(rate);
  }

  bool empty() const { return goals_.empty(); }
  const Goal& first() const { return goals_.front(); }
  const Goal& at(std::uint32_t place) const { return goals_[place]; }

  /// First picosecond, not before the last `run`, at which the first goal is reached at `rate` > 0; never() beyond 106
  /// days.
  Instant finish(std::int64_t rate) const {
    if (goals_.empty()) return Instant::never();
    if (first_ <= given_) return since_;
    const Service divisor = static_cast<Service>(rate);
    const Service time = (first_ - given_ + divisor - 1) / divisor;
    const std::int64_t start = since_.ps();
    if (time >= static_cast<Service>(INT64_MAX - start)) return Instant::never();
    return since_ + Duration::picoseconds(static_cast<std::int64_t>(time));
  }

  /// `places[flow]` is kept at the flow's place, for `at` and `remove`.
  void add(Goal goal, std::vector<std::uint32_t>& places) {
    goals_.push_back(goal);
    rise(goals_.size() - 1, goal, places);
  }
  void remove(std::uint32_t place, std::vector<std::uint32_t>& places) {
    const Goal last = goals_.back();
    goals_.pop_back();
    if (place == goals_.size()) return;
    if (place > 0 && last.at < goals_[(place - 1) / 2].at)
      rise(place, last, places);
    else
      sink(place, last, places);
  }

 private:
  void put(std::size_t place, Goal goal, std::vector<std::uint32_t>& places) {
    goals_[place] = goal;
    places[goal.flow] = static_cast<std::uint32_t>(place);
    if (place == 0) first_ = goal.at;
  }
  void rise(std::size_t place, Goal goal, std::vector<std::uint32_t>& places) {
    for (; place > 0 && goal.at < goals_[(place - 1) / 2].at; place = (place - 1) / 2)
      put(place, goals_[(place - 1) / 2], places);
    put(place, goal, places);
  }
  void sink(std::size_t place, Goal goal, std::vector<std::uint32_t>& places) {
    for (std::size_t child = 2 * place + 1; child < goals_.size(); child = 2 * place + 1) {
      if (child + 1 < goals_.size() && goals_[child + 1].at < goals_[child].at) ++child;
      if (goals_[child].at >= goal.at) break;
      put(place, goals_[child], places);
      place = child;
    }
    put(place, goal, places);
  }

  Service given_ = 0;  // to one flow, up to since_
  Instant since_;
  Service first_ = 0;        // of goals_.front(), at hand
  std::vector<Goal> goals_;  // heap, the earliest first
};

}  // namespace moesim
