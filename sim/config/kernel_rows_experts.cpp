// The routed experts of one rank: the fused op and grouped GEMMs.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "config/json_reader.h"
#include "config/kernel_rows.h"

namespace moesim {

namespace {

constexpr double kTuned = 1.5;             // largest ratio to the best of all backends that is scored
constexpr std::int64_t kNarrowShard = 64;  // columns; thinner ones are left to the autotuner's luck
/// The rows of each expert are drawn within 30 % of the stated mean [infersim].
constexpr double kJitter = 0.3;
/// The prefill rows of SGLang's collector ran eagerly, behind the host's work [kernel-cost].
constexpr double kEagerHost = 287e-6;

/// The same rows for each of `active` experts.
ExpertLoad even_load(std::int64_t tokens, std::int64_t rows, std::int64_t active) {
  ExpertLoad load{.tokens = tokens, .local_tokens = tokens, .rows = rows, .active = active, .padded_rows = {}};
  const std::int64_t each = (rows + active - 1) / active;
  for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) {
    load.padded_rows[b] = active * ((each + kMoeBlocks[b] - 1) / kMoeBlocks[b]) * kMoeBlocks[b];
  }
  return load;
}

/// The expected load of `experts` with floor(mean u) rows each, u uniform within kJitter of 1.
ExpertLoad jittered_load(std::int64_t mean, std::int64_t experts) {
  constexpr int points = 600;
  double rows = 0, active = 0;
  std::array<double, kMoeBlocks.size()> padded{};
  for (int i = 0; i < points; ++i) {
    const double u = 1 + kJitter * (2 * (i + 0.5) / points - 1);
    const double own = std::floor(static_cast<double>(mean) * u);
    rows += own / points;
    active += own > 0 ? 1.0 / points : 0;
    for (std::size_t b = 0; b < kMoeBlocks.size(); ++b)
      padded[b] += std::ceil(own / kMoeBlocks[b]) * kMoeBlocks[b] / points;
  }
  const auto of_all = [&](double of_one) {
    return std::max<std::int64_t>(1, std::llround(of_one * static_cast<double>(experts)));
  };
  ExpertLoad load{.tokens = of_all(rows),
                  .local_tokens = of_all(rows),
                  .rows = of_all(rows),
                  .active = of_all(active),
                  .padded_rows = {}};
  for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) load.padded_rows[b] = of_all(padded[b]);
  return load;
}

RoutingCase routing_case(const TableRow& f, std::string_view tokens) {
  constexpr std::int64_t most_experts = 65536;  // loads are found expert by expert
  RoutingCase routing{
      f.count(tokens), f.count("experts", 1, most_experts), f.count("topk"), f.count_or("ep", 1), {}, 0};
  if (routing.top_k > routing.experts) {
    f.fail(fmt::format("topk: expected at most {} experts, got {}", routing.experts, routing.top_k));
  }
  if (routing.experts % routing.ep != 0) {
    f.fail(fmt::format("ep: expected a divisor of {} experts, got {}", routing.experts, routing.ep));
  }
  if (!read_distribution(f.text("dist"), routing)) {
    f.fail(fmt::format("dist: expected balanced, uniform or pl and an exponent (pl1.2), got {}", echo(f.text("dist"))));
  }
  return routing;
}

KernelSample experts_sample(const KernelRow& row, const Formats& types, TimedExperts timed, double seconds) {
  KernelSample sample;
  sample.op = row.op;
  const std::string_view family = !timed.layout                            ? "moe"
                                  : *timed.layout == GroupedLayout::masked ? "grouped_masked"
                                                                           : "grouped_contiguous";
  sample.section = fmt::format("{}/{}", family, name(types.weight));
  timed.shape.weight = types.weight;
  timed.shape.activation = types.activation;
  sample.timed = timed;
  sample.measured = seconds;
  return sample;
}

std::string model_shape(std::int64_t hidden, std::int64_t inter, std::int64_t top_k, std::int64_t experts) {
  return fmt::format("hidden {} inter {} topk {} experts {}", hidden, inter, top_k, experts);
}

/// Fused op over a number of activated experts, the same rows for each.
void read_activated_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  if (row.model == nullptr || row.model->experts == 0) {
    f.fail("which model? the file name ends in no name of a model with experts, and there are no columns of its shape");
  }
  const LayerShape& model = *row.model;
  const std::int64_t tokens = f.count("tokens"), active = f.count("activated_experts");
  const auto time = row.first_seconds({"latency_us", "time_us"});
  if (!time) return out.skip(skip::no_time);
  TimedExperts timed;
  timed.shape = {.hidden = model.hidden,
                 .intermediate = model.expert_width,
                 .local_experts = model.experts,
                 .top_k = model.top_k,
                 .gated = true,
                 .weight = {},
                 .activation = {}};
  timed.load = even_load(tokens, std::max(active, tokens * model.top_k), active);
  KernelSample sample = experts_sample(row, formats(f, "dtype", {}), timed, *time);
  sample.shape = model_shape(model.hidden, model.expert_width, model.top_k, model.experts);
  out.samples.push_back(std::move(sample));
}

}  // namespace

