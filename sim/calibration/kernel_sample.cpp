#include "calibration/kernel_sample.h"

#include <array>

namespace moesim {

namespace {

constexpr std::array<std::string_view, kKernelOps> kNames{
    "gemm",       "moe",         "moe_wideep", "grouped_gemm", "attn_decode",      "attn_prefill", "attn_mixed",
    "mla_decode", "mla_prefill", "mla_bmm",    "quantize",     "linear_attention", "memory_pass"};

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

}  // namespace moesim
