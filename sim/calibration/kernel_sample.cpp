#include "calibration/kernel_sample.h"

#include <algorithm>
#include <array>

#include "core/check.h"

namespace moesim {

namespace {

constexpr std::array<std::string_view, kKernelOps> kNames{
    "gemm",       "moe",         "moe_wideep", "grouped_gemm", "attn_decode",      "attn_prefill", "attn_mixed",
    "mla_decode", "mla_prefill", "mla_bmm",    "quantize",     "linear_attention", "memory_pass"};

struct Place {
  KernelFamily family;
  double size;
};

Place place_of(const TimedGemm& timed) {
  return {KernelFamily::gemm, static_cast<double>(timed.shape.m)};
}
Place place_of(const TimedExperts& timed) {
  return {expert_family(timed.layout.has_value()), expert_size(timed.load)};
}
Place place_of(const TimedAttention& timed) {
  if (timed.prefill.empty()) return {decode_family(timed.shape), decode_size(timed.decode)};
  std::int64_t longest = 0;
  for (const PrefillWork& work : timed.prefill) longest = std::max(longest, work.new_tokens);
  return {prefill_family(timed.shape), static_cast<double>(longest)};
}
Place place_of(const TimedQuantize& timed) {
  const double per_element = timed.pass == QuantizeKernel::scale ? 2 : 2 + bytes_per_element(timed.to);
  return {KernelFamily::quantize, per_element * static_cast<double>(timed.m) * static_cast<double>(timed.k)};
}
Place place_of(const TimedRecurrence& timed) {
  return {KernelFamily::linear_attention, static_cast<double>(timed.work.decode_sequences + timed.work.prefill_tokens)};
}
Place place_of(const TimedPass& timed) {
  return {KernelFamily::memory_pass, static_cast<double>(timed.bytes.value)};
}

Place place_of(const KernelSample& sample) {
  return std::visit([](const auto& timed) { return place_of(timed); }, sample.timed);
}

}  // namespace

std::string_view name(KernelOp op) {
  return kNames[static_cast<std::size_t>(op)];
}

std::optional<KernelOp> kernel_op(std::string_view name) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<KernelOp>(found - kNames.begin());
}

KernelFamily family_of(const KernelSample& sample) {
  return place_of(sample).family;
}

SizeRegime size_regime(const KernelSample& sample) {
  const Place place = place_of(sample);
  return size_regime(place.family, place.size);
}

std::string_view regime_name(const KernelSample& sample) {
  return regime_name(family_of(sample), size_regime(sample));
}

}  // namespace moesim
