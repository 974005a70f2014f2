#pragma once
// Measured times of kernels: what was timed, on what, and the tables they come in.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hardware/gpu_spec.h"
#include "hardware/kernel_regime.h"
#include "hardware/kernel_work.h"
#include "hardware/operator_shape.h"

namespace moesim {

/// The kinds of measured tables, `--op` of fit and predict.
enum class KernelOp {
  gemm,
  moe,
  moe_wideep,
  grouped_gemm,
  attn_decode,
  attn_prefill,
  attn_mixed,
  mla_decode,
  mla_prefill,
  mla_bmm,
  quantize,
  linear_attention,
  memory_pass
};
inline constexpr std::size_t kKernelOps = static_cast<std::size_t>(KernelOp::memory_pass) + 1;
std::string_view name(KernelOp op);
std::optional<KernelOp> kernel_op(std::string_view name);

/// A dense product, with the dynamic quantisation of its input inside the time or not.
struct TimedGemm {
  GemmShape shape;
  bool quantizes = false;
};
/// Experts of one rank: the fused op, or grouped GEMMs over permuted rows in a layout.
struct TimedExperts {
  MoeShape shape;
  ExpertLoad load;
  std::optional<GroupedLayout> layout;  ///< absent: fused
  /// Of the two products of an expert, which the time contains; both where absent.
  enum class Part { up, down };
  std::optional<Part> part;
  double host = 0;  ///< seconds of host work that an eager op waits for; 0 in a graph
};
/// Equal sequences: `decode` of `sequences` with `keys` each, `prefill` chunks, or both in one call.
struct TimedAttention {
  AttentionShape shape;
  DecodeWork decode;
  std::vector<PrefillWork> prefill;
  bool one_kernel = false;  ///< both by an engine that has one kernel for them
};
struct TimedQuantize {
  enum class Pass { scale, convert };
  Pass pass = Pass::convert;
  std::int64_t m = 0, k = 0;
  DataType to = DataType::fp8;
};
struct TimedRecurrence {
  RecurrentShape shape;
  RecurrentWork work;
};
/// A kernel that streams: norm, activation, copy ...
struct TimedPass {
  Bytes bytes;
};

/// One measured time of one op on one GPU, as a replayed CUDA graph (small weights stay in the L2 cache).
struct KernelSample {
  std::size_t table = 0;
  std::int64_t line = 0;
  std::size_t gpu = 0;  ///< index into KernelSamples::gpus
  KernelOp op = KernelOp::gemm;
  std::string provider, version;  ///< of the kernel: trtllm, vllm, sglang, deepgemm, ours ...
  /// The section of a kernel profile that predicts it: "gemm/bf16", "moe/fp8_block", "grouped_masked/fp8_block",
  /// "attention_decode/bf16/fp8/128" (math, cache, head size), "mla_prefill/bf16/bf16/absorbed" ...
  std::string section;
  std::variant<TimedGemm, TimedExperts, TimedAttention, TimedQuantize, TimedRecurrence, TimedPass> timed;
  /// What cross-validation leaves out at once: the (n, k) of a product, the (hidden, inter, top-k, experts) of a model,
  /// a layout of heads. Equal for all sizes, repeats and splits of one shape.
  std::string shape;
  double measured = 0;  ///< seconds
};

/// What a sample computes and moves at the least.
KernelWork work_of(const KernelSample& sample);

/// Section and sizes: equal for repeats of a measurement and for the same shape in another table. The formats are in
/// the section's name.
std::string sizes_of(const KernelSample& sample);

/// Of a library that engines call, so that its kernels are any engine's own: deepgemm, flash_attention, flashmla ...
bool is_kernel_library(std::string_view provider);

/// How the errors of a sample are grouped, from what was timed. A mixed call goes by its prefill, where it has one.
KernelFamily family_of(const KernelSample& sample);
SizeRegime size_regime(const KernelSample& sample);
/// "64 to 1023 rows".
std::string_view regime_name(const KernelSample& sample);

/// The samples of tables, and what could not be used.
struct KernelSamples {
  std::vector<GpuSpec> gpus;
  std::vector<KernelSample> samples;
  std::vector<std::string> tables;
  std::int64_t rows = 0;
  std::map<std::string, std::int64_t> skipped;   ///< rows by reason
  std::map<std::string, std::int64_t> warnings;  ///< rows that are used and look wrong, by reason
};

}  // namespace moesim
