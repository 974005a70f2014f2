#include "serving/rank_scheduler.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/check.h"

namespace moesim {
namespace {

/// Heap order: earliest clock first, then the order of creation.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.clock != b.clock ? a.clock > b.clock : a.order > b.order;
};

template <class Timer>
void push_timer(std::vector<Timer>& heap, const Timer& timer) {
  heap.push_back(timer);
  std::push_heap(heap.begin(), heap.end(), kLater);
}

template <class Timer>
Timer pop_timer(std::vector<Timer>& heap) {
  std::pop_heap(heap.begin(), heap.end(), kLater);
  const Timer timer = heap.back();
  heap.pop_back();
  return timer;
}

/// Keys in sight of the newest of `length` tokens.
std::int64_t keys_in_sight(const MixerSpec& mixer, std::int64_t extent, std::int64_t length) {
  if (extent == 0) return length;
  if (mixer.kind == MixerKind::chunked) return length == 0 ? 0 : (length - 1) % extent + 1;
  return std::min(length, extent);
}

}  // namespace

RankScheduler::RankScheduler(const SchedulerLimits& limits, std::span<const MixerSpec> mixers)
    : limits_(limits), mixers_(mixers.begin(), mixers.end()) {
  for (const MixerSpec& mixer : mixers_) extents_.push_back(mixer.index_top_k > 0 ? mixer.index_top_k : mixer.extent);
  cohorts_.resize(static_cast<std::size_t>(limits.cohorts));
  for (Cohort& cohort : cohorts_) {
    cohort.visible.resize(mixers_.size());
    cohort.new_block_at.resize(static_cast<std::size_t>(limits.block_tokens));
  }
}

void RankScheduler::enqueue(RequestId request, std::int32_t input_tokens, std::int32_t output_tokens) {
  std::uint32_t slot = 0;
  if (free_sequences_.empty()) {
    slot = static_cast<std::uint32_t>(sequences_.size());
    sequences_.emplace_back();
  } else {
    slot = free_sequences_.back();
    free_sequences_.pop_back();
  }
  Sequence& s = sequences_[slot];
  const std::uint32_t life = s.life + 1;
  s = {};
  s.life = life;
  s.request = request;
  s.input = input_tokens;
  s.output = output_tokens;
  waiting_.push_back(slot);
}

bool RankScheduler::has_work(std::int32_t cohort) const {
  const Cohort& c = cohorts_[static_cast<std::size_t>(cohort)];
  return c.decoding > 0 || !c.prefilling.empty() || !waiting_.empty();
}

void RankScheduler::release_ended(Cohort& cohort) {
  blocks_used_ -= cohort.releasing_blocks;
  running_ -= cohort.releasing_sequences;
  cohort.releasing_blocks = cohort.releasing_sequences = 0;
}

const RankBatch& RankScheduler::schedule(std::int32_t cohort_index, StepEvents& events) {
  Cohort& cohort = cohorts_[static_cast<std::size_t>(cohort_index)];
  events.clear();
  cohort.batch.clear();
  release_ended(cohort);

  const auto needed = [&] {
    return cohort.decoding == 0
               ? 0
               : cohort.new_block_at[(cohort.clock + 1) % static_cast<std::uint64_t>(limits_.block_tokens)];
  };
  while (needed() > free_blocks()) preempt_last(cohort, events);
  if (cohort.decoding > 0) {
    advance_decodes(cohort);
  } else {
    ++cohort.clock;
  }
  std::int64_t budget = limits_.max_batched_tokens - cohort.decoding;
  continue_prefills(cohort, budget, events);
  // As in vLLM, a step that had to preempt admits nobody.
  if (events.preempted.empty()) admit(cohort, budget, events);
  end_sequences(cohort, events);
  return cohort.batch;
}

const RankBatch& RankScheduler::advance_unchanged(std::int32_t cohort_index) {
  Cohort& cohort = cohorts_[static_cast<std::size_t>(cohort_index)];
  cohort.batch.clear();
  if (cohort.decoding == 0) {
    ++cohort.clock;
  } else {
    advance_decodes(cohort);
  }
  return cohort.batch;
}

