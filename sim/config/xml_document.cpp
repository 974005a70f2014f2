#include "config/xml_document.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "config/json_reader.h"
#include "config/text_file.h"

namespace moesim {

namespace {

using boost::property_tree::ptree;

constexpr int deepest = 200;

[[noreturn]] void fail_at(const std::string& file, std::int64_t line, const std::string& message) {
  throw ConfigError(InputProblem::bad_data, fmt::format("{}:{}: {}", file, line, message));
}

/// Lines of the start tags, in the order of the document: the property tree keeps the order and loses the lines.
std::vector<std::int64_t> lines_of_elements(const std::string& text, const std::string& file) {
  std::vector<std::int64_t> lines;
  std::int64_t line = 1;
  int depth = 0;
  const auto skip = [&](std::size_t from, std::string_view end) {
    const std::size_t found = text.find(end, from);
    const std::size_t to = found == std::string::npos ? text.size() : found + end.size();
    line += std::count(text.begin() + static_cast<std::ptrdiff_t>(from), text.begin() + static_cast<std::ptrdiff_t>(to),
                       '\n');
    return to;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = std::string_view(text).substr(at);
    if (rest[0] != '<') {
      line += rest[0] == '\n';
      ++at;
    } else if (rest.starts_with("<!--")) {
      at = skip(at, "-->");
    } else if (rest.starts_with("<![CDATA[")) {
      at = skip(at, "]]>");
    } else if (rest.starts_with("<?")) {
      at = skip(at, "?>");
    } else if (rest.starts_with("<!")) {
      at = skip(at, ">");
    } else if (rest.starts_with("</")) {
      --depth;
      at = skip(at, ">");
    } else {
      lines.push_back(line);
      if (++depth > deepest) fail_at(file, line, fmt::format("elements nested deeper than {}", deepest));
      char quote = 0;
      for (++at; at < text.size() && (quote != 0 || text[at] != '>'); ++at) {
        line += text[at] == '\n';
        if (quote != 0) {
          if (text[at] == quote) quote = 0;
        } else if (text[at] == '"' || text[at] == '\'') {
          quote = text[at];
        }
      }
      if (at < text.size() && text[at - 1] == '/') --depth;
    }
  }
  return lines;
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

XmlElement element_of(const std::string& tag, const ptree& node, const std::vector<std::int64_t>& lines,
                      std::size_t& next) {
  XmlElement element;
  element.tag = tag;
  element.text = trimmed(node.data());
  element.line = next < lines.size() ? lines[next] : 0;
  ++next;
  for (const auto& [name, child] : node) {
    if (name == "<xmlattr>") {
      for (const auto& [key, value] : child) element.attributes.emplace_back(key, value.data());
    } else if (!name.starts_with('<')) {
      element.children.push_back(element_of(name, child, lines, next));
    }
  }
  return element;
}

}  // namespace

const std::string* XmlElement::find(std::string_view attribute) const {
  const auto found =
      std::find_if(attributes.begin(), attributes.end(), [&](const auto& pair) { return pair.first == attribute; });
  return found == attributes.end() ? nullptr : &found->second;
}

std::string_view XmlElement::value(std::string_view attribute) const {
  const std::string* found = find(attribute);
  return found != nullptr ? std::string_view(*found) : std::string_view();
}

void XmlDocument::fail(const XmlElement& where, const std::string& message) const {
  fail_at(file, where.line, message);
}

XmlDocument read_xml_document(const std::filesystem::path& path) {
  XmlDocument document;
  document.file = input_name(path);
  const std::string text = read_text(path, "an XML file");
  const std::vector<std::int64_t> lines = lines_of_elements(text, document.file);
  if (lines.empty()) fail_at(document.file, 1, "no XML element; expected an XML file");
  ptree tree;
  try {
    std::istringstream in(text);
    boost::property_tree::read_xml(in, tree, boost::property_tree::xml_parser::no_comments);
  } catch (const boost::property_tree::xml_parser_error& error) {
    fail_at(document.file, static_cast<std::int64_t>(error.line()), "not XML: " + error.message());
  }
  std::size_t next = 0;
  for (const auto& [name, child] : tree) {
    if (!name.starts_with('<')) document.root = element_of(name, child, lines, next);
  }
  return document;
}

}  // namespace moesim
