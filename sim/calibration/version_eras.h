#pragma once
// Versions of a library that run the same kernels.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/comm_sample.h"

namespace moesim {

/// Samples of consecutive versions that agree.
struct VersionEra {
  std::string through;  ///< the newest of them; empty where the table names none
  std::vector<const CommSample*> samples;
};

/// The samples of one curve on one GPU by version, from old to new: a version begins an era where more than a tenth of
/// the points that it shares with the versions before it differ by more than 15 % from their mean, which neither
/// repeats (median 0.8 %) nor versions of one kernel (3.7 %) do [communication-cost section 1].
std::vector<VersionEra> version_eras(std::span<const CommSystem> systems, std::span<const CommSample* const> samples);

/// The era that serves `version`: the first that reaches it, else the newest. `eras` is not empty.
const VersionEra& era_of(std::span<const VersionEra> eras, std::string_view version);

}  // namespace moesim