std::int64_t RankScheduler::unchanged_steps(std::int32_t cohort_index, std::int64_t limit) const {
  const Cohort& cohort = cohorts_[static_cast<std::size_t>(cohort_index)];
  if (!cohort.prefilling.empty() || cohort.releasing_sequences > 0) return 0;
  if (!waiting_.empty()) {
    // Waiting requests stay where they are only while no place is free for them.
    const Sequence& first = sequences_[waiting_.front()];
    const std::int64_t budget = limits_.max_batched_tokens - cohort.decoding;
    const std::int64_t tokens = first.input + first.generated;
    const bool placed = running_ < limits_.max_sequences && budget > 0 &&
                        (limits_.chunked_prefill || tokens <= budget) &&
                        blocks_for(std::min(tokens, budget)) <= free_blocks();
    if (placed) return 0;
  }
  if (cohort.decoding == 0) return limit;
  // The step in which a sequence ends, a window fills or the pool runs out is a change.
  if (!cohort.ends.empty()) {
    limit = std::min(limit, static_cast<std::int64_t>(cohort.ends.front().clock - cohort.clock) - 1);
  }
  for (const Visible& visible : cohort.visible) {
    if (!visible.limits.empty()) {
      limit = std::min(limit, static_cast<std::int64_t>(visible.limits.front().clock - cohort.clock) - 1);
    }
  }
  std::int64_t left = free_blocks();
  const auto block = static_cast<std::uint64_t>(limits_.block_tokens);
  // Every sequence takes one block in `block` steps.
  if (left / cohort.decoding * limits_.block_tokens > limit) return std::max<std::int64_t>(limit, 0);
  for (std::int64_t step = 1; step <= limit; ++step) {
    left -= cohort.new_block_at[(cohort.clock + static_cast<std::uint64_t>(step)) % block];
    if (left < 0) return step - 1;
  }
  return std::max<std::int64_t>(limit, 0);
}

void RankScheduler::advance_decodes(Cohort& cohort) {
  ++cohort.clock;
  blocks_used_ += cohort.new_block_at[cohort.clock % static_cast<std::uint64_t>(limits_.block_tokens)];
  cohort.context_tokens += cohort.decoding;
  RankBatch& batch = cohort.batch;
  batch.decode_sequences = batch.tokens = batch.emitting_rows = cohort.decoding;
  batch.context_tokens = cohort.context_tokens;
  for (std::size_t m = 0; m < mixers_.size(); ++m) {
    Visible& visible = cohort.visible[m];
    visible.sum += visible.growing;
    while (!visible.limits.empty() && visible.limits.front().clock <= cohort.clock) {
      Timer timer = pop_timer(visible.limits);
      if (sequences_[timer.sequence].life != timer.life) continue;
      if (mixers_[m].kind == MixerKind::chunked) {
        visible.sum -= extents_[m];
        timer.clock += static_cast<std::uint64_t>(extents_[m]);
        push_timer(visible.limits, timer);
      } else {
        --visible.growing;
      }
    }
    batch.visible_keys[m] = visible.sum;
  }
}

void RankScheduler::add_decode(Cohort& cohort, std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  s.decoding = true;
  s.joined_clock = cohort.clock;
  s.joined_length = s.computed;
  ++cohort.decoding;
  cohort.context_tokens += s.joined_length;
  const auto block = static_cast<std::uint64_t>(limits_.block_tokens);
  // It needs a block whenever the tokens before it fill their blocks: (length - 1) mod block = 0.
  const std::uint64_t residue =
      (cohort.clock + 1 + block - static_cast<std::uint64_t>(s.joined_length) % block) % block;
  ++cohort.new_block_at[residue];
  for (std::size_t m = 0; m < mixers_.size(); ++m) {
    Visible& visible = cohort.visible[m];
    const std::int64_t extent = extents_[m];
    const std::int64_t now = keys_in_sight(mixers_[m], extent, s.joined_length);
    visible.sum += now;
    if (extent == 0) {
      ++visible.growing;
    } else if (mixers_[m].kind == MixerKind::chunked) {
      ++visible.growing;  // restarts at one when a chunk is full
      push_timer(visible.limits, {cohort.clock + static_cast<std::uint64_t>(extent - now) + 1, order_++, slot, s.life});
    } else if (now < extent) {
      ++visible.growing;
      push_timer(visible.limits, {cohort.clock + static_cast<std::uint64_t>(extent - now), order_++, slot, s.life});
    }
  }
  push_timer(cohort.ends, {cohort.clock + static_cast<std::uint64_t>(s.output - s.generated), order_++, slot, s.life});
}

void RankScheduler::remove_decode(Cohort& cohort, std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  const std::int64_t tokens = length(cohort, s);
  --cohort.decoding;
  cohort.context_tokens -= tokens;
  const auto block = static_cast<std::uint64_t>(limits_.block_tokens);
  const std::uint64_t residue =
      (s.joined_clock + 1 + block - static_cast<std::uint64_t>(s.joined_length) % block) % block;
  --cohort.new_block_at[residue];
  for (std::size_t m = 0; m < mixers_.size(); ++m) {
    Visible& visible = cohort.visible[m];
    visible.sum -= keys_in_sight(mixers_[m], extents_[m], tokens);
    if (extents_[m] == 0 || mixers_[m].kind == MixerKind::chunked || tokens < extents_[m]) --visible.growing;
  }
  s.generated += static_cast<std::int32_t>(cohort.clock - s.joined_clock);
  s.computed = tokens;
  s.decoding = false;
  ++s.life;
}

