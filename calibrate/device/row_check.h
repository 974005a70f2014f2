#pragma once
// Comparison of a kernel's result with the reference before it is timed.

#include <optional>
#include <span>
#include <string_view>

#include "../random_values.h"
#include "../references.h"
#include "device_buffer.h"

namespace moesim::calibrate {

[[noreturn]] inline void wrong(const std::string& message) {
  throw RowError(Failure::Kind::wrong_result, "the result is wrong, so it was not timed: " + message);
}

inline void require_close(std::string_view what, std::span<const float> got, std::span<const double> expected,
                          Tolerance tolerance) {
  if (const auto mismatch = first_mismatch(got, expected, tolerance)) wrong(mismatch->text(what));
}

/// Every element was written, and none is NaN.
template <class Element>
void require_written(std::string_view what, const DeviceBuffer<Element>& buffer) {
  if (const std::size_t count = buffer.count_nan(); count > 0) {
    wrong(std::string(what) + ": " + std::to_string(count) + " elements were not written or are NaN");
  }
}

/// Some places below `size`, the first and the last among them; the same for the same seed.
inline std::vector<std::size_t> sampled_places(std::size_t size, std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> places{0, size - 1};
  for (std::size_t i = 0; places.size() < count; ++i) places.push_back(random_word(seed, i) % size);
  return places;
}

/// Elements [from, from + count) of what launch_fill_random wrote.
template <class Element>
std::vector<float> random_floats(std::uint64_t seed, std::size_t from, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = to_float(random_element<Element>(seed, from + i));
  return values;
}

}  // namespace moesim::calibrate
