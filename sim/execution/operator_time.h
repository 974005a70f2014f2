#pragma once
// Sums of token-wise operators, with their work, remembered by token count.

#include <cstdint>
#include <span>
#include <vector>

#include "core/units.h"
#include "hardware/kernel_cost.h"
#include "hardware/kernel_work.h"
#include "model/operators.h"

namespace moesim {

/// Kernels one after the other on one GPU: their time, the part of it that is inverse to the clock, what they do.
struct OperatorCost {
  Duration time, clocked;
  KernelWork work;

  OperatorCost& operator+=(const OperatorCost& other);
  OperatorCost& operator-=(const OperatorCost& other);
};

/// Costs of single kernels: the time of the kernel model beside the work of the same shape.
class OperatorPricing {
 public:
  /// The reference stays valid while the object lives.
  explicit OperatorPricing(const KernelCost& kernels) : kernels_(kernels), compute_share_(kernels.gpu()) {}

  const KernelCost& kernels() const { return kernels_; }
  const ComputeShare& compute_share() const { return compute_share_; }

  OperatorCost kernel(Duration time, const KernelWork& work) const;
  /// One after the other. Operators without rows or bytes take no time.
  OperatorCost operators(std::span<const Operator> operators) const;

 private:
  const KernelCost& kernels_;
  ComputeShare compute_share_;
};

/// Something that depends on a token count only, computed on first use. `Value` has a `time`, or is one.
template <class Value>
class TokenTable {
 public:
  template <class Compute>
  const Value& at(std::int64_t tokens, Compute&& compute) {
    const auto i = static_cast<std::size_t>(tokens);
    if (i >= values_.size()) values_.resize(i + 1, unknown());
    if (time_of(values_[i]) == kUnknown) values_[i] = compute();
    return values_[i];
  }

 private:
  static constexpr Duration kUnknown = Duration::picoseconds(-1);
  static Duration& time_of(Duration& value) { return value; }
  static Duration& time_of(OperatorCost& value) { return value.time; }
  static Value unknown() {
    Value value;
    time_of(value) = kUnknown;
    return value;
  }
  std::vector<Value> values_;
};
using TimeTable = TokenTable<Duration>;
using CostTable = TokenTable<OperatorCost>;

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
