#include "calibration/kernel_prediction.h"

#include <algorithm>
#include <tuple>

#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

/// Rows of one table come shape by shape, so that one prepared cost serves many.
class ExpertCosts {
 public:
  Duration operator()(const KernelCost& kernels, const TimedExperts& timed) {
    if (!cost_ || !same(timed)) {
      cost_ = !timed.layout ? MoeCost::fused(kernels, timed.shape)
              : timed.part  ? MoeCost::grouped(kernels, timed.shape, *timed.layout, *timed.part)
                            : MoeCost::grouped(kernels, timed.shape, *timed.layout);
      of_ = {.shape = timed.shape, .load = {}, .layout = timed.layout, .part = timed.part};
    }
    return (*cost_)(timed.load) + Duration::from_seconds(timed.host);
  }

 private:
  bool same(const TimedExperts& timed) const {
    const MoeShape &a = of_.shape, &b = timed.shape;
    return std::tie(a.hidden, a.intermediate, a.top_k, a.gated, a.weight, a.activation, of_.layout, of_.part) ==
           std::tie(b.hidden, b.intermediate, b.top_k, b.gated, b.weight, b.activation, timed.layout, timed.part);
  }
  std::optional<MoeCost> cost_;
  TimedExperts of_;
};

struct Predictor {
  const KernelCost& kernels;
  ExpertCosts experts = {};

  Duration operator()(const TimedGemm& timed) {
    Duration time = kernels.gemm(timed.shape);
    if (timed.quantizes)
      time += kernels.quantize(timed.shape.m * timed.shape.batch, timed.shape.k, timed.shape.activation);
    return time;
  }
  Duration operator()(const TimedExperts& timed) { return experts(kernels, timed); }
  Duration operator()(const TimedAttention& timed) const {
    return kernels.decode_attention(timed.shape, timed.decode) + kernels.prefill_attention(timed.shape, timed.prefill);
  }
  Duration operator()(const TimedQuantize& timed) const {
    return kernels.quantize(timed.pass, timed.m, timed.k, timed.to);
  }
  Duration operator()(const TimedRecurrence& timed) const { return kernels.linear_attention(timed.shape, timed.work); }
  Duration operator()(const TimedPass& timed) const { return kernels.memory_pass(timed.bytes); }
};

/// "fp8" of "mla_prefill/bf16/fp8/absorbed" at place 2; empty behind the end.
std::string_view word(std::string_view section, std::size_t place) {
  for (; place > 0; --place) {
    const std::size_t slash = section.find('/');
    if (slash == std::string_view::npos) return {};
    section.remove_prefix(slash + 1);
  }
  return section.substr(0, section.find('/'));
}

template <class Section>
const SectionOrigin* of_type(const std::array<Section, kDataTypes>& sections, std::string_view type) {
  const auto found = data_type_from_name(type);
  return found ? &sections[static_cast<std::size_t>(*found)].origin : nullptr;
}

template <class Section, class Wanted>
const SectionOrigin* of_attention(const std::vector<Section>& sections, std::string_view section, Wanted wanted) {
  const auto found = std::find_if(sections.begin(), sections.end(), [&](const Section& one) {
    return name(one.math) == word(section, 1) && name(one.kv_cache) == word(section, 2) && wanted(one);
  });
  return found == sections.end() ? nullptr : &found->origin;
}

}  // namespace

std::vector<double> predict_kernels(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                    const KernelProfile& profile) {
  const KernelCost kernels(gpu, profile, CacheState::replayed);
  Predictor predict{kernels};
  std::vector<double> seconds;
  seconds.reserve(samples.size());
  for (const KernelSample* sample : samples) seconds.push_back(std::visit(predict, sample->timed).seconds());
  return seconds;
}

const SectionOrigin* section_origin(const KernelProfile& profile, std::string_view section) {
  const std::string_view family = word(section, 0), type = word(section, 1), last = word(section, 3);
  const auto size = [&](const auto& one) { return std::to_string(one.head_dim) == last; };
  const auto any = [](const auto&) { return true; };
  if (family == "gemm") return of_type(profile.gemm, type);
  if (family == "moe") return of_type(profile.moe, type);
  if (family == "grouped_masked") return of_type(profile.grouped_masked, type);
  if (family == "grouped_contiguous") return of_type(profile.grouped_contiguous, type);
  if (family == "attention_decode" || family == "attention_mixed") {
    return of_attention(profile.attention_decode, section, size);
  }
  if (family == "attention_prefill") return of_attention(profile.attention_prefill, section, size);
  if (family == "mla_decode") return of_attention(profile.mla_decode, section, any);
  if (family == "mla_prefill") {
    return of_attention(profile.mla_prefill, section,
                        [&](const auto& one) { return one.absorbed == (last == "absorbed"); });
  }
  if (family == "quantize_scale") return profile.quantize_scale ? &profile.quantize_scale->origin : nullptr;
  if (family == "quantize_convert") return &profile.quantize_convert.origin;
  if (family == "memory_pass") return &profile.memory_pass.origin;
  if (family == "recurrent_state") return &profile.recurrent_state.origin;
  if (family == "chunked_scan") return &profile.chunked_scan.origin;
  return nullptr;
}

std::string stand_in(const KernelProfile& profile, const KernelSample& sample, const GpuSpec& gpu) {
  const SectionOrigin* const origin = section_origin(profile, sample.section);
  if (origin == nullptr) return "another section of " + profile.name;
  if (!origin->derived_from.empty()) return origin->derived_from;
  if (origin->gpu != gpu.id) return "measured on " + origin->gpu;
  if (origin->provider != sample.provider) return "kernels of " + origin->provider;
  if (!sample.version.empty() && origin->source.find(sample.version) == std::string::npos) {
    return "another version of " + sample.provider;
  }
  return {};
}

}  // namespace moesim
