#pragma once
// Operator shape -> time on one GPU, through a calibration profile. Device time only, as in a CUDA-graph replay;
// launch and host time are added where a step is put together (execution/).

#include <span>

#include "core/units.h"
#include "hardware/gpu_spec.h"
#include "hardware/kernel_profile.h"
#include "hardware/operator_shape.h"

namespace moesim {

class KernelCost {
 public:
  /// `profile` holds constants per operator family and data type; see kernel_profile.h.
  KernelCost(const GpuSpec& gpu, const KernelProfile& profile);

  Duration gemm(const GemmShape& shape) const;
  Duration decode_attention(const AttentionShape& shape, const DecodeWork& work) const;
  Duration prefill_attention(const AttentionShape& shape, std::span<const PrefillWork> work) const;
  /// One kernel that reads and writes `bytes` in all: norm, rope, residual, activation, copy, router top-k ...
  Duration memory_pass(Bytes bytes) const;
  /// Dynamic quantisation of an m x k bf16 activation (scale reduction and conversion).
  Duration quantize(std::int64_t m, std::int64_t k, DataType to) const;

  const GpuSpec& gpu() const { return gpu_; }
  const KernelProfile& profile() const { return profile_; }

 private:
  GpuSpec gpu_;
  KernelProfile profile_;
};

/// Time of the routed experts of one layer on one rank. Prepared once a shape, since it is asked for every rank, layer
/// and step: one call takes about 50 ns.
class MoeCost {
 public:
  /// The fused op of TP and all-gather backends: permute, both grouped GEMMs, activation, un-permute (its measured
  /// tables contain them).
  static MoeCost fused(const KernelCost& kernels, const MoeShape& shape);
  /// The two grouped GEMMs and the activation between them, rows already permuted by the dispatch (DeepEP backends).
  static MoeCost grouped(const KernelCost& kernels, const MoeShape& shape, GroupedLayout layout);

  /// No rows take no time.
  Duration operator()(const ExpertLoad& load) const;

 private:
  MoeCost() = default;
};

}  // namespace moesim
