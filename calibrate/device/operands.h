#pragma once
// What the kernels with many operands work on, for device and host code.

#include <cstdint>

#include "../number_formats.h"

namespace moesim::calibrate {

/// output[row, n] = scale * sum_k rows[row, k] weights[expert(row), n, k]. Expert e has the rows offsets[e] to
/// offsets[e + 1]. k in bytes is a multiple of 16, n is even. Scales are of whole tensors; null: 1.
template <class Element>
struct GroupedProduct {
  const Element* rows = nullptr;
  const Element* weights = nullptr;
  Bf16* output = nullptr;
  const std::int32_t* offsets = nullptr;
  const float* row_scale = nullptr;
  const float* weight_scale = nullptr;
  int experts = 0, n = 0, k = 0;
};

/// One query a sequence, `length` keys each. queries [batch][query_heads][KeyDim]; cache of pages
/// [page][page_size][kv_heads][dim]; pages [batch][pages_per_sequence]. With one split the result goes to `output`
/// [batch][query_heads][ValueDim]; else parts of it with the base-2 logarithms of their weights to `partial`
/// [split][batch][query_heads][ValueDim] and `partial_weight` [split][batch][query_heads].
struct DecodeAttention {
  const Bf16* queries = nullptr;
  const Bf16* keys = nullptr;
  const Bf16* values = nullptr;  ///< not read where latent
  const std::int32_t* pages = nullptr;
  Bf16* output = nullptr;
  float* partial = nullptr;
  float* partial_weight = nullptr;
  int batch = 0, length = 0, query_heads = 0, kv_heads = 0, page_size = 0, pages_per_sequence = 0;
  int keys_per_split = 0;  ///< a multiple of the tile
  float scale = 0;         ///< of the scores, times log2(e)
};

/// `batch` sequences of `length` tokens: queries [batch][length][query_heads][KeyDim], keys [..][kv_heads][KeyDim],
/// values [..][kv_heads][ValueDim], output [..][query_heads][ValueDim]. Query i sees the keys 0 to i.
struct PrefillAttention {
  const Bf16* queries = nullptr;
  const Bf16* keys = nullptr;
  const Bf16* values = nullptr;
  Bf16* output = nullptr;
  int batch = 0, length = 0, query_heads = 0, kv_heads = 0;
  float scale = 0;  ///< of the scores, times log2(e)
};

}  // namespace moesim::calibrate
