#include "network/link_pairs.h"

#include <algorithm>
#include <utility>

namespace moesim {

void LinkPairs::add_link() {
  onto_.emplace_back();
  owners_.emplace_back();
  index_.emplace_back();
}

/// The place of `other` among onto_[owner], or one beyond the end.
std::size_t LinkPairs::place_of(std::uint32_t owner, std::uint32_t other) const {
  const std::vector<std::uint32_t>& link = onto_[owner].link;
  if (links() > max_indexed_links)
    return static_cast<std::size_t>(std::find(link.begin(), link.end(), other) - link.begin());
  const std::vector<std::uint16_t>& row = index_[owner];
  const std::size_t place = other < row.size() ? row[other] : link.size();
  return place < link.size() && link[place] == other ? place : link.size();
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
  if (place < onto.size()) {
    onto.weight[place] += weight;
    owners.weight[onto.back[place]] += weight;
    return;
  }
  note_place(owner, other, place);
  onto.link.push_back(other);
  onto.weight.push_back(weight);
  onto.back.push_back(static_cast<std::uint32_t>(owners.size()));
  owners.link.push_back(owner);
  owners.weight.push_back(weight);
  owners.back.push_back(static_cast<std::uint32_t>(place));
}

void LinkPairs::remove(std::uint32_t owner, std::uint32_t other, std::uint32_t weight) {
  Partners& onto = onto_[owner];
  Partners& owners = owners_[other];
  const std::size_t place = place_of(owner, other), back = onto.back[place];
  onto.weight[place] -= weight;
  owners.weight[back] -= weight;
  if (onto.weight[place] > 0) return;
  // The last partner on either side moves to the place that becomes free.
  owners_[onto.link.back()].back[onto.back.back()] = static_cast<std::uint32_t>(place);
  onto_[owners.link.back()].back[owners.back.back()] = static_cast<std::uint32_t>(back);
  note_place(owner, onto.link.back(), place);
  for (const auto& [partners, free] : {std::pair{&onto, place}, std::pair{&owners, back}}) {
    for (std::vector<std::uint32_t>* column : {&partners->link, &partners->weight, &partners->back}) {
      (*column)[free] = column->back();
      column->pop_back();
    }
  }
}

}  // namespace moesim
