#include "config/read_trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

#include "config/json_members.h"
#include "config/json_reader.h"
#include "config/line_reader.h"
#include "config/time_stamp.h"
#include "core/statistics.h"

namespace moesim {

namespace {

constexpr std::int64_t second = 1'000'000'000'000;  // picoseconds
/// Stamps from here on count from 1970: 3 years.
constexpr std::int64_t epoch_seconds = 100'000'000;
/// Half of what 64 bits of picoseconds hold: a run goes on after its last arrival.
constexpr double latest_seconds = 4.5e6;

constexpr std::array<std::string_view, 5> format_names = {"mooncake", "azure", "burstgpt", "jsonl", "csv"};

enum class Column { time, input, output };
constexpr std::array<Column, 3> columns = {Column::time, Column::input, Column::output};

/// The names that a column may have, the one to ask for first.
std::span<const std::string_view> column_names(TraceFormat format, Column column) {
  static constexpr std::array<std::string_view, 1> mooncake_time = {"timestamp"};
  static constexpr std::array<std::string_view, 2> azure_time = {"TIMESTAMP", "arrival_s"};
  static constexpr std::array<std::string_view, 2> azure_input = {"ContextTokens", "input_tokens"};
  static constexpr std::array<std::string_view, 2> azure_output = {"GeneratedTokens", "output_tokens"};
  static constexpr std::array<std::string_view, 1> burstgpt_time = {"Timestamp"};
  static constexpr std::array<std::string_view, 1> burstgpt_input = {"Request tokens"};
  static constexpr std::array<std::string_view, 1> burstgpt_output = {"Response tokens"};
  static constexpr std::array<std::string_view, 3> any_time = {"arrival_s", "timestamp", "created_time"};
  static constexpr std::array<std::string_view, 2> any_input = {"input_tokens", "input_length"};
  static constexpr std::array<std::string_view, 2> any_output = {"output_tokens", "output_length"};
  static constexpr std::array<std::string_view, 2> mooncake_input = {"input_length", "input_tokens"};
  static constexpr std::array<std::string_view, 2> mooncake_output = {"output_length", "output_tokens"};
  const auto pick = [column](std::span<const std::string_view> time, std::span<const std::string_view> input,
                             std::span<const std::string_view> output) {
    return column == Column::time ? time : column == Column::input ? input : output;
  };
  switch (format) {
    case TraceFormat::mooncake:
      return pick(mooncake_time, mooncake_input, mooncake_output);
    case TraceFormat::azure:
      return pick(azure_time, azure_input, azure_output);
    case TraceFormat::burstgpt:
      return pick(burstgpt_time, burstgpt_input, burstgpt_output);
    case TraceFormat::jsonl:
    case TraceFormat::csv:
      return pick(any_time, any_input, any_output);
  }
  return {};
}

bool leaves_out_failed_requests(TraceFormat format) {
  switch (format) {
    case TraceFormat::mooncake:
    case TraceFormat::azure:
    case TraceFormat::burstgpt:
      return true;
    case TraceFormat::jsonl:
    case TraceFormat::csv:
      return false;
  }
  return false;
}

/// The values of a row as they are written, by Column.
using RawRow = std::array<std::string_view, 3>;

/// "472" or "472.0".
std::optional<std::int64_t> parse_whole(std::string_view text) {
  std::int64_t value = 0;
  const char* const last = text.data() + text.size();
  auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc()) return std::nullopt;
  if (end != last && *end == '.') {
    for (++end; end != last && *end == '0';) ++end;
  }
  if (end != last) return std::nullopt;
  return value;
}

/// `text` as the second half of "expected ..., got ...".
std::string found_text(std::string_view text) {
  if (text.empty()) return "nothing";
  return text.front() == '"' ? echo(text) : '"' + echo(text) + '"';
}

/// A count of tokens from 0 on.
std::int32_t parse_tokens(const LineReader& lines, std::string_view column, std::string_view text) {
  const std::optional<std::int64_t> value = parse_whole(text);
  if (!value) {
    lines.fail(fmt::format("{}: expected a whole number of tokens, got {}", column, found_text(text)));
  }
  if (*value < 0 || *value > INT32_MAX) {
    lines.fail(fmt::format("{}: {} tokens; expected 1 to {}", column, *value, INT32_MAX));
  }
  return static_cast<std::int32_t>(*value);
}

std::string quoted_list(std::span<const std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ", ") + echo(word);
  return text;
}

