#include "core/version.h"

#include <algorithm>
#include <cctype>

namespace moesim {

namespace {

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

/// The next run of digits or of letters; separators are left out.
std::string_view next_part(std::string_view& text) {
  while (!text.empty() && std::isalnum(static_cast<unsigned char>(text.front())) == 0) text.remove_prefix(1);
  std::size_t length = 0;
  while (length < text.size() && std::isalnum(static_cast<unsigned char>(text[length])) != 0 &&
         is_digit(text[length]) == is_digit(text.front())) {
    ++length;
  }
  const std::string_view part = text.substr(0, length);
  text.remove_prefix(length);
  return part;
}

/// A number, "post" and the end of a version are later than "rc", "a" or "b" in their place.
int kind_of(std::string_view part) {
  if (part.empty()) return 1;
  if (is_digit(part.front())) return 3;
  return part == "post" ? 2 : 0;
}

}  // namespace

bool is_older_version(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return !a.empty();
  while (!a.empty() || !b.empty()) {
    std::string_view x = next_part(a), y = next_part(b);
    if (kind_of(x) != kind_of(y)) return kind_of(x) < kind_of(y);
    if (x == y) continue;
    if (!is_digit(x.front())) return x < y;
    x.remove_prefix(std::min(x.find_first_not_of('0'), x.size()));
    y.remove_prefix(std::min(y.find_first_not_of('0'), y.size()));
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
  }
  return false;
}

}  // namespace moesim
