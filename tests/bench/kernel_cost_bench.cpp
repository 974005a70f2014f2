// One query of the kernel cost model, family by family: computed, and remembered as steps do. A step asks for
// token-wise operators by their token count (`TokenTable`), for experts through a `MoeCost` prepared once a shape, for
// attention anew, since its keys are never the same.

#include <benchmark/benchmark.h>

#include <array>
#include <vector>

#include "config/read_gpu.h"
#include "config/read_profile.h"
#include "execution/operator_time.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

const KernelCost& kernels() {
  static const KernelCost cost(find_gpu("h100_sxm"),
                               select_kernel_profile("auto", "h100_sxm", EnginePreset::vllm).profile);
  return cost;
}

/// Token counts that differ from query to query, so that no branch is learnt.
std::int64_t tokens(std::int64_t i) {
  return 1 + i * 2654435761 % 8191;
}

template <class Query>
void measure(benchmark::State& state, Query query) {
  std::int64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(query(tokens(++i)));
}

GemmShape gemm_shape(std::int64_t m, DataType type) {
  return {.m = m, .n = 6144, .k = 4096, .weight = type, .activation = type, .batch = 1};
}
void gemm(benchmark::State& state) {
  measure(state, [](std::int64_t m) { return kernels().gemm(gemm_shape(m, DataType::bf16)); });
}
void gemm_fp8(benchmark::State& state) {
  measure(state, [](std::int64_t m) { return kernels().gemm(gemm_shape(m, DataType::fp8)); });
}
void gemm_remembered(benchmark::State& state) {
  TimeTable table;
  measure(state,
          [&](std::int64_t m) { return table.at(m, [&] { return kernels().gemm(gemm_shape(m, DataType::bf16)); }); });
}

const MoeShape kExperts{.hidden = 7168,
                        .intermediate = 2048,
                        .local_experts = 32,
                        .top_k = 8,
                        .gated = true,
                        .weight = DataType::fp8_block,
                        .activation = DataType::fp8_block};
ExpertLoad load(std::int64_t rows) {
  ExpertLoad l{.tokens = rows, .local_tokens = rows, .rows = rows, .active = 32, .padded_rows = {}};
  for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) l.padded_rows[b] = rows + 32 * kMoeBlocks[b] / 2;
  return l;
}
void experts_fused(benchmark::State& state) {
  const MoeCost cost = MoeCost::fused(kernels(), kExperts);
  measure(state, [&](std::int64_t rows) { return cost(load(rows)); });
}
void experts_masked(benchmark::State& state) {
  const MoeCost cost = MoeCost::grouped(kernels(), kExperts, GroupedLayout::masked);
  measure(state, [&](std::int64_t rows) { return cost(load(rows)); });
}
void experts_contiguous(benchmark::State& state) {
  const MoeCost cost = MoeCost::grouped(kernels(), kExperts, GroupedLayout::contiguous);
  measure(state, [&](std::int64_t rows) { return cost(load(rows)); });
}

const AttentionShape kHeads{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
const AttentionShape kLatent{
    .query_heads = 128, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .kv_cache = {}, .math = {}, .latent = true};
const AttentionShape kExpanded{.query_heads = 128, .kv_heads = 128, .key_dim = 192, .value_dim = 128};

void decode(benchmark::State& state, const AttentionShape& shape) {
  measure(state, [&](std::int64_t keys) { return kernels().decode_attention(shape, {64, 64 * keys}); });
}
void prefill(benchmark::State& state, const AttentionShape& shape) {
  measure(state, [&](std::int64_t n) {
    const double pairs = 0.5 * static_cast<double>(n) * static_cast<double>(n + 1);
    const std::array<PrefillWork, 1> work{{{n, n, pairs}}};
    return kernels().prefill_attention(shape, work);
  });
}

void memory_pass(benchmark::State& state) {
  measure(state, [](std::int64_t n) { return kernels().memory_pass(Bytes{n * 8192}); });
}
void quantize(benchmark::State& state) {
  measure(state, [](std::int64_t n) { return kernels().quantize(n, 4096, DataType::fp8); });
}
void linear_decode(benchmark::State& state) {
  const RecurrentShape shape{.heads = 32, .key_dim = 128, .value_dim = 128, .state = {1 << 21}, .token = {1 << 14}};
  measure(state, [&](std::int64_t n) { return kernels().linear_attention(shape, {.decode_sequences = n}); });
}
void linear_prefill(benchmark::State& state) {
  const RecurrentShape shape{.heads = 32, .key_dim = 128, .value_dim = 128, .state = {1 << 21}, .token = {1 << 14}};
  measure(state, [&](std::int64_t n) {
    return kernels().linear_attention(
        shape, {.decode_sequences = 0, .prefill_sequences = 1, .prefill_tokens = n, .longest_prefill = n});
  });
}

BENCHMARK(gemm);
BENCHMARK(gemm_fp8);
BENCHMARK(gemm_remembered);
BENCHMARK(experts_fused);
BENCHMARK(experts_masked);
BENCHMARK(experts_contiguous);
BENCHMARK_CAPTURE(decode, attention, kHeads);
BENCHMARK_CAPTURE(decode, latent, kLatent);
BENCHMARK_CAPTURE(prefill, attention, kHeads);
BENCHMARK_CAPTURE(prefill, latent, kLatent);
BENCHMARK_CAPTURE(prefill, expanded, kExpanded);
BENCHMARK(memory_pass);
BENCHMARK(quantize);
BENCHMARK(linear_decode);
BENCHMARK(linear_prefill);

}  // namespace
}  // namespace moesim
