#include "config/read_popularity.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "config/json_reader.h"
#include "config/line_reader.h"

namespace moesim {

namespace {

constexpr double largest = 1e18;

/// What is wrong with a row, or nothing.
std::optional<std::string> fault(const std::vector<double>& row, const MoeSpec& moe) {
  if (static_cast<std::int64_t>(row.size()) != moe.experts)
    return fmt::format("has {} numbers; expected one an expert, {}", row.size(), moe.experts);
  const auto positive = std::count_if(row.begin(), row.end(), [](double value) { return value > 0; });
  if (positive < moe.top_k)
    return fmt::format("has {} positive numbers; expected at least {}, the experts of a token", positive, moe.top_k);
  return std::nullopt;
}

std::optional<double> number_in_field(std::string_view field) {
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size() || !(value >= 0 && value <= largest))
    return std::nullopt;
  return value;
}

std::vector<std::vector<double>> read_csv(const std::filesystem::path& file, const MoeSpec& moe,
                                          std::int64_t moe_layers) {
  LineReader lines(file);
  std::vector<std::vector<double>> table;
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  for (bool first = true; lines.next(line); first = false) {
    split_csv(line, fields, storage);
    // Names start with no number at all.
    if (first && std::none_of(fields.begin(), fields.end(), [](auto field) { return number_in_field(field); }))
      continue;
    std::vector<double> row;
    for (const std::string_view field : fields) {
      const std::optional<double> value = number_in_field(field);
      if (!value)
        lines.fail(
            fmt::format("column {} is '{}'; expected a number from 0 to 1e18", row.size() + 1, field.substr(0, 40)));
      row.push_back(*value);
    }
    if (const auto wrong = fault(row, moe)) lines.fail(*wrong);
    if (static_cast<std::int64_t>(table.size()) == std::max<std::int64_t>(moe_layers, 1))
      lines.fail(fmt::format("is row {}; expected 1 or {}, a row a MoE layer", table.size() + 1, moe_layers));
    table.push_back(std::move(row));
  }
  if (table.size() != 1 && static_cast<std::int64_t>(table.size()) != moe_layers)
    lines.fail_file(fmt::format("has {} rows; expected 1 or {}, a row a MoE layer", table.size(), moe_layers));
  return table;
}

std::vector<std::vector<double>> read_json(const std::filesystem::path& file, const MoeSpec& moe,
                                           std::int64_t moe_layers) {
  const nlohmann::ordered_json document = parse_json_file(file);
  JsonReader root(document, file.string());
  if (document.is_object()) {
    constexpr std::string_view known[] = {"popularity", "source"};
    root.expect_only(known);
    root = root.at("popularity");
  }
  std::vector<std::vector<double>> table;
  for (const JsonReader& row : root.elements()) {
    table.emplace_back();
    for (const JsonReader& value : row.elements()) table.back().push_back(value.number_in(0, largest));
    if (const auto wrong = fault(table.back(), moe)) row.fail(*wrong);
  }
  if (table.size() != 1 && static_cast<std::int64_t>(table.size()) != moe_layers)
    root.fail(fmt::format("has {} rows; expected 1 or {}, a row a MoE layer", table.size(), moe_layers));
  return table;
}

}  // namespace

std::vector<std::vector<double>> read_popularity(const std::filesystem::path& file, const MoeSpec& moe,
                                                 std::int64_t moe_layers) {
  return file.extension() == ".csv" ? read_csv(file, moe, moe_layers) : read_json(file, moe, moe_layers);
}

}  // namespace moesim
