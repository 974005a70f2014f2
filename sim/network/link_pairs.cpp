#include "network/link_pairs.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moesim {
namespace {

/// Blocks with fewer pairs are cheaper pair by pair.
constexpr std::uint32_t few = 6;

/// sums += amount * weight modulo 256, for all links of all blocks with more than a few pairs; modulo 2^64.
void add_products_one_by_one(std::span<const LinkPairs::Block> blocks, std::uint64_t amount, std::uint64_t* sums) {
  for (const LinkPairs::Block& block : blocks) {
    if (block.pairs <= few) continue;
    std::uint64_t* sum = sums + std::size_t{block.number} * LinkPairs::width;
    for (std::size_t i = 0; i < LinkPairs::width; ++i) sum[i] += amount * block.weight[i];
  }
}

#if defined(__x86_64__)
// The same integers: weight * (low + 2^32 high).
__attribute__((target("avx2"))) void add_products_by_four(std::span<const LinkPairs::Block> blocks,
                                                          std::uint64_t amount, std::uint64_t* sums) {
  const __m256i low = _mm256_set1_epi64x(static_cast<std::int64_t>(amount)), high = _mm256_srli_epi64(low, 32);
  for (const LinkPairs::Block& block : blocks) {
    if (block.pairs <= few) continue;
    auto sum = reinterpret_cast<__m256i*>(sums + std::size_t{block.number} * LinkPairs::width);
    for (std::size_t i = 0; i < LinkPairs::width; i += 4, ++sum) {
      const __m256i weights = _mm256_cvtepu8_epi64(_mm_loadu_si32(block.weight.data() + i));
      const __m256i products =
          _mm256_add_epi64(_mm256_mul_epu32(weights, low), _mm256_slli_epi64(_mm256_mul_epu32(weights, high), 32));
      _mm256_storeu_si256(sum, _mm256_add_epi64(_mm256_loadu_si256(sum), products));
    }
  }
}
const auto add_products = __builtin_cpu_supports("avx2") ? add_products_by_four : add_products_one_by_one;
#else
const auto add_products = add_products_one_by_one;
#endif

}  // namespace

void LinkPairs::spread(std::uint32_t owner, std::int64_t amount, std::uint64_t* sums) const {
  const auto rise = static_cast<std::uint64_t>(amount);
  const std::vector<Block>& blocks = onto_[owner].blocks;
  add_products(blocks, rise, sums);
  for (std::size_t place = 0; place < blocks.size(); ++place) {
    const Block& block = blocks[place];
    std::uint64_t* sum = sums + std::size_t{block.number} * width;
    const bool done = block.pairs > few;  // but for what weights have beyond 8 bits
    for (std::uint64_t rest = done ? block.large : block.present; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(rest));
      sum[i] += rise * (pairs_[owner][place][i].weight - (done ? block.weight[i] : 0));
    }
  }
}

void LinkPairs::add_link() {
  onto_.emplace_back();
  pairs_.emplace_back();
  owners_.emplace_back();
}

void LinkPairs::add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow) {
  const std::size_t place = onto_[owner].place_for(other / width);
  if (place == pairs_[owner].size()) pairs_[owner].emplace_back();
  onto_[owner].blocks[place].number = other / width;
  change(owner, place, other, pairs_[owner][place][other % width].weight + weight, flow);
}

void LinkPairs::remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow) {
  const std::size_t place = onto_[owner].place_of(other / width);
  change(owner, place, other, pairs_[owner][place][other % width].weight - weight, flow);
}

/// To a new weight; with `flow` if it was without it, else without it.
void LinkPairs::change(std::uint32_t owner, std::size_t place, std::uint32_t other, std::uint32_t weight,
                       std::uint32_t flow) {
  Block& block = onto_[owner].blocks[place];
  Pair& pair = pairs_[owner][place][other % width];
  const std::uint64_t bit = std::uint64_t{1} << other % width;
  if ((pair.weight == 0) != (weight == 0)) {
    block.present ^= bit;
    block.pairs += weight == 0 ? -1u : 1u;
    Row<std::uint64_t>& owners = owners_[other];
    owners.blocks[owners.place_for(owner / width)] ^= std::uint64_t{1} << owner % width;
  }
  pair.weight = weight;
  pair.flows ^= flow;
  block.weight[other % width] = static_cast<std::uint8_t>(weight);
  block.large = weight > 255 ? block.large | bit : block.large & ~bit;
}

}  // namespace moesim
