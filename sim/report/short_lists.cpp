#include "report/short_lists.h"

namespace moesim {

std::string with_short_lists(const std::string& text) {
  std::string result;
  std::size_t at = 0;
  bool quoted = false;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"' && (at == 0 || text[at - 1] != '\\')) quoted = !quoted;
    if (c != '[' || quoted) {
      result += c;
      ++at;
      continue;
    }
    const std::size_t end = text.find_first_of("[]{}", at + 1);
    if (end == std::string::npos || text[end] != ']') {
      result += c;
      ++at;
      continue;
    }
    for (; at <= end; ++at) {
      if (text[at] != '\n') {
        result += text[at];
        continue;
      }
      while (at + 1 < end && text[at + 1] == ' ') ++at;
      if (result.back() == ',') result += ' ';
    }
  }
  return result;
}

}  // namespace moesim
