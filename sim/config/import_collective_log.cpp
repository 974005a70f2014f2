#include "config/import_collective_log.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "config/collective_log_ranks.h"
#include "config/json_reader.h"
#include "config/text_file.h"

namespace moesim {

namespace {

constexpr std::array<std::string_view, 13> usual_columns = {
    "size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", "time", "algbw", "busbw", "#wrong"};

struct Word {
  std::string text;
  std::size_t at = 0;  ///< column of its first character
};

std::vector<Word> words_of(std::string_view line) {
  std::vector<Word> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t start = line.find_first_not_of(" \t\r", at);
    if (start == std::string_view::npos) break;
    at = std::min(line.find_first_of(" \t\r", start), line.size());
    words.push_back({std::string(line.substr(start, at - start)), start});
  }
  return words;
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Without the `0: ` of srun or the `[1,0]<stdout>:` of mpirun, and with a blank for the first '#'.
std::string without_decoration(std::string_view line) {
  const std::size_t first = line.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  std::size_t start = 0;
  if (const std::size_t colon = line.find(':', first); colon != std::string_view::npos) {
    const std::string_view before = line.substr(first, colon - first);
    if (all_digits(before) || (before.starts_with('[') && before.ends_with('>'))) start = colon + 1;
  }
  std::string text(line.substr(start));
  if (const std::size_t mark = text.find_first_not_of(" \t"); mark != std::string::npos && text[mark] == '#') {
    text[mark] = ' ';
  }
  return text;
}

/// "all_reduce" of "all_reduce_perf", with or without folders before it. Our word for sendrecv is send_recv.
std::string collective_of(std::string program) {
  program = program.substr(program.find_last_of('/') + 1);
  if (const std::size_t end = program.find("_perf"); end != std::string::npos) program.resize(end);
  return program == "sendrecv" ? "send_recv" : program;
}

/// The user's word for a collective as logs have it. Throws ConfigError (usage) where nccl-tests have none of the name.
std::string known_collective(const std::string& word) {
  if (word.empty()) return {};
  const std::string collective = word == "all_to_all" ? "alltoall" : collective_of(word);
  const std::vector<std::string> known = {"all_reduce", "all_gather", "reduce_scatter", "alltoall",  "broadcast",
                                          "reduce",     "gather",     "scatter",        "send_recv", "hypercube"};
  if (std::find(known.begin(), known.end(), collective) != known.end()) return collective;
  const auto near = nearest(collective, known);
  throw ConfigError(InputProblem::usage,
                    fmt::format("import: --collective {}: expected one of {}{}", echo(word), fmt::join(known, ", "),
                                near ? "; did you mean " + *near + "?" : ""));
}

/// 2.28.9 of 22809; before 2.9 of 2804.
std::string version_of(std::int64_t code) {
  if (code >= 10000) return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
  return fmt::format("{}.{}.{}", code / 1000, code / 100 % 10, code % 100);
}

class TextReader {
 public:
  TextReader(const std::string& text, NcclTestLog& log) : text_(text), log_(log) {}

  void read() {
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', at), text_.size());
      ++line_;
      read_line(without_decoration(std::string_view(text_).substr(at, end - at)));
      at = end + 1;
    }
    if (log_.rows.empty()) {
      fail("ends without a row of nccl-tests (size, count, type, redop, root, time, algbw, busbw, ...)");
    }
    log_.nodes = static_cast<std::int64_t>(hosts_.size());
    log_.ranks = ranks_;
  }

  const std::string& reduction() const { return reduction_; }
  /// Ranks by bytes / (count x size of an element), 0 where the rows disagree or do not divide.
  std::int64_t ranks_by_count() const { return by_count_; }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw ConfigError(InputProblem::bad_data, fmt::format("{}:{}: {}", log_.file, line_, message));
  }

  void read_line(const std::string& line) {
    const std::vector<Word> words = words_of(line);
    if (words.empty()) return;
    if (all_digits(words[0].text)) {
      read_row(words);
    } else if (words[0].text == "size" && has_figures(words)) {
      header_ = words;
    } else if (words[0].text == "Rank" && words.size() > 5) {
      read_rank(line, words);
    } else {
      read_remark(line);
    }
  }

  /// A heading with the three figures of at least one half, behind the columns that every row has.
  static bool has_figures(const std::vector<Word>& words) {
    for (std::size_t i = 3; i + 2 < words.size(); ++i) {
      if (words[i].text == "time") return words[i + 1].text == "algbw" && words[i + 2].text == "busbw";
    }
    return false;
  }

  void read_remark(const std::string& line) {
    const auto after = [&](std::string_view words) -> std::string {
      const std::size_t at = line.find(words);
      if (at == std::string::npos) return {};
      const std::vector<Word> rest = words_of(std::string_view(line).substr(at + words.size()));
      return rest.empty() ? "" : rest[0].text;
    };
    for (const std::string_view head : {"Collective test starting:", "Collective test concluded:"}) {
      if (const std::string program = after(head); !program.empty()) log_.collective = collective_of(program);
    }
    if (line.find("RCCL") != std::string::npos || line.find("rccl") != std::string::npos) log_.library = "RCCL";
    if (const std::string code = after("nccl-library="); all_digits(code) && code.size() < 7) {
      log_.version = version_of(std::stoll(code));
    }
    std::string version = after("NCCL version");
    if (!version.empty() && version[0] >= '0' && version[0] <= '9') log_.version = version.substr(0, version.find('+'));
  }

