#include "calibration/kernel_prediction.h"

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

Duration time(const KernelCost& kernels, const TimedGemm& timed) {
  const GemmShape& s = timed.shape;
  Duration sum = kernels.gemm(s);
  if (timed.quantizes) sum += kernels.quantize(s.m * s.batch, s.k, s.activation);
  return sum;
}

/// Rows of a table come shape by shape: one prepared cost serves the next rows too.
class Experts {
 public:
  Duration operator()(const KernelCost& kernels, const TimedExperts& timed) {
    if (!cost_ || !same(timed)) {
      cost_ =
          timed.layout ? MoeCost::grouped(kernels, timed.shape, *timed.layout) : MoeCost::fused(kernels, timed.shape);
      shape_ = timed.shape;
      layout_ = timed.layout;
    }
    if (timed.part) {
      return cost_->product(timed.load,
                            *timed.part == TimedExperts::Part::up ? MoeCost::Product::up : MoeCost::Product::down);
    }
    return (*cost_)(timed.load) + Duration::from_seconds(timed.host);
  }

 private:
  bool same(const TimedExperts& timed) const {
    const auto all = [](const MoeShape& s) {
      return std::tie(s.hidden, s.intermediate, s.top_k, s.gated, s.weight, s.activation);
    };
    return layout_ == timed.layout && all(shape_) == all(timed.shape);
  }
  std::optional<MoeCost> cost_;
  MoeShape shape_;
  std::optional<GroupedLayout> layout_;
};

Duration time(const KernelCost& kernels, const TimedAttention& timed) {
  if (timed.one_kernel && kernels.has_mixed_attention(timed.shape)) {
    return kernels.mixed_attention(timed.shape, timed.decode, timed.prefill);
  }
  return kernels.decode_attention(timed.shape, timed.decode) + kernels.prefill_attention(timed.shape, timed.prefill);
}

Duration time(const KernelCost& kernels, const TimedQuantize& timed) {
  return timed.pass == TimedQuantize::Pass::scale ? kernels.quantize_scale(timed.m, timed.k)
                                                  : kernels.quantize_convert(timed.m, timed.k, timed.to);
}

Duration time(const KernelCost& kernels, const TimedRecurrence& timed) {
  return kernels.linear_attention(timed.shape, timed.work);
}

Duration time(const KernelCost& kernels, const TimedPass& timed) {
  return kernels.memory_pass(timed.bytes);
}

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
  return KernelPredictor(samples, gpu)(profile);
}

std::vector<double> KernelPredictor::operator()(const KernelProfile& profile) {
  kernels_ = kernels_ ? kernels_->with(profile) : KernelCost(gpu_, profile, CacheState::replayed);
  const KernelCost& kernels = *kernels_;
  std::vector<double> seconds;
  seconds.reserve(samples_.size());
  Experts experts;
  const auto predicted = [&](const auto& timed) {
    if constexpr (std::is_same_v<decltype(timed), const TimedExperts&>) {
      return experts(kernels, timed);
    } else {
      return time(kernels, timed);
    }
  };
  for (const KernelSample* sample : samples_) seconds.push_back(std::visit(predicted, sample->timed).seconds());
  return seconds;
}

const SectionOrigin* section_origin(const KernelProfile& profile, std::string_view section) {
  const std::string_view family = word(section, 0), type = word(section, 1), last = word(section, 3);
  const auto size = [&](const auto& one) { return std::to_string(one.head_dim) == last; };
  const auto any = [](const auto&) { return true; };
  if (family == "gemm") return of_type(profile.gemm, type);
  if (family == "mla_bmm") return of_type(profile.mla_bmm, type);
  if (family == "moe") return of_type(profile.moe, type);
  if (family == "grouped_masked") return of_type(profile.grouped_masked, type);
  if (family == "grouped_contiguous") return of_type(profile.grouped_contiguous, type);
  if (family == "attention_decode") return of_attention(profile.attention_decode, section, size);
  if (family == "attention_mixed") return of_attention(profile.attention_mixed, section, size);
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

namespace {

/// Whether `text` has `version` as a word: "1.3.0" is not in "1.3.0rc20".
bool names_version(std::string_view text, std::string_view version) {
  const auto part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-'; };
  for (std::size_t at = text.find(version); at != std::string_view::npos; at = text.find(version, at + 1)) {
    const std::size_t end = at + version.size();
    if ((at == 0 || !part(text[at - 1])) && (end == text.size() || !part(text[end]))) return true;
  }
  return false;
}

}  // namespace

std::string stand_in(const KernelProfile& profile, const KernelSample& sample, const GpuSpec& gpu) {
  const SectionOrigin* const origin = section_origin(profile, sample.section);
  if (origin == nullptr) return "another section of " + profile.name;
  if (!origin->derived_from.empty()) return origin->derived_from;
  if (origin->gpu != gpu.id) return "measured on " + origin->gpu;
  if (origin->provider != sample.provider) return "kernels of " + origin->provider;
  if (!sample.version.empty() && !names_version(origin->source, sample.version)) {
    return "another version of " + sample.provider;
  }
  return {};
}

}  // namespace moesim
