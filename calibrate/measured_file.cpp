#include "measured_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <boost/tokenizer.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace moesim::calibrate {

namespace {

namespace fs = std::filesystem;

/// Quoted where a comma or a quote is inside, as the tables' reader takes it.
std::string escaped(const std::string& field) {
  if (field.find_first_of(",\"\n\r") == std::string::npos) return field;
  std::string text = "\"";
  for (const char c : field) {
    if (c == '"') text += '"';
    text += c == '\n' || c == '\r' ? ' ' : c;
  }
  return text + '"';
}

template <class Range>
std::string line_of(const Range& fields) {
  std::string line;
  for (const auto& field : fields) line += escaped(std::string(field)) + ',';
  line.back() = '\n';
  return line;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  const boost::tokenizer<boost::escaped_list_separator<char>> tokens(
      line, boost::escaped_list_separator<char>("", ",", "\""));
  for (const std::string& token : tokens) fields.push_back(token);
  return fields;
}

}  // namespace

std::variant<MeasuredFile, std::string> MeasuredFile::open(const std::string& path, Family family,
                                                           ExistingFile existing) {
  MeasuredFile table;
  const std::vector<std::string_view> names = columns(family);
  const std::string header = line_of(names);
  std::string text;
  if (fs::exists(path)) {
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
    if (!text.empty() && existing == ExistingFile::refuse) {
      return fmt::format("{}: the file is there already; add --resume to go on with it, or name another", path);
    }
  }
  // The row that a kill cut short is measured again.
  const std::size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole < text.size()) fs::resize_file(path, whole);
  text.resize(whole);
  if (!text.empty() && text.compare(0, header.size(), header) != 0) {
    return fmt::format("{}:1: expected the header of a table of {}: {}", path, name(family),
                       header.substr(0, header.size() - 1));
  }
  const std::size_t provider =
      static_cast<std::size_t>(std::find(names.begin(), names.end(), "provider") - names.begin());
  std::size_t line_number = 1;
  for (std::size_t start = std::min(header.size(), text.size()); start < text.size();) {
    const std::size_t end = text.find('\n', start);
    ++line_number;
    const std::vector<std::string> fields = split(text.substr(start, end - start));
    if (fields.size() != names.size()) {
      return fmt::format("{}:{}: expected {} columns, got {}", path, line_number, names.size(), fields.size());
    }
    std::string key;
    for (std::size_t i = 0; i < key_columns(family); ++i) key += fields[i] + ',';
    table.keys_.insert(key + fields[provider]);
    start = end + 1;
  }
  table.file_.reset(std::fopen(path.c_str(), "ab"));
  if (!table.file_) return fmt::format("{}: {}", path, std::strerror(errno));
  if (text.empty() && (std::fputs(header.c_str(), table.file_.get()) < 0 || std::fflush(table.file_.get()) != 0)) {
    return fmt::format("{}: {}", path, std::strerror(errno));
  }
  return table;
}

bool MeasuredFile::add(const Case& measured, const Measured& result, const Provenance& provenance) {
  const std::string line = line_of(row_fields(measured, result, provenance));
  if (std::fputs(line.c_str(), file_.get()) < 0 || std::fflush(file_.get()) != 0) return false;
  fsync(fileno(file_.get()));
  keys_.insert(key_of(measured));
  return true;
}

std::string table_path(const std::string& output, Family family, std::size_t families) {
  if (families == 1) return output;
  fs::path path(output);
  const std::string ending = path.extension();
  path.replace_extension();
  path += "." + std::string(name(family)) + ending;
  return path;
}

}  // namespace moesim::calibrate