  /// Rank  0 Group  0 Pid    100 on         h0 device  0 [0000:1a:00] NVIDIA H200
  void read_rank(const std::string& line, const std::vector<Word>& words) {
    const auto on = std::find_if(words.begin(), words.end(), [](const Word& word) { return word.text == "on"; });
    if (!all_digits(words[1].text) || on == words.end() || on + 1 == words.end()) return;
    ++ranks_;
    hosts_.insert((on + 1)->text);
    const std::size_t bracket = line.find("] ");
    const std::size_t gpu = bracket == std::string::npos ? bracket : line.find_first_not_of(" \t\r", bracket + 1);
    if (gpu != std::string::npos) {
      log_.gpu = line.substr(gpu);
      log_.gpu.resize(log_.gpu.find_last_not_of(" \t\r") + 1);
    }
  }

  /// Words of a row by the names of the heading, or as nccl-tests writes them where that is cut off.
  void read_row(const std::vector<Word>& words) {
    const bool shaped = words.size() >= 8 && all_digits(words[1].text) && !all_digits(words[2].text) &&
                        words[2].text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
    if (!shaped) {
      // A row that is cut is an error; a line that only starts with a number is not a row.
      if (words.size() >= 3 && all_digits(words[1].text) && element_bytes(words[2].text)) {
        fail(fmt::format("a row of {} columns; expected {}", words.size(), columns().size()));
      }
      return;
    }
    const std::vector<std::string> names = columns();
    const auto first = static_cast<std::size_t>(std::find(names.begin(), names.end(), "time") - names.begin());
    const auto second = static_cast<std::size_t>(
        std::find(names.begin() + static_cast<std::ptrdiff_t>(std::min(first + 1, names.size())), names.end(), "time") -
        names.begin());
    NcclTestRow row;
    row.bytes = whole(words[0].text, "size");
    row.type = words[2].text;
    const bool one_half = second + 2 < names.size() && words.size() + (second - first) == names.size();
    if (words.size() < names.size() && !one_half) {
      fail(fmt::format("a row of {} columns; expected {}", words.size(), names.size()));
    }
    if (words.size() < first + 3) fail(fmt::format("a row of {} columns; expected {}", words.size(), names.size()));
    // A blank half: what is there stands under one of the two headings.
    const bool in_place = one_half && !header_.empty() && words[first].at + 4 > header_[second].at;
    if (!in_place) {
      row.time = real(words[first].text, "time");
      row.algbw = real(words[first + 1].text, "algbw");
      row.busbw = real(words[first + 2].text, "busbw");
    }
    if (in_place || (!one_half && second + 2 < names.size())) {
      const std::size_t at = in_place ? first : second;
      row.inplace_time = real(words[at].text, "time");
      row.inplace_algbw = real(words[at + 1].text, "algbw");
      row.inplace_busbw = real(words[at + 2].text, "busbw");
    }
    const auto redop = static_cast<std::size_t>(std::find(names.begin(), names.end(), "redop") - names.begin());
    if (redop < words.size()) reduction_ = words[redop].text;
    if (row.bytes == 0) return;
    count_ranks(row, whole(words[1].text, "count"));
    log_.rows.push_back(std::move(row));
  }

  std::vector<std::string> columns() const {
    std::vector<std::string> names;
    if (header_.empty()) names.assign(usual_columns.begin(), usual_columns.end());
    for (const Word& word : header_) names.push_back(word.text);
    return names;
  }

  std::int64_t whole(const std::string& text, std::string_view column) const {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0) {
      fail(fmt::format("{} \"{}\"; expected a whole number", column, echo(text)));
    }
    return value;
  }
  std::optional<double> real(const std::string& text, std::string_view column) const {
    if (text == "N/A") return std::nullopt;
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end != 0 || !(value >= 0 && value < 1e15)) {
      fail(fmt::format("{} \"{}\"; expected a number", column, echo(text)));
    }
    return value;
  }

  void count_ranks(const NcclTestRow& row, std::int64_t count) {
    const std::int64_t sent = count * element_bytes(row.type).value_or(0);
    const std::int64_t n = sent > 0 && row.bytes % sent == 0 ? row.bytes / sent : 0;
    if (log_.rows.empty()) {
      by_count_ = n;
    } else if (n != by_count_) {
      by_count_ = 0;
    }
  }

  const std::string& text_;
  NcclTestLog& log_;
  std::int64_t line_ = 0;
  std::vector<Word> header_;
  std::set<std::string> hosts_;
  std::int64_t ranks_ = 0, by_count_ = 0;
  std::string reduction_;
};

/// `nccl_version` is 22809 or "2.28.9".
std::string json_version(const JsonReader& value) {
  if (value.json().is_number_integer()) return version_of(value.integer());
  return value.json().is_string() ? value.string() : std::string();
}

