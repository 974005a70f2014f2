#pragma once
// Which links meet on the paths of flows: for each link that owns flows, the other links of these, and the reverse.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// Counts flows by (owner, other link on their path).
class LinkPairs {
 public:
  struct Partner {
    std::uint32_t link, weight;  ///< weight: number of flows
  };

  /// Link number `links()` joins, without partners.
  void add_link();
  std::size_t links() const { return onto_.size(); }

  /// `weight` more (fewer) flows of `owner` cross `other`.
  void add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight);
  void remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight);

  /// Other links of the flows that `link` owns.
  std::span<const Partner> onto(std::uint32_t link) const { return onto_[link].all; }
  /// Brings the first of them near the processor.
  void prefetch_onto(std::uint32_t link) const {
    const std::vector<Partner>& all = onto_[link].all;
    for (std::size_t i = 0; i < all.size() && i < 64; i += 8) __builtin_prefetch(&all[i]);  // one cache line each
  }
  /// Owners of the flows over `link` that it does not own.
  std::span<const Partner> owners(std::uint32_t link) const { return owners_[link].all; }

 private:
  struct Partners {  // of one link, in any order
    std::vector<Partner> all;
    std::vector<std::uint32_t> back;  // place of this link among the partners of the partner
  };

  static constexpr std::size_t max_indexed_links = 4096;  // at most 32 MB of index

  std::size_t place_of(std::uint32_t owner, std::uint32_t other) const;
  void note_place(std::uint32_t owner, std::uint32_t other, std::size_t place);

  std::vector<Partners> onto_, owners_;
  // Where `other` is among onto_[owner].all: index_[owner][other], meaningless where it is not. Rows are made at first
  // use; beyond max_indexed_links there is no index and partners are searched.
  std::vector<std::vector<std::uint16_t>> index_;
};

}  // namespace moesim
