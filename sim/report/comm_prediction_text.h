#pragma once
// Predictions of measured communication and their errors: text, JSON, CSV.

#include <span>
#include <string>
#include <vector>

#include "calibration/comm_fit.h"

namespace moesim {

struct CommPredictions {
  CommOp op = CommOp::nccl;
  const CommSamples* samples = nullptr;
  std::vector<ScoredSample> scored;  ///< in the order of the tables
};

/// The sample lies outside of what the profile's curve was fitted to.
bool outside_fit(const CommSample& sample, const CollectiveProfile& profile);
/// Below 64 KiB, from there to 16 MiB, above: of what a rank sends or holds.
std::string_view regime_of(const CommSample& sample);

std::string predictions_table(const CommPredictions& predictions);
std::string predictions_json(const CommPredictions& predictions);
std::string predictions_csv(const CommPredictions& predictions);

}  // namespace moesim
