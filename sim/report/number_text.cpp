#include "report/number_text.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

namespace moesim {

std::string whole_number(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::size_t first = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size >= 999.5) return whole_number(std::llround(value));
  if (size >= 99.95) return fmt::format("{:.0f}", value);
  if (size >= 9.995) return fmt::format("{:.1f}", value);
  if (size >= 0.9995) return fmt::format("{:.2f}", value);
  if (size == 0) return "0";
  return fmt::format("{:.3g}", value);
}

std::string percent(double fraction) {
  return fmt::format("{:.1f} %", fraction * 100);
}

std::string size_text(Bytes bytes) {
  const auto value = static_cast<double>(bytes.value);
  const double size = std::abs(value);
  if (size >= 1099511627776.0) return fmt::format("{:.2f} TiB", value / 1099511627776.0);
  if (size >= 1073741824.0) return fmt::format("{:.1f} GiB", value / 1073741824.0);
  if (size >= 1048576.0) return fmt::format("{:.1f} MiB", value / 1048576.0);
  if (size >= 1024.0) return fmt::format("{:.1f} KiB", value / 1024.0);
  return fmt::format("{} B", bytes.value);
}

std::string time_text(double seconds) {
  const double size = std::abs(seconds);
  if (size >= 1 || size == 0) return short_number(seconds) + " s";
  if (size >= 1e-3) return short_number(seconds * 1e3) + " ms";
  return short_number(seconds * 1e6) + " us";
}

std::string exact_decimal(std::int64_t ps, int digits) {
  std::int64_t unit = 1;
  for (int i = 0; i < digits; ++i) unit *= 10;
  std::string text = fmt::format("{}{}", ps < 0 ? "-" : "", std::abs(ps / unit));
  if (const std::int64_t rest = std::abs(ps % unit); rest != 0) {
    text += fmt::format(".{:0{}}", rest, digits);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text;
}

std::string shortened(std::string_view text, std::size_t most) {
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  std::size_t characters = 0, cut = text.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!starts_character(text[i])) continue;
    if (++characters == most) cut = i;
  }
  return characters <= most ? std::string(text) : std::string(text.substr(0, cut)) + "…";
}

}  // namespace moesim
