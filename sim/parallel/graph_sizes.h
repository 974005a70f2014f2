#pragma once
// Which batch sizes an engine captures as CUDA graphs.

#include <algorithm>
#include <cstdint>

namespace moesim {

/// Tokens to which a captured graph pads a decode batch: 1, 2, 4, then multiples of 8 to 256, of 16 beyond
/// [vllm: cudagraph_capture_sizes].
constexpr std::int64_t graph_tokens(std::int64_t tokens) {
  if (tokens <= 2) return std::max<std::int64_t>(tokens, 1);
  if (tokens <= 4) return 4;
  const std::int64_t step = tokens <= 256 ? 8 : 16;
  return (tokens + step - 1) / step * step;
}

/// The largest captured size: twice the sequences of a rank, at most 512 [vllm: max_cudagraph_capture_size].
constexpr std::int64_t largest_graph(std::int64_t max_sequences) {
  return std::min<std::int64_t>(2 * max_sequences, 512);
}

/// Number of sizes up to the largest.
constexpr std::int64_t captured_graphs(std::int64_t largest) {
  return 3 + std::min<std::int64_t>(largest, 256) / 8 + std::max<std::int64_t>(largest - 256, 0) / 16;
}

}  // namespace moesim
