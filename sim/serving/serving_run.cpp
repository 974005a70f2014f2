#include "serving/serving_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "collectives/layer_collectives.h"
#include "core/check.h"
#include "engine/event_queue.h"
#include "parallel/memory_use.h"
#include "serving/link_lanes.h"
#include "serving/network_use.h"
#include "serving/replica.h"
#include "serving/run_ledger.h"

namespace moesim {
namespace {

/// Order at equal times: requests reach the scheduler before it decides.
constexpr std::uint8_t kDelivery = 0, kDecision = 1;

/// Independent schedulers: data-parallel ranks step together only where their tokens meet in shared experts.
struct Units {
  EngineSpec engine;  ///< of one unit
  std::uint32_t count = 1;
  std::uint32_t per_replica = 1;
};

Units independent_units(const ModelSpec& model, const EngineSpec& engine) {
  Units units{engine, static_cast<std::uint32_t>(engine.replicas), 1};
  const bool together = model.is_moe() && engine.plan.dp_ranks_per_expert_group() > 1;
  if (engine.plan.dp > 1 && !together) {
    units.per_replica = static_cast<std::uint32_t>(engine.plan.dp);
    units.count *= units.per_replica;
    units.engine.plan.dp = 1;
    units.engine.plan.edp = 1;
    if (!model.is_moe()) units.engine.plan.ep = units.engine.plan.etp = 1;
  }
  return units;
}

ExecutionSpec execution_of(const EngineSpec& engine, const ServingInputs& inputs) {
  ExecutionSpec spec = execution_spec(engine);
  spec.resolution = inputs.routing.resolution;
  spec.launch = inputs.kernels.launch.eager;
  if (inputs.power != nullptr) spec.power = *inputs.power;
  spec.clocks = inputs.clocks;
  return spec;
}

class ServingRun {
 public:
  ServingRun(const ServingInputs& inputs, const ServingObserver& observer)
      : inputs_(inputs),
        observer_(observer),
        units_(independent_units(inputs.model, inputs.engine)),
        topology_(inputs.cluster),
        kernels_(inputs.gpu, inputs.kernels),
        ledger_(inputs.requests, units_.count, inputs.engine.host.detokenize),
        closed_(inputs.arrivals.kind == ArrivalKind::closed) {
    if (inputs.model.is_moe()) {
      const auto moe_layers = std::count_if(inputs.model.layers.begin(), inputs.model.layers.end(),
                                            [](const LayerSpec& layer) { return layer.moe; });
      router_ = std::make_unique<Router>(inputs.model.moe, static_cast<std::int32_t>(moe_layers), inputs.routing,
                                         inputs.seed);
    }
    cost_ = std::make_unique<StepCost>(inputs.model, kernels_, topology_, inputs.collectives,
                                       execution_of(units_.engine, inputs), router_.get());
    memory_ = pool_memory(inputs.model, inputs.gpu, inputs.cluster, inputs.engine);
    limits_ = {.max_sequences = units_.engine.max_num_seqs,
               .max_batched_tokens = units_.engine.max_num_batched_tokens,
               .chunked_prefill = units_.engine.enable_chunked_prefill,
               .block_tokens = units_.engine.block_size,
               .blocks = memory_.kv_blocks_total,
               .cohorts = units_.engine.plan.pp};
    next_rank_.resize(units_.count / units_.per_replica);
    for (std::uint32_t i = 0; i < units_.count; ++i) {
      replicas_.push_back(std::make_unique<Replica>(ReplicaId{i}, units_.engine, inputs.model, limits_, *cost_));
      if (observer.trace != nullptr) {
        replicas_.back()->trace_to({observer.trace, observer.trace_from, observer.trace_to});
      }
    }
  }

  ServingOutcome run() {
    schedule_arrivals();
    std::int64_t events = 0;
    std::int64_t reported = -1;
    const std::int64_t total = static_cast<std::int64_t>(inputs_.requests.size());
    const std::int64_t report_every = std::max<std::int64_t>(1, total / 200);
    while (!queue_.empty()) {
      const auto event = queue_.pop();
      if (event.payload.is_delivery) {
        if (!closed_) deliver_next();
        deliver(event.time, RequestId{event.payload.index});
      } else {
        decide(event.payload.index);
      }
      if (++events % 256 == 0 && observer_.interrupted && observer_.interrupted()) {
        interrupted_ = true;
        break;
      }
      if (observer_.progress && ledger_.ended() / report_every != reported) {
        reported = ledger_.ended() / report_every;
        observer_.progress(ledger_.ended(), total);
      }
    }
    return outcome();
  }