/// Times and bandwidths of a half; `cpu_time` stands for `time` with -C.
void read_half(const JsonReader& half, std::optional<double>& time, std::optional<double>& algbw,
               std::optional<double>& busbw) {
  const auto read = [&](std::string_view key) -> std::optional<double> {
    const auto value = half.find(key);
    return value ? std::optional(value->number_in(0, 1e15)) : std::nullopt;
  };
  time = read("time");
  if (!time) time = read("cpu_time");
  algbw = read("alg_bw");
  busbw = read("bus_bw");
}

std::string read_json(const nlohmann::ordered_json& document, NcclTestLog& log) {
  const JsonReader file(document, log.file);
  std::string reduction;
  if (const auto arguments = file.find("args")) {
    const std::vector<JsonReader> words = arguments->elements();
    if (!words.empty()) log.collective = collective_of(words.front().string());
  }
  if (const auto version = file.find("nccl_version")) log.version = json_version(*version);
  std::set<std::string> hosts;
  if (const auto config = file.find("config")) {
    if (const auto devices = config->find("devices")) {
      for (const JsonReader& device : devices->elements()) {
        ++log.ranks;
        hosts.insert(device.at("hostname").string());
        if (const auto name = device.find("device_info")) log.gpu = name->string();
      }
    }
  }
  log.nodes = static_cast<std::int64_t>(hosts.size());
  for (const JsonReader& result : file.at("results").elements()) {
    NcclTestRow row;
    row.bytes = result.at("size").integer_in(0, std::int64_t{1} << 50);
    row.type = result.at("type").string();
    if (const auto redop = result.find("redop")) reduction = redop->string();
    if (const auto half = result.find("out_of_place")) read_half(*half, row.time, row.algbw, row.busbw);
    if (const auto half = result.find("in_place")) {
      read_half(*half, row.inplace_time, row.inplace_algbw, row.inplace_busbw);
    }
    if (row.bytes > 0) log.rows.push_back(std::move(row));
  }
  if (log.rows.empty()) file.at("results").fail("no result of more than 0 bytes");
  return reduction;
}

void decide_collective(NcclTestLog& log, const std::string& said, const std::string& reduction) {
  if (!log.collective.empty() && !said.empty() && log.collective != said) {
    throw ConfigError(InputProblem::usage,
                      fmt::format("{}: is a log of {}, --collective says {}", log.file, log.collective, said));
  }
  if (log.collective.empty()) log.collective = said;
  if (!log.collective.empty()) return;
  log.collective = collective_by_ratio(log.rows, reduction);
  if (log.collective.empty()) {
    throw ConfigError(InputProblem::usage,
                      fmt::format("{}: does not name its collective, and busbw / algbw is that of several; add "
                                  "--collective NAME (all_gather, alltoall, reduce_scatter, broadcast, ...)",
                                  log.file));
  }
  log.notes.push_back(fmt::format("{}: {} by busbw / algbw", log.file, log.collective));
}

void decide_ranks(NcclTestLog& log, std::int64_t by_count) {
  if (log.ranks > 0) return;
  const bool parts =
      log.collective == "all_gather" || log.collective == "alltoall" || log.collective == "reduce_scatter";
  bool several = false;
  log.ranks = ranks_by_ratio(log.rows, log.collective, several);
  if (parts && by_count > 1 && (log.ranks == 0 || several)) {
    log.ranks = by_count;
    several = false;
  }
  if (log.ranks == 0) return;
  log.notes.push_back(fmt::format("{}: {} ranks by its figures{}", log.file, log.ranks,
                                  several ? ", the most even of the numbers that fit" : ""));
}

}  // namespace

NcclTestLog read_nccl_tests(const std::filesystem::path& path, const std::string& word) {
  const std::string collective = known_collective(word);
  NcclTestLog log;
  log.file = input_name(path);
  log.library = "NCCL";
  const std::string text = read_text(path, "a log of nccl-tests");
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  std::string reduction;
  std::int64_t by_count = 0;
  if (first != std::string::npos && text[first] == '{') {
    reduction = read_json(parse_json_file(path), log);
  } else {
    TextReader reader(text, log);
    reader.read();
    reduction = reader.reduction();
    by_count = reader.ranks_by_count();
  }
  decide_collective(log, collective, reduction);
  decide_ranks(log, by_count);
  if (log.nodes > 0 && log.ranks > 0) log.gpus_per_node = (log.ranks + log.nodes - 1) / log.nodes;
  return log;
}

void complete_from_cluster(NcclTestLog& log, const ClusterSpec& cluster) {
  if (log.gpu.empty()) log.gpu = cluster.gpu;
  if (log.ranks == 0) {
    log.ranks = gpu_count(cluster);
    log.notes.push_back(fmt::format("{}: {} ranks as the cluster has GPUs", log.file, log.ranks));
  }
  if (log.gpus_per_node == 0) log.gpus_per_node = std::min<std::int64_t>(cluster.gpus_per_node, log.ranks);
  if (log.nodes == 0) log.nodes = (log.ranks + log.gpus_per_node - 1) / log.gpus_per_node;
}

}  // namespace moesim
