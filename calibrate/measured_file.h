#pragma once
// A table on disk that grows by a row as soon as it is measured, so that a killed run can go on.

#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <variant>

#include "case_fields.h"

namespace moesim::calibrate {

enum class ExistingFile { refuse, resume };

class MeasuredFile {
 public:
  /// Opens `path`, with a header where it is new. To resume, a last line without its end is cut off, and the header
  /// must be that of the family. The text says why it cannot be used.
  static std::variant<MeasuredFile, std::string> open(const std::string& path, Family family, ExistingFile existing);

  bool holds(const Case& measured) const { return keys_.contains(key_of(measured)); }
  std::size_t rows() const { return keys_.size(); }
  /// Writes the row to the disk. False when it does not take it.
  [[nodiscard]] bool add(const Case& measured, const Measured& result, const Provenance& provenance);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::set<std::string> keys_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// Where a family's table goes: `output` itself when it is the only one, else with the family before the ending,
/// "my.csv" -> "my.gemm.csv".
std::string table_path(const std::string& output, Family family, std::size_t families);

}  // namespace moesim::calibrate
