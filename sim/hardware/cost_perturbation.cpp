#include "hardware/cost_perturbation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/math.h"
#include "core/random.h"

namespace moesim {

KernelPerturbation KernelPerturbation::draw(std::uint64_t seed, std::string_view gpu) {
  KernelPerturbation perturbation;
  for (std::size_t f = 0; f < kKernelFamilies; ++f) {
    const Stream family(seed, fmt::format("calibration/{}/{}", gpu, name(static_cast<KernelFamily>(f))));
    for (std::size_t r = 0; r < kSizeRegimes; ++r) perturbation.normal[f][r] = family.substream(r).normal();
  }
  return perturbation;
}

double log_sd(const SectionOrigin& origin, SizeRegime regime, std::string_view gpu) {
  constexpr double normal_95 = 1.645;
  double own = kRooflineLogSd;
  const auto errors = std::find_if(origin.errors.begin(), origin.errors.end(),
                                   [&](const RegimeErrors& e) { return e.regime == regime; });
  if (errors != origin.errors.end()) {
    own = errors->log_sd;
  } else if (origin.residuals) {
    own = logarithm(1 + origin.residuals->p90_ape) / normal_95;
  }
  // Rows of other sizes say little of this one.
  if (!origin.errors.empty() && errors == origin.errors.end()) own = std::hypot(own, kRooflineLogSd);
  double transfer = 0;
  if (!origin.derived_from.empty()) {
    transfer = kRooflineLogSd;  // what is like for another format nobody measured
  } else if (origin.gpu != gpu) {
    transfer = kTransferLogSd;
  }
  return std::sqrt(own * own + transfer * transfer);
}

namespace {

class Perturbing {
 public:
  Perturbing(const KernelPerturbation& perturbation, std::string_view gpu) : perturbation_(perturbation), gpu_(gpu) {}

  template <class Section>
  void section(Section& section, KernelFamily family) const {
    const auto& normal = perturbation_.normal[static_cast<std::size_t>(family)];
    for (std::size_t r = 0; r < kSizeRegimes; ++r) {
      section.factor[r] *= exponential(log_sd(section.origin, static_cast<SizeRegime>(r), gpu_) * normal[r]);
    }
  }
  template <class Sections>
  void all(Sections& sections, KernelFamily family) const {
    for (auto& one : sections) section(one, family);
  }

 private:
  const KernelPerturbation& perturbation_;
  std::string_view gpu_;
};

}  // namespace

KernelProfile perturbed(KernelProfile profile, const KernelPerturbation& perturbation, const GpuSpec& gpu) {
  const Perturbing perturb(perturbation, gpu.id);
  perturb.all(profile.gemm, KernelFamily::gemm);
  perturb.all(profile.mla_bmm, KernelFamily::batched_gemm);
  perturb.all(profile.moe, KernelFamily::fused_experts);
  perturb.all(profile.grouped_masked, KernelFamily::grouped_experts);
  perturb.all(profile.grouped_contiguous, KernelFamily::grouped_experts);
  perturb.all(profile.attention_decode, KernelFamily::decode_attention);
  perturb.all(profile.mla_decode, KernelFamily::latent_decode);
  perturb.all(profile.attention_prefill, KernelFamily::prefill_attention);
  perturb.all(profile.attention_mixed, KernelFamily::mixed_attention);
  perturb.all(profile.mla_prefill, KernelFamily::latent_prefill);
  if (profile.quantize_scale) perturb.section(*profile.quantize_scale, KernelFamily::quantize);
  perturb.section(profile.quantize_convert, KernelFamily::quantize);
  perturb.section(profile.memory_pass, KernelFamily::memory_pass);
  perturb.section(profile.recurrent_state, KernelFamily::linear_attention);
  perturb.section(profile.chunked_scan, KernelFamily::linear_attention);
  return profile;
}

}  // namespace moesim
