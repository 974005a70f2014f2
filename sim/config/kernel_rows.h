#pragma once
// One row of a table of measured kernels -> what it timed. A file each for products and streams, experts, attention.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/kernel_sample.h"
#include "config/routing_expectation.h"
#include "config/table_row.h"

namespace moesim {

/// The widths of a model's operators, where a table names the model rather than the shape.
struct LayerShape {
  std::int64_t hidden = 0, inter = 0, q_heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0;
  std::int64_t experts = 0, top_k = 0, expert_width = 0;  ///< 0: none
};

/// A row with what is known of it beside its fields.
struct KernelRow {
  const TableRow& fields;
  KernelOp op;
  const GpuSpec* gpu;         ///< unknown: nullptr
  std::string_view provider;  ///< of the kernel
  const LayerShape* model;    ///< whose name ends the table's; none: nullptr
  RoutingExpectations& routing;

  /// The time of a column in seconds; nothing where it is empty. Throws on less than 0.1 us and more than 100 s.
  std::optional<double> seconds(std::string_view column) const;
  /// Of the first of these columns that the table has and the row fills.
  std::optional<double> first_seconds(std::initializer_list<std::string_view> columns) const;
};

/// What a row gives: samples without their place (table, line, GPU, provider), or why there is none.
struct KernelRowSamples {
  std::vector<KernelSample> samples;
  std::string_view skipped = {};

  void skip(std::string_view reason) { skipped = reason; }
};

/// Reasons that several ops share. The list of all reasons is docs/calibration.md.
namespace skip {
inline constexpr std::string_view no_time = "no time";
inline constexpr std::string_view no_rows = "no work on the rank";
inline constexpr std::string_view other_kernel = "another operator than --op";
inline constexpr std::string_view no_head_size = "a model whose head size the table does not give";
inline constexpr std::string_view eager = "only the time of an eager operator with its launch";
inline constexpr std::string_view untuned = "badly tuned: x_min above 1.5";
inline constexpr std::string_view narrow_shard = "narrow shard: inter/tp below 64";
inline constexpr std::string_view remote_slots = "Triton of sglang with ep > 1: remote rows are computed too";
}  // namespace skip

/// Formats that meet in a matrix unit, as tables name them: bfloat16, fp8_block, w4a16_mxfp4 ...
struct Formats {
  DataType weight = DataType::bf16, activation = DataType::bf16;
};
/// Of a column; `otherwise` where the table has no such column. Throws on a name that is none.
Formats formats(const TableRow& row, std::string_view column, Formats otherwise);

void read_gemm_row(const KernelRow& row, KernelRowSamples& out);
void read_mla_bmm_row(const KernelRow& row, KernelRowSamples& out);
void read_quantize_row(const KernelRow& row, KernelRowSamples& out);
/// The recurrence (op linear_attention) or the short convolution before it (op memory_pass).
void read_linear_attention_row(const KernelRow& row, KernelRowSamples& out);
/// A kernel that moves `bytes`.
void read_stream_row(const KernelRow& row, KernelRowSamples& out);
/// Operators of a model by their name in profilers: products (op gemm) and streams (op memory_pass).
void read_layer_row(const KernelRow& row, KernelRowSamples& out);

void read_moe_row(const KernelRow& row, KernelRowSamples& out);
void read_wideep_row(const KernelRow& row, KernelRowSamples& out);
void read_grouped_gemm_row(const KernelRow& row, KernelRowSamples& out);

void read_decode_row(const KernelRow& row, KernelRowSamples& out);
void read_prefill_row(const KernelRow& row, KernelRowSamples& out);
void read_mixed_row(const KernelRow& row, KernelRowSamples& out);

}  // namespace moesim
