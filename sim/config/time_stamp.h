#pragma once
// Points in time as text, exact to the picosecond.

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/statistics.h"

namespace moesim {

/// "12.0345" of a unit of `unit` picoseconds, exact to the picosecond; nothing for anything but a number.
std::optional<WideInteger> parse_time(std::string_view text, std::int64_t unit);

/// "2023-11-16 18:17:03.9799600", also with "T" and an ending of "Z" or "+00:00", as picoseconds since 1970.
std::optional<WideInteger> parse_date(std::string_view text);

}  // namespace moesim