/// One trace while it is read.
class TraceReading {
 public:
  TraceReading(const std::filesystem::path& path, const TraceOptions& options) : lines_(path), options_(options) {
    for (const Column column : columns) {
      members_[static_cast<std::size_t>(column)].names = column_names(options.format, column);
    }
  }

  Trace read() {
    if (!(options_.speed > 0)) lines_.fail_file(fmt::format("speed {}; expected a number above 0", options_.speed));
    given_unit_ = unit_of(options_.time_unit);
    const bool json = options_.format == TraceFormat::mooncake || options_.format == TraceFormat::jsonl;
    if (!json) read_header();
    std::string_view line;
    RawRow row;
    while ((options_.limit == 0 || rows_ < options_.limit) && lines_.next(line)) {
      if (json) {
        read_members(line, row);
      } else {
        read_fields(line, row);
      }
      add(row);
    }
    finish();
    return std::move(trace_);
  }

 private:
  /// Picoseconds of a unit; 0 for none.
  std::int64_t unit_of(const std::optional<std::string>& unit) const {
    if (!unit) return 0;
    if (*unit == "s") return second;
    if (*unit == "ms") return second / 1'000;
    if (*unit == "us") return second / 1'000'000;
    if (*unit == "ns") return second / 1'000'000'000;
    lines_.fail_file(fmt::format("time_unit \"{}\"; expected s, ms, us or ns", echo(*unit)));
  }

  std::string_view& column_name(Column column) { return names_[static_cast<std::size_t>(column)]; }
  std::string_view first_name(Column column) const { return column_names(options_.format, column).front(); }

  void read_header() {
    std::string_view line;
    if (!lines_.next(line)) lines_.fail_file("is empty; expected a header and requests");
    split_csv(line, fields_, storage_);
    for (const Column column : columns) {
      std::size_t place = fields_.size();
      for (const std::string_view candidate : column_names(options_.format, column)) {
        const auto found = std::find(fields_.begin(), fields_.end(), candidate);
        if (found == fields_.end()) continue;
        place = static_cast<std::size_t>(found - fields_.begin());
        column_name(column) = candidate;
        break;
      }
      if (place == fields_.size()) {
        lines_.fail(fmt::format("no column {} in the header of this {} trace; its columns are {}", first_name(column),
                                name(options_.format), quoted_list(fields_)));
      }
      places_[static_cast<std::size_t>(column)] = place;
    }
    header_fields_ = fields_.size();
    settle_unit();
  }

  /// Decides what the numbers of the time column count, once its name is known.
  void settle_unit() {
    const std::string_view time = column_name(Column::time);
    if (time == "TIMESTAMP") {
      dates_ = true;
      if (given_unit_ != 0) lines_.fail_file("time_unit: TIMESTAMP holds dates; leave time_unit out");
    } else if (time == "arrival_s") {
      if (given_unit_ != 0 && given_unit_ != second) {
        lines_.fail_file("time_unit: arrival_s is in seconds; leave time_unit out or name the column timestamp");
      }
      unit_ = second;
    } else if (given_unit_ != 0) {
      unit_ = given_unit_;
    } else if (options_.format == TraceFormat::mooncake) {
      unit_ = second / 1'000;
    } else if (options_.format == TraceFormat::burstgpt) {
      unit_ = second;
    } else {
      lines_.fail(fmt::format("{} may count s or ms: give time_unit (s, ms, us or ns)", time));
    }
  }

  void read_members(std::string_view line, RawRow& row) {
    if (const auto problem = read_json_members(line, members_)) lines_.fail(*problem);
    for (const Column column : columns) {
      const auto index = static_cast<std::size_t>(column);
      const JsonMember& member = members_[index];
      if (member.text.empty()) {
        lines_.fail(fmt::format("no {} in this line of a {} trace", first_name(column), name(options_.format)));
      }
      const bool renamed = names_[index] != member.found;
      names_[index] = member.found;
      if (renamed && column == Column::time) settle_unit();
      row[index] = member.text;
    }
  }

  void read_fields(std::string_view line, RawRow& row) {
    split_csv(line, fields_, storage_);
    if (fields_.size() != header_fields_) {
      lines_.fail(fmt::format("a row of {}; the header has {} columns", fields_.size(), header_fields_));
    }
    for (std::size_t i = 0; i < columns.size(); ++i) row[i] = fields_[places_[i]];
  }

