#include "report/gnuplot.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "report/output_file.h"
#include "report/plots.h"

namespace moesim {

namespace fs = std::filesystem;

bool gnuplot_found() {
  const char* const path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string program = std::string(rest.substr(0, end)) + "/gnuplot";
    if (end > 0 && access(program.c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

std::string gnuplot_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

std::string draw_svg(const fs::path& file, int width, int height, const std::string& commands) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  const fs::path temporary = temporary_name(file);
  std::FILE* const pipe = popen("gnuplot >/dev/null 2>&1", "w");
  if (pipe == nullptr) return fmt::format("{}: gnuplot cannot be started", file.string());
  fmt::print(
      pipe,
      "set terminal svg size {},{} font 'Arial,Helvetica,sans-serif,13' background '#ffffff' dynamic noenhanced\n"
      "set output {}\n"
      "set encoding utf8\n"
      "set border 3 linecolor '#888888'\n"
      "set tics nomirror out textcolor '#333333'\n"
      "set grid linecolor '#e4e4e4' linetype 1\n{}\nunset output\n",
      width, height, gnuplot_text(temporary.string()), commands);
  const int status = pclose(pipe);
  if (status != 0 || !fs::exists(temporary)) {
    fs::remove(temporary, error);
    return fmt::format("{}: gnuplot failed", file.string());
  }
  fs::rename(temporary, file, error);
  if (!error) return {};
  const std::string why = error.message();
  fs::remove(temporary, error);
  return fmt::format("{}: cannot be written: {}", file.string(), why);
}

}  // namespace moesim
