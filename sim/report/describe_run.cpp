#include "report/describe_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "collectives/layer_collectives.h"
#include "core/statistics.h"
#include "report/number_text.h"
#include "serving/serving_run.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

std::string row(std::string_view label, const std::string& text) {
  return fmt::format("{:<22} {}\n", label, text);
}

/// Links of one kind between the same kinds of ends with the same rate and latency, counted.
struct LinkRow {
  LinkKind kind;
  VertexKind one_end, other_end;  ///< in the order of the enumeration
  double bandwidth, efficiency;
  Duration latency;
  std::int64_t count;
};

std::vector<LinkRow> link_rows(const Topology& topology) {
  std::vector<LinkRow> rows;
  for (const Link& link : topology.links()) {
    const auto [one, other] = std::minmax({topology.vertices()[link.from].kind, topology.vertices()[link.to].kind});
    const auto same = std::find_if(rows.begin(), rows.end(), [&](const LinkRow& known) {
      return known.kind == link.kind && known.one_end == one && known.other_end == other &&
             known.bandwidth == link.rate.bandwidth.value && known.efficiency == link.rate.efficiency &&
             known.latency == link.rate.latency;
    });
    if (same != rows.end()) {
      ++same->count;
    } else {
      rows.push_back({link.kind, one, other, link.rate.bandwidth.value, link.rate.efficiency, link.rate.latency, 1});
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const LinkRow& a, const LinkRow& b) { return a.kind < b.kind; });
  return rows;
}

std::string plan_text(const ParallelPlan& plan) {
  return fmt::format("pipeline {} x data {} x tensor {} = {} GPUs", plan.pp, plan.dp, plan.tp, plan.world());
}

/// A data-parallel rank of one stage and its GPUs: tensor fastest, then data, then pipeline, then replicas.
struct RankRow {
  std::int32_t replica, stage, data, first_gpu, last_gpu;
};

std::vector<RankRow> rank_rows(const EngineSpec& engine) {
  std::vector<RankRow> rows;
  const ParallelPlan& plan = engine.plan;
  const std::int32_t width = plan.tp * plan.cp;
  for (std::int32_t replica = 0; replica < engine.replicas; ++replica) {
    for (std::int32_t stage = 0; stage < plan.pp; ++stage) {
      for (std::int32_t data = 0; data < plan.dp; ++data) {
        const std::int32_t first = replica * plan.world() + (stage * plan.dp + data) * width;
        rows.push_back({replica, stage, data, first, first + width - 1});
      }
    }
  }
  return rows;
}

/// The first layer of each form: a dense one and a MoE one.
std::vector<std::pair<std::string, const LayerSpec*>> layer_forms(const ModelSpec& model) {
  std::vector<std::pair<std::string, const LayerSpec*>> forms;
  for (const bool moe : {false, true}) {
    const auto layer =
        std::find_if(model.layers.begin(), model.layers.end(), [moe](const LayerSpec& one) { return one.moe == moe; });
    if (layer != model.layers.end()) forms.emplace_back(moe ? "MoE layer" : "dense layer", &*layer);
  }
  return forms;
}

struct LengthSummary {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0;
  std::int64_t largest = 0;
};

LengthSummary lengths_of(std::span<const Request> requests, std::int32_t Request::* member) {
  Distribution<std::int64_t> lengths;
  for (const Request& request : requests) lengths.add(request.*member);
  if (lengths.empty()) return {};
  lengths.sort();
  return {lengths.mean(), lengths.quantile(0.5), lengths.quantile(0.9), lengths.quantile(0.99), lengths.largest()};
}

struct TraceSummary {
  double seconds = 0, rate = 0, gap_variation = 0, busiest_minute = 0;
  LengthSummary input, output;
};

/// The coefficient of variation of the gaps is 1 for Poisson arrivals.
TraceSummary summary_of(std::span<const Request> requests) {
  TraceSummary summary;
  if (requests.empty()) return summary;
  summary.seconds = (requests.back().arrival - requests.front().arrival).seconds();
  if (summary.seconds > 0) summary.rate = static_cast<double>(requests.size() - 1) / summary.seconds;
  Distribution<double> gaps;
  for (std::size_t i = 1; i < requests.size(); ++i) {
    gaps.add((requests[i].arrival - requests[i - 1].arrival).seconds());
  }
  if (gaps.mean() > 0) summary.gap_variation = gaps.standard_deviation() / gaps.mean();
  std::size_t first = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    while (requests[i].arrival - requests[first].arrival > Duration::seconds(60)) ++first;
    summary.busiest_minute = std::max(summary.busiest_minute, static_cast<double>(i - first + 1) / 60);
  }
  summary.input = lengths_of(requests, &Request::input_tokens);
  summary.output = lengths_of(requests, &Request::output_tokens);
  return summary;
}

