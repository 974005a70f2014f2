#include "config/json_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <system_error>

#include "config/text_file.h"

namespace moesim {

namespace {

constexpr std::size_t longest_echo = 60;

}  // namespace

std::string echo(std::string_view text) {
  std::string shown;
  std::size_t end = std::min(text.size(), longest_echo);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  return end < text.size() ? shown + "..." : shown;
}

namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::size_t deepest_nesting = 200;

std::string joined(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ", ";
    line += word;
  }
  return line;
}

std::string escaped_token(std::string_view key) {
  std::string token;
  for (const char c : key) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

/// A value as the second half of "expected ..., got ...".
std::string found(const ordered_json& value) {
  switch (value.type()) {
    case ordered_json::value_t::object:
      return "an object";
    case ordered_json::value_t::array:
      return "an array";
    case ordered_json::value_t::string:
      return '"' + echo(value.get_ref<const std::string&>()) + '"';
    case ordered_json::value_t::null:
      return "null";
    case ordered_json::value_t::boolean:
    case ordered_json::value_t::number_integer:
    case ordered_json::value_t::number_unsigned:
    case ordered_json::value_t::number_float:
    case ordered_json::value_t::binary:
    case ordered_json::value_t::discarded:
      break;
  }
  return echo(value.dump());
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before.swap(row);
    row.swap(next);
  }
  return row[b.size()];
}

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  const std::optional<std::string> near = nearest(word, candidates);
  return near ? "; did you mean " + *near + "?" : "";
}

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit duration_units[] = {{"s", 1},      {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9},
                                   {"ps", 1e-12}, {"min", 60},  {"h", 3600}};
constexpr Unit byte_units[] = {{"GiB", 1073741824.0}, {"MiB", 1048576.0},
                               {"KiB", 1024.0},       {"TiB", 1099511627776.0},
                               {"GB", 1e9},           {"MB", 1e6},
                               {"kB", 1e3},           {"KB", 1e3},
                               {"TB", 1e12},          {"B", 1}};
constexpr Unit bandwidth_units[] = {{"GB/s", 1e9},           {"MB/s", 1e6},        {"kB/s", 1e3},
                                    {"KB/s", 1e3},           {"TB/s", 1e12},       {"B/s", 1},
                                    {"GiB/s", 1073741824.0}, {"MiB/s", 1048576.0}, {"TiB/s", 1099511627776.0},
                                    {"Gbit/s", 1e9 / 8},     {"Mbit/s", 1e6 / 8},  {"Tbit/s", 1e12 / 8}};
constexpr Unit flops_units[] = {{"TFLOPS", 1e12},  {"GFLOPS", 1e9},  {"PFLOPS", 1e15},
                                {"TFLOP/s", 1e12}, {"GFLOP/s", 1e9}, {"PFLOP/s", 1e15}};
constexpr Unit rate_units[] = {{"/s", 1}, {"/ms", 1e3}, {"/min", 1.0 / 60}, {"/h", 1.0 / 3600}};
constexpr Unit usd_units[] = {{"USD", 1}};
constexpr Unit watt_units[] = {{"W", 1}, {"kW", 1e3}, {"MW", 1e6}};
constexpr Unit joule_units[] = {{"J", 1}, {"nJ", 1e-9}, {"pJ", 1e-12}};

/// A quantity written as number, optional blanks, unit. `expected` is what the message asks for.
double quantity(const JsonReader& reader, std::span<const Unit> units, std::string_view expected) {
  const ordered_json& value = reader.json();
  const auto refuse = [&](std::string_view why) {
    reader.fail(fmt::format("expected {}, got {}{}", expected, found(value), why));
  };
  if (!value.is_string()) refuse("");
  const std::string& text = value.get_ref<const std::string&>();
  const char* const end = text.data() + text.size();
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) refuse(error == std::errc::result_out_of_range ? " (out of range)" : "");
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  const auto match = std::ranges::find(units, unit, &Unit::name);
  if (match == units.end()) {
    std::vector<std::string> names;
    for (const Unit& known : units) names.emplace_back(known.name);
    refuse("; units are " + joined(names));
  }
  if (!std::isfinite(number)) refuse(" (not finite)");
  if (number < 0) refuse(" (negative)");
  const double product = number * match->factor;
  if (!std::isfinite(product)) refuse(" (out of range)");
  return product;
}

