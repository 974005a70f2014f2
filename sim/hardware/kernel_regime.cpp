#include "hardware/kernel_regime.h"

namespace moesim {

namespace {

struct FamilyRow {
  std::string_view name;
  RegimeBounds bounds;
  std::array<std::string_view, kSizeRegimes> regimes;
};

constexpr std::array<std::string_view, kSizeRegimes> kStreaming{"below 1 MB", "1 to 16 MB", "16 MB and more"};
constexpr RegimeBounds kRows{"rows", 64, 1024}, kBytes{"bytes", 1e6, 16e6}, kExpertRows{"rows of an expert", 16, 128},
    kKeys{"keys of a sequence", 1024, 8192}, kChunk{"tokens of a sequence", 512, 4096};
constexpr std::array<std::string_view, kSizeRegimes> kRowNames{"below 64 rows", "64 to 1023 rows",
                                                               "1024 rows and more"},
    kExpertNames{"below 16 rows an expert", "16 to 127 rows an expert", "128 rows an expert and more"},
    kKeyNames{"below 1024 keys", "1024 to 8191 keys", "8192 keys and more"},
    kChunkNames{"below 512 tokens", "512 to 4095 tokens", "4096 tokens and more"};

constexpr std::array<FamilyRow, kKernelFamilies> kFamilies{{
    {"gemm", kRows, kRowNames},
    {"batched_gemm", kRows, kRowNames},
    {"fused_experts", kExpertRows, kExpertNames},
    {"grouped_experts", kExpertRows, kExpertNames},
    {"decode_attention", kKeys, kKeyNames},
    {"prefill_attention", kChunk, kChunkNames},
    {"mixed_attention", kChunk, kChunkNames},
    {"mla_decode", kKeys, kKeyNames},
    {"mla_prefill", kChunk, kChunkNames},
    {"linear_attention", {"tokens", 64, 1024}, {"below 64 tokens", "64 to 1023 tokens", "1024 tokens and more"}},
    {"quantize", kBytes, kStreaming},
    {"memory_pass", kBytes, kStreaming},
}};

const FamilyRow& row(KernelFamily family) {
  return kFamilies[static_cast<std::size_t>(family)];
}

}  // namespace

std::string_view name(KernelFamily family) {
  return row(family).name;
}

const RegimeBounds& regime_bounds(KernelFamily family) {
  return row(family).bounds;
}

SizeRegime size_regime(KernelFamily family, double size) {
  const RegimeBounds& bounds = regime_bounds(family);
  return size < bounds.medium ? SizeRegime::small : size < bounds.large ? SizeRegime::medium : SizeRegime::large;
}

std::string_view regime_name(KernelFamily family, SizeRegime regime) {
  return row(family).regimes[static_cast<std::size_t>(regime)];
}

KernelFamily expert_family(bool grouped) {
  return grouped ? KernelFamily::grouped_experts : KernelFamily::fused_experts;
}

KernelFamily product_family(const GemmShape& shape) {
  return shape.batched() ? KernelFamily::batched_gemm : KernelFamily::gemm;
}

KernelFamily decode_family(const AttentionShape& shape) {
  return shape.latent ? KernelFamily::latent_decode : KernelFamily::decode_attention;
}

KernelFamily prefill_family(const AttentionShape& shape) {
  // Expanded MLA has keys wider than its values.
  return shape.latent || shape.key_dim != shape.value_dim ? KernelFamily::latent_prefill
                                                          : KernelFamily::prefill_attention;
}

}  // namespace moesim
