#pragma once
// The rows of a CSV table with a header, their fields by the name of the column; errors name file and line.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/line_reader.h"

namespace moesim {

class TableRow {
 public:
  /// Reads the header. Throws ConfigError where there is none or a column stands twice.
  explicit TableRow(LineReader& reader);

  /// The next row; false at the end. Throws where the number of fields is not the header's.
  bool next();

  const std::vector<std::string>& header() const { return header_; }
  bool has(std::string_view column) const;
  /// Throws unless one of the columns `wanted`, parted by |, is there; `why` ends the message ("which --op gemm
  /// needs").
  void need(std::string_view wanted, const std::string& why) const;

  /// Empty where the table has no such column.
  std::string_view text(std::string_view column) const;
  /// Nothing where the column is absent or the field empty or N/A. Throws on what is no number, NaN or negative.
  std::optional<double> number(std::string_view column) const;
  /// A whole number from `least` to `most`; throws where it is missing.
  std::int64_t count(std::string_view column, std::int64_t least = 1, std::int64_t most = 1'000'000'000) const;
  /// The same, `otherwise` where the column is absent or the field empty.
  std::int64_t count_or(std::string_view column, std::int64_t otherwise, std::int64_t least = 1) const;

  std::int64_t line() const { return reader_.line_number(); }
  /// `file:line: message`.
  [[noreturn]] void fail(const std::string& message) const { reader_.fail(message); }

 private:
  std::optional<std::size_t> place(std::string_view column) const;

  LineReader& reader_;
  std::vector<std::string> header_;
  std::vector<std::string_view> fields_;
  std::vector<std::string> storage_;
};

}  // namespace moesim
