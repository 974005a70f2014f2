#include "network/link_pairs.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moesim {
namespace {

/// Blocks with fewer pairs are cheaper pair by pair.
constexpr std::uint32_t few = 8;

/// sums += amount * weight modulo 256, for all links of a block; modulo 2^64.
void add_few_products(const LinkPairs::Block& block, std::uint64_t amount, std::uint64_t* sums) {
  for (std::uint64_t rest = block.present; rest != 0; rest &= rest - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(rest));
    sums[i] += amount * block.weight[i];
  }
}

/// The same for all blocks; returns whether some weights are larger than 8 bits.
bool add_products_one_by_one(std::span<const LinkPairs::Block> blocks, std::uint64_t amount, std::uint64_t* sums) {
  std::uint64_t large = 0;
  for (const LinkPairs::Block& block : blocks) {
    add_few_products(block, amount, sums + std::size_t{block.number} * LinkPairs::width);
    large |= block.large;
  }
  return large != 0;
}

#if defined(__x86_64__)
// The same integers: weight * (low + 2^32 high), with low signed so that high is 0 where the amount is small.
__attribute__((target("avx2"))) bool add_products_by_four(std::span<const LinkPairs::Block> blocks,
                                                          std::uint64_t amount, std::uint64_t* sums) {
  const auto low_half = static_cast<std::int32_t>(amount);
  const auto high_half = static_cast<std::int64_t>(amount - static_cast<std::uint64_t>(std::int64_t{low_half})) >> 32;
  const __m256i low = _mm256_set1_epi64x(low_half), high = _mm256_set1_epi64x(high_half);
  std::uint64_t large = 0;
  for (const LinkPairs::Block& block : blocks) {
    large |= block.large;
    std::uint64_t* first = sums + std::size_t{block.number} * LinkPairs::width;
    if (block.pairs <= few) {
      add_few_products(block, amount, first);
      continue;
    }
    auto sum = reinterpret_cast<__m256i*>(first);
    for (std::size_t i = 0; i < LinkPairs::width; i += 4, ++sum) {
      const __m256i weights = _mm256_cvtepu8_epi64(_mm_loadu_si32(block.weight.data() + i));
      __m256i products = _mm256_mul_epi32(weights, low);
      if (high_half != 0) products = _mm256_add_epi64(products, _mm256_slli_epi64(_mm256_mul_epu32(weights, high), 32));
      _mm256_storeu_si256(sum, _mm256_add_epi64(_mm256_loadu_si256(sum), products));
    }
  }
  return large != 0;
}
const auto add_products = __builtin_cpu_supports("avx2") ? add_products_by_four : add_products_one_by_one;
#else
const auto add_products = add_products_one_by_one;
#endif

}  // namespace

void LinkPairs::spread(std::uint32_t owner, std::int64_t amount, std::uint64_t* sums) const {
  const auto rise = static_cast<std::uint64_t>(amount);
  const std::vector<Block>& blocks = onto_[owner].blocks;
  if (!add_products(blocks, rise, sums)) return;
  for (std::size_t place = 0; place < blocks.size(); ++place) {
    const Block& block = blocks[place];
    for (std::uint64_t rest = block.large; rest != 0; rest &= rest - 1) {  // what weights have beyond 8 bits
      const auto i = static_cast<std::size_t>(std::countr_zero(rest));
      sums[block.number * width + i] += rise * (pairs_[owner][place][i].weight - block.weight[i]);
    }
  }
}

void LinkPairs::add_link() {
  onto_.emplace_back();
  pairs_.emplace_back();
  owners_.emplace_back();
}

/// To a new weight; with `flow` if it was without it, else without it.
inline void LinkPairs::change(std::uint32_t owner, std::size_t place, std::uint32_t other, std::uint32_t weight,
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
  if (((block.large & bit) != 0) != (weight > 255)) block.large ^= bit;
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

}  // namespace moesim