struct Position {
  std::size_t line = 1, column = 1;
};

Position position_of(std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  Position at;
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++at.line;
      at.column = 1;
    } else {
      ++at.column;
    }
  }
  return at;
}

/// Builds the document and refuses what a plain parse lets pass: a key given twice, nesting without end.
class DocumentBuilder : public nlohmann::json_sax<ordered_json> {
 public:
  DocumentBuilder(std::string file, std::string_view text) : file_(std::move(file)), text_(text) {}

  ordered_json take() { return std::move(root_); }

  bool null() override { return place(nullptr); }
  bool boolean(bool value) override { return place(value); }
  bool number_integer(number_integer_t value) override { return place(value); }
  bool number_unsigned(number_unsigned_t value) override { return place(value); }
  bool number_float(number_float_t value, const string_t&) override { return place(value); }
  bool string(string_t& value) override { return place(std::move(value)); }
  bool binary(binary_t& value) override { return place(std::move(value)); }
  bool start_object(std::size_t) override { return open(ordered_json::object()); }
  bool start_array(std::size_t) override { return open(ordered_json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      throw ConfigError(InputProblem::bad_data,
                        fmt::format("{}: key \"{}\" appears twice in an object", file_, echo(name)));
    }
    keys_.back() = std::move(name);
    return true;
  }
  bool parse_error(std::size_t offset, const std::string&, const nlohmann::detail::exception& error) override {
    const Position at = position_of(text_, offset == 0 ? 0 : offset - 1);
    if (offset > text_.size() || text_.find_first_not_of(" \t\r\n", offset) == std::string_view::npos) {
      const std::string_view why = error.what();
      const bool in_string = why.find("missing closing quote") != std::string_view::npos;
      if (in_string || why.find("unexpected end of input") != std::string_view::npos) {
        throw ConfigError(InputProblem::bad_data, fmt::format("{}:{}:{}: the file ends inside {}", file_, at.line,
                                                              at.column, open_place(in_string)));
      }
    }
    throw ConfigError(InputProblem::bad_data,
                      fmt::format("{}:{}:{}: {}", file_, at.line, at.column, reason(error.what())));
  }

 private:
  /// What was begun last and not ended.
  std::string open_place(bool in_string) const {
    if (in_string) return "a string";
    if (open_.empty()) return "a value";
    return open_.back()->is_array() ? "an array" : "an object";
  }

  /// The parser's own words without their prefix and without the text they quote, which can be a whole line.
  static std::string reason(std::string_view what) {
    if (what.find("out_of_range") != std::string_view::npos) return "number out of range";
    if (const auto start = what.find("syntax error"); start != std::string_view::npos) what.remove_prefix(start);
    std::string words(what);
    if (const auto quote = words.find("; last read: '"); quote != std::string::npos) {
      const auto after = words.rfind("'; expected");
      words.erase(quote, after == std::string::npos || after <= quote ? std::string::npos : after + 1 - quote);
    }
    for (char& c : words) {
      if (static_cast<unsigned char>(c) < 0x20) c = '?';
    }
    return words.size() > 200 ? words.substr(0, 200) + "..." : words;
  }

