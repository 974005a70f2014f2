#include "config/time_stamp.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <system_error>

namespace moesim {

namespace {

constexpr std::int64_t second = 1'000'000'000'000;  // picoseconds

std::optional<int> parse_digits(std::string_view text, std::size_t at, std::size_t count) {
  int value = 0;
  if (at + count > text.size()) return std::nullopt;
  for (const char c : text.substr(at, count)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

std::optional<WideInteger> parse_time(std::string_view text, std::int64_t unit) {
  const std::string_view whole_text = text;
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  std::int64_t whole = 0, fraction = 0, scale = second;
  std::size_t i = 0, digits = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9' && digits < 18; ++i, ++digits) {
    whole = whole * 10 + (text[i] - '0');
  }
  if (i < text.size() && text[i] == '.') {
    for (++i; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i, ++digits) {
      if (scale == 1) continue;
      scale /= 10;
      fraction = fraction * 10 + (text[i] - '0');
    }
  }
  if (digits == 0) return std::nullopt;
  if (i == text.size()) {
    // `fraction * scale` counts 10^-12 of the unit.
    const std::int64_t per_picosecond = second / unit;
    const WideInteger time =
        static_cast<WideInteger>(whole) * unit + (fraction * scale + per_picosecond / 2) / per_picosecond;
    return negative ? -time : time;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(whole_text.data(), whole_text.data() + whole_text.size(), value);
  if (error != std::errc() || end != whole_text.data() + whole_text.size()) return std::nullopt;
  if (!(std::abs(value) < 1e18)) return std::nullopt;
  return static_cast<WideInteger>(std::nearbyint(value * static_cast<double>(unit)));
}

std::optional<WideInteger> parse_date(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || (text[10] != ' ' && text[10] != 'T') || text[13] != ':' ||
      text[16] != ':') {
    return std::nullopt;
  }
  const auto year = parse_digits(text, 0, 4), month = parse_digits(text, 5, 2), day = parse_digits(text, 8, 2);
  const auto hour = parse_digits(text, 11, 2), minute = parse_digits(text, 14, 2);
  if (!year || !month || !day || !hour || !minute) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59) return std::nullopt;

  int offset_minutes = 0;
  std::string_view seconds_text = text.substr(17);
  if (seconds_text.back() == 'Z') {
    seconds_text.remove_suffix(1);
  } else if (const std::size_t sign = seconds_text.find_first_of("+-"); sign != std::string_view::npos) {
    const std::string_view offset = seconds_text.substr(sign);
    const auto hours = parse_digits(offset, 1, 2), minutes = parse_digits(offset, 4, 2);
    if (offset.size() != 6 || offset[3] != ':' || !hours || !minutes) return std::nullopt;
    offset_minutes = (*hours * 60 + *minutes) * (offset[0] == '-' ? -1 : 1);
    seconds_text = seconds_text.substr(0, sign);
  }
  const std::optional<WideInteger> seconds = parse_time(seconds_text, second);
  if (!seconds || *seconds < 0 || *seconds >= static_cast<WideInteger>(61) * second) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t minutes = (days * 24 + *hour) * 60 + *minute - offset_minutes;
  return static_cast<WideInteger>(minutes) * 60 * second + *seconds;
}

}  // namespace moesim
