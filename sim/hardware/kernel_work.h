#pragma once
// What a kernel has to do, whatever its time: matrix products by the width of their operands, bytes of memory, bytes
// that a GPU sends. Energy is computed from it (power.h). Only useful work counts: every operand is read once, every
// result written once, and padding of tiles computes nothing.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/data_type.h"
#include "core/units.h"
#include "hardware/gpu_spec.h"
#include "hardware/operator_shape.h"

namespace moesim {

/// Bits of an operand in the matrix units: 16 (and 32), 8, 4.
enum class MathWidth : std::uint8_t { sixteen, eight, four };
inline constexpr std::size_t kMathWidths = 3;
/// Integer 4-bit weights are widened to 16 bits before they are multiplied.
MathWidth math_width(DataType type);

struct KernelWork {
  std::array<double, kMathWidths> flops{};
  double memory_bytes = 0;
  double link_bytes = 0;

  double& flops_of(DataType type) { return flops[static_cast<std::size_t>(math_width(type))]; }
  KernelWork& operator+=(const KernelWork& other);
  KernelWork& operator-=(const KernelWork& other);
  KernelWork& operator*=(double factor);
};

KernelWork work_of(const GemmShape& shape);
/// Keys and values of the visible tokens, queries and results.
KernelWork work_of(const AttentionShape& shape, const DecodeWork& decode);
KernelWork work_of(const AttentionShape& shape, std::span<const PrefillWork> prefill);
/// States are read and written once a call, and each token updates and reads the whole state: 4 flops an element.
KernelWork work_of(const RecurrentShape& shape, const RecurrentWork& recurrent);
KernelWork work_of_pass(Bytes bytes);
/// Reads m x k elements of bf16 and writes them as `to`.
KernelWork work_of_quantize(std::int64_t m, std::int64_t k, DataType to);

/// Routed experts: products of every row, weights of every active expert, and the passes between (permute, activation,
/// quantisation, un-permute) that the fused op contains. All linear in the load, so that loads may be summed first.
class ExpertWork {
 public:
  explicit ExpertWork(const MoeShape& shape);
  KernelWork operator()(const ExpertLoad& load) const;

 private:
  MathWidth width_;
  double flops_per_row_, bytes_per_row_, bytes_per_expert_, bytes_per_token_;
};

/// Seconds that the matrix units need at the datasheet's rates, and the memory at its bandwidth.
struct LeastTimes {
  double compute = 0, memory = 0;
};
LeastTimes least_times(const KernelWork& work, const GpuSpec& gpu);

/// How far a kernel waits for the matrix units rather than for memory, from 0 to 1: the derivative of ln time by ln
/// compute time when the two join as (C^3 + M^3)^(1/3) at the datasheet's rates (3: the exponent that GEMM tables
/// give). A lower clock prolongs the kernel by this share.
class ComputeShare {
 public:
  explicit ComputeShare(const GpuSpec& gpu);
  double operator()(const KernelWork& work) const;

 private:
  std::array<double, kMathWidths> seconds_per_flop_;
  double seconds_per_byte_;
};

}  // namespace moesim
