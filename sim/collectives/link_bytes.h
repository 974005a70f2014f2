#pragma once
// Bytes link by link: what a step or a run put on the network.

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "core/ids.h"
#include "network/topology.h"

namespace moesim {

/// Bytes carried by all links of each LinkKind together. Every directed link counts what it carries, so a byte that
/// goes through a switch counts on the way up and on the way down, and one that goes through NICs at both.
using CarriedBytes = std::array<double, kLinkKinds>;

/// Bytes of every link of a topology. It knows the links that carry something, so that a small group on a big cluster
/// costs its own links only.
class LinkBytes {
 public:
  explicit LinkBytes(std::size_t links) : bytes_(links) {}

  void add(LinkId link, double bytes) {
    if (bytes <= 0) return;
    if (bytes_[link.value] == 0) used_.push_back(link);
    bytes_[link.value] += bytes;
  }
  void clear() {
    for (const LinkId link : used_) bytes_[link.value] = 0;
    used_.clear();
  }
  double operator[](LinkId link) const { return bytes_[link.value]; }
  /// Links with bytes, in the order of their first ones.
  std::span<const LinkId> used() const { return used_; }

 private:
  std::vector<double> bytes_;
  std::vector<LinkId> used_;
};

/// Sums over the links of each kind.
inline CarriedBytes total_by_kind(const LinkBytes& bytes, const Topology& topology) {
  CarriedBytes total{};
  for (const LinkId link : bytes.used()) {
    total[static_cast<std::size_t>(topology.links()[link.value].kind)] += bytes[link];
  }
  return total;
}

}  // namespace moesim