  void add(const RawRow& row) {
    ++rows_;
    const auto text = [&](Column column) { return row[static_cast<std::size_t>(column)]; };
    const std::int32_t input = parse_tokens(lines_, column_name(Column::input), text(Column::input));
    const std::int32_t output = parse_tokens(lines_, column_name(Column::output), text(Column::output));
    const Instant arrival = read_time(text(Column::time));
    if (input == 0 || output == 0) {
      if (!leaves_out_failed_requests(options_.format)) {
        lines_.fail(fmt::format("{}: 0 tokens; expected 1 to {}",
                                column_name(input == 0 ? Column::input : Column::output), INT32_MAX));
      }
      ++left_out_;
      return;
    }
    std::vector<Request>& requests = trace_.requests;
    if (requests.size() == 4096 && lines_.bytes_total() > 0) reserve();
    if (!requests.empty() && arrival < requests.back().arrival) ++unsorted_;
    requests.push_back({.arrival = arrival, .input_tokens = input, .output_tokens = output});
  }

  /// Memory for the whole file from its first rows, so that it need not double later.
  void reserve() {
    const double rows =
        static_cast<double>(lines_.bytes_total()) / static_cast<double>(lines_.bytes_read()) * 4096 * 1.02;
    const double wanted = options_.limit == 0 ? rows : std::min(rows, static_cast<double>(options_.limit));
    trace_.requests.reserve(static_cast<std::size_t>(wanted));
  }

  Instant read_time(std::string_view text) {
    const std::optional<WideInteger> stamp = dates_ ? parse_date(text) : parse_time(text, unit_);
    const std::string_view column = column_name(Column::time);
    if (!stamp) {
      lines_.fail(fmt::format("{}: expected {}, got {}", column,
                              dates_ ? "a date such as 2023-11-16 18:17:03.9799600" : "a number", found_text(text)));
    }
    if (*stamp < 0 && !dates_)
      lines_.fail(fmt::format("{}: {} is before the start; expected 0 or more", column, echo(text)));
    if (rows_ == 1 && (dates_ || *stamp >= static_cast<WideInteger>(epoch_seconds) * second)) {
      origin_ = *stamp;
      from_first_ = true;
    }
    if (!dates_ && unit_ < second && text.find('.') != std::string_view::npos) fractions_ = true;
    const WideInteger since = *stamp - origin_;
    const double seconds = static_cast<double>(since) * 1e-12 / options_.speed;
    if (!(std::abs(seconds) < latest_seconds)) {
      lines_.fail(
          fmt::format("{}: {} is more than 52 days after the start at this speed; raise speed or limit the rows",
                      column, echo(text)));
    }
    if (options_.speed == 1) return Instant::at(Duration::picoseconds(static_cast<std::int64_t>(since)));
    return Instant::at(Duration::from_seconds(seconds));
  }

  void finish() {
    std::vector<Request>& requests = trace_.requests;
    if (requests.empty()) {
      lines_.fail_file(left_out_ == 0 ? "holds no requests"
                                      : fmt::format("holds no request that finished ({} failed)", left_out_));
    }
    const auto earlier = [](const Request& a, const Request& b) { return a.arrival < b.arrival; };
    if (unsorted_ > 0) {
      std::stable_sort(requests.begin(), requests.end(), earlier);
      note(fmt::format("{} of {} requests stand after a later one: sorted by arrival", unsorted_, requests.size()));
    }
    if (from_first_) {
      const Duration first = requests.front().arrival.since_start();
      for (Request& request : requests) request.arrival = request.arrival - first;
      note("time stamps are dates: arrivals count from the first request");
    }
    if (left_out_ > 0) {
      note(fmt::format("{} of {} requests have no input or output tokens (failed when recorded): left out", left_out_,
                       rows_));
    }
    if (options_.format == TraceFormat::mooncake) {
      if (fractions_ && given_unit_ == 0) {
        note(
            "time stamps have fractions but count as ms, as Mooncake writes them; if they are seconds, give time_unit");
      }
      spread_ticks();
    }
    if (options_.speed != 1) note(fmt::format("replayed at {} times its speed", options_.speed));
  }

