#pragma once
// What one data-parallel rank computes in a step.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace moesim {

/// Kinds of token mixers that one model may have.
inline constexpr std::size_t kMaxMixers = 8;

/// `new_tokens` of one sequence after `cached_tokens` that are in the cache already.
struct PrefillChunk {
  std::int64_t new_tokens = 0, cached_tokens = 0;
};

struct RankBatch {
  std::int64_t tokens = 0;  ///< decode sequences + new tokens of all chunks
  std::int64_t decode_sequences = 0;
  std::int64_t context_tokens = 0;  ///< keys of the decode sequences without any limit, the new ones included
  std::array<std::int64_t, kMaxMixers> visible_keys{};  ///< by mixer, summed over the decode sequences
  std::int64_t emitting_rows = 0;  ///< rows that need logits: decode sequences and chunks that end their prompt
  std::vector<PrefillChunk> prefill;

  void clear() {
    tokens = decode_sequences = context_tokens = emitting_rows = 0;
    visible_keys.fill(0);
    prefill.clear();
  }
};

}  // namespace moesim
