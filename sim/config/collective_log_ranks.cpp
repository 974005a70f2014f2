#include "config/collective_log_ranks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace moesim {

namespace {

/// Rounding of a printed bandwidth, with a little for publishers who typed.
constexpr double rounding = 0.012;

/// Calls `take(algbw, busbw)` for every half of a row that has both.
template <class Take>
void each_half(std::span<const NcclTestRow> rows, Take take) {
  for (const NcclTestRow& row : rows) {
    if (row.algbw && row.busbw && *row.algbw > 2 * rounding) take(*row.algbw, *row.busbw);
    if (row.inplace_algbw && row.inplace_busbw && *row.inplace_algbw > 2 * rounding) {
      take(*row.inplace_algbw, *row.inplace_busbw);
    }
  }
}

bool shares(std::string_view collective) {
  return collective == "all_gather" || collective == "reduce_scatter" || collective == "alltoall";
}

/// n of the ratio r: 2 (n - 1) / n for an all-reduce, else (n - 1) / n.
double ranks_of(double ratio, bool all_reduce) {
  const double share = all_reduce ? ratio / 2 : ratio;
  return share >= 1 ? std::numeric_limits<double>::infinity() : 1 / (1 - share);
}

}  // namespace

std::optional<std::int64_t> element_bytes(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 14> sizes = {{{"int8", 1},
                                                                                {"uint8", 1},
                                                                                {"char", 1},
                                                                                {"f8e4m3", 1},
                                                                                {"f8e5m2", 1},
                                                                                {"fp8_e4m3", 1},
                                                                                {"fp8_e5m2", 1},
                                                                                {"half", 2},
                                                                                {"bfloat16", 2},
                                                                                {"float", 4},
                                                                                {"int32", 4},
                                                                                {"uint32", 4},
                                                                                {"double", 8},
                                                                                {"int64", 8}}};
  for (const auto& [name, bytes] : sizes) {
    if (name == type) return bytes;
  }
  if (type == "uint64") return 8;
  return std::nullopt;
}

std::string collective_by_ratio(std::span<const NcclTestRow> rows, std::string_view reduction) {
  // The largest bandwidth has the least rounding.
  double best = 0, ratio = 0;
  each_half(rows, [&](double algbw, double busbw) {
    if (algbw > best) {
      best = algbw;
      ratio = busbw / algbw;
    }
  });
  if (best < 1) return {};
  if (ratio > 1.02) return "all_reduce";
  const bool reduces = !reduction.empty() && reduction != "none";
  return reduces && ratio < 0.98 ? "reduce_scatter" : "";
}

std::int64_t ranks_by_ratio(std::span<const NcclTestRow> rows, std::string_view collective, bool& several) {
  several = false;
  const bool all_reduce = collective == "all_reduce";
  if (!all_reduce && !shares(collective)) return 0;
  double low = 2, high = std::numeric_limits<double>::infinity();
  each_half(rows, [&](double algbw, double busbw) {
    low = std::max(low, ranks_of((busbw - rounding) / (algbw + rounding), all_reduce));
    high = std::min(high, ranks_of((busbw + rounding) / (algbw - rounding), all_reduce));
  });
  if (!(low <= high && high < 1e6) || high > 1.5 * low) return 0;
  std::int64_t best = 0;
  int fitting = 0;
  for (auto n = static_cast<std::int64_t>(std::ceil(low)); n <= static_cast<std::int64_t>(std::floor(high)); ++n) {
    ++fitting;
    const auto twos = [](std::int64_t value) { return std::countr_zero(static_cast<std::uint64_t>(value)); };
    if (best == 0 || twos(n) > twos(best)) best = n;
  }
  several = fitting > 1;
  return best;
}

}  // namespace moesim
