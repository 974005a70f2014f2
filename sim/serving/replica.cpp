#include "serving/replica.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/check.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxSamples = 4096;
constexpr std::int64_t kObservedFirst = 32, kObservedEvery = 64;

/// Adds `part` of a breakdown scaled to `length`; what rounding leaves goes to pipeline_wait.
void add_scaled(Breakdown& sum, const Breakdown& part, Duration total, Duration length) {
  Duration left = length;
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    const double scaled = static_cast<double>(part.parts[i].ps()) * (length / total);
    const Duration d = Duration::picoseconds(static_cast<std::int64_t>(std::floor(scaled)));
    sum.parts[i] += d;
    left -= d;
  }
  sum[TimePart::pipeline_wait] += left;
}

/// As vLLM's data-parallel balancer counts.
std::int64_t load_of(const RankScheduler& rank) {
  return 4 * rank.waiting() + rank.running();
}

}  // namespace

Replica::Replica(ReplicaId id, const EngineSpec& engine, const ModelSpec& model, const SchedulerLimits& limits,
                 StepCost& cost)
    : id_(id), engine_(engine), cost_(cost) {
  for (std::int32_t r = 0; r < engine.plan.dp; ++r) ranks_.emplace_back(limits, model.mixers);
  blocks_total_ = limits.blocks * engine.plan.dp;
  batches_.resize(ranks_.size());
  events_.resize(ranks_.size());
  stage_free_.resize(static_cast<std::size_t>(engine.plan.pp));
  cohort_end_.resize(static_cast<std::size_t>(limits.cohorts));
  if (model.is_moe()) {
    const std::size_t layers = cost.moe_layers().size();
    experts_.expert_max_over_mean.resize(layers);
    experts_.rank_max_over_mean.resize(layers);
    experts_.distinct.resize(layers);
    experts_.wait_seconds.resize(layers);
    experts_.counts.assign(layers, std::vector<std::uint64_t>(static_cast<std::size_t>(model.moe.experts)));
  }
}

std::uint32_t Replica::deliver(Instant now, RequestId request, const RequestRecord& record) {
  std::uint32_t best = next_rank_;
  std::int64_t least = INT64_MAX;
  const auto n = static_cast<std::uint32_t>(ranks_.size());
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t r = (next_rank_ + i) % n;
    const std::int64_t load = load_of(ranks_[r]);
    if (load < least) {
      least = load;
      best = r;
    }
  }
  next_rank_ = (best + 1) % n;
  ranks_[best].enqueue(request, record.input_tokens, record.output_tokens);
  if (next_decision_ == Instant::never()) {
    cohort_ = (cohort_ + 1) % static_cast<std::int32_t>(cohort_end_.size());
    const Instant free = cohort_end_.size() == 1 && engine_.async_scheduling
                             ? last_start_
                             : cohort_end_[static_cast<std::size_t>(cohort_)];
    next_decision_ = std::max(now, free);
  }
  return best;
}

std::int64_t Replica::load() const {
  std::int64_t sum = 0;
  for (const RankScheduler& rank : ranks_) sum += load_of(rank);
  return sum;
}

void Replica::run(const Limits& limits, RunLedger& ledger) {
  const std::int64_t ended = ledger.ended();
  decide(ledger);
  while (limits.strides && next_decision_ < limits.horizon && !(limits.stop_after_end && ledger.ended() != ended)) {
    repeat_unchanged(limits, ledger);
    if (next_decision_ < limits.horizon) decide(ledger);
  }
}

void Replica::decide(RunLedger& ledger) {
  const Instant decision = next_decision_;
  std::int64_t sequences = 0;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    batches_[r] = ranks_[r].schedule(cohort_, events_[r]);
    sequences += batches_[r].decode_sequences + static_cast<std::int64_t>(batches_[r].prefill.size());
  }
  const Instant last_emission = cohort_end_[static_cast<std::size_t>(cohort_)];
  for (const StepEvents& events : events_) {
    for (const RequestId request : events.preempted) {
      ledger.preempted(request, decision, last_emission);
      ++totals_.preemptions;
    }
  }
  if (sequences == 0) {  // the pool is held by batches that are still in flight
    const Instant now = decision;
    plan_next(now, {now, now, {}});
    MOESIM_CHECK(next_decision_ > now, "replica {} has nothing to run at {} ps", id_.value, now.ps());
    return;
  }
  const StepTimes times = time_step(decision, sequences);
  for (const StepEvents& events : events_) {
    for (const RequestId request : events.admitted) ledger.admitted(request, times.start);
  }
  emit(times, ledger);
  account(decision, times);
  plan_next(decision, times);
}

