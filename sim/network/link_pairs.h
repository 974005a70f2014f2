#pragma once
// Which links meet on the paths of flows: for each link that owns flows, the other links of these, and the reverse.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// Counts flows by (owner, other link on their path), in rows of blocks of 64 links: a row has those blocks in which it
/// has met a link so far.
class LinkPairs {
 public:
  static constexpr std::uint32_t width = 64;

  struct Block {
    std::uint32_t number = 0;                  ///< of links width * number and on
    std::uint32_t pairs = 0;                   ///< bits in `present`
    std::uint64_t present = 0;                 ///< bit i: the weight of link i of the block is not zero
    std::uint64_t large = 0;                   ///< bit i: the weight does not fit into 8 bits
    std::array<std::uint8_t, width> weight{};  ///< modulo 256, so that the rows of many links stay near the processor
  };

  void add_link();

  /// `flow` of `owner`, `weight` equal ones, crosses `other`; or does so no more.
  void add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow);
  void remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight, std::uint32_t flow);

  /// Whether `owner` owns flows over `other`; if so, their weight and that flow, if it is only one.
  bool meet(std::uint32_t owner, std::uint32_t other) const {
    const Row<std::uint64_t>& row = owners_[other];
    const std::size_t place = row.place_of(owner / width);
    return place < row.blocks.size() && (row.blocks[place] >> owner % width & 1) != 0;
  }
  struct Pair {
    std::uint32_t weight = 0;
    std::uint32_t flows = 0;  ///< exclusive or of all
  };
  const Pair& pair(std::uint32_t owner, std::uint32_t other) const {
    return pairs_[owner][onto_[owner].place_of(other / width)][other % width];
  }

  /// Adds `amount` for each flow of `owner` to the sums of its other links, modulo 2^64. `sums` has whole blocks.
  void spread(std::uint32_t owner, std::int64_t amount, std::uint64_t* sums) const;

  /// Other links of the flows that `owner` owns.
  std::span<const Block> onto(std::uint32_t owner) const { return onto_[owner].blocks; }

  /// Asks the memory ahead for what `spread` of this owner reads.
  void prefetch(std::uint32_t owner) const {
    for (const Block& block : onto_[owner].blocks) __builtin_prefetch(&block);
  }

  /// Calls `visit` with each owner of flows over `link` that it does not own.
  template <typename Visit>
  void each_owner(std::uint32_t link, Visit visit) const {
    const Row<std::uint64_t>& row = owners_[link];
    for (std::size_t place = 0; place < row.blocks.size(); ++place) {
      const std::uint32_t first = row.numbers[place] * width;
      for (std::uint64_t rest = row.blocks[place]; rest != 0; rest &= rest - 1)
        visit(first + static_cast<std::uint32_t>(std::countr_zero(rest)));
    }
  }

 private:
  void change(std::uint32_t owner, std::size_t place, std::uint32_t other, std::uint32_t weight, std::uint32_t flow);

  template <typename Content>
  struct Row {
    std::vector<std::uint32_t> numbers;  // of the blocks
    std::vector<Content> blocks;

    /// The place of a block, or one beyond the end.
    std::size_t place_of(std::uint32_t number) const {
      std::size_t place = 0;
      while (place < numbers.size() && numbers[place] != number) ++place;
      return place;
    }
    /// The same; makes the block if need be.
    std::size_t place_for(std::uint32_t number) {
      const std::size_t place = place_of(number);
      if (place == numbers.size()) {
        numbers.push_back(number);
        blocks.emplace_back();
      }
      return place;
    }
  };

  std::vector<Row<Block>> onto_;
  std::vector<std::vector<std::array<Pair, width>>> pairs_;  // like onto_
  std::vector<Row<std::uint64_t>> owners_;                   // bit by owner
};

}  // namespace moesim
