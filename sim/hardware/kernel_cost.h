#pragma once
// Operator shape -> time on one GPU, through a calibration profile. Device time only, as in a CUDA-graph replay;
// launch and host time are added where a step is put together (execution/).
//
// Every form is fixed + pn(compute, memory) with pn(a, b) = (a^p + b^p)^(1/p), so no form is below flops / peak or
// bytes / bandwidth. S multiprocessors, P dense peak, W memory bandwidth. Where a section has a residual, the time is
// the form times the residual's factor at the two numbers named "residual:".

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/p_norm.h"
#include "core/units.h"
#include "hardware/gpu_spec.h"
#include "hardware/kernel_profile.h"
#include "hardware/operator_shape.h"

namespace moesim {

/// What the L2 cache holds when a kernel starts. Inside a model other layers have evicted its weights; a benchmark
/// loop replays one operator on up to five copies of the weights (GEMM) or on one (experts, attention), and small ones
/// stay. Fits and their tests use `replayed`, runs use `evicted`.
enum class CacheState { evicted, replayed };

class KernelCost {
 public:
  /// `profile` holds constants per operator family and data type; see kernel_profile.h.
  KernelCost(const GpuSpec& gpu, const KernelProfile& profile, CacheState cache = CacheState::evicted);
  /// The same with other constants; takes over what it prepared for exponents that stay (a fit asks thousands).
  KernelCost with(const KernelProfile& profile) const { return KernelCost(gpu_, profile, cache_, norms_); }

  /// fixed + min over tile a x b and split s of
  ///     pn(ceil(nt s / S) (2ab ceil64(k / s) S / (P ec h / (h + h0)) + tw),
  ///        (bytes + [s > 1] 8mns) / (em W min(1, cb nt s / S))) + [s > 1] split
  /// with nt = ceil(m / a) ceil(n / b) tiles and h = ab / (a + b). 16-bit activations with narrower weights
  /// (weight-only quantisation) compute at the activations' rate, on 16 rows at a time, and read the weights' bytes.
  /// Quantisation of the activations is not contained. Residual: m, k.
  /// Narrow tiles (block-scaled products of Hopper) are not split, and an element of k of a round takes
  ///     max(2ab S / (P ec) + c 2ab S / (128 F), (a + b) element bytes / draw)
  /// with c FMAs of the vector units (rate F) an accumulator and 128 columns.
  /// A batch has a section of its own (`mla_bmm`):
  ///     fixed + pn(ceil(nt / S) (2 64 64 ceil64(k) S / (P ec) + tw), bytes / (em W))
  /// with nt = batch ceil(m / 64) ceil(n / 64).
  /// Where that section quantises, inputs are read at 16 bits, written and read again. Residual: m batch, k.
  Duration gemm(const GemmShape& shape) const;

  /// fixed + ts max(0, 1 - u / S) + tu max(u / S, 1)
  ///     + pn(cache bytes / (em W min(1, u ceil(keys / c) / S)), padded flops / (ec P)),
  /// u = sequences x KV heads (latent: x ceil(query heads / 64)); the group of query heads is padded to 16 (latent:
  /// 64), keys to 64. Assumes all sequences have the mean number of keys. Residual: u / S, keys.
  /// Absorbed MLA with last_round > 0 counts rounds of units, each of which walks its keys alone: u = sequences x
  /// ceil(query heads / R), pieces n = u ceil(keys / l) with l = max(keys / max(1, floor(S / u)), min(keys, c)),
  ///     fixed + ts max(0, 1 - u / S) + tu max(u / S, 1)
  ///     + pn(cache bytes / (em W min(1, u max(1, keys / c) / S)), ceil64(l) R 2(dk + dv) S (floor(n / S) + last) / (ec
  ///     P)),
  /// last = 0 where S divides n, rl where n mod S <= S / 2 (two units share a multiprocessor otherwise), else 1. With
  /// R < 64 the quicker of two kernels: one of 128 heads a unit, and one of R whose units take 1 / kw of its time.
  Duration decode_attention(const AttentionShape& shape, const DecodeWork& work) const;