 private:
  struct Payload {
    bool is_delivery = false;
    std::uint32_t index = 0;  ///< request or replica
  };

  Instant delivery_time(const Request& request, Instant arrival) const {
    const HostTimes& host = inputs_.engine.host;
    return arrival + host.request + host.per_input_token * request.input_tokens;
  }

  /// Open arrivals: requests in the order in which they reach the scheduler, one pending at a time. Closed loop: the
  /// first `concurrency` at time zero, the next one whenever one has ended.
  void schedule_arrivals() {
    const auto& requests = inputs_.requests;
    if (closed_) {
      next_closed_ = std::min<std::size_t>(requests.size(), static_cast<std::size_t>(inputs_.arrivals.concurrency));
      for (std::size_t i = 0; i < next_closed_; ++i) start_closed(static_cast<std::uint32_t>(i), Instant());
      return;
    }
    order_.resize(requests.size());
    std::iota(order_.begin(), order_.end(), 0u);
    std::stable_sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return delivery_time(requests[a], requests[a].arrival) < delivery_time(requests[b], requests[b].arrival);
    });
    deliver_next();
  }

  void deliver_next() {
    if (next_open_ == order_.size()) {
      next_delivery_ = Instant::never();
      return;
    }
    const std::uint32_t i = order_[next_open_++];
    next_delivery_ = delivery_time(inputs_.requests[i], inputs_.requests[i].arrival);
    queue_.schedule(next_delivery_, kDelivery, {true, i});
  }

  void start_closed(std::uint32_t i, Instant arrival) {
    ledger_.records()[i].arrival = arrival;
    queue_.schedule(delivery_time(inputs_.requests[i], arrival), kDelivery, {true, i});
  }

  bool can_ever_run(const RequestRecord& record) const {
    const std::int64_t tokens = std::int64_t{record.input_tokens} + record.output_tokens;
    const std::int64_t block = limits_.block_tokens;
    if ((tokens - 1 + block - 1) / block > limits_.blocks) return false;
    if (inputs_.engine.max_model_len > 0 && tokens > inputs_.engine.max_model_len) return false;
    return limits_.chunked_prefill || record.input_tokens <= limits_.max_batched_tokens;
  }

  void deliver(Instant now, RequestId request) {
    const RequestRecord& record = ledger_.records()[request.value];
    if (!can_ever_run(record)) {
      ledger_.rejected(request);
      follow_ends();
      return;
    }
    const std::uint32_t chosen = choose_unit();
    Replica& replica = *replicas_[chosen];
    const Instant before = replica.next_decision();
    const std::uint32_t rank = replica.deliver(now, request, record);
    ledger_.delivered(request, now, ReplicaId{chosen}, rank);
    if (before == Instant::never()) queue_.schedule(replica.next_decision(), kDecision, {false, chosen});
  }

  /// A replica by the engine's policy, then the data-parallel rank with the least load; ties in turn.
  std::uint32_t choose_unit() {
    const std::uint32_t ranks = units_.per_replica;
    const auto count = static_cast<std::uint32_t>(replicas_.size()) / ranks;
    const auto load_of = [&](std::uint32_t replica) {
      std::int64_t load = 0;
      for (std::uint32_t r = 0; r < ranks; ++r) load += replicas_[replica * ranks + r]->load();
      return load;
    };
    auto chosen = static_cast<std::uint32_t>(turn_++ % count);
    if (inputs_.engine.balancing == Balancing::least_loaded) {
      chosen = 0;
      for (std::uint32_t i = 1; i < count; ++i) {
        if (load_of(i) < load_of(chosen)) chosen = i;
      }
    }
    if (ranks == 1) return chosen;
    std::uint32_t best = next_rank_[chosen];
    for (std::uint32_t i = 1; i < ranks; ++i) {
      const std::uint32_t r = (next_rank_[chosen] + i) % ranks;
      if (replicas_[chosen * ranks + r]->load() < replicas_[chosen * ranks + best]->load()) best = r;
    }
    next_rank_[chosen] = (best + 1) % ranks;
    return chosen * ranks + best;
  }

  void decide(std::uint32_t index) {
    Replica& replica = *replicas_[index];
    // Without feedback from clients nothing reaches a replica before the next delivery. In a closed loop every end can
    // bring a request to any replica: one replica may run on until then, several take turns.
    Replica::Limits limits{next_delivery_, inputs_.strides};
    if (closed_) limits.strides = limits.strides && replicas_.size() == 1;
    if (closed_ && limits.strides) {
      // Ends found on the way are followed at once and shorten the horizon.
      run_closed(replica);
    } else {
      replica.run(limits, ledger_);
    }
    follow_ends();
    if (replica.next_decision() != Instant::never()) {
      queue_.schedule(replica.next_decision(), kDecision, {false, index});
    }
  }

