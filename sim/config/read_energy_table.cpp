#include "config/read_energy_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <variant>

#include "config/json_reader.h"
#include "config/line_reader.h"

namespace moesim {

namespace {

using Text = std::string EnergyRow::*;
using Count = std::int64_t EnergyRow::*;
using Number = std::optional<double> EnergyRow::*;

struct Column {
  std::string_view name;
  std::variant<Text, Count, Number> field;
};
constexpr std::string_view energy_column = "joules_per_out_tok";
const std::array<Column, 17> columns = {{{"config_id", &EnergyRow::config_id},
                                         {"model", &EnergyRow::model},
                                         {"hardware", &EnergyRow::hardware},
                                         {"framework", &EnergyRow::framework},
                                         {"precision", &EnergyRow::precision},
                                         {"spec_method", &EnergyRow::spec_method},
                                         {"disagg", &EnergyRow::disaggregated},
                                         {"multinode", &EnergyRow::multinode},
                                         {"decode_tp", &EnergyRow::tp},
                                         {"decode_ep", &EnergyRow::ep},
                                         {"decode_attn_dp", &EnergyRow::attention_dp},
                                         {"total_gpus", &EnergyRow::gpus},
                                         {"isl", &EnergyRow::input_tokens},
                                         {"osl", &EnergyRow::output_tokens},
                                         {"concurrency", &EnergyRow::concurrency},
                                         {"tot_tok_s_per_gpu", &EnergyRow::tokens_per_s_per_gpu},
                                         {energy_column, &EnergyRow::joules_per_output_token}}};

double number_of(const LineReader& reader, std::string_view column, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    reader.fail(fmt::format("{}: expected a number that is not negative, got {}", column, echo(text)));
  }
  return value;
}

std::int64_t count_of(const LineReader& reader, std::string_view column, std::string_view text) {
  const double value = number_of(reader, column, text);
  if (value != std::floor(value) || value > 1e9) {
    reader.fail(fmt::format("{}: expected a whole number up to 1e9, got {}", column, echo(text)));
  }
  return static_cast<std::int64_t>(value);
}

/// Where each column of `columns` stands in the header.
std::array<std::size_t, columns.size()> find_columns(const LineReader& reader,
                                                     const std::vector<std::string_view>& header) {
  std::array<std::size_t, columns.size()> at{};
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto found = std::find(header.begin(), header.end(), columns[i].name);
    if (found == header.end()) reader.fail(fmt::format("missing column {}", columns[i].name));
    if (std::find(found + 1, header.end(), columns[i].name) != header.end()) {
      reader.fail(fmt::format("column {} stands twice", columns[i].name));
    }
    at[i] = static_cast<std::size_t>(found - header.begin());
  }
  return at;
}

}  // namespace

bool is_energy_table(const std::filesystem::path& path) {
  if (is_standard_input(path)) return false;  // its lines can be read once only
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  if (!reader.next(line)) return false;
  split_csv(line, fields, storage);
  return std::find(fields.begin(), fields.end(), energy_column) != fields.end();
}

std::vector<EnergyRow> read_energy_table(const std::filesystem::path& path) {
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  if (!reader.next(line)) reader.fail_file("empty; expected a header and rows");
  split_csv(line, fields, storage);
  const std::size_t width = fields.size();
  const auto at = find_columns(reader, fields);
  std::vector<EnergyRow> rows;
  while (reader.next(line)) {
    split_csv(line, fields, storage);
    if (fields.size() != width) {
      reader.fail(fmt::format("{} fields, expected {} as in the header", fields.size(), width));
    }
    EnergyRow row;
    row.line = reader.line_number();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string_view text = fields[at[i]], name = columns[i].name;
      if (const auto* as_text = std::get_if<Text>(&columns[i].field)) row.** as_text = std::string(text);
      if (const auto* as_count = std::get_if<Count>(&columns[i].field)) row.** as_count = count_of(reader, name, text);
      const auto* as_number = std::get_if<Number>(&columns[i].field);
      if (as_number != nullptr && !text.empty()) row.** as_number = number_of(reader, name, text);
    }
    rows.push_back(std::move(row));
  }
  if (rows.empty()) reader.fail_file("no rows behind the header");
  return rows;
}

}  // namespace moesim
