#include "hardware/kernel_work.h"

#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

constexpr double kActivationBytes = 2;  // queries and results are bf16

double real(std::int64_t n) {
  return static_cast<double>(n);
}

/// Bytes that one visible key puts into the cache, all KV heads of the rank; MLA keeps keys and values in one latent.
double key_bytes(const AttentionShape& shape) {
  const double width = real(shape.key_dim + (shape.latent ? 0 : shape.value_dim));
  return (shape.latent ? 1 : real(shape.kv_heads)) * width * bytes_per_element(shape.kv_cache);
}

/// The two products of one query row of all heads with one key.
double flops_per_pair(const AttentionShape& shape) {
  return 2 * real(shape.query_heads) * real(shape.key_dim + shape.value_dim);
}

/// Queries read and results written for one token.
double row_bytes(const AttentionShape& shape) {
  return real(shape.query_heads) * real(shape.key_dim + shape.value_dim) * kActivationBytes;
}

}  // namespace

MathWidth math_width(DataType type) {
  switch (type) {
    case DataType::fp32:
    case DataType::bf16:
    case DataType::fp16:
    case DataType::int4:
      return MathWidth::sixteen;
    case DataType::fp8:
    case DataType::fp8_block:
    case DataType::int8:
      return MathWidth::eight;
    case DataType::mxfp4:
    case DataType::nvfp4:
      return MathWidth::four;
  }
  return MathWidth::sixteen;
}

KernelWork& KernelWork::operator+=(const KernelWork& other) {
  for (std::size_t i = 0; i < kMathWidths; ++i) flops[i] += other.flops[i];
  memory_bytes += other.memory_bytes;
  link_bytes += other.link_bytes;
  return *this;
}

KernelWork& KernelWork::operator-=(const KernelWork& other) {
  for (std::size_t i = 0; i < kMathWidths; ++i) flops[i] -= other.flops[i];
  memory_bytes -= other.memory_bytes;
  link_bytes -= other.link_bytes;
  return *this;
}

KernelWork& KernelWork::operator*=(double factor) {
  for (double& of_width : flops) of_width *= factor;
  memory_bytes *= factor;
  link_bytes *= factor;
  return *this;
}

KernelWork work_of(const GemmShape& shape) {
  KernelWork work;
  if (shape.m <= 0) return work;
  const double m = real(shape.m), n = real(shape.n), k = real(shape.k), batch = real(shape.batch);
  work.flops_of(compute_type(shape.weight, shape.activation)) = 2 * m * n * k * batch;
  work.memory_bytes =
      batch * (m * k * bytes_per_element(shape.activation) + n * k * bytes_per_element(shape.weight) + m * n * 2);
  return work;
}

KernelWork work_of(const AttentionShape& shape, const DecodeWork& decode) {
  KernelWork work;
  const double keys = real(decode.visible_keys);
  work.flops_of(shape.math) = flops_per_pair(shape) * keys;
  work.memory_bytes = key_bytes(shape) * keys + row_bytes(shape) * real(decode.sequences);
  return work;
}

KernelWork work_of(const AttentionShape& shape, std::span<const PrefillWork> prefill) {
  KernelWork work;
  for (const PrefillWork& chunk : prefill) {
    work.flops_of(shape.math) += flops_per_pair(shape) * chunk.pairs;
    work.memory_bytes += key_bytes(shape) * real(chunk.keys) + row_bytes(shape) * real(chunk.new_tokens);
  }
  return work;
}

KernelWork work_of(const RecurrentShape& shape, const RecurrentWork& recurrent) {
  KernelWork work;
  const double tokens = real(recurrent.decode_sequences + recurrent.prefill_tokens);
  const double states = real(recurrent.decode_sequences + recurrent.prefill_sequences);
  work.flops_of(DataType::bf16) = 4 * real(shape.heads) * real(shape.key_dim) * real(shape.value_dim) * tokens;
  work.memory_bytes = 2 * real(shape.state.value) * states + real(shape.token.value) * tokens;
  return work;
}

KernelWork work_of_pass(Bytes bytes) {
  KernelWork work;
  work.memory_bytes = real(bytes.value);
  return work;
}

KernelWork work_of_quantize(std::int64_t m, std::int64_t k, DataType to) {
  KernelWork work;
  work.memory_bytes = real(m) * real(k) * (kActivationBytes + bytes_per_element(to));
  return work;
}

ExpertWork::ExpertWork(const MoeShape& shape) : width_(math_width(compute_type(shape.weight, shape.activation))) {
  const double hidden = real(shape.hidden), inner = real(shape.intermediate);
  const double matrices = shape.gated ? 2 : 1;
  const double activation = bytes_per_element(shape.activation);
  const double elements = (matrices + 1) * hidden * inner;
  flops_per_row_ = 2 * elements;
  bytes_per_expert_ = elements * bytes_per_element(shape.weight);
  bytes_per_row_ = 2 * hidden * activation + 4 * matrices * inner + inner * activation + 4 * hidden;
  bytes_per_token_ = 2 * hidden;
}

KernelWork ExpertWork::operator()(const ExpertLoad& load) const {
  KernelWork work;
  work.flops[static_cast<std::size_t>(width_)] = flops_per_row_ * real(load.rows);
  work.memory_bytes = bytes_per_expert_ * real(load.active) + bytes_per_row_ * real(load.rows) +
                      bytes_per_token_ * real(load.tokens + load.local_tokens);
  return work;
}

namespace {

constexpr std::array<DataType, kMathWidths> kFormatOfWidth{DataType::bf16, DataType::fp8, DataType::nvfp4};

}  // namespace

LeastTimes least_times(const KernelWork& work, const GpuSpec& gpu) {
  LeastTimes times{.memory = work.memory_bytes / gpu.memory_bandwidth.value};
  for (std::size_t i = 0; i < kMathWidths; ++i) {
    times.compute += work.flops[i] / matrix_peak(gpu, kFormatOfWidth[i]).value;
  }
  return times;
}

ComputeShare::ComputeShare(const GpuSpec& gpu) : seconds_per_byte_(1 / gpu.memory_bandwidth.value) {
  for (std::size_t i = 0; i < kMathWidths; ++i) seconds_per_flop_[i] = 1 / matrix_peak(gpu, kFormatOfWidth[i]).value;
}

double ComputeShare::operator()(const KernelWork& work) const {
  double compute = 0;
  for (std::size_t i = 0; i < kMathWidths; ++i) compute += work.flops[i] * seconds_per_flop_[i];
  const double memory = work.memory_bytes * seconds_per_byte_;
  if (compute <= 0) return 0;
  const double c = compute * compute * compute, m = memory * memory * memory;
  return c / (c + m);
}

}  // namespace moesim