  template <class Value>
  bool place(Value&& value) {
    attach(ordered_json(std::forward<Value>(value)));
    return true;
  }
  ordered_json* attach(ordered_json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    ordered_json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    ordered_json& slot = parent[keys_.back()];
    slot = std::move(value);
    return &slot;
  }
  bool open(ordered_json container) {
    if (open_.size() >= deepest_nesting) {
      throw ConfigError(InputProblem::bad_data,
                        fmt::format("{}: nested deeper than {} levels", file_, deepest_nesting));
    }
    ordered_json* const place_taken = attach(std::move(container));
    open_.push_back(place_taken);
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string file_;
  std::string_view text_;
  ordered_json root_;
  std::vector<ordered_json*> open_;
  std::vector<std::string> keys_;
};

/// Python writes NaN and Infinity bare, which is not JSON. They become strings, so that a file that has one where
/// nobody looks can be read (the `time_step_limit` of Hugging Face configs) and a number that is read still fails.
std::string with_quoted_non_finite(const std::string& text) {
  constexpr std::string_view words[] = {"-Infinity", "Infinity", "NaN"};
  if (text.find("Infinity") == std::string::npos && text.find("NaN") == std::string::npos) return text;
  std::string result;
  enum class Inside { value, string, line_comment, block_comment } inside = Inside::value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = std::string_view(text).substr(i);
    std::size_t taken = 1;
    switch (inside) {
      case Inside::value:
        if (const auto word = std::ranges::find_if(words, [rest](auto w) { return rest.starts_with(w); });
            word != std::end(words)) {
          result += '"' + std::string(*word) + '"';
          i += word->size() - 1;
          continue;
        }
        if (rest.starts_with("//")) {
          inside = Inside::line_comment;
        } else if (rest.starts_with("/*")) {
          inside = Inside::block_comment;
          taken = 2;
        } else if (rest[0] == '"') {
          inside = Inside::string;
        }
        break;
      case Inside::string:
        if (rest[0] == '\\') {
          taken = std::min<std::size_t>(2, rest.size());
        } else if (rest[0] == '"') {
          inside = Inside::value;
        }
        break;
      case Inside::line_comment:
        if (rest[0] == '\n') inside = Inside::value;
        break;
      case Inside::block_comment:
        if (rest.starts_with("*/")) {
          inside = Inside::value;
          taken = 2;
        }
        break;
    }
    result += rest.substr(0, taken);
    i += taken - 1;
  }
  return result;
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t longest_word = 80;
  if (word.empty() || word.size() > longest_word) return std::nullopt;
  const std::size_t allowed = std::max<std::size_t>(1, word.size() / 3);
  std::size_t best = allowed + 1;
  std::optional<std::string> choice;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > word.size() + allowed) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      choice = candidate;
    }
  }
  return choice;
}

JsonReader::JsonReader(const ordered_json& value, std::string file, std::string pointer)
    : value_(&value), file_(std::move(file)), pointer_(std::move(pointer)) {}

void JsonReader::fail(const std::string& message, InputProblem problem) const {
  throw ConfigError(problem, pointer_.empty() ? fmt::format("{}: {}", file_, message)
                                              : fmt::format("{}: {}: {}", file_, pointer_, message));
}

bool JsonReader::has(std::string_view key) const {
  return value_->is_object() && value_->contains(key);
}

JsonReader JsonReader::at(std::string_view key) const {
  if (!value_->is_object()) fail("expected an object, got " + found(*value_));
  const auto place = value_->find(key);
  const std::string below = pointer_ + '/' + echo(escaped_token(key));
  if (place == value_->end()) throw ConfigError(InputProblem::bad_data, fmt::format("{}: {}: missing", file_, below));
  return JsonReader(*place, file_, below);
}

std::optional<JsonReader> JsonReader::find(std::string_view key) const {
  if (!value_->is_object()) fail("expected an object, got " + found(*value_));
  const auto place = value_->find(key);
  if (place == value_->end() || place->is_null()) return std::nullopt;
  return JsonReader(*place, file_, pointer_ + '/' + echo(escaped_token(key)));
}

std::vector<JsonReader> JsonReader::elements() const {
  if (!value_->is_array()) fail("expected an array, got " + found(*value_));
  std::vector<JsonReader> readers;
  readers.reserve(value_->size());
  for (const ordered_json& element : *value_) {
    readers.emplace_back(element, file_, fmt::format("{}/{}", pointer_, readers.size()));
  }
  return readers;
}

std::vector<std::string> JsonReader::keys() const {
  if (!value_->is_object()) fail("expected an object, got " + found(*value_));
  std::vector<std::string> names;
  for (const auto& [key, unused] : value_->items()) names.push_back(key);
  return names;
}

