#pragma once
// Sums of token-wise operators, remembered by token count.

#include <cstdint>
#include <span>
#include <vector>

#include "core/units.h"
#include "hardware/kernel_cost.h"
#include "model/operators.h"

namespace moesim {

/// One after the other on one GPU. Operators without rows or bytes take no time.
Duration operators_time(const KernelCost& kernels, std::span<const Operator> operators);

/// Time of something that depends on a token count only, computed on first use.
class TokenTable {
 public:
  template <class Compute>
  Duration at(std::int64_t tokens, Compute&& compute) {
    const auto i = static_cast<std::size_t>(tokens);
    if (i >= times_.size()) times_.resize(i + 1, kUnknown);
    if (times_[i] == kUnknown) times_[i] = compute();
    return times_[i];
  }

 private:
  static constexpr Duration kUnknown = Duration::picoseconds(-1);
  std::vector<Duration> times_;
};

/// Slowest and mean of several ranks.
struct Spread {
  Duration slowest, sum;
  std::int64_t count = 0;

  void add(Duration d) {
    if (d > slowest) slowest = d;
    sum += d;
    ++count;
  }
  /// What the mean rank waits for the slowest.
  Duration waiting() const { return count == 0 ? Duration() : slowest - Duration::picoseconds(sum.ps() / count); }
};

}  // namespace moesim
