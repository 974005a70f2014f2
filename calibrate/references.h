#pragma once
// What the kernels should give, computed on the host in double from the same inputs, and how close they have to come.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "number_formats.h"
#include "routing_draw.h"

namespace moesim::calibrate {

/// An error allowed: |got - expected| <= relative |expected| + absolute.
struct Tolerance {
  double relative = 0, absolute = 0;
};
/// Of a sum of `terms` products of inputs that are uniform on (-1, 1), with a standard deviation of sqrt(terms) / 3,
/// rounded to bf16 (2^-9) after fp32 sums. The products of fp8 on Hopper keep about 14 bits of each partial sum.
Tolerance product_tolerance(std::int64_t terms, bool fp8);

/// The first place where `got` is not close: NaN never is. Nothing when all are.
struct Mismatch {
  std::size_t place = 0;
  double got = 0, expected = 0;
  std::string text(std::string_view what) const;
};
std::optional<Mismatch> first_mismatch(std::span<const float> got, std::span<const double> expected,
                                       Tolerance tolerance);

/// sum_i a[i] b[i].
double dot(std::span<const float> a, std::span<const float> b);

/// silu(gate) up, silu(x) = x / (1 + exp(-x)).
double swiglu(double gate, double up);

/// The top-k of one token's scores, best first and the lower expert first at ties, and the softmax over them.
struct Choice {
  std::vector<std::int32_t> experts;
  std::vector<double> weights;
};
Choice choose(std::span<const float> scores, int top_k);

/// Rows by expert, in the order of slots within an expert; only experts below `local_experts` have rows.
struct Permutation {
  std::vector<std::int32_t> offsets;  ///< [local_experts + 1]
  std::vector<std::int32_t> row_of;   ///< [slots], -1: not local
  std::vector<std::int32_t> slot_of;  ///< [rows]
};
Permutation permute(std::span<const std::int32_t> chosen, int local_experts);

/// softmax(scale q k^T) v for one query: keys [n][key_dim], values [n][value_dim] with n = keys.size() / q.size().
std::vector<double> attend(std::span<const float> query, std::span<const float> keys, std::span<const float> values,
                           double scale);

/// Largest magnitude over 448, the scale of a tensor in fp8; the kernel divides in fp32.
float scale_of(std::span<const float> values);

}  // namespace moesim::calibrate
