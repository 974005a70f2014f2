#pragma once
// Which links meet on the paths of flows: for each link that owns flows, the other links of these, and the reverse.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moesim {

/// Counts flows by (owner, other link on their path).
class LinkPairs {
 public:
  /// The partners of one link in any order, column by column.
  struct Partners {
    std::vector<std::uint32_t> link, weight;  ///< partner, number of flows
    std::vector<std::uint32_t> back;          ///< place of this link among the partners of the partner
    std::size_t size() const { return link.size(); }
  };

  /// Link number `links()` joins, without partners.
  void add_link();
  std::size_t links() const { return onto_.size(); }

  /// `weight` more (fewer) flows of `owner` cross `other`.
  void add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight);
  void remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight);

  /// Other links of the flows that `link` owns.
  const Partners& onto(std::uint32_t link) const { return onto_[link]; }
  /// Owners of the flows over `link` that it does not own.
  const Partners& owners(std::uint32_t link) const { return owners_[link]; }

 private:
  static constexpr std::size_t max_indexed_links = 4096;  // at most 32 MB of index

  std::size_t place_of(std::uint32_t owner, std::uint32_t other) const;
  void note_place(std::uint32_t owner, std::uint32_t other, std::size_t place);

  std::vector<Partners> onto_, owners_;
  // Where `other` is among onto_[owner]: index_[owner][other], meaningless where it is not. Rows are made at first use;
  // beyond max_indexed_links there is no index and partners are searched.
  std::vector<std::vector<std::uint16_t>> index_;
};

}  // namespace moesim
