// The starts of device/launches.h, of the same kernels on the emulated GPU. A switch makes one of them wrong.

#define MOESIM_EMULATED_GPU

#include "device/launches.h"

#include "calibrate/gpu_emulator.h"
#include "device/decode_attention.cuh"
#include "device/grouped_gemm.cuh"
#include "device/grouped_wgmma.cuh"
#include "device/moe_kernels.cuh"
#include "device/prefill_attention.cuh"
#include "emulated_launches.h"
#include "random_values.h"

namespace moesim::calibrate {

Broken broken = Broken::nothing;

namespace {

unsigned count_of(int n) {
  return static_cast<unsigned>(n);
}

template <class Shape>
void decode(const DecodeAttention& work) {
  const int splits = (work.length + work.keys_per_split - 1) / work.keys_per_split;
  const int blocks = (work.query_heads / work.kv_heads + Shape::kRows - 1) / Shape::kRows;
  emulator::launch({count_of(splits), count_of(work.kv_heads * blocks), count_of(work.batch)}, kDecodeThreads,
                   Shape::kSharedBytes, [&] { decode_attention<Shape>(work); });
  if (splits == 1) return;
  const int rows = work.batch * work.query_heads;
  emulator::launch({count_of(rows), 1, 1}, 64, 0, [&] {
    combine_splits(work.partial, work.partial_weight, work.output, splits, rows, Shape::kValueDim);
  });
}

template <class Shape>
void prefill(const PrefillAttention& work) {
  emulator::launch(
      {count_of((work.length + kPrefillRows - 1) / kPrefillRows), count_of(work.query_heads), count_of(work.batch)},
      kPrefillThreads, Shape::kSharedBytes, [&] { prefill_attention<Shape>(work); });
}

}  // namespace

template <class Element>
void launch_fill_random(Element* data, std::size_t size, std::uint64_t seed, cudaStream_t) {
  for (std::size_t i = 0; i < size; ++i) data[i] = random_element<Element>(seed, i);
}
template void launch_fill_random(float*, std::size_t, std::uint64_t, cudaStream_t);
template void launch_fill_random(Bf16*, std::size_t, std::uint64_t, cudaStream_t);
template void launch_fill_random(Fp8*, std::size_t, std::uint64_t, cudaStream_t);

template <class Element>
std::size_t launch_count_nan(const Element* data, std::size_t size) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < size; ++i) count += std::isnan(to_float(data[i])) ? 1 : 0;
  return count;
}
template std::size_t launch_count_nan(const float*, std::size_t);
template std::size_t launch_count_nan(const Bf16*, std::size_t);
template std::size_t launch_count_nan(const Fp8*, std::size_t);

void launch_fill_pattern(Bf16* data, std::size_t size, int rank, cudaStream_t) {
  for (std::size_t i = 0; i < size; ++i) data[i] = to_bf16(static_cast<float>((7 * i + count_of(rank)) % 3));
}
void launch_nothing(cudaStream_t) {}

void launch_choose_experts(const float* scores, std::int32_t* chosen, float* weights, int tokens, int experts,
                           int top_k, cudaStream_t) {
  emulator::launch({count_of((tokens + 3) / 4), 1, 1}, 128, 0,
                   [=] { choose_experts(scores, chosen, weights, tokens, experts, top_k); });
  if (broken == Broken::router) std::swap(chosen[0], chosen[1]);
}

