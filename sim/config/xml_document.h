#pragma once
// XML files as elements that know their line.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moesim {

struct XmlElement {
  std::string tag;
  std::string text;  ///< without surrounding blanks
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<XmlElement> children;
  std::int64_t line = 0;  ///< where it starts, from 1

  const std::string* find(std::string_view attribute) const;
  /// Empty where there is none.
  std::string_view value(std::string_view attribute) const;
};

struct XmlDocument {
  std::string file;
  XmlElement root;

  /// Throws ConfigError (4): `file:line: message`.
  [[noreturn]] void fail(const XmlElement& where, const std::string& message) const;
};

/// Throws ConfigError: no file (3), not XML or nested too deep (4).
XmlDocument read_xml_document(const std::filesystem::path& path);

}  // namespace moesim
