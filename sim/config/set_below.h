#pragma once
// A value put into a JSON document by a pointer.

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "config/json_reader.h"

namespace moesim {

/// Sets what the JSON pointer `rest` leads to below `place`: members of objects whether there or not, elements of lists
/// that are there. null removes. Throws ConfigError at the place of `reader`.
void set_below(nlohmann::ordered_json& place, std::string_view rest, nlohmann::ordered_json value,
               const JsonReader& reader);

}  // namespace moesim
