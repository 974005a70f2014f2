#pragma once
// One forward pass as a DAG of tasks, and its time when nothing else shares the resources.
//
// Tasks of one (rank class, stream) run in the written order, as kernels on a CUDA stream do; a task starts when those
// that it depends on have ended and its stream is free. The program lists every layer as a segment: a part of the DAG
// that all streams enter and leave together. Segments of equal layers refer to one block of tasks, whose time is then
// found once: a cache by cost, the list of layers stays whole.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/units.h"
#include "metrics/breakdown.h"

namespace moesim {

inline constexpr std::uint8_t kNoTask = 0xff;

/// What a task puts on the network: collectives over the tensor-parallel ranks (of hidden states, or of logits), over
/// all ranks that hold the experts of one data-parallel rank, and the exchanges of a MoE layer.
enum class TaskTraffic : std::uint8_t {
  none,
  tensor_reduce,
  tensor_gather,
  logits_gather,
  expert_reduce,
  dispatch,
  combine
};
inline constexpr std::size_t kTaskTraffic = static_cast<std::size_t>(TaskTraffic::combine) + 1;

/// A kernel, a group of kernels or a collective, as the slowest rank of its class runs it.
struct Task {
  Duration duration{};
  Duration waiting{};  ///< the part of `duration` in which the mean rank has finished and waits for the slowest
  Duration clocked{};  ///< the part of `duration` that is inverse to the clock
  TimePart part = TimePart::attention;
  Resource resource = Resource::compute;
  TaskTraffic traffic = TaskTraffic::none;
  std::uint8_t stream = 0;  ///< tasks of one stream do not overlap
  std::uint8_t micro_batch = 0;
  std::uint8_t rank_class = 0;
  std::array<std::uint8_t, 3> after{kNoTask, kNoTask, kNoTask};  ///< indices in the same block, smaller than its own
};

/// Tasks of one or several equal segments.
struct TaskBlock {
  std::uint32_t first = 0, count = 0;  ///< range of StepProgram::tasks, count < kNoTask
  std::uint32_t uses = 0;              ///< segments that refer to it
};

struct Segment {
  std::int32_t layer = 0;  ///< -1: before the layers, number of layers: after them
  std::uint32_t block = 0;
};

/// Streams of a rank class: compute = 0, communication = 1 (add 2 x rank class).
inline constexpr std::size_t kMaxStreams = 16;

struct StepProgram {
  std::vector<Task> tasks;
  std::vector<TaskBlock> blocks;
  std::vector<Segment> segments;

  void clear() {
    tasks.clear();
    blocks.clear();
    segments.clear();
  }
  /// Opens a block; tasks pushed after it belong to it. Returns its index.
  std::uint32_t open_block();
  /// Appends a task to the open block; the index is that in the block, for `after`.
  std::uint8_t push(const Task& task);
  void add_segment(std::int32_t layer, std::uint32_t block);
};

struct Timing {
  Duration total;
  Breakdown critical_path;                  ///< sums to `total`
  std::array<Duration, kResources> busy{};  ///< whether or not on the critical path
};

/// Records nothing; the compiler removes every call.
struct NoRecorder {
  static constexpr bool kRecords = false;
  void operator()(const Segment&, const Task&, Duration /*start*/) {}
};

/// Start of every task of a block that starts at zero, its end, and which task holds it back.
struct BlockSchedule {
  std::array<Duration, 256> start, end;
  std::array<std::uint8_t, 256> held_by;
};
/// Adds the block's time, critical path and busy time, `uses` times, to `timing`; returns the length of one.
Duration schedule_block(std::span<const Task> tasks, std::int64_t uses, BlockSchedule& schedule, Timing& timing);

/// The time of the program from an idle start. `record(segment, task, start)` sees every task of every segment when the
/// recorder records; the costless default sees nothing.
template <class Recorder = NoRecorder>
Timing evaluate(const StepProgram& program, Recorder&& record = Recorder()) {
  Timing timing;
  BlockSchedule schedule;
  if constexpr (std::remove_cvref_t<Recorder>::kRecords) {
    for (const Segment& segment : program.segments) {
      const TaskBlock& block = program.blocks[segment.block];
      const auto tasks = std::span(program.tasks).subspan(block.first, block.count);
      const Duration from = timing.total;
      schedule_block(tasks, 1, schedule, timing);
      for (std::size_t i = 0; i < tasks.size(); ++i) record(segment, tasks[i], from + schedule.start[i]);
    }
  } else {
    for (const TaskBlock& block : program.blocks) {
      schedule_block(std::span(program.tasks).subspan(block.first, block.count), block.uses, schedule, timing);
    }
  }
  return timing;
}

}  // namespace moesim
