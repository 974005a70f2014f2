#pragma once
// What of a collective profile a kind of measurement fits: a section, its parameters and their bounds.

#include <span>
#include <string_view>
#include <vector>

#include "calibration/comm_sample.h"

namespace moesim {

/// One number of a profile: microseconds of a latency or share of a line rate.
struct FitParameter {
  std::string_view key;  ///< as in the profile's file, for messages
  double (*get)(const CollectiveProfile&);
  void (*set)(CollectiveProfile&, double);
  double low = 0, high = 0;  ///< positive: fitted as logarithms
  double usual = 0;          ///< what it is on most systems: where fits start that must not know any result
};

/// A part of a profile that is fitted at once, because its parameters meet in one law.
struct FitSection {
  std::string_view name;
  CommOp op;
  std::vector<CostCurve> curves;
  bool between_domains = false;  ///< takes the samples between domains, else those inside one; both where `anywhere`
  bool anywhere = false;
  std::vector<FitParameter> parameters;
  /// Sections of the file, by path, that hold the parameters: "ring", "exchange/normal_dispatch".
  std::vector<std::string_view> members;

  bool takes(const CommSample& sample) const;
};

/// Every section, in the order of fitting: what is inside a domain before what is between them.
std::span<const FitSection> fit_sections();

}  // namespace moesim
