#include "execution/operator_time.h"

#include <type_traits>
#include <variant>

namespace moesim {

Duration operators_time(const KernelCost& kernels, std::span<const Operator> operators) {
  Duration sum;
  for (const Operator& op : operators) {
    sum += std::visit(
        [&](const auto& work) -> Duration {
          using Work = std::decay_t<decltype(work)>;
          if constexpr (std::is_same_v<Work, GemmShape>) {
            return work.m > 0 ? kernels.gemm(work) : Duration();
          } else if constexpr (std::is_same_v<Work, MemoryPass>) {
            return work.bytes.value > 0 ? kernels.memory_pass(work.bytes) : Duration();
          } else {
            return work.m > 0 ? kernels.quantize(work.m, work.k, work.to) : Duration();
          }
        },
        op.work);
  }
  return sum;
}

}  // namespace moesim