std::string length_text(const LengthSummary& lengths) {
  return fmt::format("mean {}, median {}, p90 {}, p99 {}, longest {}", short_number(lengths.mean),
                     short_number(lengths.p50), short_number(lengths.p90), short_number(lengths.p99),
                     whole_number(lengths.largest));
}

ordered_json length_json(const LengthSummary& lengths) {
  return {{"mean", lengths.mean},
          {"p50", lengths.p50},
          {"p90", lengths.p90},
          {"p99", lengths.p99},
          {"max", lengths.largest}};
}

using MemoryRows = std::vector<std::pair<std::string_view, Bytes>>;

MemoryRows memory_parts(const PoolMemory& memory) {
  return {{"attention weights", memory.attention},
          {"dense FFN weights", memory.dense_ffn},
          {"expert weights", memory.experts},
          {"shared expert weights", memory.shared},
          {"router weights", memory.router},
          {"embedding", memory.embedding},
          {"head", memory.head},
          {"activations", memory.activations},
          {"logits", memory.logits},
          {"CUDA graphs", memory.graphs},
          {"communication", memory.communication},
          {"context", memory.context},
          {"KV cache", memory.cache_capacity}};
}

}  // namespace

std::string cluster_text(const Topology& topology) {
  const ClusterSpec& cluster = topology.cluster();
  std::string text = row("cluster", cluster.name);
  text += row("GPUs", fmt::format("{} x {} in {} node{} of {}", topology.gpu_count(), cluster.gpu, cluster.nodes,
                                  cluster.nodes == 1 ? "" : "s", cluster.gpus_per_node));
  text += row("scale-up domain", fmt::format("{} GPUs", cluster.scale_up_domain));
  for (const LinkRow& links : link_rows(topology)) {
    text += row(fmt::format("{} links", name(links.kind)),
                fmt::format("{:>6} of {:>6.4g} GB/s one way, {:.0f} % reachable, {}, {} - {}",
                            whole_number(links.count), links.bandwidth * 1e-9, links.efficiency * 100,
                            time_text(links.latency.seconds()), name(links.one_end), name(links.other_end)));
  }
  if (topology.gpu_count() > 1) {
    text += row("bisection bandwidth",
                fmt::format("{:.5g} GB/s one way between the halves", topology.bisection_bandwidth().value * 1e-9));
  }
  if (cluster.node_power_watts > 0) text += row("power", fmt::format("{:.0f} W a node", cluster.node_power_watts));
  if (!cluster.source.empty()) text += row("source", cluster.source);
  return text;
}

std::string cluster_json(const Topology& topology) {
  const ClusterSpec& cluster = topology.cluster();
  ordered_json json{{"name", cluster.name},
                    {"gpu", cluster.gpu},
                    {"gpus", topology.gpu_count()},
                    {"nodes", cluster.nodes},
                    {"gpus_per_node", cluster.gpus_per_node},
                    {"scale_up_domain_gpus", cluster.scale_up_domain}};
  ordered_json links = ordered_json::array();
  for (const LinkRow& one : link_rows(topology)) {
    links.push_back({{"kind", name(one.kind)},
                     {"between", {name(one.one_end), name(one.other_end)}},
                     {"directed_links", one.count},
                     {"bandwidth_bytes_per_s", one.bandwidth},
                     {"efficiency", one.efficiency},
                     {"latency_us", static_cast<double>(one.latency.ps()) / 1e6}});
  }
  json["links"] = std::move(links);
  if (topology.gpu_count() > 1) json["bisection_bandwidth_bytes_per_s"] = topology.bisection_bandwidth().value;
  if (!cluster.source.empty()) json["source"] = cluster.source;
  return json.dump(2) + "\n";
}

