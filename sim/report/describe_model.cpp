#include "report/describe_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/number_text.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

std::string row(std::string_view label, const std::string& text) {
  return fmt::format("{:<26} {}\n", label, text);
}

std::string billions(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f} B", value * 1e-9);
  return fmt::format("{:.2f} M", value * 1e-6);
}

std::string_view kind_name(MixerKind kind) {
  switch (kind) {
    case MixerKind::full:
      return "full attention";
    case MixerKind::window:
      return "sliding-window attention";
    case MixerKind::chunked:
      return "chunked attention";
    case MixerKind::latent:
      return "latent attention (MLA)";
    case MixerKind::linear:
      return "linear attention";
    case MixerKind::mamba:
      return "Mamba";
  }
  return {};
}

std::int64_t layers_with(const ModelSpec& model, std::size_t mixer) {
  return std::count_if(model.layers.begin(), model.layers.end(),
                       [mixer](const LayerSpec& layer) { return static_cast<std::size_t>(layer.mixer) == mixer; });
}

std::int64_t moe_layers(const ModelSpec& model) {
  return std::count_if(model.layers.begin(), model.layers.end(), [](const LayerSpec& layer) { return layer.moe; });
}

std::string mixer_text(const MixerSpec& mixer, std::int64_t layers) {
  std::string text = fmt::format("{} layers: {}, {} query heads", layers, kind_name(mixer.kind), mixer.query_heads);
  if (mixer.kind == MixerKind::latent) {
    text += fmt::format(", latent {} + {} rope", mixer.kv_rank, mixer.rope_dim);
  } else if (!has_constant_state(mixer.kind)) {
    text += fmt::format(" on {} KV heads of {}", mixer.kv_heads, mixer.key_dim);
  }
  if (mixer.extent > 0) text += fmt::format(", {} tokens in sight", mixer.extent);
  if (mixer.index_top_k > 0) text += fmt::format(", the best {} keys", mixer.index_top_k);
  return text;
}

/// Rates of 0 are not supported or not known.
std::string teraflops(FlopsPerSecond rate) {
  return rate.value > 0 ? fmt::format("{:.4g} TFLOPS", rate.value * 1e-12) : "-";
}

std::string gigabytes(BytesPerSecond rate) {
  return rate.value > 0 ? fmt::format("{:.5g} GB/s", rate.value * 1e-9) : "-";
}

constexpr std::int64_t contexts[] = {1, 4096, 32768};

}  // namespace

std::string model_text(const ModelSpec& model) {
  const ParameterCount count = count_parameters(model);
  const WeightBytes bytes = weight_bytes(model, model.formats);
  std::string text = row("model", model.name);
  if (!model.source.empty()) text += row("source", model.source);
  text += row("parameters", fmt::format("{} in all, {} active", billions(count.total), billions(count.active)));
  text +=
      row("", fmt::format("{} active without the embedding, {} without embedding and head",
                          billions(count.active_without_embedding), billions(count.active_without_embedding_and_head)));
  const auto part = [&](std::string_view name, std::int64_t weights, Bytes stored) {
    if (weights > 0)
      text += row(fmt::format("  {}", name), fmt::format("{:>10}  {:>10}", billions(weights), size_text(stored)));
  };
  part("attention", count.attention, bytes.attention);
  part("dense FFN", count.dense_ffn, bytes.dense_ffn);
  part("experts", count.experts, bytes.experts);
  part("shared experts", count.shared, bytes.shared);
  part("router", count.router, bytes.router);
  part("embedding", count.embedding, bytes.embedding);
  part("head", count.head, bytes.head);
  part("norms and other", count.norms + count.other, bytes.other);
  text += row("weights", size_text(bytes.total()));
  text += row("KV cache", fmt::format("{} bytes a token in bf16, {} in fp8",
                                      whole_number(cache_bytes_per_token(model, DataType::bf16).value),
                                      whole_number(cache_bytes_per_token(model, DataType::fp8).value)));
  for (const std::int64_t context : contexts) {
    text += row(context == 1 ? "FLOPs of a token" : "",
                fmt::format("{:.2f} G at {} {} in sight", flops_per_token(model, context).value * 1e-9,
                            whole_number(context), context == 1 ? "key" : "keys"));
  }
  text += row("layers", fmt::format("{}, hidden size {}, vocabulary {}", model.layers.size(), model.hidden,
                                    whole_number(model.vocabulary)));
  for (std::size_t i = 0; i < model.mixers.size(); ++i) {
    text += row("", mixer_text(model.mixers[i], layers_with(model, i)));
  }
  if (model.is_moe()) {
    const MoeSpec& moe = model.moe;
    text += row("experts",
                fmt::format("{} a layer of width {} in {} layers, {} chosen by {} scores", moe.experts, moe.width,
                            moe_layers(model), moe.top_k, moe.sigmoid_scores ? "sigmoid" : "softmax"));
    if (moe.groups > 1) text += row("", fmt::format("from the best {} of {} groups", moe.top_groups, moe.groups));
    if (moe.shared_width > 0) text += row("", fmt::format("beside shared experts of width {}", moe.shared_width));
  }
  return text;
}

