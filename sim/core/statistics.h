#pragma once
// What a run observes: values with how often they occurred, quantities that hold for a time, and how sure a mean is.

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "core/units.h"

namespace moesim {

__extension__ typedef __int128 WideInteger;

/// Values and how often each occurred, never expanded: 1000 requests that share a step add one row. `Value` is
/// std::int64_t (picoseconds, tokens; sums are exact) or double. Add, then `sort()`, then ask for quantiles.
template <class Value>
class Distribution {
 public:
  /// Constant time; a value equal to the one before takes no memory. `count` >= 0.
  void add(Value value, std::int64_t count = 1);
  /// All rows of `other`, as if added here.
  void add(const Distribution& other);
  /// Orders the rows and joins equal values.
  void sort();

  std::int64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  /// The number of rows held.
  std::size_t rows() const { return rows_.size(); }
  /// Zero when empty.
  double mean() const;
  /// sqrt(mean of (value - mean)^2), the population form: divided by n. Zero when empty.
  double standard_deviation() const;
  /// The value at position q (n - 1) of the sorted values, linear between neighbours: `numpy.quantile` with its default
  /// method, to the last bit. 0 <= q <= 1, sorted and not empty.
  double quantile(double q) const;
  /// How many values are at most `limit`; sorted.
  std::int64_t count_at_most(Value limit) const;
  Value smallest() const;  ///< sorted and not empty
  Value largest() const;   ///< sorted and not empty

 private:
  struct Row {
    Value value;
    std::int64_t count;
  };
  Value at(std::int64_t position) const;
  std::vector<Row> rows_;
  std::vector<std::int64_t> up_to_;  // of each row after `sort`: the values in it and before it
  std::int64_t count_ = 0;
  bool sorted_ = true;
};

extern template class Distribution<std::int64_t>;
extern template class Distribution<double>;

/// A quantity that keeps its value until it is set again, such as a queue length: its integral over simulated time and
/// its time-weighted mean. With std::int64_t the integral is exact (value times picoseconds, 128 bits).
template <class Value>
class TimeWeighted {
 public:
  using Integral = std::conditional_t<std::is_integral_v<Value>, WideInteger, double>;

  explicit TimeWeighted(Instant start = {}, Value value = {}) : start_(start), last_(start), value_(value) {}
  /// `now` is not before the last change.
  void set(Instant now, Value value) {
    area_ = integral(now);
    last_ = now;
    value_ = value;
  }
  void add(Instant now, Value change) { set(now, value_ + change); }
  /// Forgets the past, for example at the end of a warm-up; the value stays.
  void restart(Instant now) {
    area_ = 0;
    start_ = last_ = now;
  }
  Value value() const { return value_; }
  /// Value times picoseconds from the start to `now`.
  Integral integral(Instant now) const {
    return area_ + static_cast<Integral>(value_) * static_cast<Integral>((now - last_).ps());
  }
  /// The present value when no time has passed.
  double mean(Instant now) const {
    if (now == start_) return static_cast<double>(value_);
    return static_cast<double>(integral(now)) / static_cast<double>((now - start_).ps());
  }

 private:
  Instant start_;
  Instant last_;
  Value value_;
  Integral area_ = 0;
};

struct ConfidenceInterval {
  double mean = 0;
  double half_width = 0;
  bool contains(double x) const { return mean - half_width <= x && x <= mean + half_width; }
};

/// 90% interval for the mean of a steady-state series whose neighbours may be correlated: the means of `batches`
/// consecutive batches are taken as independent and normal,
///     mean +- t(0.95, batches - 1) s / sqrt(batches).
/// Batches are equal; the first `size % batches` values are left out. 2 <= batches <= size. Cut the warm-up first.
/// Source: Law, "Simulation Modeling and Analysis", 5th ed., section 9.5.3.
ConfidenceInterval batch_means(std::span<const double> series, int batches = 20);

/// The 0.95 quantile of Student's t, relative error below 1e-4; freedom >= 1.
double student_t_95(int freedom);

}  // namespace moesim