Replica::StepTimes Replica::time_step(Instant decision, std::int64_t sequences) {
  const std::uint64_t draw = static_cast<std::uint64_t>(id_.value) << 40 | static_cast<std::uint64_t>(totals_.steps);
  timing_ = &cost_.time(batches_, draw);
  const Duration host = engine_.host.step + engine_.host.per_sequence * sequences;
  StepTimes times{std::max(decision + host, stage_free_[0]), {}, host};
  Instant ready = times.start;
  for (std::size_t s = 0; s < stage_free_.size(); ++s) {
    ready = std::max(ready, stage_free_[s]) + timing_->stages[s].total;
    stage_free_[s] = ready;
    times.end = ready;
    ready = ready + timing_->stage_transfer;
  }
  return times;
}

void Replica::emit(const StepTimes& times, RunLedger& ledger) {
  Instant& last_end = cohort_end_[static_cast<std::size_t>(cohort_)];
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankBatch& batch = batches_[r];
    if (batch.decode_sequences > 0) ledger.gap(times.end - last_end, batch.decode_sequences);
    for (const RequestId request : events_[r].prefilled) ledger.prefilled(request, times.end);
    for (const RequestId request : events_[r].finished) ledger.finished(request, times.end);
    totals_.step_sequences += batch.decode_sequences + static_cast<std::int64_t>(batch.prefill.size());
    totals_.step_tokens += batch.tokens;
  }
  last_end = times.end;
  last_start_ = times.start;
}

void Replica::account(Instant decision, const StepTimes& times) {
  std::int64_t blocks = 0;
  for (const RankScheduler& rank : ranks_) {
    blocks += rank.blocks_used();
    totals_.blocks_peak = std::max(totals_.blocks_peak, rank.blocks_used());
  }
  // While idle the blocks of the last sequences were free.
  if (idle_) blocks_.set(std::min(decision, totals_.last_end), 0);
  blocks_.set(decision, blocks);

  const Instant from = idle_ ? std::max(decision, totals_.last_end) : totals_.last_end;
  if (idle_) totals_.breakdown[TimePart::idle] += from - totals_.last_end;
  std::size_t slowest = 0;
  for (std::size_t s = 0; s < timing_->stages.size(); ++s) {
    if (timing_->stages[s].total > timing_->stages[slowest].total) slowest = s;
    for (std::size_t i = 0; i < kResources; ++i) totals_.busy[i] += timing_->stages[s].busy[i];
  }
  totals_.busy[static_cast<std::size_t>(Resource::host)] += times.host;
  for (std::size_t s = 0; s < timing_->energy.size(); ++s) {
    const StageEnergy& stage = timing_->energy[s];
    const double seconds = timing_->stages[s].total.seconds();
    totals_.energy += stage.joules * static_cast<double>(engine_.plan.stage_ranks());
    totals_.clock_seconds += stage.clock * seconds;
    totals_.stage_seconds += seconds;
  }
  const Timing& stage = timing_->stages[slowest];
  const Duration passed = times.end - from;
  if (stage.total <= passed) {
    totals_.breakdown += stage.critical_path;
    totals_.breakdown[stage_free_.size() == 1 ? TimePart::host : TimePart::pipeline_wait] += passed - stage.total;
  } else {
    add_scaled(totals_.breakdown, stage.critical_path, stage.total, passed);
  }
  totals_.last_end = times.end;
  idle_ = false;
  observe(times);
  sample(times);
  ++totals_.steps;
}

void Replica::observe(const StepTimes& times) {
  const std::uint64_t draw = static_cast<std::uint64_t>(id_.value) << 40 | static_cast<std::uint64_t>(totals_.steps);
  if (totals_.steps < kObservedFirst || totals_.steps % kObservedEvery == 0) {
    observe_network(times, draw);
    if (!experts_.counts.empty() && id_.value == 0) observe_experts(draw);
  }
  if (trace_.events != nullptr && times.end > trace_.from && times.start < trace_.to) trace_step(times, draw);
}

void Replica::observe_experts(std::uint64_t draw) {
  cost_.observe_experts(batches_, draw, observations_, observed_counts_);
  ++experts_.samples;
  for (std::size_t l = 0; l < observations_.size(); ++l) {
    experts_.expert_max_over_mean[l] += observations_[l].expert_max_over_mean;
    experts_.rank_max_over_mean[l] += observations_[l].rank_max_over_mean;
    experts_.distinct[l] += static_cast<double>(observations_[l].distinct_experts);
    experts_.wait_seconds[l] += observations_[l].straggler_wait.seconds();
    for (std::size_t e = 0; e < observed_counts_[l].size(); ++e) experts_.counts[l][e] += observed_counts_[l][e];
  }
}