  /// One varlen kernel over all sequences: fixed + wk new KV bytes / (em W) + min over {one head, one KV head's whole
  /// group a tile}, as far as the kernel packs (`packing`), of
  ///     tu max(u / S, 1) + pn(bytes / (em W), max(sum_i u_i R keys_i 2(dk + dv), lw longest unit S) / (ec P)),
  /// u_i tiles of R rows, keys_i the mean number of visible keys + 64 rounded up to 64. Cached keys are read again; new
  /// KV bytes, at 16 bits, are what kernels before this one rotate, quantise and write.
  /// Decode steps of a mixed batch are a call of decode_attention of their own; the times add, unless one
  /// kernel takes both (mixed_attention). Absorbed MLA (`latent`) takes the `absorbed` sections of `mla_prefill`; other
  /// shapes with key_dim != value_dim its expanded ones. Residual: packed tiles of all sequences / S, mean keys of a
  /// query.
  Duration prefill_attention(const AttentionShape& shape, std::span<const PrefillWork> work) const;

  /// Decode steps and prefill chunks of one batch in one kernel, without splits along the keys; only where
  /// `has_mixed_attention(shape)`. Units are tiles of 64 rows of one query head, one at least a sequence, on blocks of
  /// 128 keys:
  ///     fixed + tu max(u / S, 1) + te h_q sequences ceil(longest chunk / 64) / S
  ///     + pn(bytes / (em W), (sum^1.5 + (lw longest S)^1.5)^(1/1.5) 64 x 2(dk + dv) / (ec P))
  /// with sum = sum u_i ceil128(keys_i + 64) and the same of the longest unit: the tail of few long units beside many.
  /// Query heads of a group share the keys of decode steps while these are in flight together or stay in the L2: bytes
  /// of decode caches count 1 + (G / r - 1) (1 - f) times, r = S / sequences within 1 and the group G, f = 1 / (1 + (w
  /// / L2)^2) for the w bytes of one KV head. Residual: u / S, mean keys.
  Duration mixed_attention(const AttentionShape& shape, const DecodeWork& decode,
                           std::span<const PrefillWork> prefill) const;
  /// Latent attention has kernels of its own.
  bool has_mixed_attention(const AttentionShape& shape) const {
    return !profile_.attention_mixed.empty() && !shape.latent && shape.key_dim == shape.value_dim;
  }

  /// One kernel that reads and writes `bytes` in all: norm, rope, residual, activation, copy, router top-k ...
  Duration memory_pass(Bytes bytes) const;
  /// Dynamic quantisation of an m x k bf16 activation: conversion, and before it the reduction of a tensor-wide scale
  /// where the provider has one (fp8 only).
  Duration quantize(std::int64_t m, std::int64_t k, DataType to) const;
  /// Its two kernels apart: the conversion, and the reduction (no time where the provider has none).
  Duration quantize_convert(std::int64_t m, std::int64_t k, DataType to) const;
  Duration quantize_scale(std::int64_t m, std::int64_t k) const;

  /// Decode: fixed + (2 states + activations) / (em W). Prefill: fixed + pn(per_chunk x chunks one after the other,
  /// bytes / (em W)), chunks of 64 tokens, heads spread over the multiprocessors. Both add.
  Duration linear_attention(const RecurrentShape& shape, const RecurrentWork& work) const;

  /// The sections that price a kernel of these shapes: their origin says what was measured.
  const GemmSection& gemm_section(const GemmShape& shape) const;
  const MoeSection& moe_section(const MoeShape& shape) const;
  const GroupedSection& grouped_section(const MoeShape& shape, GroupedLayout layout) const;
  const BatchedGemmSection& batched_section(const GemmShape& shape) const;
  const DecodeAttentionSection& decode_section(const AttentionShape& shape) const;
  const PrefillAttentionSection& prefill_section(const AttentionShape& shape) const;
  /// Where `has_mixed_attention(shape)`.
  const MixedAttentionSection& mixed_section(const AttentionShape& shape) const;