  void run_closed(Replica& replica) {
    do {
      const std::int64_t ended = ledger_.ended();
      replica.run({.horizon = queue_.next_time(), .strides = true, .stop_after_end = true}, ledger_);
      if (ledger_.ended() == ended) return;
      follow_ends();
    } while (replica.next_decision() < queue_.next_time());
  }

  void follow_ends() {
    if (!closed_) {
      ledger_.forget_ended();
      return;
    }
    for (const auto& [request, when] : ledger_.take_ended()) {
      if (next_closed_ < inputs_.requests.size()) start_closed(static_cast<std::uint32_t>(next_closed_++), when);
    }
  }

  ServingOutcome outcome();
  void describe_experts(ServingOutcome& outcome) const;

  const ServingInputs& inputs_;
  const ServingObserver& observer_;
  Units units_;
  Topology topology_;
  KernelCost kernels_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<StepCost> cost_;
  PoolMemory memory_;
  SchedulerLimits limits_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  RunLedger ledger_;
  EventQueue<Payload> queue_;
  std::vector<std::uint32_t> order_;
  std::size_t next_open_ = 0, next_closed_ = 0;
  Instant next_delivery_ = Instant::never();
  std::uint64_t turn_ = 0;
  std::vector<std::uint32_t> next_rank_;  ///< by replica: where ties among its ranks begin
  bool closed_ = false, interrupted_ = false;
};

/// Gini coefficient of the totals: 0 when all are equal.
double gini(std::vector<std::uint64_t> values) {
  std::sort(values.begin(), values.end());
  double weighted = 0, sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    weighted += static_cast<double>(i + 1) * static_cast<double>(values[i]);
    sum += static_cast<double>(values[i]);
  }
  const auto n = static_cast<double>(values.size());
  return sum == 0 ? 0 : 2 * weighted / (n * sum) - (n + 1) / n;
}

void ServingRun::describe_experts(ServingOutcome& outcome) const {
  const ExpertTotals& totals = replicas_.front()->experts();
  if (totals.samples == 0) return;
  const auto n = static_cast<double>(totals.samples);
  for (std::size_t l = 0; l < totals.counts.size(); ++l) {
    ExpertLayerSummary layer;
    layer.layer = cost_->moe_layers()[l];
    layer.expert_max_over_mean = totals.expert_max_over_mean[l] / n;
    layer.rank_max_over_mean = totals.rank_max_over_mean[l] / n;
    layer.distinct_experts = totals.distinct[l] / n;
    layer.straggler_wait_ms = totals.wait_seconds[l] / n * 1e3;
    layer.gini = gini(totals.counts[l]);
    outcome.experts.push_back(layer);
  }
}

ServingOutcome ServingRun::outcome() {
  ServingOutcome out;
  out.interrupted = interrupted_;
  out.fingerprint = ledger_.fingerprint();
  Instant end;
  for (const auto& replica : replicas_) end = std::max(end, replica->totals().last_end);
  double blocks = 0, clock_seconds = 0, stage_seconds = 0;
  for (const auto& replica : replicas_) {
    const ReplicaTotals& totals = replica->totals();
    out.steps += totals.steps;
    out.step_sequences += totals.step_sequences;
    out.breakdown += totals.breakdown;
    out.breakdown[TimePart::idle] += end - totals.last_end;
    for (std::size_t i = 0; i < kResources; ++i) {
      out.busy_seconds[i] += totals.busy[i].seconds() /
                             static_cast<double>(replicas_.size() * static_cast<std::size_t>(units_.engine.plan.pp));
    }
    out.energy += totals.energy;
    clock_seconds += totals.clock_seconds;
    stage_seconds += totals.stage_seconds;
    out.preemptions += totals.preemptions;
    memory_.kv_blocks_peak = std::max(memory_.kv_blocks_peak, totals.blocks_peak);
    blocks += replica->mean_blocks(end);
  }
  out.energy.idle = 0;  // drawn all the time, not only while they compute
  if (stage_seconds > 0) out.mean_clock = clock_seconds / stage_seconds;
  memory_.kv_blocks_mean = blocks / static_cast<double>(replicas_.size());
  out.memory.push_back(memory_);
  describe_experts(out);
  NetworkUse network = network_use(replicas_, topology_, end);
  out.network = std::move(network.classes);
  out.links = std::move(network.links);
  out.links_left_out = network.links_left_out;
  if (observer_.trace != nullptr) {
    const std::vector<TraceEvent> lanes = link_lanes(replicas_, *cost_, observer_.trace_from, observer_.trace_to);
    observer_.trace->insert(observer_.trace->end(), lanes.begin(), lanes.end());
  }
  out.step_samples = replicas_.front()->samples();
  for (RequestRecord& record : ledger_.records()) {  // units back to (replica, data-parallel rank)
    record.rank += record.replica % units_.per_replica;
    record.replica /= units_.per_replica;
  }
  out.requests = std::move(ledger_.records());
  out.token_gaps = std::move(ledger_.gaps());
  return out;
}

