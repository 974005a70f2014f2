#include "execution/step_execution.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace moesim {
namespace {

std::span<const Task> tasks_of(const StepProgram& program, std::size_t segment) {
  const TaskBlock& block = program.blocks[program.segments[segment].block];
  return std::span(program.tasks).subspan(block.first, block.count);
}

}  // namespace

void StepExecution::start(Instant now) {
  now_ = now;
  active_ = true;
  segment_ = 0;
  enter_segment(now);
}

void StepExecution::enter_segment(Instant now) {
  while (segment_ < program_->segments.size()) {
    const auto tasks = tasks_of(*program_, segment_);
    if (!tasks.empty()) {
      std::fill_n(started_.begin(), tasks.size(), false);
      std::fill_n(done_.begin(), tasks.size(), false);
      left_in_segment_ = tasks.size();
      start_ready(now);
      return;
    }
    ++segment_;
  }
  active_ = false;
  ended_ = true;
  end_time_ = now;
}

void StepExecution::start_ready(Instant now) {
  const auto tasks = tasks_of(*program_, segment_);
  std::array<bool, kMaxStreams> blocked{};
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (done_[i]) continue;
    const Task& task = tasks[i];
    bool ready = !started_[i] && !blocked[task.stream];
    blocked[task.stream] = true;  // nothing later on this stream starts before this one has ended
    for (const std::uint8_t before : task.after) {
      if (before == kNoTask) break;
      ready = ready && done_[before];
    }
    if (ready) {
      started_[i] = true;
      running_.push_back({static_cast<std::uint8_t>(i), task.duration, now});
      reschedule(now, running_.back());
    }
  }
}

void StepExecution::reschedule(Instant now, Running& running) const {
  const double rate = rate_[static_cast<std::size_t>(tasks_of(*program_, segment_)[running.task].resource)];
  if (rate <= 0) {
    running.finish = Instant::never();
  } else if (rate == 1) {
    running.finish = now + running.left;
  } else {
    running.finish = now + Duration::picoseconds(
                               static_cast<std::int64_t>(std::ceil(static_cast<double>(running.left.ps()) / rate)));
  }
}

Instant StepExecution::next_time() const {
  Instant next = Instant::never();
  for (const Running& running : running_) next = std::min(next, running.finish);
  return next;
}

void StepExecution::advance(Instant now) {
  MOESIM_CHECK(now >= now_, "advance to {} ps after {} ps", now.ps(), now_.ps());
  for (Instant next = next_time(); active_ && next <= now; next = next_time()) {
    std::erase_if(running_, [&](const Running& running) {
      if (running.finish != next) return false;
      done_[running.task] = true;
      --left_in_segment_;
      return true;
    });
    now_ = next;
    if (left_in_segment_ == 0) {
      ++segment_;
      enter_segment(next);
    } else {
      start_ready(next);
    }
  }
  now_ = now;
}

void StepExecution::cancel() {
  running_.clear();
  active_ = false;
}

void StepExecution::set_rate(Instant now, Resource resource, double rate) {
  advance(now);
  const double old_rate = rate_[static_cast<std::size_t>(resource)];
  rate_[static_cast<std::size_t>(resource)] = rate;
  if (!active_) return;
  const auto tasks = tasks_of(*program_, segment_);
  for (Running& running : running_) {
    if (tasks[running.task].resource != resource) continue;
    if (running.finish != Instant::never()) {
      const double left = static_cast<double>((running.finish - now).ps()) * old_rate;
      running.left = Duration::picoseconds(std::llrint(left));
    }
    reschedule(now, running);
  }
}

}  // namespace moesim
