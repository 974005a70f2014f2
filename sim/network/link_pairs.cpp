#include "network/link_pairs.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moesim {
namespace {

/// sums += amount * weight, modulo 2^64.
void add_products_one_by_one(const LinkPairs::Block& block, std::uint64_t amount, std::uint64_t* sums) {
  for (std::size_t i = 0; i < LinkPairs::width; ++i) sums[i] += amount * block.weight[i];
}

#if defined(__x86_64__)
// The same integers: weight * (low + 2^32 high).
__attribute__((target("avx2"))) void add_products_by_four(const LinkPairs::Block& block, std::uint64_t amount,
                                                          std::uint64_t* sums) {
  const __m256i low = _mm256_set1_epi64x(static_cast<std::int64_t>(amount)), high = _mm256_srli_epi64(low, 32);
  for (std::size_t i = 0; i < LinkPairs::width; i += 4) {
    const __m256i weights =
        _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.weight.data() + i)));
    const __m256i products =
        _mm256_add_epi64(_mm256_mul_epu32(weights, low), _mm256_slli_epi64(_mm256_mul_epu32(weights, high), 32));
    const auto sum = reinterpret_cast<__m256i*>(sums + i);
    _mm256_storeu_si256(sum, _mm256_add_epi64(_mm256_loadu_si256(sum), products));
  }
}
const auto add_products = __builtin_cpu_supports("avx2") ? add_products_by_four : add_products_one_by_one;
#else
const auto add_products = add_products_one_by_one;
#endif

}  // namespace

void LinkPairs::spread(std::uint32_t owner, std::int64_t amount, std::uint64_t* sums) const {
  const auto rise = static_cast<std::uint64_t>(amount);
  for (const Block& block : onto_[owner].blocks) {
    std::uint64_t* first = sums + std::size_t{block.number} * width;
    if (block.pairs > 8) {
      add_products(block, rise, first);
    } else {
      for (std::uint64_t rest = block.present; rest != 0; rest &= rest - 1) {
        const auto i = static_cast<std::size_t>(std::countr_zero(rest));
        first[i] += rise * block.weight[i];
      }
    }
  }
}

void LinkPairs::add_link() {
  onto_.emplace_back();
  flows_.emplace_back();
  owners_.emplace_back();
}

void LinkPairs::add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow) {
  const std::size_t place = onto_[owner].place_for(other / width);
  Block& block = onto_[owner].blocks[place];
  block.number = other / width;
  if (place == flows_[owner].size()) flows_[owner].emplace_back();
  flows_[owner][place][other % width] ^= flow;
  std::uint32_t& sum = block.weight[other % width];
  if (sum == 0) {
    ++block.pairs;
    block.present |= std::uint64_t{1} << other % width;
    Row<std::uint64_t>& owners = owners_[other];
    owners.blocks[owners.place_for(owner / width)] |= std::uint64_t{1} << owner % width;
  }
  sum += weight;
}

void LinkPairs::remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow) {
  const std::size_t place = onto_[owner].place_of(other / width);
  Block& block = onto_[owner].blocks[place];
  flows_[owner][place][other % width] ^= flow;
  std::uint32_t& sum = block.weight[other % width];
  sum -= weight;
  if (sum > 0) return;
  --block.pairs;
  block.present &= ~(std::uint64_t{1} << other % width);
  Row<std::uint64_t>& owners = owners_[other];
  owners.blocks[owners.place_of(owner / width)] &= ~(std::uint64_t{1} << owner % width);
}

}  // namespace moesim
