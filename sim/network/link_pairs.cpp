#include "network/link_pairs.h"

#include <algorithm>
#include <utility>

namespace moesim {

void LinkPairs::add_link() {
  onto_.emplace_back();
  owners_.emplace_back();
  const std::size_t links = onto_.size();
  if (links <= stride_) return;
  if (links > max_indexed_links) {
    index_.clear();
    stride_ = SIZE_MAX;
    return;
  }
  stride_ = std::min(links + links / 2 + 31, max_indexed_links);
  index_.assign(stride_ * stride_, 0);
  for (std::size_t owner = 0; owner < links; ++owner)
    for (std::size_t place = 0; place < onto_[owner].size(); ++place)
      index_[owner * stride_ + onto_[owner].link[place]] = static_cast<std::uint16_t>(place);
}

/// The place of `other` among onto_[owner], or one beyond the end.
std::size_t LinkPairs::place_of(std::uint32_t owner, std::uint32_t other) const {
  const std::vector<std::uint32_t>& link = onto_[owner].link;
  if (index_.empty()) return static_cast<std::size_t>(std::find(link.begin(), link.end(), other) - link.begin());
  const std::size_t place = index_[owner * stride_ + other];
  return place < link.size() && link[place] == other ? place : link.size();
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
  if (!index_.empty()) index_[owner * stride_ + other] = static_cast<std::uint16_t>(place);
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
  if (!index_.empty()) index_[owner * stride_ + onto.link.back()] = static_cast<std::uint16_t>(place);
  for (const auto& [partners, free] : {std::pair{&onto, place}, std::pair{&owners, back}}) {
    for (std::vector<std::uint32_t>* column : {&partners->link, &partners->weight, &partners->back}) {
      (*column)[free] = column->back();
      column->pop_back();
    }
  }
}

}  // namespace moesim