  /// Requests that share a stamp are spread evenly from it to the next stamp, at most a usual tick later. Only where
  /// the stamps are ticks: a second or more apart as a rule, with more than one request each.
  void spread_ticks() {
    std::vector<Request>& requests = trace_.requests;
    std::vector<std::int64_t> gaps;
    for (std::size_t i = 1; i < requests.size(); ++i) {
      const std::int64_t gap = (requests[i].arrival - requests[i - 1].arrival).ps();
      if (gap > 0) gaps.push_back(gap);
    }
    if (gaps.empty() || requests.size() < 2 * (gaps.size() + 1)) return;
    const auto middle = gaps.begin() + static_cast<std::ptrdiff_t>(gaps.size() / 2);
    std::nth_element(gaps.begin(), middle, gaps.end());
    const std::int64_t tick = *middle;
    const double recorded_tick = static_cast<double>(tick) * 1e-12 * options_.speed;
    if (recorded_tick < 1) return;
    for (std::size_t first = 0; first < requests.size();) {
      std::size_t next = first;
      while (next < requests.size() && requests[next].arrival == requests[first].arrival) ++next;
      const std::int64_t width =
          next == requests.size() ? tick : std::min(tick, (requests[next].arrival - requests[first].arrival).ps());
      const auto count = static_cast<std::int64_t>(next - first);
      for (std::int64_t i = 1; i < count; ++i) {
        // Quotient and remainder apart: width * i can pass 64 bits.
        const std::int64_t offset = width / count * i + width % count * i / count;
        requests[first + static_cast<std::size_t>(i)].arrival = requests[first].arrival + Duration::picoseconds(offset);
      }
      first = next;
    }
    note(fmt::format("time stamps come in ticks of {:.6g} s with {:.1f} requests each: spread evenly over the tick",
                     recorded_tick, static_cast<double>(requests.size()) / static_cast<double>(gaps.size() + 1)));
  }

  void note(std::string text) { trace_.notes.push_back(std::move(text)); }

  LineReader lines_;
  const TraceOptions& options_;
  std::array<JsonMember, 3> members_;
  Trace trace_;
  std::vector<std::string_view> fields_;
  std::vector<std::string> storage_;
  std::array<std::size_t, 3> places_{};
  std::array<std::string_view, 3> names_;
  std::size_t header_fields_ = 0;
  std::int64_t given_unit_ = 0, unit_ = 0;
  bool dates_ = false, from_first_ = false, fractions_ = false;
  WideInteger origin_ = 0;
  std::int64_t rows_ = 0, left_out_ = 0, unsorted_ = 0;
};

}  // namespace

std::string_view name(TraceFormat format) {
  return format_names[static_cast<std::size_t>(format)];
}

std::optional<TraceFormat> trace_format_from_name(std::string_view name) {
  for (std::size_t i = 0; i < format_names.size(); ++i) {
    if (format_names[i] == name) return static_cast<TraceFormat>(i);
  }
  return std::nullopt;
}

TraceFormat recognised_trace_format(const std::filesystem::path& path) {
  LineReader lines(path);
  std::string_view line;
  if (!lines.next(line)) lines.fail_file("is empty; expected requests");
  const auto holds = [&](std::string_view word) { return line.find(word) != std::string_view::npos; };
  if (line.front() == '{') {
    // Others use Mooncake's names with seconds; only Mooncake has the block hashes.
    return holds("\"hash_ids\"") && holds("\"timestamp\"") ? TraceFormat::mooncake : TraceFormat::jsonl;
  }
  if (holds("TIMESTAMP")) return TraceFormat::azure;
  if (holds("Request tokens")) return TraceFormat::burstgpt;
  return TraceFormat::csv;
}

Trace read_trace(const std::filesystem::path& path, const TraceOptions& options) {
  return TraceReading(path, options).read();
}

std::vector<std::int32_t> read_lengths_file(const std::filesystem::path& path, std::string_view column) {
  LineReader lines(path);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage;
  if (!lines.next(line)) lines.fail_file("is empty; expected a header and lengths");
  split_csv(line, fields, storage);
  const std::size_t width = fields.size();
  if (column.empty() && width > 1) lines.fail(fmt::format("which column? the file has {}", quoted_list(fields)));
  const auto found = column.empty() ? fields.begin() : std::find(fields.begin(), fields.end(), column);
  if (found == fields.end()) {
    lines.fail(fmt::format("no column {}; the columns are {}", echo(column), quoted_list(fields)));
  }
  const auto place = static_cast<std::size_t>(found - fields.begin());
  const std::string column_name(*found);
  std::vector<std::int32_t> lengths;
  while (lines.next(line)) {
    split_csv(line, fields, storage);
    if (fields.size() != width) lines.fail(fmt::format("a row of {}; the header has {} columns", fields.size(), width));
    const std::int32_t tokens = parse_tokens(lines, column_name, fields[place]);
    if (tokens == 0) lines.fail(fmt::format("{}: 0 tokens; expected 1 to {}", column_name, INT32_MAX));
    lengths.push_back(tokens);
  }
  if (lengths.empty()) lines.fail_file("holds no lengths");
  return lengths;
}

}  // namespace moesim
