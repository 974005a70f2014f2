#pragma once
// Order of the versions of a library.

#include <string_view>

namespace moesim {

/// Whether version `a` is older than `b`, part by part, numbers as numbers: 0.5.9 < 0.5.10 < 0.5.10.post2 < 1.3.0rc10
/// < 1.3.0. No version (an empty text) is newer than every other.
bool is_older_version(std::string_view a, std::string_view b);

}  // namespace moesim
