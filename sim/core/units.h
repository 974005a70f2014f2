#pragma once
// Physical quantities as types. Time is an integer number of picoseconds (64 bits: 106 days), so sums are exact and
// equal times are equal. Real numbers become time in one place, `Duration::from_seconds`.

#include <cmath>
#include <compare>
#include <cstdint>

namespace moesim {

/// A length of simulated time in picoseconds; may be negative.
class Duration {
 public:
  constexpr Duration() = default;
  static constexpr Duration picoseconds(std::int64_t ps) { return Duration(ps); }
  static constexpr Duration nanoseconds(std::int64_t ns) { return Duration(ns * 1'000); }
  static constexpr Duration microseconds(std::int64_t us) { return Duration(us * 1'000'000); }
  static constexpr Duration milliseconds(std::int64_t ms) { return Duration(ms * 1'000'000'000); }
  static constexpr Duration seconds(std::int64_t s) { return Duration(s * 1'000'000'000'000); }
  /// The only place where a real number becomes time: nearest picosecond, halves to even.
  static Duration from_seconds(double s) { return Duration(std::llrint(s * 1e12)); }
  static Duration from_microseconds(double us) { return Duration(std::llrint(us * 1e6)); }

  constexpr std::int64_t ps() const { return ps_; }
  constexpr double seconds() const { return static_cast<double>(ps_) * 1e-12; }
  constexpr double milliseconds() const { return static_cast<double>(ps_) * 1e-9; }
  constexpr double microseconds() const { return static_cast<double>(ps_) * 1e-6; }

  constexpr auto operator<=>(const Duration&) const = default;
  constexpr Duration& operator+=(Duration d) {
    ps_ += d.ps_;
    return *this;
  }
  constexpr Duration& operator-=(Duration d) {
    ps_ -= d.ps_;
    return *this;
  }
  friend constexpr Duration operator+(Duration a, Duration b) { return Duration(a.ps_ + b.ps_); }
  friend constexpr Duration operator-(Duration a, Duration b) { return Duration(a.ps_ - b.ps_); }
  friend constexpr Duration operator*(Duration a, std::int64_t n) { return Duration(a.ps_ * n); }
  friend constexpr Duration operator*(std::int64_t n, Duration a) { return Duration(a.ps_ * n); }
  friend constexpr double operator/(Duration a, Duration b) {
    return static_cast<double>(a.ps_) / static_cast<double>(b.ps_);
  }

 private:
  explicit constexpr Duration(std::int64_t ps) : ps_(ps) {}
  std::int64_t ps_ = 0;
};

/// A point of simulated time, counted from the start of the run.
class Instant {
 public:
  constexpr Instant() = default;
  static constexpr Instant at(Duration since_start) { return Instant(since_start); }
  static constexpr Instant never() { return Instant(Duration::picoseconds(INT64_MAX)); }
  constexpr Duration since_start() const { return since_start_; }
  constexpr std::int64_t ps() const { return since_start_.ps(); }
  constexpr double seconds() const { return since_start_.seconds(); }
  constexpr auto operator<=>(const Instant&) const = default;
  friend constexpr Instant operator+(Instant t, Duration d) { return Instant(t.since_start_ + d); }
  friend constexpr Instant operator-(Instant t, Duration d) { return Instant(t.since_start_ - d); }
  friend constexpr Duration operator-(Instant a, Instant b) { return a.since_start_ - b.since_start_; }

 private:
  explicit constexpr Instant(Duration d) : since_start_(d) {}
  Duration since_start_;
};

/// A whole number of bytes.
struct Bytes {
  std::int64_t value = 0;
  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes b) {
    value += b.value;
    return *this;
  }
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return {a.value + b.value}; }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return {a.value - b.value}; }
  friend constexpr Bytes operator*(Bytes a, std::int64_t n) { return {a.value * n}; }
  constexpr double gigabytes() const { return static_cast<double>(value) * 1e-9; }
  constexpr double gibibytes() const { return static_cast<double>(value) / 1073741824.0; }
  /// Fractional bytes (a real number of bits per element) round up to whole ones.
  static Bytes ceil(double bytes) { return {static_cast<std::int64_t>(std::ceil(bytes))}; }
};

/// Bytes per second of one direction of a link, or of a memory.
struct BytesPerSecond {
  double value = 0;
  constexpr auto operator<=>(const BytesPerSecond&) const = default;
  friend constexpr BytesPerSecond operator*(BytesPerSecond a, double f) { return {a.value * f}; }
};

/// Floating-point operations (a multiply-add counts two).
struct Flops {
  double value = 0;
  constexpr auto operator<=>(const Flops&) const = default;
  constexpr Flops& operator+=(Flops f) {
    value += f.value;
    return *this;
  }
  friend constexpr Flops operator+(Flops a, Flops b) { return {a.value + b.value}; }
};

struct FlopsPerSecond {
  double value = 0;
  constexpr auto operator<=>(const FlopsPerSecond&) const = default;
};

}  // namespace moesim
