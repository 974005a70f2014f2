#include "config/table_row.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "config/json_reader.h"

namespace moesim {

TableRow::TableRow(LineReader& reader) : reader_(reader) {
  std::string_view line;
  if (!reader_.next(line)) reader_.fail_file("empty; expected a header and rows");
  split_csv(line, fields_, storage_);
  for (const std::string_view field : fields_) {
    if (has(field)) fail(fmt::format("column {}: {} stands twice", header_.size() + 1, echo(field)));
    header_.emplace_back(field);
  }
}

bool TableRow::next() {
  std::string_view line;
  if (!reader_.next(line)) return false;
  split_csv(line, fields_, storage_);
  if (fields_.size() != header_.size()) {
    fail(fmt::format("{} fields, expected {} as in the header", fields_.size(), header_.size()));
  }
  return true;
}

std::optional<std::size_t> TableRow::place(std::string_view column) const {
  const auto found = std::find(header_.begin(), header_.end(), column);
  if (found == header_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - header_.begin());
}

bool TableRow::has(std::string_view column) const {
  return place(column).has_value();
}

void TableRow::need(std::string_view wanted, const std::string& why) const {
  std::string names;
  for (std::string_view left = wanted; !left.empty();) {
    const std::string_view one = left.substr(0, left.find('|'));
    if (has(one)) return;
    names += (names.empty() ? "" : " or ") + std::string(one);
    left.remove_prefix(std::min(left.size(), one.size() + 1));
  }
  const auto near = nearest(wanted.substr(0, wanted.find('|')), header_);
  fail(fmt::format("missing column {}, {}{}", names, why, near ? fmt::format("; is {} it?", echo(*near)) : ""));
}

std::string_view TableRow::text(std::string_view column) const {
  const auto found = place(column);
  return found ? fields_[*found] : std::string_view();
}

std::optional<double> TableRow::number(std::string_view column) const {
  const std::string_view field = text(column);
  if (field.empty() || field == "N/A" || field == "n/a") return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value) || value < 0) {
    fail(fmt::format("{}: expected a number that is not negative, got {}", column, echo(field)));
  }
  return value;
}

std::int64_t TableRow::count(std::string_view column, std::int64_t least, std::int64_t most) const {
  const auto value = number(column);
  if (!value) fail(fmt::format("{}: empty; expected a whole number of at least {}", column, least));
  if (*value != std::floor(*value) || *value < static_cast<double>(least)) {
    fail(fmt::format("{}: expected a whole number of at least {}, got {}", column, least, echo(text(column))));
  }
  if (*value > static_cast<double>(most)) {
    fail(fmt::format("{}: expected at most {}, got {}", column, most, echo(text(column))));
  }
  return static_cast<std::int64_t>(*value);
}

std::int64_t TableRow::count_or(std::string_view column, std::int64_t otherwise, std::int64_t least) const {
  return number(column) ? count(column, least) : otherwise;
}

}  // namespace moesim
