#pragma once
// Which bytes an input had.

#include <filesystem>
#include <string>
#include <string_view>

namespace moesim {

/// FNV-1a of 64 bits in 16 hexadecimal digits; tells inputs apart, does not guard against forgery.
std::string hash_of(std::string_view bytes);
/// Of a whole file; empty when it cannot be read.
std::string hash_of_file(const std::filesystem::path& path);

/// `path` as results name it: below the product's root or the current directory relative to it, else the file's name.
std::string shown_path(const std::filesystem::path& path);

}  // namespace moesim
