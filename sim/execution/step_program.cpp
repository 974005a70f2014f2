#include "execution/step_program.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/check.h"

namespace moesim {

std::uint32_t StepProgram::open_block() {
  blocks.push_back({static_cast<std::uint32_t>(tasks.size()), 0, 0});
  return static_cast<std::uint32_t>(blocks.size() - 1);
}

std::uint8_t StepProgram::push(const Task& task) {
  TaskBlock& block = blocks.back();
  MOESIM_CHECK(block.count < kNoTask && task.stream < kMaxStreams, "{} tasks in a block, stream {}", block.count,
               task.stream);
  tasks.push_back(task);
  return static_cast<std::uint8_t>(block.count++);
}

void StepProgram::add_segment(std::int32_t layer, std::uint32_t block) {
  segments.push_back({layer, block});
  ++blocks[block].uses;
}

Duration schedule_block(std::span<const Task> tasks, std::int64_t uses, BlockSchedule& schedule, Timing& timing) {
  std::array<Duration, kMaxStreams> stream_free{};
  std::array<std::uint8_t, kMaxStreams> stream_last;
  stream_last.fill(kNoTask);
  Duration length;
  std::uint8_t last = kNoTask;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks[i];
    Duration start = stream_free[task.stream];
    std::uint8_t held_by = stream_last[task.stream];
    for (const std::uint8_t before : task.after) {
      if (before == kNoTask) break;
      if (schedule.end[before] > start) {
        start = schedule.end[before];
        held_by = before;
      }
    }
    const Duration end = start + task.duration;
    schedule.start[i] = start;
    schedule.end[i] = end;
    schedule.held_by[i] = held_by;
    stream_free[task.stream] = end;
    stream_last[task.stream] = static_cast<std::uint8_t>(i);
    timing.busy[static_cast<std::size_t>(task.resource)] += task.duration * uses;
    if (end > length || last == kNoTask) {
      length = end;
      last = static_cast<std::uint8_t>(i);
    }
  }
  // Back along what held each task: without gaps, since a task starts when the one that holds it ends.
  for (std::uint8_t i = last; i != kNoTask; i = schedule.held_by[i]) {
    const Task& task = tasks[i];
    timing.critical_path[task.part] += (task.duration - task.waiting) * uses;
    timing.critical_path[TimePart::straggler_wait] += task.waiting * uses;
  }
  timing.total += length * uses;
  return length;
}

}  // namespace moesim
