#pragma once
// A few members of a JSON object that stands on one line, without building the object.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace moesim {

struct JsonMember {
  std::span<const std::string_view> names;  ///< any of them
  std::string text;  ///< its value as it would be written, strings quoted; empty where the object has none of them
  std::string_view found;  ///< which of the names
};

/// Sets `text` and `found` of each of `members`; all else in the object is passed over. Returns what is wrong with the
/// line, or nothing. Numbers keep their digits.
std::optional<std::string> read_json_members(std::string_view line, std::span<JsonMember> members);

}  // namespace moesim
