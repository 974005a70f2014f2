#pragma once
// Text files of any size, a line at a time, in bounded memory; errors name file and line.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

/// The lines of a file without their ends (LF or CRLF) and without a byte order mark. Lines over 1 MiB, compressed
/// files and UTF-16 are refused.
class LineReader {
 public:
  /// Throws ConfigError (3) where there is no file to read.
  explicit LineReader(const std::filesystem::path& path);

  /// Sets `line`, valid until the next call; false at the end. Blank lines are passed over but counted.
  bool next(std::string_view& line);

  /// Of the line last returned, from 1.
  std::int64_t line_number() const { return line_number_; }
  /// Bytes of the file taken so far, and of all of it (0: not known).
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::uint64_t bytes_total() const { return bytes_total_; }

  /// Throws ConfigError (4): `file:line: message`.
  [[noreturn]] void fail(const std::string& message) const;
  /// Throws ConfigError (4): `file: message`.
  [[noreturn]] void fail_file(const std::string& message) const;

 private:
  bool next_raw(std::string_view& line);
  void fill();
  void check_encoding();

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::string name_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  ///< the bytes of `buffer_` that no line has taken
  bool at_end_ = false;
  std::int64_t line_number_ = 0;
  std::uint64_t bytes_read_ = 0, bytes_total_ = 0;
};

/// The fields of one CSV line, without surrounding blanks. Quoted fields may hold commas, not line ends; their
/// quotes are dropped. The views live in `line` or in `storage`.
void split_csv(std::string_view line, std::vector<std::string_view>& fields, std::vector<std::string>& storage);

}  // namespace moesim