void read_moe_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  if (f.has("activated_experts")) return read_activated_row(row, out);
  const RoutingCase routing = routing_case(f, "tokens");
  const Formats types = formats(f, "dtype", {});
  const std::int64_t hidden = f.count("hidden"), inter = f.count("inter"), shard = inter / f.count_or("tp", 1);
  if (shard < 1) f.fail("tp: expected at most inter");
  const auto ratio = f.number("x_min");
  if (ratio && *ratio < 1) f.fail("x_min: expected the time over the least one of its series, at least 1");
  const auto time = row.first_seconds({"best_us", "latency_us"});
  if (!time) return out.skip(skip::no_time);
  if (row.provider == "sglang" && f.text("kernel") == "triton" && routing.ep > 1) return out.skip(skip::remote_slots);
  if (f.has("best_us") && f.has("x_min")) {
    if (ratio && *ratio > kTuned) return out.skip(skip::untuned);
    if (shard < kNarrowShard) return out.skip(skip::narrow_shard);
  }
  TimedExperts timed;
  timed.shape = {.hidden = hidden,
                 .intermediate = shard,
                 .local_experts = routing.experts / routing.ep,
                 .top_k = routing.top_k,
                 .gated = true,
                 .weight = {},
                 .activation = {}};
  timed.load = row.routing.load(routing);
  KernelSample sample = experts_sample(row, types, timed, *time);
  sample.shape = model_shape(hidden, inter, routing.top_k, routing.experts);
  out.samples.push_back(std::move(sample));
}

void read_wideep_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  RoutingCase routing = routing_case(f, "world_tokens");
  const Formats types = formats(f, "dtype", {DataType::fp8_block, DataType::fp8_block});
  const std::int64_t hidden = f.count("hidden"), inter = f.count("inter");
  const std::int64_t slots = f.count_or("slots", routing.experts);
  if (slots < routing.experts || slots % routing.ep != 0) {
    f.fail(fmt::format("slots: expected at least {} that ep divides, got {}", routing.experts, slots));
  }
  const bool balancer = f.text("dist").ends_with("_eplb");
  if (balancer || slots > routing.experts) routing.slots = slots;
  const auto time = row.seconds("latency_us");
  TimedExperts timed;
  timed.shape = {.hidden = hidden,
                 .intermediate = inter,
                 .local_experts = slots / routing.ep,
                 .top_k = routing.top_k,
                 .gated = true,
                 .weight = {},
                 .activation = {}};
  timed.load = row.routing.load(routing);
  if (f.has("phase")) {
    const std::string_view phase = f.text("phase");
    if (phase != "decode" && phase != "prefill") {
      f.fail(fmt::format("phase: expected decode or prefill, got {}", echo(phase)));
    }
    timed.layout = phase == "decode" ? GroupedLayout::masked : GroupedLayout::contiguous;
    if (phase == "prefill" && row.provider == "sglang") timed.host = kEagerHost;
  } else {
    // TensorRT-LLM runs its fused op on the tokens that the all-to-all brought.
    timed.load.tokens = f.count_or("rank0_tokens", timed.load.local_tokens, 0);
    timed.load.local_tokens = timed.load.tokens;
  }
  if (!time) return out.skip(skip::no_time);
  if (timed.load.rows == 0) return out.skip(skip::no_rows);
  KernelSample sample = experts_sample(row, types, timed, *time);
  // One model has it all: the sizes of its expert groups stand for shapes.
  sample.shape = fmt::format("{} ep {}", model_shape(hidden, inter, routing.top_k, routing.experts), routing.ep);
  out.samples.push_back(std::move(sample));
}

void read_grouped_gemm_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  const Formats types = formats(f, "dtype", {DataType::fp8_block, DataType::fp8_block});
  const std::int64_t experts = f.count("num_experts"), local = f.count("num_local_experts"), top_k = f.count("topk"),
                     hidden = f.count("hidden_size"), inter = f.count("intermediate_size"),
                     each = f.count("tokens_per_expert");
  if (local > experts) f.fail(fmt::format("num_local_experts: expected at most {}, got {}", experts, local));
  TimedExperts timed;
  timed.shape = {.hidden = hidden,
                 .intermediate = inter,
                 .local_experts = local,
                 .top_k = top_k,
                 .gated = true,
                 .weight = {},
                 .activation = {}};
  timed.layout = f.has("seq_len_per_gpu") ? GroupedLayout::contiguous : GroupedLayout::masked;
  timed.load = jittered_load(each, local);
  for (const auto& [column, part] :
       {std::pair("up_proj_us", TimedExperts::Part::up), std::pair("down_proj_us", TimedExperts::Part::down)}) {
    const auto time = row.seconds(column);
    if (!time) continue;
    timed.part = part;
    KernelSample sample = experts_sample(row, types, timed, *time);
    sample.shape = model_shape(hidden, inter, top_k, experts);
    out.samples.push_back(std::move(sample));
  }
  if (out.samples.empty()) out.skip(skip::no_time);
}

}  // namespace moesim