int permutation_chunks(int slots) {
  return (slots + kSlotsPerChunk - 1) / kSlotsPerChunk;
}
void launch_permute(const std::int32_t* chosen, const PermutationBuffers& to, int slots, int local, cudaStream_t) {
  const int chunks = permutation_chunks(slots);
  emulator::launch({count_of(chunks), 1, 1}, 256, 0, [=] { count_chunk(chosen, to.counts, slots, local); });
  emulator::launch({count_of(local), 1, 1}, 32, 0, [=] { sum_chunks(to.counts, to.total, chunks); });
  emulator::launch({1, 1, 1}, 32, 0, [=] { sum_experts(to.total, to.offsets, local); });
  emulator::launch({count_of(chunks), 1, 1}, 32, 0,
                   [=] { place_slots(chosen, to.counts, to.offsets, to.row_of, to.slot_of, slots, local); });
}
void launch_gather(const void* tokens, const std::int32_t* slot_of, const std::int32_t* rows_end, void* rows, int top_k,
                   int row_bytes, cudaStream_t) {
  emulator::launch({4, 1, 1}, 32, 0, [=] {
    gather_rows(static_cast<const uint4*>(tokens), slot_of, rows_end, static_cast<uint4*>(rows), top_k, row_bytes / 16);
  });
}
void launch_swiglu(const Bf16* in, const std::int32_t* rows_end, Bf16* out, int inter, cudaStream_t) {
  emulator::launch({4, 1, 1}, 32, 0, [=] { swiglu(in, rows_end, out, inter); });
}
void launch_compute_scale(const Bf16* in, const std::int32_t* rows, long long row_length, long long count, float* scale,
                          cudaStream_t) {
  *scale = 0;
  emulator::launch({4, 1, 1}, 64, 0,
                   [=] { compute_scale(in, rows, row_length, count, reinterpret_cast<std::uint32_t*>(scale)); });
  if (broken == Broken::scale) *scale *= 1.01F;
}
void launch_quantize(const Bf16* in, const std::int32_t* rows, long long row_length, long long count,
                     const float* scale, Fp8* out, cudaStream_t) {
  emulator::launch({4, 1, 1}, 64, 0,
                   [=] { quantize(in, rows, row_length, count, reinterpret_cast<const std::uint32_t*>(scale), out); });
}
void launch_combine(const Bf16* rows, const std::int32_t* row_of, const float* weights, Bf16* out, int tokens,
                    int top_k, int hidden, cudaStream_t) {
  emulator::launch({count_of(tokens), 1, 1}, 32, 0, [=] { combine_rows(rows, row_of, weights, out, top_k, hidden); });
  if (broken == Broken::combine) out[0] = {0xffff};
}

template <class Element>
void launch_grouped_mma(const GroupedProduct<Element>& product, int multiprocessors, cudaStream_t) {
  emulator::launch({count_of(multiprocessors), 1, 1}, kMmaThreads, kMmaSharedBytes, [&] { grouped_mma(product); });
  if (broken == Broken::product) {
    for (int i = 0; i < product.n; ++i) product.output[i] = to_bf16(to_float(product.output[i]) + 2);
  }
}
template void launch_grouped_mma(const GroupedProduct<Bf16>&, int, cudaStream_t);
template void launch_grouped_mma(const GroupedProduct<Fp8>&, int, cudaStream_t);

template <class Element>
void launch_grouped_wgmma(const GroupedProduct<Element>& product, std::int64_t rows, int multiprocessors,
                          cudaStream_t) {
  constexpr int depth = 128 / sizeof(Element);
  const auto* const left = reinterpret_cast<const unsigned char*>(product.rows);
  const auto* const right = reinterpret_cast<const unsigned char*>(product.weights);
  const TensorMap rows_map{left, sizeof(Element), {product.k, static_cast<int>(rows), 1}, {depth, 128, 1}};
  const TensorMap weights_map{right, sizeof(Element), {product.k, product.n, product.experts}, {depth, 128, 1}};
  emulator::launch({count_of(multiprocessors), 1, 1}, kWgmmaThreads, kWgmmaSharedBytes,
                   [&] { grouped_wgmma(rows_map, weights_map, product); });
}
template void launch_grouped_wgmma(const GroupedProduct<Bf16>&, std::int64_t, int, cudaStream_t);
template void launch_grouped_wgmma(const GroupedProduct<Fp8>&, std::int64_t, int, cudaStream_t);

int decode_rows(DecodeHeads heads, int group, int) {
  return heads == DecodeHeads::latent && group > 16 ? 64 : 16;
}
int decode_tile(DecodeHeads heads) {
  return heads == DecodeHeads::latent ? 32 : 64;
}
void launch_decode(DecodeHeads heads, const DecodeAttention& work, int, cudaStream_t) {
  if (heads == DecodeHeads::grouped_64) return decode<DecodeShape<64, 64, false, 1, 64>>(work);
  if (heads == DecodeHeads::grouped_128) return decode<DecodeShape<128, 128, false, 1, 64>>(work);
  if (work.query_heads > 16) return decode<DecodeShape<576, 512, true, 4, 32>>(work);
  return decode<DecodeShape<576, 512, true, 1, 32>>(work);
}
void launch_prefill(PrefillHeads heads, const PrefillAttention& work, cudaStream_t) {
  if (heads == PrefillHeads::d64) return prefill<PrefillShape<64, 64>>(work);
  if (heads == PrefillHeads::d128) return prefill<PrefillShape<128, 128>>(work);
  prefill<PrefillShape<192, 128>>(work);
  if (broken == Broken::attention) work.output[0] = to_bf16(to_float(work.output[0]) + 1);
}

}  // namespace moesim::calibrate