  /// Gap before a kernel of a stream, with and without a replayed graph.
  const LaunchSection& launch() const { return profile_.launch; }

  const GpuSpec& gpu() const { return gpu_; }
  const KernelProfile& profile() const { return profile_; }
  CacheState cache() const { return cache_; }
  /// Memory bandwidth in bytes per second for a kernel that works on `working_set` bytes.
  double bandwidth(const CacheGain& gain, double working_set) const;
  /// The p-norm of one of the profile's exponents, prepared before.
  PNorm prepared_norm(double p) const;

 private:
  using Norms = std::vector<std::pair<double, PNorm>>;  // by exponent
  KernelCost(const GpuSpec& gpu, const KernelProfile& profile, CacheState cache, Norms known);

  struct PreparedTile {
    std::int64_t rows, columns;
    double wave;  // seconds of one wave and one element of k
  };
  struct PreparedGemm {
    double fixed, split;  // seconds
    std::vector<PreparedTile> tiles;
    std::size_t splits;        // candidates
    double per_wave;           // seconds of one wave whatever k
    double inverse_bandwidth;  // seconds a byte, all tiles in flight
    double bandwidth_share;    // of the full bandwidth that one tile in flight draws
    PNorm norm;
  };
  struct PreparedBatch {
    double depth;              // seconds of a round of tiles and one element of k
    double inverse_bandwidth;  // seconds a byte
    PNorm norm;
  };
  struct PreparedAttention {
    std::size_t section;
    double head_dim;
    double inverse_rate;       // seconds a flop
    double inverse_bandwidth;  // seconds a byte
    PNorm norm;
  };
  /// Candidates that differ in head size only, by [narrow cache][narrow math].
  using AttentionTable = std::array<std::array<std::vector<PreparedAttention>, 2>, 2>;

  /// The sections nearest to every width of cache and math, as kernel_profile.h says; `suits(section)` is true for at
  /// least one.
  template <class Section, class Suits>
  AttentionTable prepare(const std::vector<Section>& sections, Suits suits);
  Duration batched_gemm(const GemmShape& shape) const;
  Duration pass_time(const PassSection& section, KernelFamily family, double bytes) const;
  /// Prepares an exponent once; valid until the next call.
  const PNorm& norm(double p);
  static const PreparedAttention& choose(const AttentionTable& table, const AttentionShape& shape);
  /// MLA has its own prefill kernels, one for the latent space and one for expanded keys, which are wider than values.
  static bool expanded(const AttentionShape& shape) { return !shape.latent && shape.key_dim != shape.value_dim; }
  const PreparedAttention& prepared_decode(const AttentionShape& shape) const;
  const PreparedAttention& prepared_prefill(const AttentionShape& shape) const;

