#pragma once
// Whole text files, or standard input.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace moesim {

inline constexpr std::size_t largest_text_file = std::size_t{256} << 20;

/// All of a file of at most `largest_text_file` bytes. `expected` is what messages call it ("a JSON file"). Throws
/// ConfigError.
std::string read_text(const std::filesystem::path& path, std::string_view expected);

/// A folder in place of a file is a missing file (exit code 3), whatever the file is. Throws ConfigError.
void refuse_folder(const std::filesystem::path& path, std::string_view expected);

}  // namespace moesim
