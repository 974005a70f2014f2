#include "serving/rank_scheduler.h"

#include <gtest/gtest.h>

#include <map>

#include "core/random.h"

namespace moesim {
namespace {

const MixerSpec kFull{.kind = MixerKind::full};

SchedulerLimits limits(std::int64_t blocks = 1000) {
  return {.max_sequences = 8,
          .max_batched_tokens = 64,
          .chunked_prefill = true,
          .block_tokens = 4,
          .blocks = blocks,
          .cohorts = 1};
}

RequestId id(std::uint32_t i) {
  return RequestId{i};
}

// 100 prompt tokens with a budget of 64: chunks of 64 and 36; the second emits the first token; 2 more decode steps.
TEST(RankScheduler, PromptLongerThanTheBudgetIsPrefilledInChunks) {
  RankScheduler scheduler(limits(), std::span(&kFull, 1));
  StepEvents events;
  scheduler.enqueue(id(0), 100, 3);
  RankBatch batch = scheduler.schedule(0, events);
  ASSERT_EQ(batch.prefill.size(), 1u);
  EXPECT_EQ(batch.prefill[0].new_tokens, 64);
  EXPECT_EQ(batch.emitting_rows, 0);
  batch = scheduler.schedule(0, events);
  EXPECT_EQ(batch.prefill[0].new_tokens, 36);
  EXPECT_EQ(batch.prefill[0].cached_tokens, 64);
  EXPECT_EQ(events.prefilled.size(), 1u);
  batch = scheduler.schedule(0, events);
  EXPECT_EQ(batch.decode_sequences, 1);
  EXPECT_EQ(batch.context_tokens, 101);
  EXPECT_TRUE(events.finished.empty());
  batch = scheduler.schedule(0, events);
  EXPECT_EQ(batch.context_tokens, 102);
  EXPECT_EQ(events.finished.size(), 1u);
}

TEST(RankScheduler, DecodesComeBeforeChunksInTheBudget) {
  RankScheduler scheduler(limits(), std::span(&kFull, 1));
  StepEvents events;
  scheduler.enqueue(id(0), 10, 50);
  scheduler.enqueue(id(1), 10, 50);
  scheduler.schedule(0, events);
  scheduler.enqueue(id(2), 200, 5);
  const RankBatch& batch = scheduler.schedule(0, events);
  EXPECT_EQ(batch.decode_sequences, 2);
  EXPECT_EQ(batch.prefill[0].new_tokens, 62);
  EXPECT_EQ(batch.tokens, 64);
}

TEST(RankScheduler, WithoutChunkingAPromptWaitsForTheWholeBudget) {
  SchedulerLimits l = limits();
  l.chunked_prefill = false;
  RankScheduler scheduler(l, std::span(&kFull, 1));
  StepEvents events;
  scheduler.enqueue(id(0), 40, 2);
  scheduler.enqueue(id(1), 40, 2);
  EXPECT_EQ(scheduler.schedule(0, events).tokens, 40);
  const RankBatch& second = scheduler.schedule(0, events);
  EXPECT_EQ(second.tokens, 41);  // the other prompt and the decode of the first
}

TEST(RankScheduler, AtMostMaxSequencesRun) {
  RankScheduler scheduler(limits(), std::span(&kFull, 1));
  StepEvents events;
  for (std::uint32_t i = 0; i < 12; ++i) scheduler.enqueue(id(i), 2, 9);
  scheduler.schedule(0, events);
  EXPECT_EQ(events.admitted.size(), 8u);
  EXPECT_EQ(scheduler.waiting(), 4);
}

// Pool of 6 blocks of 4 tokens. Two prompts of 8 tokens take 2 blocks each; from the first decode step on each needs a
// third: both fit. At 12 tokens a fourth each is needed and none is free: the last admitted gives up its three blocks
// and waits in front, to be computed again with what it had generated.
TEST(RankScheduler, FullPoolPreemptsTheLastAdmittedWhichRecomputes) {
  RankScheduler scheduler(limits(6), std::span(&kFull, 1));
  StepEvents events;
  scheduler.enqueue(id(0), 8, 10);
  scheduler.enqueue(id(1), 8, 10);
  scheduler.schedule(0, events);
  EXPECT_EQ(scheduler.blocks_used(), 4);
  for (int step = 0; step < 4; ++step) scheduler.schedule(0, events);
  EXPECT_EQ(scheduler.blocks_used(), 6);
  const RankBatch& batch = scheduler.schedule(0, events);
  ASSERT_EQ(events.preempted.size(), 1u);
  EXPECT_EQ(events.preempted[0], id(1));
  EXPECT_TRUE(events.admitted.empty());  // a step that preempts admits nobody
  EXPECT_EQ(batch.decode_sequences, 1);
  EXPECT_EQ(batch.context_tokens, 13);
  EXPECT_EQ(scheduler.blocks_used(), 4);
  // 8 prompt tokens and 5 generated ones: 13 to compute, in 4 blocks; only 2 are free until request 0 has ended.
  std::vector<RequestId> finished;
  std::int64_t recomputed = 0;
  for (int step = 0; step < 20 && finished.size() < 2; ++step) {
    const RankBatch& next = scheduler.schedule(0, events);
    if (!events.admitted.empty()) recomputed = next.prefill[0].new_tokens;
    finished.insert(finished.end(), events.finished.begin(), events.finished.end());
  }
  EXPECT_EQ(recomputed, 13);
  EXPECT_EQ(finished, (std::vector<RequestId>{id(0), id(1)}));
}

// A window of 6 over lengths 4, 5, 6, 7 ...: 4, 5, 6, 6, 6 keys in sight; a chunk of 4 over 5, 6, 7, 8, 9: 1, 2, 3,
// 4, 1.
TEST(RankScheduler, WindowsFillAndChunksRestart) {
  const std::vector<MixerSpec> mixers{
      {.kind = MixerKind::full}, {.kind = MixerKind::window, .extent = 6}, {.kind = MixerKind::chunked, .extent = 4}};
  RankScheduler scheduler(limits(), mixers);
  StepEvents events;
  scheduler.enqueue(id(0), 4, 12);
  scheduler.schedule(0, events);
  for (std::int64_t length = 5; length < 15; ++length) {
    const RankBatch& batch = scheduler.schedule(0, events);
    EXPECT_EQ(batch.visible_keys[0], length);
    EXPECT_EQ(batch.visible_keys[1], std::min<std::int64_t>(length, 6));
    EXPECT_EQ(batch.visible_keys[2], (length - 1) % 4 + 1);
  }
}

/// Everything that a run of random requests shows, step by step.
struct Course {
  std::vector<std::int64_t> numbers;
  std::map<std::uint32_t, std::int64_t> emitted;
  bool operator==(const Course&) const = default;
};

// Brute force beside it: free + used = total and the sums equal those over the sequences at every step; tokens out
// equal tokens asked for.
Course random_course(std::uint64_t seed, bool strides) {
  const std::vector<MixerSpec> mixers{
      {.kind = MixerKind::full}, {.kind = MixerKind::window, .extent = 23}, {.kind = MixerKind::chunked, .extent = 16}};
  SchedulerLimits l = limits(60);
  l.cohorts = 1;
  RankScheduler scheduler(l, mixers);
  Stream stream(seed, "test/course");
  StepEvents events;
  Course course;
  std::map<std::uint32_t, std::int32_t> wanted;
  std::uint32_t next = 0;
  for (int step = 0; step < 3000; ++step) {
    if (next < 200 && stream.below(6) == 0) {
      const auto input = static_cast<std::int32_t>(1 + stream.below(120));
      const auto output = static_cast<std::int32_t>(1 + stream.below(60));
      wanted[next] = output;
      scheduler.enqueue(id(next++), input, output);
    }
    if (!scheduler.has_work(0)) continue;
    RankBatch batch;
    if (strides && scheduler.unchanged_steps(0, 1) > 0) {
      batch = scheduler.advance_unchanged(0);
      events.clear();
    } else {
      batch = scheduler.schedule(0, events);
    }
    EXPECT_EQ(scheduler.blocks_used(), scheduler.recount_blocks());
    EXPECT_LE(scheduler.blocks_used(), 60);
    EXPECT_LE(batch.tokens, 64);
    EXPECT_LE(scheduler.running(), 8);
    course.numbers.insert(course.numbers.end(),
                          {batch.tokens, batch.decode_sequences, batch.context_tokens, batch.visible_keys[1],
                           batch.visible_keys[2], scheduler.blocks_used(), scheduler.waiting()});
    for (const RequestId r : events.prefilled) ++course.emitted[r.value];
    course.numbers.push_back(static_cast<std::int64_t>(events.finished.size()));
    for (const RequestId r : events.finished) course.emitted[r.value] = wanted[r.value];
    course.emitted[1u << 31] += batch.decode_sequences + static_cast<std::int64_t>(events.prefilled.size());
  }
  std::int64_t all = 0;
  for (const auto& [request, tokens] : wanted) all += tokens;
  EXPECT_EQ(next, 200u);
  EXPECT_FALSE(scheduler.has_work(0));
  EXPECT_EQ(course.emitted[1u << 31], all);  // every step's emissions add up to the tokens asked for
  return course;
}

TEST(RankScheduler, ConservesTokensAndBlocksUnderRandomLoad) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) random_course(seed, false);
}

TEST(RankScheduler, UnchangedStepsAreTheSameAsScheduledOnes) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) EXPECT_EQ(random_course(seed, false), random_course(seed, true));
}

}  // namespace
}  // namespace moesim
