#pragma once
// Predictions of measured kernels and their errors: text, JSON, CSV.

#include <string>
#include <vector>

#include "calibration/kernel_prediction.h"
#include "core/error_summary.h"

namespace moesim {

/// The profile that predicts the samples of one GPU and provider.
struct KernelProfileUse {
  std::size_t gpu = 0;  ///< index into KernelSamples::gpus
  std::string provider;
  KernelProfile profile;
  std::string reason;  ///< why this one, one line
};

struct PredictedKernel {
  const KernelSample* sample = nullptr;
  double predicted = 0;     ///< seconds
  std::size_t profile = 0;  ///< index into KernelPredictions::profiles
};

struct KernelPredictions {
  const KernelSamples* samples = nullptr;
  KernelOp op = KernelOp::gemm;
  std::vector<KernelProfileUse> profiles;
  std::vector<PredictedKernel> scored;  ///< in the order of the tables
};

std::string predictions_table(const KernelPredictions& predictions);
std::string predictions_json(const KernelPredictions& predictions);
std::string predictions_csv(const KernelPredictions& predictions);

}  // namespace moesim
