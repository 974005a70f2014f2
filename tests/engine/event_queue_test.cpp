#include "engine/event_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "core/random.h"

namespace moesim {
namespace {

Instant at(std::int64_t ps) {
  return Instant::at(Duration::picoseconds(ps));
}

TEST(EventQueue, OrdersByTimeThenPriorityThenSequence) {
  EventQueue<char> queue;
  queue.schedule(at(20), 0, 'e');
  queue.schedule(at(10), 1, 'c');
  queue.schedule(at(10), 1, 'd');
  queue.schedule(at(10), 0, 'b');
  queue.schedule(at(0), 255, 'a');
  std::string order;
  while (!queue.empty()) order += queue.pop().payload;
  EXPECT_EQ(order, "abcde");
  EXPECT_EQ(queue.now(), at(20));
}

TEST(EventQueue, PutsARescheduledEventLastAmongEquals) {
  EventQueue<char> queue;
  const EventHandle a = queue.schedule(at(10), 0, 'a');
  queue.schedule(at(10), 0, 'b');
  const EventHandle c = queue.schedule(at(90), 0, 'c');
  queue.schedule(at(10), 1, 'd');
  queue.reschedule(c, at(10));
  queue.reschedule(a, at(10));
  std::string order;
  while (!queue.empty()) order += queue.pop().payload;
  // `d` stays behind: a moved event keeps its priority.
  EXPECT_EQ(order, "bcad");
}

TEST(EventQueue, KnowsTheNextTimeBeforeAndAfterPops) {
  EventQueue<int> queue;
  EXPECT_EQ(queue.next_time(), Instant::never());
  for (const int t : {7, 3, 5}) queue.schedule(at(t), 0, t);
  EXPECT_EQ(queue.next_time(), at(3));
  queue.pop();
  EXPECT_EQ(queue.next_time(), at(5));
  EXPECT_EQ(queue.size(), 2u);
  queue.schedule(at(4), 0, 4);
  EXPECT_EQ(queue.next_time(), at(4));
  for (int i = 0; i < 3; ++i) queue.pop();
  EXPECT_EQ(queue.next_time(), Instant::never());
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.now(), at(7));
}

TEST(EventQueue, TellsAStaleHandleFromAPendingOne) {
  EventQueue<int> queue;
  EXPECT_FALSE(queue.pending(EventHandle{}));
  const EventHandle first = queue.schedule(at(1), 0, 1);
  EXPECT_TRUE(queue.pending(first));
  EXPECT_EQ(queue.time_of(first), at(1));
  EXPECT_EQ(queue.pop().handle, first);
  EXPECT_FALSE(queue.pending(first));
  // The second event takes the place of the first, with another handle.
  const EventHandle second = queue.schedule(at(2), 0, 2);
  EXPECT_FALSE(queue.pending(first));
  EXPECT_NE(first, second);
  queue.cancel(second);
  EXPECT_FALSE(queue.pending(second));
  EXPECT_TRUE(queue.empty());
}

TEST(EventQueue, EndsTheProgramOnMisuse) {
  EventQueue<int> queue;
  const EventHandle done = queue.schedule(at(10), 0, 1);
  queue.pop();
  EXPECT_EXIT(queue.schedule(at(9), 0, 1), testing::ExitedWithCode(70), "event at 9 ps is before the clock at 10 ps");
  EXPECT_EXIT(queue.cancel(done), testing::ExitedWithCode(70), "event handle 0/0 is stale at 10 ps");
  EXPECT_EXIT(queue.reschedule(done, at(20)), testing::ExitedWithCode(70), "event handle 0/0 is stale");
  EXPECT_EXIT(queue.pop(), testing::ExitedWithCode(70), "pop from an empty event queue at 10 ps");
}

TEST(EventQueue, TakesPayloadsThatOnlyMove) {
  EventQueue<std::unique_ptr<int>> queue;
  queue.schedule(at(1), 0, std::make_unique<int>(5));
  EXPECT_EQ(*queue.pop().payload, 5);
}

/// A sorted set of (time, priority, sequence, payload): the written order by definition.
using Reference = std::set<std::tuple<Instant, int, std::uint64_t, int>>;

// Random calls with few distinct times and priorities, so that ties are frequent, at sizes from empty to thousands.
TEST(EventQueue, AgreesWithASortedSetUnderRandomCalls) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    Stream stream = Stream(1, "event_queue").substream(round);
    const std::uint64_t spread = round % 3 == 0 ? 3 : round % 3 == 1 ? 50 : 1'000'000;
    // Of 16 calls: schedules, then pops, then moves; the rest cancels. The set grows, stays or shrinks.
    const std::uint64_t schedules = round % 2 == 0 ? 8 : 5;
    EventQueue<int> queue;
    Reference reference;
    std::vector<std::pair<EventHandle, Reference::value_type>> live;  // may hold events that are gone
    std::uint64_t sequence = 0;
    for (int call = 0; call < 4000; ++call) {
      const Instant time = queue.now() + Duration::picoseconds(static_cast<std::int64_t>(stream.below(spread)));
      const std::uint64_t kind = stream.below(16);
      if (kind < schedules || live.empty()) {
        const auto priority = static_cast<std::uint8_t>(stream.below(3));
        const Reference::value_type entry{time, priority, sequence++, call};
        live.emplace_back(queue.schedule(time, priority, call), entry);
        reference.insert(entry);
      } else if (kind < schedules + 4) {
        if (reference.empty()) continue;
        const auto event = queue.pop();
        ASSERT_EQ(event.time, std::get<0>(*reference.begin()));
        ASSERT_EQ(event.payload, std::get<3>(*reference.begin()));
        ASSERT_EQ(queue.now(), event.time);
        reference.erase(reference.begin());
      } else {
        const std::size_t i = stream.below(live.size());
        auto& [handle, entry] = live[i];
        ASSERT_EQ(queue.pending(handle), reference.contains(entry));
        const bool is_pending = queue.pending(handle);
        if (is_pending) {
          ASSERT_EQ(queue.time_of(handle), std::get<0>(entry));
          reference.erase(entry);
        }
        if (is_pending && kind < 15) {
          queue.reschedule(handle, time);
          std::get<0>(entry) = time;
          std::get<2>(entry) = sequence++;
          reference.insert(entry);
        } else {
          if (is_pending) queue.cancel(handle);
          live[i] = live.back();
          live.pop_back();
        }
      }
      ASSERT_EQ(queue.size(), reference.size());
      ASSERT_EQ(queue.empty(), reference.empty());
      ASSERT_EQ(queue.next_time(), reference.empty() ? Instant::never() : std::get<0>(*reference.begin()));
    }
    for (; !reference.empty(); reference.erase(reference.begin()))
      ASSERT_EQ(queue.pop().payload, std::get<3>(*reference.begin()));
    ASSERT_TRUE(queue.empty());
  }
}

}  // namespace
}  // namespace moesim
