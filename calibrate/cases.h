#pragma once
// What is measured: one case a row, the shapes of models in public use over sweeps of tokens and lengths.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "routing_draw.h"

namespace moesim::calibrate {

/// A table: one kind of row and its columns. The names are those of `predict --op` and `fit --op`.
enum class Family {
  gemm,
  quantize,
  grouped_gemm,
  moe,
  memory_pass,
  attn_decode,
  attn_prefill,
  mla_decode,
  mla_prefill,
  mla_bmm,
  nccl,
  alltoallv,
  memory
};
inline constexpr std::size_t kFamilies = static_cast<std::size_t>(Family::memory) + 1;
std::string_view name(Family family);
std::optional<Family> family_from_name(std::string_view name);

/// What the first argument of the program asks for.
enum class Target { kernels, collectives, memory };
std::string_view name(Target target);
std::optional<Target> target_from_name(std::string_view name);
std::span<const Family> families_of(Target target);

enum class Precision { bf16, fp8 };
std::string_view name(Precision precision);  ///< as in the column dtype

/// y[m, n] = x[m, k] w[n, k]^T. fp8: x is quantised before, with one scale; QuantizeCase times that.
struct GemmCase {
  Precision precision = Precision::bf16;
  std::int64_t m = 0, n = 0, k = 0;
};
/// `pass`: compute_scale (the largest magnitude of [m, k]) or fp8_quantize.
struct QuantizeCase {
  std::string_view pass;
  std::int64_t m = 0, k = 0;
};
/// Experts of one rank on `tokens` tokens of its expert-parallel group; the rank with most rows.
struct MoeCase {
  Precision precision = Precision::bf16;
  int tokens = 0, hidden = 0, inter = 0, top_k = 0, experts = 0, tp = 1, ep = 1;
  Skew skew = kBalanced;
};
/// `part` of the fused op alone, which streams: moe_gating_routing_topk, moe_shuffling, moe_activation, moe_quantize,
/// moe_combine. Balanced.
struct MoePartCase {
  std::string_view part;
  MoeCase moe;
};
/// Equal sequences. Decode: one query a sequence over `length` keys. Prefill: `length` new tokens, causal.
struct AttentionCase {
  int batch = 0, length = 0, query_heads = 0, kv_heads = 0, head_dim = 0;
};
/// Latent 512 + rope 64 a token. Decode is absorbed (one shared key of 576, value 512), prefill expanded (192, 128).
struct LatentCase {
  int batch = 0, length = 0, query_heads = 0;
};
/// `op`: mla_gen_pre (128 -> 512) or mla_gen_post (512 -> 128), one product a head.
struct HeadProductCase {
  std::string_view op;
  int tokens = 0, heads = 0;
};
/// Bytes as in nccl-tests. `imbalance` of alltoallv: the most that a pair carries over the mean.
struct CollectiveCase {
  std::string_view collective;
  int ranks = 0;
  std::int64_t bytes = 0;
  double imbalance = 1;
};
/// `what`: copy, host_to_device, device_to_host, kernel_launch, graph_launch, graph_node.
struct MemoryCase {
  std::string_view what;
  std::int64_t bytes = 0;
};
using Shape = std::variant<GemmCase, QuantizeCase, MoeCase, MoePartCase, AttentionCase, LatentCase, HeadProductCase,
                           CollectiveCase, MemoryCase>;

struct Case {
  Family family = Family::gemm;
  std::string provider;  ///< of the kernel: cublas, cudnn, nccl, cuda or ours
  std::string kernel;
  Shape shape;
};

/// A kernel that this machine has for a family.
struct KernelChoice {
  Family family = Family::gemm;
  std::string provider, kernel;
  std::optional<Precision> only;  ///< absent: all that the family has
};

/// Every row of `family`, small before large, each with every kernel of `kernels`. `gpus` bounds the ranks.
std::vector<Case> cases_of(Family family, std::span<const KernelChoice> kernels, int gpus);

/// The seed of a case: of its shape, not of its place, so that a resumed run draws the same.
std::uint64_t seed_of(const Case& measured);

/// Elements that each rank sends to `destination` in an unequal all-to-all of `bytes` in bf16: rank 0 gets `imbalance`
/// times the mean, the others share the rest. Sums to the elements of the buffer but for rounding down; 0 < imbalance <
/// n.
std::int64_t elements_to(const CollectiveCase& collective, int destination);

/// Bytes that a part reads and writes: scores and choices; rows written from tokens read; three of an expert's widths a
/// row; a scale's pass and a conversion; rows read and tokens written.
std::int64_t bytes_of(const MoePartCase& part, std::uint64_t seed);

/// Routing of a MoE case, the busiest rank being rank 0.
RoutedTokens routing_of(const MoeCase& moe, std::uint64_t seed);

}  // namespace moesim::calibrate
