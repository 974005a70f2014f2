#include "execution/stand_ins.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "execution/expert_step.h"
#include "model/operators.h"

namespace moesim {
namespace {

/// Reasons with the sections that they hold for, in order of appearance.
class Reasons {
 public:
  void add(const std::string& section, const std::string& reason) {
    if (reason.empty()) return;
    const auto known =
        std::find_if(lines_.begin(), lines_.end(), [&](const auto& line) { return line.first == reason; });
    std::vector<std::string>& sections =
        known == lines_.end() ? lines_.emplace_back(reason, std::vector<std::string>()).second : known->second;
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) sections.push_back(section);
  }

  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    for (const auto& [reason, sections] : lines_) {
      lines.push_back(fmt::format("{}: {}", fmt::join(sections, ", "), reason));
    }
    return lines;
  }

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> lines_;
};

/// "gemm/fp8" for the section of an array by data type.
template <class Section>
void add_typed(Reasons& reasons, std::string_view family, const std::array<Section, kDataTypes>& sections,
               const Section& section) {
  const auto type = static_cast<DataType>(&section - sections.data());
  reasons.add(fmt::format("{}/{}", family, name(type)), section.origin.derived_from);
}

/// "attention_decode/bf16/fp8/128", or MLA without its head size.
template <class Section>
void add_attention(Reasons& reasons, std::string_view family, const Section& section, const AttentionShape& shape,
                   bool mla) {
  std::string named = fmt::format("{}/{}/{}", family, name(section.math), name(section.kv_cache));
  if (!mla) named += fmt::format("/{}", section.head_dim);
  reasons.add(named, section.origin.derived_from);
  if (!mla && section.head_dim != shape.key_dim) {
    reasons.add(named, fmt::format("no section of heads of {}: the nearest stands in", shape.key_dim));
  }
  const auto narrow = [](DataType type) { return bits_per_element(type) < 16; };
  if (narrow(section.kv_cache) != narrow(shape.kv_cache)) {
    reasons.add(named, fmt::format("no section of a {} cache", name(shape.kv_cache)));
  }
}

void add_operators(Reasons& reasons, const KernelCost& kernels, const std::vector<Operator>& operators) {
  const KernelProfile& profile = kernels.profile();
  for (const Operator& op : operators) {
    if (const auto* const product = std::get_if<GemmShape>(&op.work)) {
      if (product->batched()) {
        add_typed(reasons, "mla_bmm", profile.mla_bmm, kernels.batched_section(*product));
      } else {
        add_typed(reasons, "gemm", profile.gemm, kernels.gemm_section(*product));
      }
    } else if (const auto* const pass = std::get_if<QuantizePass>(&op.work)) {
      reasons.add("quantize_convert", profile.quantize_convert.origin.derived_from);
      if (pass->to == DataType::fp8 && profile.quantize_scale) {
        reasons.add("quantize_scale", profile.quantize_scale->origin.derived_from);
      }
    } else {
      reasons.add("memory_pass", profile.memory_pass.origin.derived_from);
    }
  }
}

void add_mixer(Reasons& reasons, const KernelCost& kernels, const OperatorContext& context, const MixerSpec& mixer) {
  const KernelProfile& profile = kernels.profile();
  add_operators(reasons, kernels, mixer_operators(context, mixer, 2, 1));
  if (has_constant_state(mixer.kind)) {
    reasons.add("recurrent_state", profile.recurrent_state.origin.derived_from);
    reasons.add("chunked_scan", profile.chunked_scan.origin.derived_from);
    return;
  }
  const AttentionShape shape = attention_shape(context, mixer);
  const bool expands = mixer.kind == MixerKind::latent && !context.fusion.mla_prefill_absorbed;
  if (expands) add_operators(reasons, kernels, latent_expansion_operators(context, mixer, 1));
  const AttentionShape prefilled = expands ? expanded_latent_shape(context, mixer) : shape;
  const bool wide_keys = prefilled.latent || prefilled.key_dim != prefilled.value_dim;
  add_attention(reasons, shape.latent ? "mla_decode" : "attention_decode", kernels.decode_section(shape), shape,
                shape.latent);
  add_attention(reasons, wide_keys ? "mla_prefill" : "attention_prefill", kernels.prefill_section(prefilled), prefilled,
                wide_keys);
  if (context.fusion.mixed_attention && kernels.has_mixed_attention(shape)) {
    add_attention(reasons, "attention_mixed", kernels.mixed_section(shape), shape, false);
  }
}

void add_experts(Reasons& reasons, const KernelCost& kernels, const ModelSpec& model, const ExecutionSpec& spec) {
  const KernelProfile& profile = kernels.profile();
  const MoeShape shape = routed_shape(model, spec);
  for (const MoeBackend asked : {spec.backend, spec.decode_backend.value_or(spec.backend)}) {
    const std::optional<GroupedLayout> layout = grouped_layout(exchange_backend(spec.plan, asked));
    if (!layout) {
      add_typed(reasons, "moe", profile.moe, kernels.moe_section(shape));
    } else if (*layout == GroupedLayout::masked) {
      add_typed(reasons, "grouped_masked", profile.grouped_masked, kernels.grouped_section(shape, *layout));
    } else {
      add_typed(reasons, "grouped_contiguous", profile.grouped_contiguous, kernels.grouped_section(shape, *layout));
    }
  }
}

}  // namespace

std::vector<std::string> stand_ins(const ModelSpec& model, const KernelCost& kernels, const ExecutionSpec& spec) {
  const OperatorContext context{
      &model, {spec.plan.tp, spec.plan.etp}, {model.formats, spec.activation, spec.kv_cache}, spec.fusion};
  Reasons reasons;
  add_operators(reasons, kernels, embedding_operators(context, 1));
  for (const MixerSpec& mixer : model.mixers) add_mixer(reasons, kernels, context, mixer);
  for (const LayerSpec& layer : model.layers) {
    if (layer.dense_width > 0) add_operators(reasons, kernels, dense_ffn_operators(context, layer, 1));
  }
  if (model.is_moe()) {
    add_operators(reasons, kernels, router_operators(context, 1));
    add_operators(reasons, kernels, shared_expert_operators(context, 1));
    add_experts(reasons, kernels, model, spec);
  }
  add_operators(reasons, kernels, head_operators(context, 1));
  return reasons.lines();
}

}  // namespace moesim
