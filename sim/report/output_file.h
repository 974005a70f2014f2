#pragma once
// Files of results: whole or not there at all.

#include <filesystem>
#include <string>
#include <string_view>

namespace moesim {

/// Writes beside the file and renames, so that nobody sees half of it; makes missing folders. Returns the problem in
/// one line ("results/x/result.json: cannot be written: No space left on device"), empty when done.
std::string write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// The name to which something is written before it is renamed to `path`.
std::filesystem::path temporary_name(const std::filesystem::path& path);

}  // namespace moesim
