#pragma once
// The shapes of the operators whose time the kernel cost model predicts. All counts are per rank.

#include <array>
#include <cstdint>

#include "core/data_type.h"
#include "core/units.h"

namespace moesim {

/// y[m, n] = x[m, k] w[k, n], `batch` times with different weights. Output bf16. `activation` is the format that
/// enters the matrix units: bf16 for weight-only quantisation, else the format to which the input is quantised.
struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  DataType weight = DataType::bf16;
  DataType activation = DataType::bf16;
  std::int64_t batch = 1;
  bool in_batch = false;  ///< by the kernel for batches, though there is one product only (MLA with a head a rank)

  bool batched() const { return batch > 1 || in_batch; }
};

/// Heads held by the rank. For absorbed MLA `latent` is true: kv_heads 1, key_dim 576 (latent + rope), value_dim 512,
/// and keys and values are the same bytes in the cache.
struct AttentionShape {
  std::int64_t query_heads = 0, kv_heads = 0;
  std::int64_t key_dim = 0, value_dim = 0;
  DataType kv_cache = DataType::bf16;
  DataType math = DataType::bf16;
  bool latent = false;
};

/// Decode attention of one rank: one query token a sequence.
struct DecodeWork {
  std::int64_t sequences = 0;
  std::int64_t visible_keys = 0;  ///< summed over the sequences, the new token included
};

/// Prefill attention of one sequence: `new_tokens` queries; `pairs` query-key pairs in sight of the mask
/// (n (c + (n+1)/2) for n new over c cached without a window); `keys` distinct keys read.
struct PrefillWork {
  std::int64_t new_tokens = 0;
  std::int64_t keys = 0;
  double pairs = 0;
};

/// Recurrent state of a constant-state mixer (gated delta net, linear attention, Mamba) on one rank.
struct RecurrentShape {
  std::int64_t heads = 0;  ///< value heads
  std::int64_t key_dim = 0, value_dim = 0;
  Bytes state;  ///< of one sequence, all heads
  Bytes token;  ///< activations read and written for one token
};

/// Decode steps and prefills of one call; tokens are summed over the prefills.
struct RecurrentWork {
  std::int64_t decode_sequences = 0;
  std::int64_t prefill_sequences = 0, prefill_tokens = 0, longest_prefill = 0;
};

/// Block sizes to which rows of an expert are padded by grouped GEMM kernels.
inline constexpr std::array<int, 5> kMoeBlocks{16, 32, 64, 128, 256};

/// Experts of one rank in one layer. `intermediate` is what the rank holds of an expert's width (inter / expert TP).
struct MoeShape {
  std::int64_t hidden = 0, intermediate = 0;
  std::int64_t local_experts = 0;  ///< physical slots on the rank
  std::int64_t top_k = 0;
  bool gated = true;  ///< three matrices (gate, up, down) or two
  DataType weight = DataType::bf16;
  DataType activation = DataType::bf16;
};

/// What one rank's experts have to do in one layer of one step.
struct ExpertLoad {
  std::int64_t tokens = 0;        ///< T: tokens that enter the op on the rank (all of the EP group after an all-gather)
  std::int64_t local_tokens = 0;  ///< T0: tokens with at least one expert on the rank
  std::int64_t rows = 0;          ///< R: (token, expert) pairs on the rank
  std::int64_t active = 0;        ///< A: local experts with at least one row; their weights are read
  std::array<std::int64_t, 5> padded_rows{};  ///< rows with every expert rounded up to kMoeBlocks[i]
};

/// How a grouped GEMM lays out its rows: `masked` keeps a fixed buffer an expert (low-latency decode), `contiguous`
/// packs the experts one after the other (prefill).
enum class GroupedLayout { masked, contiguous };

}  // namespace moesim
