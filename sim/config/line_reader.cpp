#include "config/line_reader.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <boost/tokenizer.hpp>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "config/json_reader.h"
#include "config/text_file.h"

namespace moesim {

namespace {

constexpr std::size_t longest_line = std::size_t{1} << 20;
constexpr std::size_t chunk = std::size_t{256} << 10;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

LineReader::LineReader(const std::filesystem::path& path) : name_(input_name(path)) {
  std::error_code error;
  const bool standard = is_standard_input(path);
  if (!standard) refuse_folder(path, "a file");
  // A descriptor of its own: the reader closes what it reads.
  file_.reset(standard ? ::fdopen(::dup(STDIN_FILENO), "rb") : std::fopen(name_.c_str(), "rb"));
  if (!file_) {
    const char* why = errno == ENOENT ? "no such file" : std::strerror(errno);
    throw ConfigError(InputProblem::missing_file, fmt::format("{}: {}", name_, why));
  }
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (!error) bytes_total_ = size;
  buffer_.resize(longest_line + chunk);
  fill();
  check_encoding();
}

void LineReader::fail(const std::string& message) const {
  throw ConfigError(InputProblem::bad_data, fmt::format("{}:{}: {}", name_, line_number_, message));
}

void LineReader::fail_file(const std::string& message) const {
  throw ConfigError(InputProblem::bad_data, fmt::format("{}: {}", name_, message));
}

void LineReader::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  const std::size_t wanted = std::min(chunk, buffer_.size() - end_);
  const std::size_t got = std::fread(buffer_.data() + end_, 1, wanted, file_.get());
  if (got < wanted) {
    if (std::ferror(file_.get()) != 0) fail_file("cannot be read to its end");
    at_end_ = true;
  }
  end_ += got;
}

void LineReader::check_encoding() {
  const std::string_view start(buffer_.data(), end_);
  const auto starts = [&](std::string_view magic) { return start.substr(0, magic.size()) == magic; };
  if (starts("\x1f\x8b")) fail_file(fmt::format("is compressed; unpack it first: gunzip -k {}", name_));
  if (starts("\x28\xb5\x2f\xfd")) fail_file(fmt::format("is compressed; unpack it first: unzstd {}", name_));
  if (starts("PK\x03\x04")) fail_file(fmt::format("is compressed; unpack it first: unzip {}", name_));
  if (starts("\xff\xfe") || starts("\xfe\xff")) fail_file("is UTF-16; expected UTF-8 or ASCII");
  if (starts("\xef\xbb\xbf")) begin_ = 3;
}

bool LineReader::next_raw(std::string_view& line) {
  std::size_t searched = 0;
  for (;;) {
    const char* const start = buffer_.data() + begin_;
    const std::size_t length = end_ - begin_;
    const void* const found = std::memchr(start + searched, '\n', length - searched);
    const std::size_t size =
        found != nullptr ? static_cast<std::size_t>(static_cast<const char*>(found) - start) : length;
    if (size > longest_line) {
      ++line_number_;
      fail("the line is longer than 1 MiB");
    }
    if (found != nullptr || (at_end_ && length > 0)) {
      line = std::string_view(start, size);
      const std::size_t taken = found != nullptr ? size + 1 : size;
      begin_ += taken;
      bytes_read_ += taken;
      ++line_number_;
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      return true;
    }
    if (at_end_) return false;
    searched = length;
    fill();
  }
}

bool LineReader::next(std::string_view& line) {
  while (next_raw(line)) {
    if (line.find_first_not_of(" \t") != std::string_view::npos) return true;
  }
  return false;
}

void split_csv(std::string_view line, std::vector<std::string_view>& fields, std::vector<std::string>& storage) {
  fields.clear();
  if (line.find('"') == std::string_view::npos) {
    for (;;) {
      const std::size_t comma = line.find(',');
      fields.push_back(trimmed(line.substr(0, comma)));
      if (comma == std::string_view::npos) return;
      line.remove_prefix(comma + 1);
    }
  }
  // No escape character: a backslash in a field is a backslash.
  using Separator = boost::escaped_list_separator<char>;
  const std::string text(line);
  const boost::tokenizer<Separator> tokens(text, Separator("", ",", "\""));
  storage.assign(tokens.begin(), tokens.end());
  for (const std::string& field : storage) fields.push_back(trimmed(field));
}

}  // namespace moesim
