#include "config/text_file.h"

#include <fmt/core.h>

#include <fstream>
#include <system_error>
#include <vector>

#include "config/json_reader.h"

namespace moesim {

namespace fs = std::filesystem;

void refuse_folder(const fs::path& path, std::string_view expected) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return;
  throw ConfigError(InputProblem::missing_file, fmt::format("{}: is a folder; expected {}", path.string(), expected));
}

std::string read_text(const fs::path& path, std::string_view expected) {
  if (is_standard_input(path)) return standard_input();
  const std::string file = path.string();
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (status.type() == fs::file_type::not_found || status.type() == fs::file_type::none) {
    throw ConfigError(InputProblem::missing_file, fmt::format("{}: no such file", file));
  }
  refuse_folder(path, expected);
  std::ifstream in(path, std::ios::binary);
  if (!in) throw ConfigError(InputProblem::missing_file, fmt::format("{}: cannot be opened for reading", file));
  std::string text;
  std::vector<char> piece(std::size_t{1} << 20);
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    text.append(piece.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > largest_text_file) {
      throw ConfigError(InputProblem::bad_data, fmt::format("{}: larger than {} MiB", file, largest_text_file >> 20));
    }
  }
  return text;
}

}  // namespace moesim
