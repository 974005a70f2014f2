#include "config/set_below.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

namespace moesim {

using nlohmann::ordered_json;

void set_below(ordered_json& place, std::string_view rest, ordered_json value, const JsonReader& reader) {
  const std::size_t end = std::min(rest.find('/', 1), rest.size());
  const std::string token = ordered_json::json_pointer(std::string(rest.substr(0, end))).back();
  const bool last = end == rest.size();
  if (place.is_array()) {
    std::size_t index = 0;
    const auto [stop, error] = std::from_chars(token.data(), token.data() + token.size(), index);
    if (error != std::errc() || stop != token.data() + token.size() || index >= place.size()) {
      reader.fail(fmt::format("expected one of the {} elements from 0 on, got {}", place.size(), echo(token)));
    }
    if (last && value.is_null()) {
      place.erase(index);
    } else if (last) {
      place[index] = std::move(value);
    } else {
      set_below(place[index], rest.substr(end), std::move(value), reader);
    }
    return;
  }
  if (!place.is_object()) reader.fail("does not lead to a field");
  if (last && value.is_null()) {
    place.erase(token);
  } else if (last) {
    place[token] = std::move(value);
  } else {
    if (!place.contains(token)) place[token] = ordered_json::object();
    set_below(place[token], rest.substr(end), std::move(value), reader);
  }
}

}  // namespace moesim
