#pragma once
// Numbers as people read them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/units.h"

namespace moesim {

/// Three significant digits, thousands with commas: 0.0123, 1.23, 45.6, 1,235.
std::string short_number(double value);
/// With commas: 1,234,567.
std::string whole_number(std::int64_t value);
/// "41.2 %".
std::string percent(double fraction);
/// "11.7 GiB", "640 MiB", "512 B".
std::string size_text(Bytes bytes);
/// "2.13 s", "45.6 ms", "12.3 us".
std::string time_text(double seconds);
/// Exact decimal of `ps` picoseconds in units of 10^`digits` ps, without trailing zeros: seconds are 12,
/// milliseconds 9.
std::string exact_decimal(std::int64_t ps, int digits);

/// Text of at most `most` characters (UTF-8): what is longer loses its end to an ellipsis.
std::string shortened(std::string_view text, std::size_t most);

}  // namespace moesim