std::string JsonReader::string() const {
  if (!value_->is_string()) fail("expected a string, got " + found(*value_));
  return value_->get<std::string>();
}

bool JsonReader::boolean() const {
  if (!value_->is_boolean()) fail("expected true or false, got " + found(*value_));
  return value_->get<bool>();
}

double JsonReader::number() const {
  if (!value_->is_number()) fail("expected a number, got " + found(*value_));
  const double value = value_->get<double>();
  if (!std::isfinite(value)) fail("expected a finite number, got " + found(*value_));
  return value;
}

double JsonReader::number_in(double low, double high) const {
  if (!value_->is_number() || number() < low || number() > high) {
    fail(fmt::format("expected a number from {} to {}, got {}", low, high, found(*value_)));
  }
  return number();
}

std::int64_t JsonReader::integer() const {
  if (value_->is_number_unsigned()) {
    const auto value = value_->get<std::uint64_t>();
    if (value <= static_cast<std::uint64_t>(INT64_MAX)) return static_cast<std::int64_t>(value);
  } else if (value_->is_number_integer()) {
    return value_->get<std::int64_t>();
  } else if (value_->is_number_float()) {
    // 1e6 and 4096.0 are whole numbers; from 2^53 on a double no longer says which one.
    const double value = value_->get<double>();
    if (std::abs(value) < 9007199254740992.0 && std::floor(value) == value) return static_cast<std::int64_t>(value);
  }
  fail("expected a whole number, got " + found(*value_));
}

std::int64_t JsonReader::integer_in(std::int64_t low, std::int64_t high) const {
  const std::int64_t value = integer();
  if (value < low || value > high) {
    fail(high == INT64_MAX ? fmt::format("expected a whole number of at least {}, got {}", low, value)
                           : fmt::format("expected a whole number from {} to {}, got {}", low, high, value));
  }
  return value;
}

Duration JsonReader::duration() const {
  const double seconds = quantity(*this, duration_units, "a time such as \"50 ms\"");
  // 64 bits of picoseconds hold 106 days; half of that leaves room for sums.
  if (seconds > 4.6e6) fail("expected a time of at most 53 days, got " + found(*value_));
  return Duration::from_seconds(seconds);
}

Bytes JsonReader::bytes() const {
  const double bytes = quantity(*this, byte_units, "a size such as \"80 GiB\"");
  if (bytes > 4.6e18) fail("expected a size of at most 4 EB, got " + found(*value_));
  return Bytes{std::llround(bytes)};
}

BytesPerSecond JsonReader::bandwidth() const {
  return {quantity(*this, bandwidth_units, "a bandwidth such as \"450 GB/s\" or \"400 Gbit/s\"")};
}

FlopsPerSecond JsonReader::flops_per_second() const {
  return {quantity(*this, flops_units, "a compute rate such as \"989 TFLOPS\"")};
}

double JsonReader::rate_per_second() const {
  return quantity(*this, rate_units, "a rate such as \"12 /s\"");
}

double JsonReader::usd() const {
  return quantity(*this, usd_units, "a price such as \"2.5 USD\"");
}

double JsonReader::watts() const {
  return quantity(*this, watt_units, "a power such as \"700 W\"");
}

double JsonReader::joules() const {
  return quantity(*this, joule_units, "an energy such as \"0.7 pJ\"");
}

DataType JsonReader::data_type() const {
  if (value_->is_string()) {
    if (const auto type = data_type_from_name(value_->get_ref<const std::string&>())) return *type;
  }
  std::vector<std::string> names;
  for (const DataType type : {DataType::fp32, DataType::bf16, DataType::fp16, DataType::fp8, DataType::fp8_block,
                              DataType::int8, DataType::int4, DataType::mxfp4, DataType::nvfp4}) {
    names.emplace_back(name(type));
  }
  fail(fmt::format("expected one of {}, got {}", joined(names), found(*value_)));
}