std::string model_json(const ModelSpec& model) {
  const ParameterCount count = count_parameters(model);
  const WeightBytes bytes = weight_bytes(model, model.formats);
  ordered_json json;
  json["model"] = model.name;
  if (!model.source.empty()) json["source"] = model.source;
  json["parameters"] = {{"total", count.total},
                        {"active", count.active},
                        {"active_without_embedding", count.active_without_embedding},
                        {"active_without_embedding_and_head", count.active_without_embedding_and_head},
                        {"by_part",
                         {{"attention", count.attention},
                          {"dense_ffn", count.dense_ffn},
                          {"experts", count.experts},
                          {"shared", count.shared},
                          {"router", count.router},
                          {"norms", count.norms},
                          {"embedding", count.embedding},
                          {"head", count.head},
                          {"other", count.other}}}};
  json["weight_bytes"] = {
      {"total", bytes.total().value},       {"attention", bytes.attention.value}, {"dense_ffn", bytes.dense_ffn.value},
      {"experts", bytes.experts.value},     {"shared", bytes.shared.value},       {"router", bytes.router.value},
      {"embedding", bytes.embedding.value}, {"head", bytes.head.value},           {"other", bytes.other.value}};
  json["kv_bytes_per_token"] = cache_bytes_per_token(model, DataType::bf16).value;
  ordered_json flops = ordered_json::object();
  for (const std::int64_t context : contexts) flops[fmt::format("{}", context)] = flops_per_token(model, context).value;
  json["flops_per_token"] = flops_per_token(model, 1).value;
  json["flops_per_token_by_context"] = std::move(flops);
  json["layers"] = model.layers.size();
  json["hidden_size"] = model.hidden;
  json["vocabulary"] = model.vocabulary;
  ordered_json mixers = ordered_json::array();
  for (std::size_t i = 0; i < model.mixers.size(); ++i) {
    const MixerSpec& mixer = model.mixers[i];
    ordered_json one{{"kind", kind_name(mixer.kind)},
                     {"layers", layers_with(model, i)},
                     {"query_heads", mixer.query_heads},
                     {"kv_bytes_per_token_and_layer", 2 * cache_elements_per_token(mixer)}};
    if (mixer.extent > 0) one["tokens_in_sight"] = mixer.extent;
    if (has_constant_state(mixer.kind)) one["state_elements"] = mixer.state_elements;
    mixers.push_back(std::move(one));
  }
  json["mixers"] = std::move(mixers);
  if (model.is_moe()) {
    const MoeSpec& moe = model.moe;
    json["moe"] = {{"experts", moe.experts},           {"top_k", moe.top_k},
                   {"layers", moe_layers(model)},      {"width", moe.width},
                   {"shared_width", moe.shared_width}, {"groups", moe.groups},
                   {"top_groups", moe.top_groups},     {"scores", moe.sigmoid_scores ? "sigmoid" : "softmax"}};
  }
  return json.dump(2) + "\n";
}

std::string gpu_text(const GpuSpec& gpu) {
  std::string text = row("gpu", fmt::format("{} ({})", gpu.id, gpu.name));
  text += row("vendor, architecture", fmt::format("{}, {}", gpu.vendor, gpu.architecture));
  text += row("memory", fmt::format("{} at {}", size_text(gpu.memory), gigabytes(gpu.memory_bandwidth)));
  text += row("bf16, fp8", fmt::format("{}, {}", teraflops(gpu.bf16), teraflops(gpu.fp8)));
  text += row("int8, fp4", fmt::format("{}, {}", teraflops(gpu.int8), teraflops(gpu.fp4)));
  text += row("fp32 (vector)", teraflops(gpu.fp32));
  if (gpu.bf16_measured.value > 0) text += row("bf16 measured", teraflops(gpu.bf16_measured));
  if (gpu.multiprocessors > 0)
    text += row("multiprocessors", fmt::format("{}, L2 {}", gpu.multiprocessors, size_text(gpu.l2)));
  text += row("scale-up, one way", gigabytes(gpu.scale_up));
  text += row("host link, one way", gigabytes(gpu.host_link));
  if (gpu.power_watts > 0) text += row("power", fmt::format("{:.0f} W", gpu.power_watts));
  if (gpu.price_usd_per_hour > 0)
    text += row("listed price", fmt::format("{:.2f} USD an hour", gpu.price_usd_per_hour));
  std::string aliases;
  for (const std::string& alias : gpu.aliases) aliases += fmt::format("{}{}", aliases.empty() ? "" : ", ", alias);
  if (!aliases.empty()) text += row("also called", aliases);
  return text + row("source", gpu.source);
}

std::string gpu_json(const GpuSpec& gpu) {
  ordered_json json{{"id", gpu.id},
                    {"name", gpu.name},
                    {"vendor", gpu.vendor},
                    {"architecture", gpu.architecture},
                    {"memory_bytes", gpu.memory.value},
                    {"memory_bandwidth_bytes_per_s", gpu.memory_bandwidth.value}};
  const auto rate = [&json](const char* key, double value) {
    if (value > 0) json[key] = value;
  };
  rate("fp32_flops", gpu.fp32.value);
  rate("bf16_flops", gpu.bf16.value);
  rate("fp8_flops", gpu.fp8.value);
  rate("int8_flops", gpu.int8.value);
  rate("fp4_flops", gpu.fp4.value);
  rate("bf16_measured_flops", gpu.bf16_measured.value);
  rate("fp8_measured_flops", gpu.fp8_measured.value);
  rate("l2_bytes", static_cast<double>(gpu.l2.value));
  rate("multiprocessors", gpu.multiprocessors);
  rate("scale_up_bytes_per_s", gpu.scale_up.value);
  rate("scale_up_peer_bytes_per_s", gpu.scale_up_peer.value);
  rate("host_link_bytes_per_s", gpu.host_link.value);
  rate("power_watts", gpu.power_watts);
  rate("price_usd_per_hour", gpu.price_usd_per_hour);
  json["aliases"] = gpu.aliases;
  json["source"] = gpu.source;
  return json.dump(2) + "\n";
}

}  // namespace moesim
