#pragma once
// The least of many numbers that change all the time.

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace moesim {

/// Keys by index; the least is found through blocks of 16 keys, blocks of 16 blocks, and so on. A change only marks its
/// block, so that many changes between two questions cost little more than one.
class MinTree {
 public:
  static constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();

  MinTree() { grow(); }

  /// `none` takes the key out.
  void set(std::size_t index, std::int64_t key) {
    while (index >= floors_[0].keys.size()) grow();
    floors_[0].change(index, key);
  }

  /// `none` when there is no key.
  std::int64_t least() {
    settle();
    return floors_.back().keys[0];
  }

  /// The lowest index that has the least key; there is a key.
  std::size_t first() {
    const std::int64_t key = least();
    std::size_t index = 0;
    for (std::size_t floor = floors_.size() - 1; floor-- > 0;)
      for (index *= width; floors_[floor].keys[index] != key;) ++index;
    return index;
  }

 private:
  static constexpr std::size_t width = 16;

  struct Floor {
    void change(std::size_t index, std::int64_t key) {
      if (keys[index] == key) return;
      keys[index] = key;
      const std::size_t block = index / width;
      if (!is_stale[block]) stale.push_back(static_cast<std::uint32_t>(block));
      is_stale[block] = 1;
    }
    std::int64_t least_of(std::size_t block) const {
      const std::int64_t* first = keys.data() + block * width;
      std::array<std::int64_t, 4> least{first[0], first[1], first[2], first[3]};
      for (std::size_t i = 4; i < width; i += 4)
        for (std::size_t j = 0; j < 4; ++j) least[j] = first[i + j] < least[j] ? first[i + j] : least[j];
      const std::int64_t a = least[0] < least[1] ? least[0] : least[1], b = least[2] < least[3] ? least[2] : least[3];
      return a < b ? a : b;
    }
    std::vector<std::int64_t> keys;
    std::vector<std::uint8_t> is_stale;
    std::vector<std::uint32_t> stale;  // blocks whose least key the floor above may not know
  };

  /// Sixteen times the keys.
  void grow() {
    if (floors_.empty()) {
      floors_.push_back({std::vector<std::int64_t>(width, none), {0}, {}});
    } else {
      settle();
      floors_.pop_back();
      for (std::size_t floor = 0; floor < floors_.size(); ++floor) {
        floors_[floor].keys.resize(floors_[floor].keys.size() * width, none);
        floors_[floor].is_stale.resize(floors_[floor].keys.size() / width, 0);
      }
      Floor top{std::vector<std::int64_t>(width, none), {0}, {}};
      const Floor& below = floors_.back();
      for (std::size_t block = 0; block < width; ++block) top.keys[block] = below.least_of(block);
      floors_.push_back(top);
    }
    const std::int64_t least = floors_.back().least_of(0);
    floors_.push_back({{least}, {}, {}});
  }

  void settle() {
    for (std::size_t floor = 0; floor + 1 < floors_.size(); ++floor) {
      Floor& f = floors_[floor];
      for (const std::uint32_t block : f.stale) {
        f.is_stale[block] = 0;
        const std::int64_t least = f.least_of(block);
        if (floor + 2 < floors_.size())
          floors_[floor + 1].change(block, least);
        else
          floors_.back().keys[0] = least;
      }
      f.stale.clear();
    }
  }

  std::vector<Floor> floors_;  // keys, the least of each 16 of them, and so on up to one
};

}  // namespace moesim
