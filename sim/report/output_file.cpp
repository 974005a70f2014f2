#include "report/output_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace moesim {

namespace fs = std::filesystem;

fs::path temporary_name(const fs::path& path) {
  fs::path name = path;
  name += fmt::format(".{}.tmp", ::getpid());
  return name;
}

std::string write_file_atomically(const fs::path& path, std::string_view text) {
  const auto problem = [&path](const std::string& why) {
    return fmt::format("{}: cannot be written: {}", path.string(), why);
  };
  std::error_code error;
  // A device or a pipe takes the text itself; a link keeps its place and its file is replaced.
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    if (fs::is_directory(status)) return problem(std::strerror(EISDIR));
    std::FILE* const file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return problem(std::strerror(errno));
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    const bool closed = std::fclose(file) == 0;
    return written && closed ? std::string() : problem(std::strerror(errno));
  }
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    const fs::path target = fs::canonical(path, error);
    return error ? problem(error.message()) : write_file_atomically(target, text);
  }
  if (path.has_parent_path()) {
    fs::create_directories(path.parent_path(), error);
    if (error) return problem(error.message());
  }
  const fs::path temporary = temporary_name(path);
  std::FILE* const file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) return problem(std::strerror(errno));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int write_error = errno;
  const bool closed = std::fclose(file) == 0;
  if (!written || !closed) {
    const std::string why = std::strerror(written ? errno : write_error);
    fs::remove(temporary, error);
    return problem(why);
  }
  fs::rename(temporary, path, error);
  if (!error) return {};
  const std::string why = error.message();
  fs::remove(temporary, error);
  return problem(why);
}

}  // namespace moesim
