#include "calibration/kernel_sample.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace moesim {

namespace {

constexpr std::array<std::string_view, kKernelOps> kNames{
    "gemm",       "moe",         "moe_wideep", "grouped_gemm", "attn_decode",      "attn_prefill", "attn_mixed",
    "mla_decode", "mla_prefill", "mla_bmm",    "quantize",     "linear_attention", "memory_pass"};

double size_of(const TimedGemm& timed) {
  return static_cast<double>(timed.shape.m);
}
double size_of(const TimedExperts& timed) {
  return expert_size(timed.load);
}
double size_of(const TimedAttention& timed) {
  std::int64_t longest = 0;
  for (const PrefillWork& work : timed.prefill) longest = std::max(longest, work.new_tokens);
  return longest > 0 ? static_cast<double>(longest) : decode_size(timed.decode);
}
double size_of(const TimedQuantize& timed) {
  const double written = timed.pass == TimedQuantize::Pass::convert ? bytes_per_element(timed.to) : 0;
  return static_cast<double>(timed.m) * static_cast<double>(timed.k) * (2 + written);
}
double size_of(const TimedRecurrence& timed) {
  return static_cast<double>(timed.work.decode_sequences + timed.work.prefill_tokens);
}
double size_of(const TimedPass& timed) {
  return static_cast<double>(timed.bytes.value);
}

KernelFamily family(const TimedGemm& timed) {
  return product_family(timed.shape);
}
KernelFamily family(const TimedExperts& timed) {
  return expert_family(timed.layout.has_value());
}
KernelFamily family(const TimedAttention& timed) {
  if (timed.one_kernel) return KernelFamily::mixed_attention;
  return timed.prefill.empty() ? decode_family(timed.shape) : prefill_family(timed.shape);
}
KernelFamily family(const TimedQuantize& /*timed*/) {
  return KernelFamily::quantize;
}
KernelFamily family(const TimedRecurrence& /*timed*/) {
  return KernelFamily::linear_attention;
}
KernelFamily family(const TimedPass& /*timed*/) {
  return KernelFamily::memory_pass;
}

KernelWork work(const TimedGemm& timed) {
  return work_of(timed.shape);
}
KernelWork work(const TimedExperts& timed) {
  KernelWork work = ExpertWork(timed.shape)(timed.load);
  const double matrices = timed.shape.gated ? 3 : 2;
  if (timed.part) work *= (*timed.part == TimedExperts::Part::up ? matrices - 1 : 1) / matrices;
  return work;
}
KernelWork work(const TimedAttention& timed) {
  KernelWork work = work_of(timed.shape, timed.decode);
  work += work_of(timed.shape, timed.prefill);
  return work;
}
KernelWork work(const TimedQuantize& timed) {
  return timed.pass == TimedQuantize::Pass::convert ? work_of_quantize(timed.m, timed.k, timed.to)
                                                    : work_of_pass({timed.m * timed.k * 2});
}
KernelWork work(const TimedRecurrence& timed) {
  return work_of(timed.shape, timed.work);
}
KernelWork work(const TimedPass& timed) {
  return work_of_pass(timed.bytes);
}

}  // namespace

std::string_view name(KernelOp op) {
  return kNames[static_cast<std::size_t>(op)];
}

std::optional<KernelOp> kernel_op(std::string_view text) {
  for (std::size_t i = 0; i < kKernelOps; ++i) {
    if (kNames[i] == text) return static_cast<KernelOp>(i);
  }
  return std::nullopt;
}

std::string sizes_of(const KernelSample& sample) {
  struct Text {
    std::string operator()(const TimedGemm& t) const {
      return fmt::format("{} {} {} {} {}", t.shape.m, t.shape.n, t.shape.k, t.shape.batch, t.quantizes);
    }
    std::string operator()(const TimedExperts& t) const {
      return fmt::format("{} {} {} {} {} {} {} {} {} {}", t.shape.hidden, t.shape.intermediate, t.shape.local_experts,
                         t.shape.top_k, t.load.tokens, t.load.local_tokens, t.load.rows, t.load.active,
                         fmt::join(t.load.padded_rows, ","), t.part ? static_cast<int>(*t.part) : -1);
    }
    std::string operator()(const TimedAttention& t) const {
      std::string text = fmt::format("{} {} {} {} {} {}", t.shape.query_heads, t.shape.kv_heads, t.shape.key_dim,
                                     t.shape.value_dim, t.decode.sequences, t.decode.visible_keys);
      for (const PrefillWork& p : t.prefill) text += fmt::format(" {} {} {}", p.new_tokens, p.keys, p.pairs);
      return text;
    }
    std::string operator()(const TimedQuantize& t) const {
      return fmt::format("{} {} {}", static_cast<int>(t.pass), t.m, t.k);
    }
    std::string operator()(const TimedRecurrence& t) const {
      return fmt::format("{} {} {} {} {} {} {}", t.shape.heads, t.shape.key_dim, t.shape.value_dim,
                         t.work.decode_sequences, t.work.prefill_sequences, t.work.prefill_tokens,
                         t.work.longest_prefill);
    }
    std::string operator()(const TimedPass& t) const { return fmt::format("{}", t.bytes.value); }
  };
  return sample.section + ' ' + std::visit(Text{}, sample.timed);
}

bool is_kernel_library(std::string_view provider) {
  constexpr std::array<std::string_view, 5> libraries{"cublas", "deepgemm", "flash_attention", "flashinfer",
                                                      "flashmla"};
  return std::find(libraries.begin(), libraries.end(), provider) != libraries.end();
}

KernelFamily family_of(const KernelSample& sample) {
  return std::visit([](const auto& timed) { return family(timed); }, sample.timed);
}

SizeRegime size_regime(const KernelSample& sample) {
  const double size = std::visit([](const auto& timed) { return size_of(timed); }, sample.timed);
  return size_regime(family_of(sample), size);
}

std::string_view regime_name(const KernelSample& sample) {
  return regime_name(family_of(sample), size_regime(sample));
}

KernelWork work_of(const KernelSample& sample) {
  return std::visit([](const auto& timed) { return work(timed); }, sample.timed);
}

}  // namespace moesim
