#include "config/read_serving_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <variant>

#include "config/json_reader.h"
#include "config/line_reader.h"

namespace moesim {

namespace {

using Text = std::string ServingRow::*;
using Count = std::optional<std::int64_t> ServingRow::*;
using Number = std::optional<double> ServingRow::*;

struct TextColumn {
  std::string_view name;
  Text field;
};
struct CountColumn {
  std::string_view name;
  Count field;
};
struct NumberColumn {
  std::string_view name;
  Number field;
};

constexpr std::array text_columns = {
    TextColumn{"id", &ServingRow::id},
    TextColumn{"family", &ServingRow::family},
    TextColumn{"metric_scope", &ServingRow::metric_scope},
    TextColumn{"model", &ServingRow::model},
    TextColumn{"arch", &ServingRow::arch},
    TextColumn{"weight_prec", &ServingRow::weight_prec},
    TextColumn{"kv_prec", &ServingRow::kv_prec},
    TextColumn{"gpu", &ServingRow::gpu},
    TextColumn{"gpu_class", &ServingRow::gpu_class},
    TextColumn{"engine", &ServingRow::engine},
    TextColumn{"spec_decode", &ServingRow::spec_decode},
    TextColumn{"eplb", &ServingRow::eplb},
};
constexpr std::array count_columns = {
    CountColumn{"n_gpus", &ServingRow::gpus},
    CountColumn{"tp", &ServingRow::tp},
    CountColumn{"pp", &ServingRow::pp},
    CountColumn{"dp_replicas", &ServingRow::replicas},
    CountColumn{"ep", &ServingRow::ep},
    CountColumn{"attn_dp", &ServingRow::attention_dp},
    CountColumn{"cp", &ServingRow::context_parallel},
    CountColumn{"max_batch", &ServingRow::max_batch},
    CountColumn{"max_num_tokens", &ServingRow::max_num_tokens},
};
constexpr std::array number_columns = {
    NumberColumn{"isl", &ServingRow::input_tokens},
    NumberColumn{"osl", &ServingRow::output_tokens},
    NumberColumn{"out_tok_s", &ServingRow::output_tokens_per_s},
    NumberColumn{"in_tok_s", &ServingRow::input_tokens_per_s},
    NumberColumn{"ttft_mean_ms", &ServingRow::mean_ttft_ms},
};
/// Columns that belong to such a table and are not used by what is simulated so far.
constexpr std::array<std::string_view, 43> other_columns = {
    "spec_level",     "source_url",  "source_date",    "act_prec",      "n_nodes",       "interconnect",
    "engine_version", "disagg",      "n_prefill_gpus", "n_decode_gpus", "prefill_par",   "decode_par",
    "dataset",        "len_dist",    "concurrency",    "request_rate",  "n_requests",    "chunked_prefill",
    "prefix_cache",   "accept_len",  "overlap",        "tot_tok_s",     "out_tok_s_gpu", "tot_tok_s_gpu",
    "req_s",          "ttft_p50_ms", "ttft_p90_ms",    "ttft_p99_ms",   "tpot_mean_ms",  "tpot_p50_ms",
    "tpot_p90_ms",    "tpot_p99_ms", "itl_mean_ms",    "itl_p50_ms",    "itl_p99_ms",    "e2e_mean_ms",
    "e2e_p50_ms",     "e2e_p90_ms",  "e2e_p99_ms",     "user_tok_s",    "ttft_slo_ms",   "tpot_slo_ms",
    "notes"};

/// One column of the file: where its fields go.
struct Column {
  std::string name;
  std::variant<std::monostate, Text, Count, Number> field;
};

template <class Table>
bool take(const Table& table, std::string_view name, Column& column) {
  const auto row = std::find_if(table.begin(), table.end(), [&](const auto& known) { return known.name == name; });
  if (row == table.end()) return false;
  column.field = row->field;
  return true;
}

/// A table of another kind is told apart by a column that only it has.
void refuse_other_tables(const LineReader& reader, const std::filesystem::path& path,
                         const std::vector<std::string_view>& header) {
  const auto has = [&](std::string_view name) { return std::find(header.begin(), header.end(), name) != header.end(); };
  if (has("metric_scope")) return;
  if (has("step_time_s") || has("decode_tok_s")) {
    throw ConfigError(InputProblem::usage, fmt::format("{}: validation of {} tables is not built yet", input_name(path),
                                                       has("step_time_s") ? "training" : "offload"));
  }
  reader.fail("missing column metric_scope; expected the header of a table of serving results");
}

std::vector<Column> read_header(const LineReader& reader, const std::vector<std::string_view>& header) {
  std::vector<std::string> known;
  for (const TextColumn& column : text_columns) known.emplace_back(column.name);
  for (const CountColumn& column : count_columns) known.emplace_back(column.name);
  for (const NumberColumn& column : number_columns) known.emplace_back(column.name);
  const std::vector<std::string> needed = known;
  known.insert(known.end(), other_columns.begin(), other_columns.end());

  std::vector<Column> columns;
  for (std::size_t i = 0; i < header.size(); ++i) {
    Column column{.name = std::string(header[i]), .field = {}};
    const bool used = take(text_columns, header[i], column) || take(count_columns, header[i], column) ||
                      take(number_columns, header[i], column);
    if (!used && std::find(known.begin(), known.end(), column.name) == known.end()) {
      const auto near = nearest(column.name, known);
      reader.fail(fmt::format("column {}: unknown column {}{}", i + 1, echo(column.name),
                              near ? "; did you mean " + *near + "?" : ""));
    }
    if (std::any_of(columns.begin(), columns.end(), [&](const Column& other) { return other.name == column.name; })) {
      reader.fail(fmt::format("column {}: {} stands twice", i + 1, column.name));
    }
    columns.push_back(std::move(column));
  }
  for (const std::string& name : needed) {
    if (std::none_of(columns.begin(), columns.end(), [&](const Column& column) { return column.name == name; })) {
      reader.fail("missing column " + name);
    }
  }
  return columns;
}

std::optional<double> number_of(const LineReader& reader, const std::string& column, std::string_view text) {
  if (text.empty()) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    reader.fail(fmt::format("{}: expected a number that is not negative, got {}", column, echo(text)));
  }
  return value;
}

std::optional<std::int64_t> count_of(const LineReader& reader, const std::string& column, std::string_view text) {
  const std::optional<double> value = number_of(reader, column, text);
  if (!value) return std::nullopt;
  if (*value != std::floor(*value) || *value > 1e9) {
    reader.fail(fmt::format("{}: expected a whole number up to 1e9, got {}", column, echo(text)));
  }
  return static_cast<std::int64_t>(*value);
}

}  // namespace

std::vector<ServingRow> read_serving_table(const std::filesystem::path& path) {
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  if (!reader.next(line)) reader.fail_file("empty; expected a header and rows");
  split_csv(line, fields, storage);
  refuse_other_tables(reader, path, fields);
  const std::vector<Column> columns = read_header(reader, fields);

  std::vector<ServingRow> rows;
  while (reader.next(line)) {
    split_csv(line, fields, storage);
    if (fields.size() != columns.size()) {
      reader.fail(fmt::format("{} fields, expected {} as in the header", fields.size(), columns.size()));
    }
    ServingRow row;
    row.line = reader.line_number();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const Column& column = columns[i];
      if (const auto* text = std::get_if<Text>(&column.field)) row.** text = std::string(fields[i]);
      if (const auto* count = std::get_if<Count>(&column.field)) {
        row.** count = count_of(reader, column.name, fields[i]);
      }
      if (const auto* number = std::get_if<Number>(&column.field)) {
        row.** number = number_of(reader, column.name, fields[i]);
      }
    }
    rows.push_back(std::move(row));
  }
  if (rows.empty()) reader.fail_file("no rows behind the header");
  return rows;
}

}  // namespace moesim
