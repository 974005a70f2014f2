#include "execution/step_program.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "execution/step_execution.h"

namespace moesim {
namespace {

Task task(std::int64_t us, std::uint8_t stream, std::array<std::uint8_t, 3> after = {kNoTask, kNoTask, kNoTask}) {
  Task t;
  t.duration = Duration::microseconds(us);
  t.stream = stream;
  t.resource = stream % 2 == 0 ? Resource::compute : Resource::network;
  t.part = stream % 2 == 0 ? TimePart::experts : TimePart::dispatch;
  t.after = after;
  return t;
}

TEST(StepProgram, ChainTakesTheSumOfItsTasks) {
  StepProgram program;
  const auto block = program.open_block();
  const auto a = program.push(task(5, 0));
  const auto b = program.push(task(7, 1, {a, kNoTask, kNoTask}));
  program.push(task(11, 0, {b, kNoTask, kNoTask}));
  program.add_segment(0, block);
  const Timing timing = evaluate(program);
  EXPECT_EQ(timing.total, Duration::microseconds(23));
  EXPECT_EQ(timing.critical_path[TimePart::experts], Duration::microseconds(16));
  EXPECT_EQ(timing.critical_path[TimePart::dispatch], Duration::microseconds(7));
}

// Two streams: 5 then 4 on compute beside 7 on the network, joined by 1: max(5 + 4, 7) + 1 = 10. The network is busy
// for 7 but is on the critical path for nothing.
TEST(StepProgram, OverlapTakesTheLongerStream) {
  StepProgram program;
  const auto block = program.open_block();
  program.push(task(5, 0));
  const auto moved = program.push(task(7, 1));
  const auto shared = program.push(task(4, 0));
  program.push(task(1, 0, {moved, shared, kNoTask}));
  program.add_segment(0, block);
  const Timing timing = evaluate(program);
  EXPECT_EQ(timing.total, Duration::microseconds(10));
  EXPECT_EQ(timing.critical_path[TimePart::dispatch], Duration());
  EXPECT_EQ(timing.busy[static_cast<std::size_t>(Resource::network)], Duration::microseconds(7));
}

TEST(StepProgram, StragglerWaitIsSplitFromTheTaskThatCausesIt) {
  StepProgram program;
  const auto block = program.open_block();
  Task slow = task(10, 0);
  slow.waiting = Duration::microseconds(4);
  program.push(slow);
  program.add_segment(0, block);
  const Timing timing = evaluate(program);
  EXPECT_EQ(timing.critical_path[TimePart::experts], Duration::microseconds(6));
  EXPECT_EQ(timing.critical_path[TimePart::straggler_wait], Duration::microseconds(4));
  EXPECT_EQ(timing.critical_path.total(), timing.total);
}

TEST(StepProgram, EqualLayersShareABlockAndCountEach) {
  StepProgram program;
  const auto block = program.open_block();
  program.push(task(3, 0));
  for (int l = 0; l < 80; ++l) program.add_segment(l, block);
  EXPECT_EQ(evaluate(program).total, Duration::microseconds(240));
}

/// A random DAG of up to 40 tasks on 4 streams in up to 6 segments, some sharing a block.
StepProgram random_program(Stream& stream) {
  StepProgram program;
  const auto blocks = 1 + stream.below(3);
  for (std::uint64_t b = 0; b < blocks; ++b) {
    const auto block = program.open_block();
    const auto tasks = 1 + stream.below(40);
    for (std::uint64_t i = 0; i < tasks; ++i) {
      std::array<std::uint8_t, 3> after{kNoTask, kNoTask, kNoTask};
      for (std::size_t d = 0; d < stream.below(4) && d < 3 && i > 0; ++d) {
        after[d] = static_cast<std::uint8_t>(stream.below(i));
      }
      program.push(
          task(static_cast<std::int64_t>(stream.below(20)), static_cast<std::uint8_t>(stream.below(4)), after));
    }
    program.add_segment(static_cast<std::int32_t>(b), block);
    if (stream.below(2) == 0) program.add_segment(10 + static_cast<std::int32_t>(b), block);
  }
  return program;
}

TEST(StepProgram, CriticalPathHasNoGaps) {
  Stream stream(1, "test/program");
  for (int i = 0; i < 300; ++i) {
    const StepProgram program = random_program(stream);
    const Timing timing = evaluate(program);
    EXPECT_EQ(timing.critical_path.total(), timing.total);
  }
}

struct Sum {
  static constexpr bool kRecords = true;
  Duration& busy;
  Duration& last_end;
  void operator()(const Segment&, const Task& t, Duration start) {
    busy += t.duration;
    last_end = std::max(last_end, start + t.duration);
  }
};

TEST(StepProgram, RecorderSeesEveryTaskOfEverySegment) {
  Stream stream(2, "test/program");
  for (int i = 0; i < 100; ++i) {
    const StepProgram program = random_program(stream);
    Duration busy, last_end;
    const Timing recorded = evaluate(program, Sum{busy, last_end});
    const Timing plain = evaluate(program);
    EXPECT_EQ(recorded.total, plain.total);
    EXPECT_EQ(last_end, plain.total);
    EXPECT_EQ(busy, plain.busy[0] + plain.busy[1]);
  }
}

Instant run_to_end(StepExecution& execution) {
  while (!execution.ended()) execution.advance(execution.next_time());
  return execution.end_time();
}

TEST(StepExecution, AgreesWithEvaluateWhenNothingIsShared) {
  Stream stream(3, "test/program");
  for (int i = 0; i < 300; ++i) {
    const StepProgram program = random_program(stream);
    StepExecution execution(program);
    const Instant start = Instant::at(Duration::milliseconds(7));
    execution.start(start);
    EXPECT_EQ(run_to_end(execution) - start, evaluate(program).total);
  }
}

TEST(StepExecution, DoesNotDependOnHowOftenItIsAdvanced) {
  Stream stream(4, "test/program");
  for (int i = 0; i < 50; ++i) {
    const StepProgram program = random_program(stream);
    StepExecution execution(program);
    execution.start(Instant());
    for (int us = 0; !execution.ended(); ++us) execution.advance(Instant::at(Duration::microseconds(us)));
    EXPECT_EQ(execution.end_time() - Instant(), evaluate(program).total);
  }
}

// A network task of 10 us: 4 us at full rate, then the rest at half rate takes 12 us.
TEST(StepExecution, HalfRateDoublesWhatIsLeft) {
  StepProgram program;
  program.open_block();
  program.push(task(10, 1));
  program.add_segment(0, 0);
  StepExecution execution(program);
  execution.start(Instant());
  execution.set_rate(Instant::at(Duration::microseconds(4)), Resource::network, 0.5);
  EXPECT_EQ(run_to_end(execution), Instant::at(Duration::microseconds(16)));
}

TEST(StepExecution, StoppedResourceHoldsTheStepUntilItGoesOn) {
  StepProgram program;
  program.open_block();
  program.push(task(10, 1));
  program.add_segment(0, 0);
  StepExecution execution(program);
  execution.start(Instant());
  execution.set_rate(Instant::at(Duration::microseconds(4)), Resource::network, 0);
  EXPECT_EQ(execution.next_time(), Instant::never());
  execution.set_rate(Instant::at(Duration::microseconds(50)), Resource::network, 1);
  EXPECT_EQ(run_to_end(execution), Instant::at(Duration::microseconds(56)));
}

TEST(StepExecution, CancelledStepNeverEnds) {
  StepProgram program;
  program.open_block();
  program.push(task(10, 0));
  program.add_segment(0, 0);
  StepExecution execution(program);
  execution.start(Instant());
  execution.advance(Instant::at(Duration::microseconds(5)));
  execution.cancel();
  EXPECT_EQ(execution.next_time(), Instant::never());
  EXPECT_FALSE(execution.ended());
}

}  // namespace
}  // namespace moesim