void RankScheduler::preempt_last(Cohort& cohort, StepEvents& events) {
  MOESIM_CHECK(!cohort.running.empty(), "no sequence left to preempt; {} of {} blocks in use", blocks_used_,
               limits_.blocks);
  const std::uint32_t slot = cohort.running.back();
  cohort.running.pop_back();
  Sequence& s = sequences_[slot];
  if (s.decoding) {
    remove_decode(cohort, slot);
  } else {
    std::erase(cohort.prefilling, slot);
    ++s.life;
  }
  blocks_used_ -= blocks_for(s.computed);
  s.computed = 0;
  --running_;
  waiting_.push_front(slot);
  events.preempted.push_back(s.request);
}

void RankScheduler::continue_prefills(Cohort& cohort, std::int64_t& budget, StepEvents& events) {
  const std::vector<std::uint32_t> started = cohort.prefilling;
  for (const std::uint32_t slot : started) {
    if (budget <= 0) return;
    const Sequence& s = sequences_[slot];
    const std::int64_t chunk = std::min(s.input + s.generated - s.computed, budget);
    bool kept = true;
    while (kept && blocks_for(s.computed + chunk) - blocks_for(s.computed) > free_blocks()) {
      kept = cohort.running.back() != slot;
      preempt_last(cohort, events);
    }
    if (!kept) return;
    budget -= chunk;
    put_chunk(cohort, slot, chunk, events);
  }
}

void RankScheduler::admit(Cohort& cohort, std::int64_t& budget, StepEvents& events) {
  while (!waiting_.empty() && running_ < limits_.max_sequences && budget > 0) {
    const std::uint32_t slot = waiting_.front();
    const Sequence& s = sequences_[slot];
    const std::int64_t tokens = s.input + s.generated;
    if (!limits_.chunked_prefill && tokens > budget) return;
    const std::int64_t chunk = std::min(tokens, budget);
    if (blocks_for(chunk) > free_blocks()) return;
    waiting_.pop_front();
    ++running_;
    cohort.running.push_back(slot);
    cohort.prefilling.push_back(slot);
    events.admitted.push_back(s.request);
    budget -= chunk;
    put_chunk(cohort, slot, chunk, events);
  }
}

void RankScheduler::put_chunk(Cohort& cohort, std::uint32_t slot, std::int64_t chunk, StepEvents& events) {
  Sequence& s = sequences_[slot];
  blocks_used_ += blocks_for(s.computed + chunk) - blocks_for(s.computed);
  cohort.batch.prefill.push_back({chunk, s.computed});
  cohort.batch.tokens += chunk;
  s.computed += chunk;
  if (s.computed == s.input + s.generated) {
    std::erase(cohort.prefilling, slot);
    ++cohort.batch.emitting_rows;
    ++s.generated;
    events.prefilled.push_back(s.request);
    add_decode(cohort, slot);  // from the next step on
  }
}

void RankScheduler::end_sequences(Cohort& cohort, StepEvents& events) {
  while (!cohort.ends.empty() && cohort.ends.front().clock <= cohort.clock) {
    const Timer timer = pop_timer(cohort.ends);
    if (sequences_[timer.sequence].life != timer.life) continue;
    remove_decode(cohort, timer.sequence);
    std::erase(cohort.running, timer.sequence);
    // Its blocks and its place are taken until the step has ended.
    cohort.releasing_blocks += blocks_for(sequences_[timer.sequence].computed);
    ++cohort.releasing_sequences;
    events.finished.push_back(sequences_[timer.sequence].request);
    free_sequences_.push_back(timer.sequence);
  }
  // Timers of sequences that were preempted are dropped when they come to the top, so that it names a real change.
  while (!cohort.ends.empty() && sequences_[cohort.ends.front().sequence].life != cohort.ends.front().life) {
    pop_timer(cohort.ends);
  }
}

std::int64_t RankScheduler::recount_blocks() const {
  std::int64_t blocks = 0;
  for (const Cohort& cohort : cohorts_) {
    for (const std::uint32_t slot : cohort.running) {
      const Sequence& s = sequences_[slot];
      blocks += blocks_for(s.decoding ? length(cohort, s) : s.computed);
    }
    blocks += cohort.releasing_blocks;
  }
  return blocks;
}

}  // namespace moesim