std::string scenario_text(const Scenario& scenario) {
  const EngineSpec& engine = scenario.engine;
  const ParallelPlan& plan = engine.plan;
  const WeightFormats& formats = scenario.model.formats;
  std::string text = row("scenario", scenario.name);
  text += row("model", scenario.model.name);
  text += row("hardware",
              fmt::format("{} node{} of {}: {} x {}", scenario.cluster.nodes, scenario.cluster.nodes == 1 ? "" : "s",
                          scenario.cluster.name, gpu_count(scenario.cluster), scenario.gpu.id));
  text += row("engine", fmt::format("{}, {} replica{} of {}", name(engine.preset), engine.replicas,
                                    engine.replicas == 1 ? "" : "s", plan_text(plan)));
  if (scenario.model.is_moe()) {
    text +=
        row("experts",
            fmt::format("{} a layer on expert data {} x expert {} x expert tensor {}, {} redundant, {}",
                        scenario.model.moe.experts, plan.edp, plan.ep, plan.etp, engine.num_redundant_experts,
                        name(engine.all2all_backend)) +
                (engine.decode_backend ? fmt::format(", {} in pure decode steps", name(*engine.decode_backend)) : ""));
  }
  text +=
      row("limits of a rank", fmt::format("{} sequences, {} tokens a step, {} tokens a request", engine.max_num_seqs,
                                          engine.max_num_batched_tokens, engine.max_model_len));
  text += row("formats", fmt::format("attention {}, dense FFN {}, experts {}, activations {}, KV cache {}",
                                     name(formats.attention), name(formats.dense_ffn), name(formats.experts),
                                     name(engine.activation), name(engine.kv_cache)));
  for (const Provenance::Profile& profile : scenario.provenance.profiles) {
    text += row("calibration", profile.name + (profile.extrapolated ? " (extrapolated)" : ""));
  }
  const PoolMemory memory = pool_memory(scenario.model, scenario.gpu, scenario.cluster, engine);
  text += fmt::format("\nMemory of the fullest GPU ({}, of which {} may be used)\n", size_text(memory.capacity),
                      size_text(memory.limit));
  for (const auto& [part, bytes] : memory_parts(memory)) {
    if (bytes.value != 0) text += fmt::format("  {:<22} {:>12}\n", part, size_text(bytes));
  }
  text +=
      fmt::format("  {:<22} {:>12} tokens a data-parallel rank, {} blocks of {}\n", "",
                  whole_number(memory.cache_capacity_tokens), whole_number(memory.kv_blocks_total), engine.block_size);
  constexpr std::int64_t tokens = 128;
  for (const auto& [title, layer] : layer_forms(scenario.model)) {
    const auto collectives = layer_collectives(plan, engine.all2all_backend, scenario.model, *layer, tokens);
    text += fmt::format("\nCollectives of a {} with {} tokens a data-parallel rank\n", title, tokens);
    if (collectives.empty()) text += "  none\n";
    for (const LayerCollective& one : collectives) {
      text += fmt::format("  {:<15} over {:<14} {:>10}\n", name(one.operation), name(one.group),
                          one.bytes.value > 0 ? size_text(one.bytes) : "by the gates");
    }
  }
  if (!scenario.provenance.notes.empty() || !scenario.provenance.extrapolated.empty()) text += "\n";
  for (const std::string& note : scenario.provenance.extrapolated) text += row("extrapolated", note);
  for (const std::string& note : scenario.provenance.notes) text += row("note", note);
  return text;
}

