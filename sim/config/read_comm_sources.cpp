#include "config/read_comm_sources.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "config/json_reader.h"
#include "config/line_reader.h"

namespace moesim {

namespace {

void append(std::string& list, const std::string& part) {
  if (part.empty() || list.find(part) != std::string::npos) return;
  list += (list.empty() ? "" : "; ") + part;
}

}  // namespace

CommSources read_comm_sources(std::span<const std::string> tables, const std::set<std::string>& ids) {
  CommSources sources;
  std::set<std::filesystem::path> files;
  for (const std::string& table : tables) files.insert(std::filesystem::path(table).parent_path() / "sources.csv");
  for (const std::filesystem::path& file : files) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(file, ignored)) continue;
    LineReader reader(file);
    std::string_view line;
    std::vector<std::string_view> fields;
    std::vector<std::string> storage;
    if (!reader.next(line) || !line.starts_with("source_id,where,licence")) continue;
    while (reader.next(line)) {
      split_csv(line, fields, storage);
      if (fields.size() < 3 || ids.count(std::string(fields[0])) == 0) continue;
      append(sources.where, std::string(fields[1]));
      append(sources.licence, std::string(fields[2]));
    }
  }
  return sources;
}

}  // namespace moesim
