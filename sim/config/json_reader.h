#pragma once
// Reading JSON with errors a user can act on: file, JSON pointer, what was found, what was expected, a near key.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/data_type.h"
#include "core/units.h"

namespace moesim {

/// Exit codes of the contract that input can cause.
enum class InputProblem { usage = 2, missing_file = 3, bad_data = 4, cannot_go_together = 5 };

/// Bad input. Thrown in config/ only, caught in main only. `what()` is the whole line to print.
class ConfigError : public std::runtime_error {
 public:
  ConfigError(InputProblem problem, const std::string& line) : std::runtime_error(line), problem_(problem) {}
  int exit_code() const { return static_cast<int>(problem_); }

 private:
  InputProblem problem_;
};

/// `text` as it may stand in a one-line message: cut to 60 bytes, control bytes and broken UTF-8 replaced.
std::string echo(std::string_view text);

/// "did you mean X?" candidate: the nearest by edit distance of at most max(1, length / 3), or nothing.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates);

/// One JSON value with the place it came from.
class JsonReader {
 public:
  /// The root of a document.
  JsonReader(const nlohmann::ordered_json& value, std::string file, std::string pointer = "");

  const nlohmann::ordered_json& json() const { return *value_; }
  const std::string& file() const { return file_; }
  const std::string& pointer() const { return pointer_; }

  /// `file: /pointer: message` with exit code 4 (or `problem`).
  [[noreturn]] void fail(const std::string& message, InputProblem problem = InputProblem::bad_data) const;

  bool has(std::string_view key) const;
  /// Fails when absent ("missing; expected ...") or, for the typed ones, of another type.
  JsonReader at(std::string_view key) const;
  std::optional<JsonReader> find(std::string_view key) const;  ///< absent or null: nothing
  std::vector<JsonReader> elements() const;
  std::vector<std::string> keys() const;

  std::string string() const;
  bool boolean() const;
  double number() const;
  double number_in(double low, double high) const;  ///< inclusive
  std::int64_t integer() const;
  std::int64_t integer_in(std::int64_t low, std::int64_t high) const;
  // Quantities: a string with a unit; a bare number is refused with the expected form.
  Duration duration() const;                ///< "3.2 us", "2 s", "50 ms"
  Bytes bytes() const;                      ///< "80 GiB", "500 MB"
  BytesPerSecond bandwidth() const;         ///< "450 GB/s", "400 Gbit/s"
  FlopsPerSecond flops_per_second() const;  ///< "989 TFLOPS"
  double rate_per_second() const;           ///< "12 /s", "90 /min"
  double usd() const;                       ///< "2.5 USD"
  double watts() const;                     ///< "700 W"
  double joules() const;                    ///< "0.7 pJ"
  DataType data_type() const;
  /// One of `names`; the error lists them.
  std::size_t choice(std::span<const std::string_view> names) const;

  /// Fails on a key that is not in `known`, with a suggestion.
  void expect_only(std::span<const std::string_view> known) const;

 private:
  const nlohmann::ordered_json* value_;
  std::string file_;
  std::string pointer_;
};

/// The path that stands for standard input: "-".
bool is_standard_input(const std::filesystem::path& path);
/// All of standard input, read once.
const std::string& standard_input();
/// What messages and results call a file: its path, "stdin" for standard input.
std::string input_name(const std::filesystem::path& path);

/// Reads a whole file (at most `limit` bytes) or standard input and parses it; comments are allowed. Errors: missing
/// file (3), syntax (4) with line and column.
nlohmann::ordered_json parse_json_file(const std::filesystem::path& path);

/// A relative `name` in a file of folder `from`: tried there, then in the current directory, then under the product's
/// root, then, where `shipped` names a folder of the product, by its bare name there; the error lists what was tried.
std::filesystem::path resolve_path(const std::string& name, const std::filesystem::path& from,
                                   const std::filesystem::path& shipped = {});
/// The product's root: MOESIM_ROOT in the environment, else the source folder that built the program.
std::filesystem::path product_root();

}  // namespace moesim
