#include "core/statistics.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"

namespace moesim {

template <class Value>
void Distribution<Value>::add(Value value, std::int64_t count) {
  MOESIM_CHECK(count >= 0, "count {} of value {} is negative", count, value);
  if (count == 0) return;
  count_ += count;
  sorted_ = false;
  if (!rows_.empty() && rows_.back().value == value)
    rows_.back().count += count;
  else
    rows_.push_back({value, count});
}

template <class Value>
void Distribution<Value>::add(const Distribution& other) {
  const std::size_t n = other.rows_.size();  // `other` may be this one
  for (std::size_t i = 0; i < n; ++i) {
    const Row row = other.rows_[i];
    add(row.value, row.count);
  }
}

template <class Value>
void Distribution<Value>::sort() {
  if (sorted_) return;
  std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.value < b.value; });
  std::size_t kept = 0;
  for (std::size_t i = 1; i < rows_.size(); ++i) {
    if (rows_[i].value == rows_[kept].value)
      rows_[kept].count += rows_[i].count;
    else
      rows_[++kept] = rows_[i];
  }
  rows_.resize(kept + 1);
  up_to_.resize(rows_.size());
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < rows_.size(); ++i) up_to_[i] = sum += rows_[i].count;
  sorted_ = true;
}

template <class Value>
double Distribution<Value>::mean() const {
  if (count_ == 0) return 0;
  typename TimeWeighted<Value>::Integral sum = 0;
  // What rounding took from the sum (Neumaier); stays zero for integers.
  decltype(sum) lost = 0;
  for (const Row& row : rows_) {
    const auto term = static_cast<decltype(sum)>(row.value) * static_cast<decltype(sum)>(row.count);
    const auto next = sum + term;
    if constexpr (std::is_floating_point_v<Value>)
      lost += std::abs(sum) >= std::abs(term) ? (sum - next) + term : (term - next) + sum;
    sum = next;
  }
  return static_cast<double>(sum + lost) / static_cast<double>(count_);
}

template <class Value>
double Distribution<Value>::standard_deviation() const {
  if (count_ == 0) return 0;
  const double centre = mean();
  double sum = 0;
  for (const Row& row : rows_) {
    const double distance = static_cast<double>(row.value) - centre;
    sum += static_cast<double>(row.count) * distance * distance;
  }
  return std::sqrt(sum / static_cast<double>(count_));
}

template <class Value>
Value Distribution<Value>::at(std::int64_t position) const {
  const auto row = std::upper_bound(up_to_.begin(), up_to_.end(), position) - up_to_.begin();
  return rows_[static_cast<std::size_t>(row)].value;
}

template <class Value>
double Distribution<Value>::quantile(double q) const {
  MOESIM_CHECK(sorted_ && count_ > 0 && q >= 0 && q <= 1, "quantile {} of {} values, sorted: {}", q, count_, sorted_);
  const double position = q * static_cast<double>(count_ - 1);
  const double whole = std::floor(position);
  const double fraction = position - whole;
  const auto index = static_cast<std::int64_t>(whole);
  const auto below = static_cast<double>(at(index));
  const auto above = static_cast<double>(at(std::min(index + 1, count_ - 1)));
  // From the nearer end, as numpy does, so that both ends are exact.
  return fraction < 0.5 ? below + (above - below) * fraction : above - (above - below) * (1 - fraction);
}

template <class Value>
std::int64_t Distribution<Value>::count_at_most(Value limit) const {
  MOESIM_CHECK(sorted_, "{} values are not sorted", count_);
  const auto row =
      std::upper_bound(rows_.begin(), rows_.end(), limit, [](const Value& x, const Row& r) { return x < r.value; }) -
      rows_.begin();
  return row == 0 ? 0 : up_to_[static_cast<std::size_t>(row - 1)];
}

template <class Value>
Value Distribution<Value>::smallest() const {
  MOESIM_CHECK(sorted_ && count_ > 0, "{} values, sorted: {}", count_, sorted_);
  return rows_.front().value;
}

template <class Value>
Value Distribution<Value>::largest() const {
  MOESIM_CHECK(sorted_ && count_ > 0, "{} values, sorted: {}", count_, sorted_);
  return rows_.back().value;
}

template class Distribution<std::int64_t>;
template class Distribution<double>;

double student_t_95(int freedom) {
  MOESIM_CHECK(freedom >= 1, "Student's t with {} degrees of freedom", freedom);
  constexpr std::array table = {6.3138, 2.9200, 2.3534, 2.1318, 2.0150, 1.9432, 1.8946, 1.8595, 1.8331, 1.8125};
  if (freedom <= static_cast<int>(table.size())) return table[static_cast<std::size_t>(freedom - 1)];
  // Fisher and Cornish's expansion about the normal quantile z [Abramowitz and Stegun 26.7.5].
  constexpr double z = 1.6448536269514722;
  constexpr double z2 = z * z;
  constexpr double g1 = z * (z2 + 1) / 4;
  constexpr double g2 = z * ((5 * z2 + 16) * z2 + 3) / 96;
  constexpr double g3 = z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384;
  const double v = freedom;
  return z + (g1 + (g2 + g3 / v) / v) / v;
}

ConfidenceInterval batch_means(std::span<const double> series, int batches) {
  const auto n = static_cast<std::size_t>(batches);
  MOESIM_CHECK(batches >= 2 && n <= series.size(), "{} batches of {} values", batches, series.size());
  const std::size_t length = series.size() / n;
  series = series.last(length * n);
  Distribution<double> means;
  for (std::size_t b = 0; b < n; ++b) {
    double sum = 0;
    for (const double x : series.subspan(b * length, length)) sum += x;
    means.add(sum / static_cast<double>(length));
  }
  // s / sqrt(n) with s divided by n - 1 is the population deviation over sqrt(n - 1).
  return {means.mean(), student_t_95(batches - 1) * means.standard_deviation() / std::sqrt(batches - 1.0)};
}

}  // namespace moesim
