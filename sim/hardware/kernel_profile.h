#pragma once
// Constants of the kernel cost model for one GPU and one provider (vllm, sglang, trtllm), by operator family and data
// type, each with where it comes from and how well it fits. The formulas are in kernel_cost.h and docs/model.md; the
// file format "moesim-profile-1" is read in config/read_profile.h.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/units.h"
#include "hardware/kernel_regime.h"
#include "hardware/kernel_residual.h"

namespace moesim {

/// Number of DataType enumerators: sections are arrays indexed by data type.
inline constexpr std::size_t kDataTypes = static_cast<std::size_t>(DataType::nvfp4) + 1;

/// Errors of a fitted section on rows that it was not fitted on. Percentage errors are fractions; bias is the mean of
/// ln(predicted / measured).
struct FitResiduals {
  double median_ape = 0, p90_ape = 0, bias = 0;
  std::int64_t rows_fitted = 0, rows_scored = 0;
  std::string split;
};

/// Errors of a section in one regime of its family, on shapes that no fit saw; `log_sd` is that of a centred normal
/// distribution of ln(predicted / measured) with the same 90 % interval: the 90 % quantile of its magnitude / 1.645.
struct RegimeErrors {
  SizeRegime regime = SizeRegime::small;
  std::int64_t rows = 0;
  double mape = 0, median_ape = 0, p90_ape = 0, bias = 0, log_sd = 0;
};

/// Where the constants of one section come from.
struct SectionOrigin {
  std::string source;        ///< tables and how they were fitted, or why these values are assumed
  std::string provider;      ///< whose kernels were measured; may differ from the profile's when another one stands in
  std::string licence;       ///< of the measurements
  std::string gpu;           ///< measured on
  std::string fit_range;     ///< shapes covered; beyond it the form extrapolates
  std::string derived_from;  ///< what stands in for what is missing; empty when measured for this very case
  std::string date;          ///< of the fit, where it differs from the profile's
  std::optional<FitResiduals> residuals;
  std::vector<RegimeErrors> errors;  ///< by regime; those with rows only
};

/// Bandwidth while the working set w fits the L2 cache: W (1 + gain / (1 + (w / (share L2))^6)).
struct CacheGain {
  double gain = 0, share = 1;
};

/// Multiplies the time of a section by regime: all ones, but in a profile rescaled to another GPU
/// (calibration/kernel_rescale.h) or perturbed (cost_perturbation.h).
using RegimeFactors = std::array<double, kSizeRegimes>;
inline constexpr RegimeFactors kUnperturbed{1, 1, 1};

/// Which tiles a matrix kernel may choose from: those of cuBLAS and CUTLASS with splits along k, or those of DeepGEMM,
/// 64 or 128 rows by 16 to 128 columns in steps of 16, never split.
enum class TileChoice { wide, narrow };

/// Efficiencies are relative to the dense matrix peak of `math` and to the memory bandwidth.
struct GemmSection {
  DataType math = DataType::bf16;
  Duration fixed;
  Duration batched_fixed;          ///< of a batch of products in one kernel, where none was measured
  double compute = 0, memory = 0;  ///< ec, em
  double norm = 1;                 ///< p of the p-norm that joins both
  double tile_half = 0;            ///< h0: harmonic tile size with half the efficiency
  Duration per_wave = {};          ///< tw: filling and emptying the pipeline, for each round of tiles
  double tiles_for_bandwidth = 1;  ///< cb: bandwidth grows until S / cb tiles are in flight
  Duration split;                  ///< tk: reduction of a split along k
  TileChoice tiles = TileChoice::wide;
  double promotion = 0;      ///< vector FMAs of an accumulator for each 128 columns of k; 0 where none are needed
  BytesPerSecond draw = {};  ///< what one multiprocessor reads of its operands; 0: no bound
  CacheGain cache;
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// A batch of products in one kernel, each with weights of its own: the absorbed projections of MLA, a product a head.
/// Tiles of 64 x 64, never split along k.
struct BatchedGemmSection {
  DataType math = DataType::bf16;
  Duration fixed;
  double compute = 0, memory = 0, norm = 1;  ///< ec, em, p
  Duration per_wave;                         ///< tw: for each round of tiles
  bool quantizes = false;                    ///< a kernel before it quantises its input, inside of the time
  CacheGain cache;
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// Batches by what is known of single products: an assumption, which its `derived_from` states.
BatchedGemmSection batched_from_single(const GemmSection& single);

struct MoeSection {
  DataType math = DataType::bf16;
  Duration fixed;
  double compute = 0, memory = 0, norm = 1;
  double block_half = 0;           ///< b0: row block with half the efficiency
  double activation_memory = 0;    ///< ea: bandwidth efficiency of permute, activation, quantise, un-permute
  Duration per_expert;             ///< te: for each expert with rows
  Duration per_thousand_slots;     ///< tr: routing, for each 1000 (token, choice) pairs
  double tiles_for_bandwidth = 1;  ///< cb
  double remote_rows = 0;          ///< rs: share of the rows of experts elsewhere that passes between the GEMMs touch
  CacheGain cache;
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// Grouped GEMMs over permuted rows (DeepGEMM layouts).
struct GroupedSection {
  DataType math = DataType::bf16;
  Duration fixed;
  double compute = 0, memory = 0, norm = 1;
  double activation_memory = 0;
  int block = 64;                       ///< rows to which an expert is padded; one of kMoeBlocks. Of wide tiles only.
  TileChoice tiles = TileChoice::wide;  ///< wide: rounds of tiles are not counted
  Duration per_wave = {};               ///< tw, promotion and draw: of narrow tiles, as of a GEMM
  double promotion = 0;
  BytesPerSecond draw = {};
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

struct DecodeAttentionSection {
  DataType math = DataType::bf16, kv_cache = DataType::bf16;
  std::int64_t head_dim = 128;
  Duration fixed;
  Duration underfilled;  ///< ts: with fewer units than multiprocessors
  Duration per_unit;     ///< tu: for each round of units over the multiprocessors
  double compute = 0, memory = 0, norm = 1;
  double split_keys = 1;         ///< c: keys of a split along the context
  std::int64_t tile_heads = 64;  ///< R: query heads in a unit of absorbed MLA
  double wide_unit = 1;  ///< kw: where R < 64, a unit of 128 heads of the other kernel over one of R heads, in time
  double last_round =
      0;  ///< rl: share of a round of units that a last one takes that is half full or less; 0: no rounds
  CacheGain cache;
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// What a tile of a prefill kernel holds: rows of one query head, or rows of all query heads of a KV head side by side.
enum class QueryPacking : std::uint8_t {
  group,   ///< whichever is quicker (FlashAttention-3's pack_gqa)
  single,  ///< the group where no chunk has more than one token (FlashAttention-2 swaps heads and rows there)
  heads,   ///< always one head (TensorRT-LLM's context kernels)
};

struct PrefillAttentionSection {
  DataType math = DataType::bf16, kv_cache = DataType::bf16;
  std::int64_t head_dim = 128;
  bool absorbed = false;  ///< MLA: measured in the latent space (576/512) rather than expanded (192/128)
  Duration fixed;
  Duration per_unit;
  double compute = 0, memory = 0, norm = 1;
  double longest = 1;                          ///< lw: weight of the longest unit
  std::int64_t tile_rows = 128;                ///< R
  QueryPacking packing = QueryPacking::group;  ///< of a tile
  double kv_passes = 0;  ///< wk: passes over the new keys and values at 16 bits beside the kernel: quantised, written
  CacheGain cache = {};
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// Decode steps and prefill chunks of a batch in one kernel that splits no sequence along its keys, as vLLM calls
/// FlashAttention-2 on a paged cache. Every sequence takes tiles of 64 rows, also a decode step with its one row.
struct MixedAttentionSection {
  DataType math = DataType::bf16, kv_cache = DataType::bf16;
  std::int64_t head_dim = 128;
  Duration fixed;
  Duration per_unit;  ///< tu: for each round of tiles
  Duration
      per_slot;  ///< te: of a multiprocessor for a place of the grid, which is as high as the longest chunk for all
  double compute = 0, memory = 0, norm = 1;
  double longest = 1;  ///< lw: weight of the longest tile
  KernelResidual residual = {};
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// One streaming kernel: fixed + bytes / (memory W).
struct PassSection {
  Duration fixed;
  double memory = 0;
  CacheGain cache;
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// Chunked scan of a linear-attention prefill: chunks of 64 tokens of one head follow one another.
struct ScanSection {
  Duration fixed;
  Duration per_chunk;  ///< of a 128 x 128 state
  double memory = 0, norm = 1;
  RegimeFactors factor = kUnperturbed;
  SectionOrigin origin;
};

/// Host and device time between two kernels of one stream.
struct LaunchSection {
  Duration eager;  ///< a kernel already queued, without CUDA graphs
  Duration graph;  ///< inside a replayed graph (contained in the fixed times of the other sections)
  std::string source;
};

struct KernelProfile {
  std::string name;                   ///< h100_sxm-vllm
  std::string gpu;                    ///< id of the GPU measured; "any" for the roofline
  std::vector<std::string> also_for;  ///< GPUs of the same chip for which its relative efficiencies may stand in
  std::string provider;               ///< vllm, sglang, trtllm, roofline
  std::string date;                   ///< of the fit, ISO 8601
  std::string source;                 ///< one line for the provenance of a result
  std::vector<std::string> notes;
  LaunchSection launch;
  /// By data type of the weights.
  std::array<GemmSection, kDataTypes> gemm;
  std::array<BatchedGemmSection, kDataTypes> mla_bmm;
  std::array<MoeSection, kDataTypes> moe;
  std::array<GroupedSection, kDataTypes> grouped_masked, grouped_contiguous;
  /// Not empty. The nearest stands in: same cache width first (16 bits or narrower), then same width of the math, then
  /// nearest head size by ratio. So bf16 math over an fp8 cache takes a section with fp8 math only where the provider
  /// has no other kernel for that cache, and fp8 math takes its own wherever there is one.
  std::vector<DecodeAttentionSection> attention_decode, mla_decode;
  /// `mla_prefill` has both forms, expanded and absorbed, and neither stands in for the other unseen.
  std::vector<PrefillAttentionSection> attention_prefill, mla_prefill;
  /// Of one kernel for mixed batches; empty: decode steps and chunks are two kernels. The nearest head size stands in.
  std::vector<MixedAttentionSection> attention_mixed;
  std::optional<PassSection> quantize_scale;  ///< absent: scales are found in the converting kernel
  PassSection quantize_convert;
  PassSection memory_pass;
  PassSection recurrent_state;  ///< decode step of linear attention
  ScanSection chunked_scan;     ///< its prefill
};

}  // namespace moesim