/// Kernels of both kinds of steps share one buffer for the network; DeepEP's normal ones keep one for NVLink beside it
/// [sglang: token_dispatcher/deepep.py].
Bytes engine_exchange_buffers(const ModelSpec& model, const EngineSpec& engine, std::uint32_t nodes) {
  const auto buffers = [&](MoeBackend backend, std::uint32_t over) {
    std::int64_t tokens = engine.max_num_batched_tokens;
    if (goes_in_rounds(backend)) {
      // Without a limit Assumes a step of decoding sequences for DeepEP.
      const bool decoding = backend == MoeBackend::deepep_low_latency;
      tokens = engine.max_dispatch_tokens_per_rank > 0 ? engine.max_dispatch_tokens_per_rank
               : decoding                              ? engine.max_num_seqs
                                                       : tokens;
    }
    return exchange_buffers(backend, engine.plan, model, tokens, over);
  };
  const Bytes all = buffers(engine.all2all_backend, nodes);
  if (!engine.decode_backend) return all;
  const Bytes inside = buffers(engine.all2all_backend, 1);
  return inside + std::max(all - inside, buffers(*engine.decode_backend, nodes));
}

}  // namespace

MemoryLimits memory_limits(const ModelSpec& model, const ClusterSpec& cluster, const EngineSpec& engine) {
  MemoryLimits limits;
  limits.gpu_memory_utilization = engine.gpu_memory_utilization;
  limits.max_batched_tokens = engine.max_num_batched_tokens;
  limits.max_sequences = engine.max_num_seqs;
  limits.redundant_experts = engine.num_redundant_experts;
  limits.cache = engine.kv_cache;
  limits.cuda_graphs = engine.cuda_graphs;
  if (model.is_moe() && engine.plan.dp_ranks_per_expert_group() > 1) {
    const std::int32_t domain = std::max(cluster.scale_up_domain, cluster.gpus_per_node);
    const std::int32_t nodes = (engine.plan.ep * engine.plan.etp + domain - 1) / domain;
    limits.exchange_buffers = engine_exchange_buffers(model, engine, static_cast<std::uint32_t>(nodes));
  }
  return limits;
}

PoolMemory pool_memory(const ModelSpec& model, const GpuSpec& gpu, const ClusterSpec& cluster,
                       const EngineSpec& engine) {
  const MemoryUse use = memory_use(model, engine.plan, gpu, memory_limits(model, cluster, engine));
  PoolMemory memory;
  memory.pool = "any";
  memory.gpu = gpu.id;
  memory.attention = use.attention;
  memory.dense_ffn = use.dense_ffn;
  memory.experts = use.experts;
  memory.shared = use.shared;
  memory.router = use.router;
  memory.embedding = use.embedding;
  memory.head = use.head;
  memory.activations = use.activations;
  memory.logits = use.logits;
  memory.graphs = use.graphs;
  memory.communication = use.communication;
  memory.context = use.context;
  memory.cache_capacity = use.cache_capacity;
  memory.capacity = use.capacity;
  memory.limit = use.limit;
  // Constant states of linear mixers are reserved for every sequence that may run.
  MemoryUse left = use;
  left.cache_capacity =
      use.cache_capacity -
      state_bytes_per_sequence_per_gpu(model, engine.plan, engine.kv_cache, use.stage) * engine.max_num_seqs;
  memory.cache_capacity_tokens = left.cache_tokens();
  if (use.cache_per_token.value <= 0 && left.cache_capacity.value > 0) {
    memory.cache_capacity_tokens = std::int64_t{1} << 40;  // only constant states: no limit on length
  }
  memory.kv_blocks_total = memory.cache_capacity_tokens / engine.block_size;
  return memory;
}

ServingOutcome run_serving(const ServingInputs& inputs, const ServingObserver& observer) {
  return ServingRun(inputs, observer).run();
}

}  // namespace moesim
