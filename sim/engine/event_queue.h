#pragma once
// The pending events of a run and its clock.
//
// The order is written down: by time; at equal times by priority, the lower first; then by sequence, the event that was
// scheduled or rescheduled earlier first. It depends on the calls made and on nothing else.
//
// A 4-ary heap over (time, priority, sequence) as one 128-bit number. Each event knows its place, so that it can move
// or leave. After `pop` the root stays open for the next `schedule`, the usual next call: one pass instead of two.

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/units.h"

namespace moesim {

/// Names one scheduled event until it is popped or cancelled; never again equal to the handle of another event (within
/// 2^32 uses of one slot). A default handle names none.
struct EventHandle {
  std::uint32_t slot = UINT32_MAX;
  std::uint32_t generation = 0;
  bool operator==(const EventHandle&) const = default;
};

/// `schedule`, `pop`, `reschedule` and `cancel` take O(log n) and do not allocate below the largest size so far.
template <class Payload>
class EventQueue {
 public:
  struct Event {
    Instant time;
    EventHandle handle;  ///< no longer pending
    Payload payload;
  };

  /// The time of the last popped event; the start of the run before it.
  Instant now() const { return now_; }
  std::size_t size() const { return ranks_.size() - (root_is_open_ ? 1 : 0); }
  bool empty() const { return size() == 0; }
  void reserve(std::size_t events) {
    ranks_.reserve(events + 1);
    slot_of_.reserve(events + 1);
    slots_.reserve(events);
    free_.reserve(events);
  }

  /// `time` is not before `now()`.
  EventHandle schedule(Instant time, std::uint8_t priority, Payload payload) {
    std::uint32_t slot;
    if (free_.empty()) {
      slot = static_cast<std::uint32_t>(slots_.size());
      slots_.push_back({std::move(payload), 0, nowhere});
    } else {
      slot = free_.back();
      free_.pop_back();
      slots_[slot].payload = std::move(payload);
    }
    const Rank rank = next_rank(time, priority);
    if (root_is_open_) {
      root_is_open_ = false;
      sink(0, rank, slot);
    } else {
      ranks_.push_back(rank);
      slot_of_.push_back(slot);
      rise(ranks_.size() - 1, rank, slot);
    }
    return {slot, slots_[slot].generation};
  }

  bool pending(EventHandle handle) const {
    return handle.slot < slots_.size() && slots_[handle.slot].generation == handle.generation &&
           slots_[handle.slot].place != nowhere;
  }

  /// The time of a pending event.
  Instant time_of(EventHandle handle) const { return time_of_rank(ranks_[place_of(handle)]); }

  /// Moves a pending event, earlier or later, with its priority. It takes a new sequence number: among equals it is now
  /// the last, also when its time does not change. `time` is not before `now()`.
  void reschedule(EventHandle handle, Instant time) {
    const std::uint32_t place = place_of(handle);
    const Rank old = ranks_[place];
    move_to(place, next_rank(time, static_cast<std::uint8_t>(static_cast<std::uint64_t>(old) >> sequence_bits)), old,
            handle.slot);
  }

  /// Takes a pending event out.
  void cancel(EventHandle handle) {
    const std::uint32_t place = place_of(handle);
    const Rank old = ranks_[place];
    const Rank rank = ranks_.back();
    const std::uint32_t slot = slot_of_.back();
    shrink();
    if (place < ranks_.size()) move_to(place, rank, old, slot);
    release(handle.slot);
  }

  /// The time of the first event, `Instant::never()` when there is none.
  Instant next_time() const {
    if (empty()) return Instant::never();
    return time_of_rank(root_is_open_ ? first_of(1).first : ranks_[0]);
  }

  /// Takes the first event out and moves the clock to its time. Not empty.
  Event pop() {
    close_root();
    MOESIM_CHECK(!ranks_.empty(), "pop from an empty event queue at {} ps", now_.ps());
    const std::uint32_t slot = slot_of_[0];
    now_ = time_of_rank(ranks_[0]);
    Event event{now_, {slot, slots_[slot].generation}, std::move(slots_[slot].payload)};
    release(slot);
    // The lowest rank: what rises from below stops at it.
    ranks_[0] = 0;
    root_is_open_ = true;
    return event;
  }

