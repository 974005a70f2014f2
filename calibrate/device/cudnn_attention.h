#pragma once
// Causal attention by cuDNN, where the machine has it: loaded when the program runs, compiled in where cudnn.h was
// found.

#include <memory>
#include <string>

#include "machine.h"

namespace moesim::calibrate {

class CudnnAttention {
 public:
  /// "9.19.0"; empty where there is no cuDNN.
  static std::string version();

  /// A plan for the sizes of `shape` with these head sizes. Throws RowError where cuDNN has none.
  CudnnAttention(const Machine& machine, const PrefillAttention& shape, int key_dim, int value_dim);
  ~CudnnAttention();
  /// `work` has the sizes of the plan. Its scale is for base 2, as our kernel takes it.
  void enqueue(const PrefillAttention& work) const;

 private:
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace moesim::calibrate
