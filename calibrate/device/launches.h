#pragma once
// Starts of the kernels, for host code that nvcc does not compile. Every start is checked; `stream` may be capturing.

#include <cstddef>
#include <cstdint>

#include "operands.h"

typedef struct CUstream_st* cudaStream_t;  // as CUDA's headers declare it, without them: tests emulate the starts

namespace moesim::calibrate {

template <class Element>
void launch_fill_random(Element* data, std::size_t size, std::uint64_t seed, cudaStream_t stream);
/// Waits for the device.
template <class Element>
std::size_t launch_count_nan(const Element* data, std::size_t size);
/// data[i] = (7 i + rank) % 3: sums over up to 128 ranks are exact in bf16.
void launch_fill_pattern(Bf16* data, std::size_t size, int rank, cudaStream_t stream);
void launch_nothing(cudaStream_t stream);

void launch_choose_experts(const float* scores, std::int32_t* chosen, float* weights, int tokens, int experts,
                           int top_k, cudaStream_t stream);
/// Where the permutation of `slots` choices over `local_experts` goes; `counts` holds local_experts * chunks.
struct PermutationBuffers {
  std::int32_t *counts = nullptr, *total = nullptr, *offsets = nullptr, *row_of = nullptr, *slot_of = nullptr;
};
int permutation_chunks(int slots);
void launch_permute(const std::int32_t* chosen, const PermutationBuffers& to, int slots, int local_experts,
                    cudaStream_t stream);
void launch_gather(const void* tokens, const std::int32_t* slot_of, const std::int32_t* rows_end, void* rows, int top_k,
                   int row_bytes, cudaStream_t stream);
void launch_swiglu(const Bf16* in, const std::int32_t* rows_end, Bf16* out, int inter, cudaStream_t stream);
/// The scale is zeroed first. `rows`: where the number of rows is, else null and `count` elements.
void launch_compute_scale(const Bf16* in, const std::int32_t* rows, long long row_length, long long count, float* scale,
                          cudaStream_t stream);
void launch_quantize(const Bf16* in, const std::int32_t* rows, long long row_length, long long count,
                     const float* scale, Fp8* out, cudaStream_t stream);
void launch_combine(const Bf16* rows, const std::int32_t* row_of, const float* weights, Bf16* out, int tokens,
                    int top_k, int hidden, cudaStream_t stream);

template <class Element>
void launch_grouped_mma(const GroupedProduct<Element>& product, int multiprocessors, cudaStream_t stream);
/// sm_90 only. `rows`: of the matrix `product.rows`, at least those that offsets name.
template <class Element>
void launch_grouped_wgmma(const GroupedProduct<Element>& product, std::int64_t rows, int multiprocessors,
                          cudaStream_t stream);

enum class DecodeHeads { grouped_64, grouped_128, latent };
/// Query heads that a block takes at once, and keys of a tile: what `keys_per_split` is a multiple of.
int decode_rows(DecodeHeads heads, int query_heads_per_kv_head, int shared_bytes);
int decode_tile(DecodeHeads heads);
void launch_decode(DecodeHeads heads, const DecodeAttention& work, int shared_bytes, cudaStream_t stream);

enum class PrefillHeads { d64, d128, latent };
void launch_prefill(PrefillHeads heads, const PrefillAttention& work, cudaStream_t stream);

}  // namespace moesim::calibrate