std::string scenario_json(const Scenario& scenario) {
  const EngineSpec& engine = scenario.engine;
  const ParallelPlan& plan = engine.plan;
  const WeightFormats& formats = scenario.model.formats;
  ordered_json json{{"name", scenario.name},
                    {"model", scenario.model.name},
                    {"cluster", scenario.cluster.name},
                    {"gpu", scenario.gpu.id},
                    {"gpus_of_cluster", gpu_count(scenario.cluster)},
                    {"gpus_used", plan.world() * engine.replicas},
                    {"seed", scenario.seed}};
  json["plan"] = {{"replicas", engine.replicas},
                  {"pp", plan.pp},
                  {"dp", plan.dp},
                  {"cp", plan.cp},
                  {"tp", plan.tp},
                  {"edp", plan.edp},
                  {"ep", plan.ep},
                  {"etp", plan.etp}};
  ordered_json ranks = ordered_json::array();
  for (const RankRow& rank : rank_rows(engine)) {
    ranks.push_back({{"replica", rank.replica},
                     {"stage", rank.stage},
                     {"data", rank.data},
                     {"first_gpu", rank.first_gpu},
                     {"last_gpu", rank.last_gpu}});
  }
  json["ranks"] = std::move(ranks);
  json["engine"] = {{"preset", name(engine.preset)},
                    {"max_num_seqs", engine.max_num_seqs},
                    {"max_num_batched_tokens", engine.max_num_batched_tokens},
                    {"max_model_len", engine.max_model_len},
                    {"block_size", engine.block_size},
                    {"all2all_backend", name(engine.all2all_backend)},
                    {"num_redundant_experts", engine.num_redundant_experts}};
  if (engine.decode_backend) json["engine"]["all2all_backend_of_decode"] = name(*engine.decode_backend);
  json["formats"] = {{"attention", name(formats.attention)},
                     {"dense_ffn", name(formats.dense_ffn)},
                     {"experts", name(formats.experts)},
                     {"activations", name(engine.activation)},
                     {"kv_cache", name(engine.kv_cache)}};
  const PoolMemory memory = pool_memory(scenario.model, scenario.gpu, scenario.cluster, engine);
  ordered_json bytes{{"capacity_bytes", memory.capacity.value}, {"limit_bytes", memory.limit.value}};
  for (const auto& [part, size] : memory_parts(memory)) {
    std::string key(part);
    std::replace(key.begin(), key.end(), ' ', '_');
    std::transform(key.begin(), key.end(), key.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    bytes[key + "_bytes"] = size.value;
  }
  bytes["kv_capacity_tokens"] = memory.cache_capacity_tokens;
  bytes["kv_blocks_total"] = memory.kv_blocks_total;
  json["memory_per_gpu"] = std::move(bytes);
  constexpr std::int64_t tokens = 128;
  ordered_json layers = ordered_json::object();
  for (const auto& [title, layer] : layer_forms(scenario.model)) {
    ordered_json list = ordered_json::array();
    for (const LayerCollective& one : layer_collectives(plan, engine.all2all_backend, scenario.model, *layer, tokens)) {
      ordered_json entry{{"operation", name(one.operation)}, {"group", name(one.group)}, {"tokens", one.tokens}};
      if (one.bytes.value > 0) entry["bytes"] = one.bytes.value;
      list.push_back(std::move(entry));
    }
    layers[layer->moe ? "moe_layer" : "dense_layer"] = std::move(list);
  }
  json["collectives_of_128_tokens"] = std::move(layers);
  json["extrapolated"] = scenario.provenance.extrapolated;
  json["notes"] = scenario.provenance.notes;
  return json.dump(2) + "\n";
}

std::string trace_text(const std::string& name, std::span<const Request> requests, std::span<const std::string> notes) {
  const TraceSummary summary = summary_of(requests);
  std::string text = row("trace", name);
  text += row("requests", fmt::format("{} in {}", whole_number(static_cast<std::int64_t>(requests.size())),
                                      time_text(summary.seconds)));
  text += row("rate", fmt::format("{} /s in the mean, {} /s in the busiest minute", short_number(summary.rate),
                                  short_number(summary.busiest_minute)));
  text += row("gaps", fmt::format("coefficient of variation {:.2f} (Poisson 1)", summary.gap_variation));
  text += row("input tokens", length_text(summary.input));
  text += row("output tokens", length_text(summary.output));
  for (const std::string& note : notes) text += row("note", note);
  return text;
}

std::string trace_json(const std::string& name, std::span<const Request> requests, std::span<const std::string> notes) {
  const TraceSummary summary = summary_of(requests);
  const ordered_json json{{"trace", name},
                          {"requests", requests.size()},
                          {"duration_s", summary.seconds},
                          {"rate_per_s", summary.rate},
                          {"busiest_minute_rate_per_s", summary.busiest_minute},
                          {"gap_coefficient_of_variation", summary.gap_variation},
                          {"input_tokens", length_json(summary.input)},
                          {"output_tokens", length_json(summary.output)},
                          {"notes", std::vector<std::string>(notes.begin(), notes.end())}};
  return json.dump(2) + "\n";
}

}  // namespace moesim
