#pragma once
// JSON that people read.

#include <string>

namespace moesim {

/// `text` of indented JSON with lists of numbers and texts on one line each.
std::string with_short_lists(const std::string& text);

}  // namespace moesim