std::size_t JsonReader::choice(std::span<const std::string_view> names) const {
  const std::vector<std::string> words(names.begin(), names.end());
  std::string hint;
  if (value_->is_string()) {
    const std::string& word = value_->get_ref<const std::string&>();
    const auto match = std::ranges::find(names, std::string_view(word));
    if (match != names.end()) return static_cast<std::size_t>(match - names.begin());
    hint = suggestion(word, words);
  }
  fail(fmt::format("expected one of {}, got {}{}", joined(words), found(*value_), hint));
}

void JsonReader::expect_only(std::span<const std::string_view> known) const {
  const std::vector<std::string> words(known.begin(), known.end());
  for (const std::string& key : keys()) {
    if (std::ranges::find(words, key) != words.end()) continue;
    const std::string hint = suggestion(key, words);
    const JsonReader field = JsonReader((*value_)[key], file_, pointer_ + '/' + echo(escaped_token(key)));
    field.fail(hint.empty() ? "unknown field; expected one of " + joined(words) : "unknown field" + hint);
  }
}

bool is_standard_input(const fs::path& path) {
  return path == "-";
}

const std::string& standard_input() {
  static const std::string text = [] {
    std::string all;
    std::vector<char> piece(std::size_t{1} << 20);
    while (std::cin) {
      std::cin.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      all.append(piece.data(), static_cast<std::size_t>(std::cin.gcount()));
      if (all.size() > largest_text_file) {
        throw ConfigError(InputProblem::bad_data, fmt::format("stdin: larger than {} MiB", largest_text_file >> 20));
      }
    }
    return all;
  }();
  return text;
}

std::string input_name(const fs::path& path) {
  return is_standard_input(path) ? "stdin" : path.string();
}

ordered_json parse_json_file(const fs::path& path) {
  const std::string file = input_name(path);
  const std::string text = read_text(path, "a JSON file");
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw ConfigError(InputProblem::bad_data, fmt::format("{}: is empty; expected a JSON object", file));
  }
  // The parser takes a NUL for the end of the text and would ignore what follows.
  if (const auto nul = text.find('\0'); nul != std::string::npos) {
    const Position at = position_of(text, nul);
    throw ConfigError(InputProblem::bad_data,
                      fmt::format("{}:{}:{}: a NUL byte; expected JSON text", file, at.line, at.column));
  }
  const std::string document = with_quoted_non_finite(text);
  DocumentBuilder builder(file, document);
  ordered_json::sax_parse(document, &builder, ordered_json::input_format_t::json, /*strict=*/true,
                          /*ignore_comments=*/true);
  return builder.take();
}

fs::path resolve_path(const std::string& name, const fs::path& from, const fs::path& shipped) {
  std::vector<fs::path> candidates;
  const auto add = [&candidates](const fs::path& path) {
    const fs::path plain = path.lexically_normal();
    if (std::ranges::find(candidates, plain) == candidates.end()) candidates.push_back(plain);
  };
  const fs::path wanted(name);
  if (wanted.is_absolute()) {
    add(wanted);
  } else {
    add(from / wanted);
    add(wanted);
    add(product_root() / wanted);
    if (!shipped.empty() && !wanted.has_parent_path()) {
      add(product_root() / shipped / (name.ends_with(".json") ? name : name + ".json"));
    }
  }
  constexpr std::size_t longest_name = 1024;
  if (name.size() > longest_name) {
    throw ConfigError(InputProblem::missing_file, fmt::format("{}: no such file; the name is too long", echo(name)));
  }
  std::vector<std::string> tried;
  for (const fs::path& candidate : candidates) {
    std::error_code ignored;
    if (!name.empty() && fs::exists(candidate, ignored)) return candidate;
    tried.push_back(candidate.string());
  }
  throw ConfigError(InputProblem::missing_file, fmt::format("{}: no such file; tried {}", echo(name), joined(tried)));
}

fs::path product_root() {
  const char* const root = std::getenv("MOESIM_ROOT");
  return root != nullptr && *root != '\0' ? fs::path(root) : fs::path(MOESIM_SOURCE_DIR);
}

}  // namespace moesim
