#pragma once
// Links that wait to be looked at, about in the order of their levels.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moesim {

/// A 4-ary heap of (level, link) packed in 64 bits: levels to 2^17 units (32 B/s), ties to the lower link. Only the
/// amount of work depends on the order, so that this is fine enough.
class LevelQueue {
 public:
  static constexpr std::uint32_t max_links = 1u << 24;

  bool empty() const { return keys_.empty(); }

  /// 0 <= `level` < 2^57, `link` < max_links.
  void push(std::int64_t level, std::uint32_t link) {
    const std::uint64_t key = static_cast<std::uint64_t>(level) >> 17 << 24 | link;
    std::size_t place = keys_.size();
    keys_.push_back(key);
    for (; place > 0 && key < keys_[(place - 1) / 4]; place = (place - 1) / 4) keys_[place] = keys_[(place - 1) / 4];
    keys_[place] = key;
  }

  /// The lowest; not empty.
  std::uint32_t first() const { return static_cast<std::uint32_t>(keys_.front() & (max_links - 1)); }

  /// Takes the lowest out; not empty.
  std::uint32_t pop() {
    const auto link = static_cast<std::uint32_t>(keys_.front() & (max_links - 1));
    const std::uint64_t last = keys_.back();
    keys_.pop_back();
    const std::size_t size = keys_.size();
    if (size == 0) return link;
    std::uint64_t* keys = keys_.data();
    std::size_t place = 0;
    for (std::size_t child = 1; child < size; child = 4 * place + 1) {
      // Written so that compilers choose by conditional moves: the outcome of a comparison cannot be predicted.
      std::size_t lowest = child;
      std::uint64_t key = keys[child];
      const auto consider = [&](std::size_t i) {
        const bool lower = keys[i] < key;
        lowest = lower ? i : lowest;
        key = lower ? keys[i] : key;
      };
      if (child + 4 <= size) {
        consider(child + 1);
        consider(child + 2);
        consider(child + 3);
      } else {
        for (std::size_t i = child + 1; i < size; ++i) consider(i);
      }
      if (last <= key) break;
      keys[place] = key;
      place = lowest;
    }
    keys[place] = last;
    return link;
  }

 private:
  std::vector<std::uint64_t> keys_;
};

}  // namespace moesim
