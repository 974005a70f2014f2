#pragma once
// Continuous batching on one data-parallel rank: who waits, who runs, what the next step computes, which cache blocks
// are taken. Knows token counts only, neither time nor cost. Semantics of the vLLM v1 scheduler: one token budget for
// decodes and prefill chunks, first come first served, optimistic admission, preemption of the last admitted by
// recomputation.
//
// Decoding sequences all advance by one token a step, so sums over them advance in constant time: a step without
// arrivals, ends or new blocks beyond the pool costs the same for 1 and for 1,000 sequences.

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/ids.h"
#include "execution/rank_batch.h"
#include "model/model_spec.h"

namespace moesim {

struct SchedulerLimits {
  std::int32_t max_sequences = 256;
  std::int64_t max_batched_tokens = 8192;
  bool chunked_prefill = true;
  std::int64_t block_tokens = 16;
  std::int64_t blocks = 0;   ///< of the cache pool of one rank
  std::int32_t cohorts = 1;  ///< batches in flight at once (pipeline stages); a sequence belongs to one of them
};

/// What a step changes, by request.
struct StepEvents {
  std::vector<RequestId> admitted;   ///< first scheduled or scheduled again after a preemption
  std::vector<RequestId> preempted;  ///< gave up their blocks; wait at the front of the queue
  /// Emit a token at the end of the step because their prompt (and what they had generated) is computed. Decoding
  /// sequences emit one each as well; those are counted in the batch only.
  std::vector<RequestId> prefilled;
  std::vector<RequestId> finished;  ///< emit their last token at the end of the step
  void clear() {
    admitted.clear();
    preempted.clear();
    prefilled.clear();
    finished.clear();
  }
};

class RankScheduler {
 public:
  /// `mixers`: of the model; windows and chunks limit what a sequence sees.
  RankScheduler(const SchedulerLimits& limits, std::span<const MixerSpec> mixers);

  void enqueue(RequestId request, std::int32_t input_tokens, std::int32_t output_tokens);

  /// Something to compute for the cohort, or a waiting request that could join it.
  bool has_work(std::int32_t cohort) const;

  /// Composes the next step of a cohort and moves its sequences past it. Blocks and places of sequences that ended in
  /// the cohort's step before are free again. The batch may be empty; it is valid until the next call for the cohort.
  const RankBatch& schedule(std::int32_t cohort, StepEvents& events);

  /// Steps from now on in which `schedule` would only advance the same decoding sequences, at most `limit`.
  std::int64_t unchanged_steps(std::int32_t cohort, std::int64_t limit) const;
  /// One of those: the same as `schedule`, without looking for changes.
  const RankBatch& advance_unchanged(std::int32_t cohort);

  std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  std::int64_t running() const { return running_; }
  std::int64_t blocks_used() const { return blocks_used_; }
  /// Recounts the blocks from the sequences; equals blocks_used() always.
  std::int64_t recount_blocks() const;

 private:
  struct Sequence {
    RequestId request;
    std::int32_t input = 0, output = 0;
    std::int32_t generated = 0;      ///< tokens emitted when it joined the decodes (or was preempted)
    std::int64_t computed = 0;       ///< tokens in the cache while prefilling
    std::int64_t joined_length = 0;  ///< tokens in the cache when it joined the decodes
    std::uint64_t joined_clock = 0;
    std::uint32_t life = 0;  ///< changes whenever old timers of the sequence lose their meaning
    bool decoding = false;
  };
  /// At `clock` of the cohort something happens to the sequence, unless its life has changed since.
  struct Timer {
    std::uint64_t clock = 0;
    std::uint64_t order = 0;
    std::uint32_t sequence = 0, life = 0;
  };
  /// Keys that decoding sequences see through one mixer: the sum and how many of them grow by one a step.
  struct Visible {
    std::int64_t sum = 0, growing = 0;
    std::vector<Timer> limits;  ///< heap: windows that fill, chunks that restart
  };
  struct Cohort {
    std::uint64_t clock = 0;  ///< steps made
    std::int64_t decoding = 0;
    std::int64_t context_tokens = 0;
    std::vector<Visible> visible;  ///< by mixer
    std::vector<std::int64_t>
        new_block_at;                       ///< sequences that need a block at clocks equal to the index mod block size
    std::vector<Timer> ends;                ///< heap
    std::vector<std::uint32_t> running;     ///< in order of admission
    std::vector<std::uint32_t> prefilling;  ///< in order of admission
    std::int64_t releasing_blocks = 0, releasing_sequences = 0;
    RankBatch batch;
  };

  std::int64_t blocks_for(std::int64_t tokens) const {
    return (tokens + limits_.block_tokens - 1) / limits_.block_tokens;
  }
  std::int64_t free_blocks() const { return limits_.blocks - blocks_used_; }
  std::int64_t length(const Cohort& cohort, const Sequence& s) const {
    return s.joined_length + static_cast<std::int64_t>(cohort.clock - s.joined_clock);
  }
  void release_ended(Cohort& cohort);
  void advance_decodes(Cohort& cohort);
  void add_decode(Cohort& cohort, std::uint32_t sequence);
  void remove_decode(Cohort& cohort, std::uint32_t sequence);
  void preempt_last(Cohort& cohort, StepEvents& events);
  void continue_prefills(Cohort& cohort, std::int64_t& budget, StepEvents& events);
  void admit(Cohort& cohort, std::int64_t& budget, StepEvents& events);
  void put_chunk(Cohort& cohort, std::uint32_t sequence, std::int64_t chunk, StepEvents& events);
  void end_sequences(Cohort& cohort, StepEvents& events);

  SchedulerLimits limits_;
  std::vector<MixerSpec> mixers_;
  std::vector<std::int64_t> extents_;  ///< by mixer: 0 = unlimited; the top-k of a sparse indexer counts as a window
  std::vector<Cohort> cohorts_;
  std::vector<Sequence> sequences_;
  std::vector<std::uint32_t> free_sequences_;
  std::deque<std::uint32_t> waiting_;
  std::int64_t running_ = 0;
  std::int64_t blocks_used_ = 0;
  std::uint64_t order_ = 0;
};

}  // namespace moesim