  GpuSpec gpu_;
  KernelProfile profile_;
  CacheState cache_ = CacheState::evicted;
  Norms norms_;                      // before everything that copies from it
  std::vector<PreparedGemm> gemms_;  // by data type
  std::vector<PreparedBatch> batches_;
  AttentionTable decode_, latent_decode_, prefill_, expanded_prefill_, absorbed_prefill_, mixed_;
  PNorm scan_norm_, tail_norm_;
};

/// Where the residual of a section is asked: two positive numbers.
struct ResidualPlace {
  double x = 1, y = 1;
};
ResidualPlace residual_place(const GemmShape& shape);
ResidualPlace residual_place(const AttentionShape& shape, const DecodeWork& work, int multiprocessors);
ResidualPlace residual_place(const AttentionShape& shape, std::span<const PrefillWork> work, int multiprocessors);
ResidualPlace residual_place(const AttentionShape& shape, const DecodeWork& decode,
                             std::span<const PrefillWork> prefill, int multiprocessors);
ResidualPlace residual_place(const ExpertLoad& load);

/// Time of the routed experts of one layer on one rank. Prepared once a shape, since it is asked for every rank, layer
/// and step: one call takes about 50 ns.
class MoeCost {
 public:
  /// The fused op of TP and all-gather backends: permute, both grouped GEMMs, activation, un-permute (its measured
  /// tables contain them):
  ///     fixed + min over block b of sum over the GEMMs (N, K) = (gI, H), (H, I) of
  ///       pn(2 rows N K (1 + S / (2 max(tiles, S))) / (P ec b / (b + b0)), A N K wb / (em W min(1, cb tiles / S)))
  ///     + X / (ea W) + te A + tr T topk / 1000
  /// rows padded to b (at least one full wave of tiles), A experts with rows, X the bytes of the passes between:
  ///     X = T0 2H + (R + rs (T topk - R)) (2H ab + 4gI + I ab + 4H) + T 2H,
  /// since some engines keep a row for every choice of every token, also for experts of other ranks.
  /// Residual: rows of an active expert, active experts.
  static MoeCost fused(const KernelCost& kernels, const MoeShape& shape);
  /// The two grouped GEMMs and the activation between them, rows already permuted by the dispatch (DeepEP backends):
  ///     fixed + sum over the GEMMs of pn(2 rows N K / (P ec), (A N K wb + R (K ab + 2N)) / (em W)) + activation;
  /// of narrow tiles the compute is min over tile of ceil(rows / a ceil(N / b) / S) rounds as of a GEMM.
  /// Residual as of the fused op.
  static MoeCost grouped(const KernelCost& kernels, const MoeShape& shape, GroupedLayout layout);

  /// No rows take no time.
  Duration operator()(const ExpertLoad& load) const;

  /// The two GEMMs of an expert, gate and up in one.
  enum class Product { up, down };
  /// One of the two GEMMs of `grouped` alone, with half of the fixed time.
  Duration product(const ExpertLoad& load, Product product) const;

 private:
  struct Gemm {
    std::array<double, 5> tile{};   // seconds of one tile, by block
    std::array<double, 5> tiles{};  // tiles of one padded row, by block
    double expert = 0;              // seconds to read the weights of one expert at full bandwidth
    double row = 0;                 // seconds to read and write one row
  };

  explicit MoeCost(PNorm norm) : norm_(std::move(norm)) {}

  /// Narrow tiles of grouped GEMMs, each with what its choice costs in both products.
  struct GroupedTile {
    std::size_t block = 0;           // index into kMoeBlocks
    std::array<double, 2> rounds{};  // of one padded row over all multiprocessors
    std::array<double, 2> wave{};    // seconds of a round
  };
  /// Least time of the matrix units for product `g`.
  double compute(const ExpertLoad& load, std::size_t g) const;

  PNorm norm_;
  std::array<Gemm, 2> gemms_;
  std::vector<GroupedTile> tiles_;                // empty: `gemms_` says it all
  std::size_t first_block_ = 0, last_block_ = 0;  // candidates, indices into kMoeBlocks
  double fixed_ = 0, per_expert_ = 0, per_token_ = 0, per_local_token_ = 0, per_row_ = 0;  // seconds
  double wave_ = 0;  // tiles of one full wave; 0: partial waves cost their share
  double tiles_for_full_bandwidth_ = 0;
  double per_slot_ = 0;  // seconds a (token, choice), wherever its expert is
  std::int64_t top_k_ = 0;
  KernelResidual residual_;
  // Of a replayed benchmark loop; the gain is zero inside a model.
  double expert_bytes_ = 0, cache_bytes_ = 1;
  CacheGain cache_{};
  RegimeFactors factor_ = kUnperturbed;  // the regimes of fused and grouped experts are the same
};

/// The format whose rate a matrix product runs at: the activations' where the weights are narrower and the activations
/// 16 or 32 bits (weight-only quantisation), else the weights'.
DataType compute_type(DataType weight, DataType activation);

}  // namespace moesim