void Replica::observe_network(const StepTimes& times, std::uint64_t draw) {
  if (engine_.plan.world() > 1) {
    const LinkBytes& bytes = cost_.link_bytes(batches_, draw, first_gpu());
    const double seconds = (times.end - times.start).seconds();
    for (const LinkId link : bytes.used()) {
      LinkTotals& totals = network_.links[link];
      totals.bytes += bytes[link];
      totals.peak_per_second = std::max(totals.peak_per_second, bytes[link] / seconds);
    }
    const CarriedBytes by_kind = total_by_kind(bytes, cost_.topology());
    for (std::size_t i = 0; i < by_kind.size(); ++i) {
      network_.peak_per_second[i] = std::max(network_.peak_per_second[i], by_kind[i] / seconds);
    }
  }
  for (const RankBatch& batch : batches_) network_.tokens += batch.tokens;
}

void Replica::trace_step(const StepTimes& times, std::uint64_t draw) {
  if (engine_.plan.world() > 1) traced_steps_.push_back({times.start, batches_, draw});
  if (times.start >= trace_.from) {
    StepCounters counters;
    for (const RankBatch& batch : batches_) {
      counters.sequences += batch.decode_sequences + static_cast<std::int64_t>(batch.prefill.size());
      counters.tokens += batch.tokens;
    }
    for (const RankScheduler& rank : ranks_) counters.blocks_used += rank.blocks_used();
    counters.blocks_free = blocks_total_ - counters.blocks_used;
    TraceEvent event;
    event.replica = id_.value;
    event.start = times.start;
    event.counters = counters;
    trace_.events->push_back(std::move(event));
  }
  for (const RankTask& task : cost_.rank_tasks(batches_, draw)) {
    const Instant start = times.start + task.start;
    if (start >= trace_.to || start + task.duration <= trace_.from) continue;
    TraceEvent event;
    event.replica = id_.value;
    event.gpu = task.rank;
    event.lane = task.resource;
    event.name = task.layer < 0 ? std::string(task.name) : fmt::format("{} L{}", task.name, task.layer);
    event.part = task.part;
    event.start = start;
    event.duration = task.duration;
    event.tokens = task.tokens;
    event.bytes = task.bytes;
    trace_.events->push_back(std::move(event));
  }
}

void Replica::sample(const StepTimes& times) {
  if (totals_.steps % sample_every_ != 0) return;
  if (samples_.size() == kMaxSamples) {  // keep every second one
    for (std::size_t i = 0; 2 * i < samples_.size(); ++i) samples_[i] = samples_[2 * i];
    samples_.resize(kMaxSamples / 2);
    sample_every_ *= 2;
    if (totals_.steps % sample_every_ != 0) return;
  }
  StepSample s{times.end, times.end - times.start, 0, 0};
  for (const RankBatch& batch : batches_) {
    s.sequences += static_cast<std::int32_t>(batch.decode_sequences) + static_cast<std::int32_t>(batch.prefill.size());
    s.tokens += static_cast<std::int32_t>(batch.tokens);
  }
  samples_.push_back(s);
}

void Replica::plan_next(Instant decision, const StepTimes& times) {
  const auto cohorts = static_cast<std::int32_t>(cohort_end_.size());
  Instant best = Instant::never();
  std::int32_t chosen = cohort_;
  const bool stepped = times.end > decision;
  for (std::int32_t i = 1; i <= cohorts; ++i) {
    const std::int32_t c = (cohort_ + i) % cohorts;
    if (c == cohort_ && !stepped) continue;  // has just found nothing to run
    if (!std::any_of(ranks_.begin(), ranks_.end(), [&](const RankScheduler& rank) { return rank.has_work(c); })) {
      continue;
    }
    Instant free = cohort_end_[static_cast<std::size_t>(c)];
    if (cohorts == 1) {
      free = engine_.async_scheduling ? times.start : times.end;
    } else {
      free = std::max(free, stepped ? times.start : decision + Duration::picoseconds(1));
    }
    if (free < best) {
      best = free;
      chosen = c;
    }
  }
  next_decision_ = best;
  if (best == Instant::never()) {
    idle_ = true;
  } else {
    cohort_ = chosen;
  }
}

void Replica::repeat_unchanged(const Limits& limits, RunLedger& ledger) {
  if (cohort_end_.size() > 1) return;  // batches in flight alternate
  std::int64_t steps = INT64_MAX;
  for (const RankScheduler& rank : ranks_) steps = std::min(steps, rank.unchanged_steps(cohort_, steps));
  if (steps <= 0) return;
  std::int64_t sequences = 0;
  for (StepEvents& events : events_) events.clear();
  for (; steps > 0 && next_decision_ < limits.horizon; --steps) {
    const Instant decision = next_decision_;
    sequences = 0;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      batches_[r] = ranks_[r].advance_unchanged(cohort_);
      sequences += batches_[r].decode_sequences;
    }
    const StepTimes times = time_step(decision, sequences);
    emit(times, ledger);
    account(decision, times);
    next_decision_ = engine_.async_scheduling ? times.start : times.end;
  }
}

double Replica::mean_blocks(Instant end) const {
  return blocks_.mean(std::max(end, totals_.last_end)) / static_cast<double>(ranks_.size());
}

}  // namespace moesim