 private:
  // 64 bits of time, 8 of priority, 56 of sequence.
  __extension__ typedef unsigned __int128 Rank;
  static constexpr unsigned sequence_bits = 56;
  static constexpr std::size_t arity = 4;
  static constexpr std::uint32_t nowhere = UINT32_MAX;

  struct Slot {
    Payload payload;
    std::uint32_t generation;
    std::uint32_t place;  // in the heap
  };

  static Instant time_of_rank(Rank rank) {
    return Instant::at(Duration::picoseconds(static_cast<std::int64_t>(rank >> 64)));
  }

  Rank next_rank(Instant time, std::uint8_t priority) {
    MOESIM_CHECK(time >= now_, "event at {} ps is before the clock at {} ps", time.ps(), now_.ps());
    return static_cast<Rank>(time.ps()) << 64 | std::uint64_t{priority} << sequence_bits | sequence_++;
  }

  std::uint32_t place_of(EventHandle handle) const {
    MOESIM_CHECK(pending(handle), "event handle {}/{} is stale at {} ps", handle.slot, handle.generation, now_.ps());
    return slots_[handle.slot].place;
  }

  void release(std::uint32_t slot) {
    ++slots_[slot].generation;
    slots_[slot].place = nowhere;
    free_.push_back(slot);
  }

  void shrink() {
    ranks_.pop_back();
    slot_of_.pop_back();
  }

  /// Gives the open root to the last event.
  void close_root() {
    if (!root_is_open_) return;
    root_is_open_ = false;
    const Rank rank = ranks_.back();
    const std::uint32_t slot = slot_of_.back();
    shrink();
    if (!ranks_.empty()) sink(0, rank, slot);
  }

  void put(std::size_t place, Rank rank, std::uint32_t slot) {
    ranks_[place] = rank;
    slot_of_[place] = slot;
    slots_[slot].place = static_cast<std::uint32_t>(place);
  }

  void move_to(std::size_t place, Rank rank, Rank old, std::uint32_t slot) {
    if (rank < old)
      rise(place, rank, slot);
    else
      sink(place, rank, slot);
  }

  void rise(std::size_t place, Rank rank, std::uint32_t slot) {
    while (place > 0) {
      const std::size_t parent = (place - 1) / arity;
      if (ranks_[parent] <= rank) break;
      put(place, ranks_[parent], slot_of_[parent]);
      place = parent;
    }
    put(place, rank, slot);
  }

  void sink(std::size_t place, Rank rank, std::uint32_t slot) {
    for (std::size_t child = place * arity + 1; child < ranks_.size(); child = place * arity + 1) {
      const auto [lowest, first] = first_of(child);
      if (rank <= lowest) break;
      put(place, lowest, slot_of_[first]);
      place = first;
    }
    put(place, rank, slot);
  }

  /// The lowest rank among up to four siblings, the first of them at `child`, and its place.
  std::pair<Rank, std::size_t> first_of(std::size_t child) const {
    const Rank* ranks = ranks_.data();
    std::size_t best = child;
    Rank lowest = ranks[child];
    // Written so that compilers choose by conditional moves: the outcome of a comparison cannot be predicted.
    const auto consider = [&](std::size_t i) {
      const bool lower = ranks[i] < lowest;
      best = lower ? i : best;
      lowest = lower ? ranks[i] : lowest;
    };
    if (child + arity <= ranks_.size()) {
      for (std::size_t i = 1; i < arity; ++i) consider(child + i);
    } else {
      for (std::size_t i = child + 1; i < ranks_.size(); ++i) consider(i);
    }
    return {lowest, best};
  }

  std::vector<Rank> ranks_;             // the heap: the children of i are 4 i + 1 to 4 i + 4
  std::vector<std::uint32_t> slot_of_;  // of each place of the heap
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint64_t sequence_ = 0;
  Instant now_;
  bool root_is_open_ = false;
};

}  // namespace moesim
