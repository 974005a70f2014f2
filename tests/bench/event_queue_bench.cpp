// The hold model: `pending` events; each operation pops the first and schedules a new one an exponential time later, or
// with the given probability moves a random pending event instead. Beside it the same on the heaps one might use.
// Arguments: pending events / reschedules in percent. Time is per operation.

#include <benchmark/benchmark.h>

#include <boost/heap/d_ary_heap.hpp>
#include <cstdint>
#include <queue>
#include <vector>

#include "core/random.h"
#include "engine/event_queue.h"

namespace moesim {
namespace {

constexpr std::uint64_t mask = 8191;

/// Prepared random numbers, so that the loop times the queue alone.
struct Draws {
  explicit Draws(std::uint32_t pending) : delay(mask + 1), target(mask + 1), is_move(mask + 1) {
    Stream stream(1, "bench/event_queue");
    for (std::uint64_t i = 0; i <= mask; ++i) {
      delay[i] = Duration::picoseconds(static_cast<std::int64_t>(stream.exponential() * 1e9) + 1);
      target[i] = static_cast<std::uint32_t>(stream.below(pending));
      is_move[i] = static_cast<std::uint8_t>(stream.below(100));
    }
  }
  std::vector<Duration> delay;
  std::vector<std::uint32_t> target;
  std::vector<std::uint8_t> is_move;  // percentile of the operation
};

class Ours {
 public:
  explicit Ours(std::uint32_t pending) : handles_(pending) {}
  void schedule(std::uint32_t event, Instant time) { handles_[event] = queue_.schedule(time, 0, event); }
  void reschedule(std::uint32_t event, Instant time) { queue_.reschedule(handles_[event], time); }
  std::pair<Instant, std::uint32_t> pop() {
    const auto event = queue_.pop();
    return {event.time, event.payload};
  }

 private:
  EventQueue<std::uint32_t> queue_;
  std::vector<EventHandle> handles_;
};

struct Entry {
  Instant time;
  std::uint64_t sequence;
  std::uint32_t event;
  /// The earliest is the largest.
  bool operator<(const Entry& other) const {
    return time != other.time ? time > other.time : sequence > other.sequence;
  }
};

/// A moved event leaves its old entry behind, which is skipped when it surfaces.
class LazyPriorityQueue {
 public:
  explicit LazyPriorityQueue(std::uint32_t pending) : live_(pending) {}
  void schedule(std::uint32_t event, Instant time) {
    live_[event] = sequence_;
    queue_.push({time, sequence_++, event});
  }
  void reschedule(std::uint32_t event, Instant time) { schedule(event, time); }
  std::pair<Instant, std::uint32_t> pop() {
    for (;;) {
      const Entry entry = queue_.top();
      queue_.pop();
      if (live_[entry.event] == entry.sequence) return {entry.time, entry.event};
    }
  }

 private:
  std::priority_queue<Entry> queue_;
  std::vector<std::uint64_t> live_;
  std::uint64_t sequence_ = 0;
};

class BoostMutableHeap {
 public:
  explicit BoostMutableHeap(std::uint32_t pending) : handles_(pending) {}
  void schedule(std::uint32_t event, Instant time) { handles_[event] = heap_.push({time, sequence_++, event}); }
  void reschedule(std::uint32_t event, Instant time) { heap_.update(handles_[event], {time, sequence_++, event}); }
  std::pair<Instant, std::uint32_t> pop() {
    const Entry entry = heap_.top();
    heap_.pop();
    return {entry.time, entry.event};
  }

 private:
  using Heap = boost::heap::d_ary_heap<Entry, boost::heap::arity<4>, boost::heap::mutable_<true>>;
  Heap heap_;
  std::vector<Heap::handle_type> handles_;
  std::uint64_t sequence_ = 0;
};

template <class Queue>
void hold(benchmark::State& state) {
  const auto pending = static_cast<std::uint32_t>(state.range(0));
  const auto percent = static_cast<std::uint8_t>(state.range(1));
  const Draws draws(pending);
  Queue queue(pending);
  for (std::uint32_t i = 0; i < pending; ++i) queue.schedule(i, Instant::at(draws.delay[i & mask]));
  Instant now;
  std::uint64_t i = 0;
  for (auto _ : state) {
    const Duration delay = draws.delay[i & mask];
    if (draws.is_move[i & mask] < percent) {
      queue.reschedule(draws.target[i & mask], now + delay);
    } else {
      const auto [time, event] = queue.pop();
      now = time;
      queue.schedule(event, now + delay);
    }
    ++i;
  }
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"pending", "moves_percent"});
  for (const int pending : {10, 1'000, 100'000, 1'000'000})
    for (const int percent : {0, 50, 90}) bench->Args({pending, percent});
}

BENCHMARK(hold<Ours>)->Apply(sizes);
BENCHMARK(hold<LazyPriorityQueue>)->Apply(sizes);
BENCHMARK(hold<BoostMutableHeap>)->Apply(sizes);

}  // namespace
}  // namespace moesim
