// Starts of the attention kernels.

#include "cuda_error.h"
#include "decode_attention.cuh"
#include "launches.h"
#include "prefill_attention.cuh"

namespace moesim::calibrate {

namespace {

using Grouped64 = DecodeShape<64, 64, false, 1, 64>;
using Grouped128 = DecodeShape<128, 128, false, 1, 64>;
/// 64 heads at once read the cache a quarter as often; 16 where heads are few or shared memory is small.
using Latent64 = DecodeShape<576, 512, true, 4, 32>;
using Latent16 = DecodeShape<576, 512, true, 1, 32>;
static_assert(Latent64::kTile == Latent16::kTile);

template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

template <class Shape>
void launch_shape(const DecodeAttention& work, int shared_bytes, cudaStream_t stream) {
  if (Shape::kSharedBytes > shared_bytes) {
    throw RowError(Failure::Kind::not_supported, "the kernel needs more shared memory than this GPU has");
  }
  static const bool once = (allow_shared(decode_attention<Shape>, Shape::kSharedBytes), true);
  static_cast<void>(once);
  const int splits = (work.length + work.keys_per_split - 1) / work.keys_per_split;
  const int group = work.query_heads / work.kv_heads;
  const int head_blocks = (group + Shape::kRows - 1) / Shape::kRows;
  const dim3 grid(static_cast<unsigned>(splits), static_cast<unsigned>(work.kv_heads * head_blocks),
                  static_cast<unsigned>(work.batch));
  decode_attention<Shape><<<grid, kDecodeThreads, Shape::kSharedBytes, stream>>>(work);
  CUDA_LAUNCHED("decode_attention");
  if (splits == 1) return;
  const int rows = work.batch * work.query_heads;
  combine_splits<<<static_cast<unsigned>(rows), 128, 0, stream>>>(work.partial, work.partial_weight, work.output,
                                                                  splits, rows, Shape::kValueDim);
  CUDA_LAUNCHED("combine_splits");
}

template <class Shape>
void launch_prefill_shape(const PrefillAttention& work, cudaStream_t stream) {
  static const cudaError_t allowed =
      cudaFuncSetAttribute(prefill_attention<Shape>, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  if (allowed != cudaSuccess) {
    cudaGetLastError();
    throw RowError(Failure::Kind::not_supported, "the kernel needs more shared memory than this GPU has");
  }
  const dim3 grid(static_cast<unsigned>((work.length + kPrefillRows - 1) / kPrefillRows),
                  static_cast<unsigned>(work.query_heads), static_cast<unsigned>(work.batch));
  prefill_attention<Shape><<<grid, kPrefillThreads, Shape::kSharedBytes, stream>>>(work);
  CUDA_LAUNCHED("prefill_attention");
}

bool wide(DecodeHeads heads, int group, int shared_bytes) {
  return heads == DecodeHeads::latent && group > Latent16::kRows && Latent64::kSharedBytes <= shared_bytes;
}

}  // namespace

int decode_rows(DecodeHeads heads, int group, int shared_bytes) {
  return wide(heads, group, shared_bytes) ? Latent64::kRows : Grouped128::kRows;
}
int decode_tile(DecodeHeads heads) {
  return heads == DecodeHeads::latent ? Latent64::kTile : Grouped128::kTile;
}

void launch_decode(DecodeHeads heads, const DecodeAttention& work, int shared_bytes, cudaStream_t stream) {
  switch (heads) {
    case DecodeHeads::grouped_64:
      return launch_shape<Grouped64>(work, shared_bytes, stream);
    case DecodeHeads::grouped_128:
      return launch_shape<Grouped128>(work, shared_bytes, stream);
    case DecodeHeads::latent:
      if (wide(heads, work.query_heads / work.kv_heads, shared_bytes)) {
        return launch_shape<Latent64>(work, shared_bytes, stream);
      }
      return launch_shape<Latent16>(work, shared_bytes, stream);
  }
}

void launch_prefill(PrefillHeads heads, const PrefillAttention& work, cudaStream_t stream) {
  switch (heads) {
    case PrefillHeads::d64:
      return launch_prefill_shape<PrefillShape<64, 64>>(work, stream);
    case PrefillHeads::d128:
      return launch_prefill_shape<PrefillShape<128, 128>>(work, stream);
    case PrefillHeads::latent:
      return launch_prefill_shape<PrefillShape<192, 128>>(work, stream);
  }
}

}  // namespace moesim::calibrate
