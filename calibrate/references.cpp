#include "references.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"

namespace moesim::calibrate {

Tolerance product_tolerance(std::int64_t terms, bool fp8) {
  const double deviation = std::sqrt(static_cast<double>(terms)) / 3;
  return fp8 ? Tolerance{1.0 / 32, deviation / 16} : Tolerance{1.0 / 128, deviation / 128};
}

std::string Mismatch::text(std::string_view what) const {
  return fmt::format("{}: element {} is {:g}, expected {:g}", what, place, got, expected);
}

std::optional<Mismatch> first_mismatch(std::span<const float> got, std::span<const double> expected,
                                       Tolerance tolerance) {
  MOESIM_CHECK(got.size() == expected.size(), "{} values for {}", got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(double{got[i]} - expected[i]);
    if (!(error <= tolerance.relative * std::abs(expected[i]) + tolerance.absolute))
      return Mismatch{i, got[i], expected[i]};
  }
  return std::nullopt;
}

double dot(std::span<const float> a, std::span<const float> b) {
  MOESIM_CHECK(a.size() == b.size(), "{} times {} elements", a.size(), b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

double swiglu(double gate, double up) {
  return gate / (1 + std::exp(-gate)) * up;
}

Choice choose(std::span<const float> scores, int top_k) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(top_k));
  Choice choice{order, {}};
  double sum = 0;
  const double best = scores[static_cast<std::size_t>(order.front())];
  for (const std::int32_t e : order) {
    choice.weights.push_back(std::exp(double{scores[static_cast<std::size_t>(e)]} - best));
    sum += choice.weights.back();
  }
  for (double& weight : choice.weights) weight /= sum;
  return choice;
}

Permutation permute(std::span<const std::int32_t> chosen, int local_experts) {
  Permutation permutation;
  permutation.offsets.assign(static_cast<std::size_t>(local_experts) + 1, 0);
  for (const std::int32_t e : chosen) {
    if (e < local_experts) ++permutation.offsets[static_cast<std::size_t>(e) + 1];
  }
  std::partial_sum(permutation.offsets.begin(), permutation.offsets.end(), permutation.offsets.begin());
  std::vector<std::int32_t> next = permutation.offsets;
  permutation.slot_of.resize(static_cast<std::size_t>(next.back()));
  for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
    const auto e = static_cast<std::size_t>(chosen[slot]);
    permutation.row_of.push_back(chosen[slot] < local_experts ? next[e]++ : -1);
    if (chosen[slot] < local_experts) {
      permutation.slot_of[static_cast<std::size_t>(permutation.row_of.back())] = static_cast<std::int32_t>(slot);
    }
  }
  return permutation;
}

std::vector<double> attend(std::span<const float> query, std::span<const float> keys, std::span<const float> values,
                           double scale) {
  const std::size_t n = keys.size() / query.size(), value_dim = values.size() / n;
  MOESIM_CHECK(n * query.size() == keys.size() && n * value_dim == values.size(), "{} keys", n);
  std::vector<double> scores(n);
  for (std::size_t i = 0; i < n; ++i) scores[i] = scale * dot(query, keys.subspan(i * query.size(), query.size()));
  const double largest = *std::max_element(scores.begin(), scores.end());
  std::vector<double> result(value_dim);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double weight = std::exp(scores[i] - largest);
    sum += weight;
    for (std::size_t d = 0; d < value_dim; ++d) result[d] += weight * double{values[i * value_dim + d]};
  }
  for (double& value : result) value /= sum;
  return result;
}

float scale_of(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest / kLargestFp8;
}

}  // namespace moesim::calibrate
