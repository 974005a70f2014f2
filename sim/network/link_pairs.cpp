#include "network/link_pairs.h"

#include <utility>

namespace moesim {

void LinkPairs::add_link() {
  onto_.emplace_back();
  owners_.emplace_back();
  index_.emplace_back();
}

/// The place of `other` among onto_[owner], or one beyond the end.
std::size_t LinkPairs::place_of(std::uint32_t owner, std::uint32_t other) const {
  const std::vector<Partner>& all = onto_[owner].all;
  std::size_t place = 0;
  if (links() > max_indexed_links) {
    while (place < all.size() && all[place].link != other) ++place;
    return place;
  }
  const std::vector<std::uint16_t>& row = index_[owner];
  place = other < row.size() ? row[other] : all.size();
  return place < all.size() && all[place].link == other ? place : all.size();
}

void LinkPairs::note_place(std::uint32_t owner, std::uint32_t other, std::size_t place) {
  if (links() > max_indexed_links) return;
  std::vector<std::uint16_t>& row = index_[owner];
  if (other >= row.size()) row.resize(links());
  row[other] = static_cast<std::uint16_t>(place);
}

void LinkPairs::add(std::uint32_t owner, std::uint32_t other, std::uint32_t weight) {
  Partners& onto = onto_[owner];
  Partners& owners = owners_[other];
  const std::size_t place = place_of(owner, other);
  if (place < onto.all.size()) {
    onto.all[place].weight += weight;
    owners.all[onto.back[place]].weight += weight;
    return;
  }
  note_place(owner, other, place);
  onto.all.push_back({other, weight});
  onto.back.push_back(static_cast<std::uint32_t>(owners.all.size()));
  owners.all.push_back({owner, weight});
  owners.back.push_back(static_cast<std::uint32_t>(place));
}

void LinkPairs::remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight) {
  Partners& onto = onto_[owner];
  Partners& owners = owners_[other];
  const std::size_t place = place_of(owner, other), back = onto.back[place];
  onto.all[place].weight -= weight;
  owners.all[back].weight -= weight;
  if (onto.all[place].weight > 0) return;
  // The last partner on either side moves to the place that becomes free.
  owners_[onto.all.back().link].back[onto.back.back()] = static_cast<std::uint32_t>(place);
  onto_[owners.all.back().link].back[owners.back.back()] = static_cast<std::uint32_t>(back);
  note_place(owner, onto.all.back().link, place);
  for (const auto& [partners, free] : {std::pair{&onto, place}, std::pair{&owners, back}}) {
    partners->all[free] = partners->all.back();
    partners->back[free] = partners->back.back();
    partners->all.pop_back();
    partners->back.pop_back();
  }
}

}  // namespace moesim
