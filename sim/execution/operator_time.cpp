#include "execution/operator_time.h"

#include <type_traits>
#include <variant>

namespace moesim {

OperatorCost& OperatorCost::operator+=(const OperatorCost& other) {
  time += other.time;
  clocked += other.clocked;
  work += other.work;
  return *this;
}

OperatorCost& OperatorCost::operator-=(const OperatorCost& other) {
  time -= other.time;
  clocked -= other.clocked;
  work -= other.work;
  return *this;
}

OperatorCost OperatorPricing::kernel(Duration time, const KernelWork& work) const {
  return {time, Duration::from_seconds(time.seconds() * compute_share_(work)), work};
}

OperatorCost OperatorPricing::operators(std::span<const Operator> operators) const {
  OperatorCost sum;
  for (const Operator& op : operators) {
    sum += std::visit(
        [&](const auto& work) -> OperatorCost {
          using Work = std::decay_t<decltype(work)>;
          if constexpr (std::is_same_v<Work, GemmShape>) {
            return work.m > 0 ? kernel(kernels_.gemm(work), work_of(work)) : OperatorCost();
          } else if constexpr (std::is_same_v<Work, MemoryPass>) {
            return work.bytes.value > 0 ? kernel(kernels_.memory_pass(work.bytes), work_of_pass(work.bytes))
                                        : OperatorCost();
          } else {
            return work.m > 0
                       ? kernel(kernels_.quantize(work.m, work.k, work.to), work_of_quantize(work.m, work.k, work.to))
                       : OperatorCost();
          }
        },
        op.work);
  }
  return sum;
}

}  // namespace moesim
