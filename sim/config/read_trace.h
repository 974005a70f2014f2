#pragma once
// Recorded requests: when they came, how long they were.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "workload/request.h"

namespace moesim {

/// mooncake: JSON lines, `timestamp` in ms, `input_length`, `output_length`.
/// azure: CSV, `TIMESTAMP` (date and time), `ContextTokens`, `GeneratedTokens`; or the columns of csv.
/// burstgpt: CSV, `Timestamp` in s, `Request tokens`, `Response tokens`; other columns are not read.
/// jsonl: JSON lines, `arrival_s` (or `timestamp` or `created_time` with a time unit), `input_tokens` (`input_length`),
/// `output_tokens` (`output_length`). csv: the same names as columns.
enum class TraceFormat { mooncake, azure, burstgpt, jsonl, csv };

std::string_view name(TraceFormat format);
std::optional<TraceFormat> trace_format_from_name(std::string_view name);

/// By its first line; a file that looks like none of them is csv, whose reader says what is missing.
TraceFormat recognised_trace_format(const std::filesystem::path& path);

struct TraceOptions {
  TraceFormat format = TraceFormat::csv;
  std::optional<std::string> time_unit = std::nullopt;  ///< "s", "ms", "us" or "ns"; absent: the format's own
  double speed = 1;                                     ///< > 0; 2 replays twice as fast
  std::int64_t limit = 0;                               ///< only the first rows of the file; 0: all
};

struct Trace {
  std::vector<Request> requests;   ///< by arrival, ties in the order of the file; at least one
  std::vector<std::string> notes;  ///< what was assumed or left out, one sentence each
};

/// Reads a trace line by line. Time stamps are exact decimals (to the picosecond) counted from the zero of the file, or
/// from its first request where they are dates or seconds since 1970. A Mooncake trace with ticks of a second or more
/// has each tick's requests spread evenly over the tick. Requests without an output token failed when recorded:
/// azure, burstgpt and mooncake leave them out and note how many; in csv and jsonl they are an error.
/// Errors (ConfigError, `file:line: ...`): no file (3); anything that is not such a trace, or a line over 1 MiB (4).
Trace read_trace(const std::filesystem::path& path, const TraceOptions& options);

/// The token counts in one column of a CSV file with a header, each at least 1. An empty `column` takes the only one.
/// Errors as in `read_trace`.
std::vector<std::int32_t> read_lengths_file(const std::filesystem::path& path, std::string_view column);

}  // namespace moesim
