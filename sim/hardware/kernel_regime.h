#pragma once
// Families of operators and regimes of size within them: calibration errors are known by these, and a run is perturbed
// by them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hardware/operator_shape.h"

namespace moesim {

enum class KernelFamily {
  gemm,
  batched_gemm,
  fused_experts,
  grouped_experts,
  decode_attention,
  prefill_attention,
  mixed_attention,
  latent_decode,
  latent_prefill,
  linear_attention,
  quantize,
  memory_pass
};
inline constexpr std::size_t kKernelFamilies = static_cast<std::size_t>(KernelFamily::memory_pass) + 1;
std::string_view name(KernelFamily family);

/// By what binds the kernel: fixed times, memory, compute.
enum class SizeRegime { small, medium, large };
inline constexpr std::size_t kSizeRegimes = 3;

/// Where the regimes of a family meet, and of what. Products: rows m (of one of a batch), 64 and 1,024. Experts: mean
/// rows of an expert that has any, 16 and 128. Decode: mean keys of a sequence, 1,024 and 8,192. Prefill and mixed
/// batches: longest chunk in tokens, 512 and 4,096. Linear attention: tokens, 64 and 1,024. Streaming kernels: bytes, 1
/// MB and 16 MB.
struct RegimeBounds {
  std::string_view measure;
  double medium = 0, large = 0;  ///< first sizes of these
};
const RegimeBounds& regime_bounds(KernelFamily family);
SizeRegime size_regime(KernelFamily family, double size);
/// "below 64 rows", "64 to 1023 rows", "1024 rows and more"
std::string_view regime_name(KernelFamily family, SizeRegime regime);

KernelFamily expert_family(bool grouped);
KernelFamily decode_family(const AttentionShape& shape);
KernelFamily prefill_family(const AttentionShape& shape);
KernelFamily product_family(const GemmShape& shape);
inline double expert_size(const ExpertLoad& load) {
  return load.active > 0 ? static_cast<double>(load.rows) / static_cast<double>(load.active) : 0;
}
inline double decode_size(const DecodeWork& work) {
  return work.sequences > 0 ? static_cast<double>(work.visible_keys) / static_cast<double>(work.sequences) : 0;
}

}  // namespace moesim
