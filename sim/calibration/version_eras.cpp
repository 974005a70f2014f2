#include "calibration/version_eras.h"

#include <cmath>
#include <map>

#include "core/math.h"
#include "core/version.h"

namespace moesim {

namespace {

constexpr double kOtherTime = 0.15, kOtherPoints = 0.1;

/// Mean logarithms of time by point.
std::map<std::string, double> log_times(std::span<const CommSystem> systems,
                                        std::span<const CommSample* const> samples) {
  std::map<std::string, std::pair<double, int>> sums;
  for (const CommSample* sample : samples) {
    auto& [sum, count] = sums[sample->point(systems[sample->system].name)];
    sum += logarithm(sample->measured);
    ++count;
  }
  std::map<std::string, double> means;
  for (const auto& [point, sum] : sums) means.emplace(point, sum.first / sum.second);
  return means;
}

bool agree(const std::map<std::string, double>& a, const std::map<std::string, double>& b) {
  std::size_t shared = 0, others = 0;
  for (const auto& [point, log_time] : a) {
    const auto same = b.find(point);
    if (same == b.end()) continue;
    ++shared;
    if (std::abs(log_time - same->second) > logarithm(1 + kOtherTime)) ++others;
  }
  return shared > 0 && static_cast<double>(others) <= kOtherPoints * static_cast<double>(shared);
}

struct Older {
  bool operator()(const std::string& a, const std::string& b) const { return is_older_version(a, b); }
};

}  // namespace

std::vector<VersionEra> version_eras(std::span<const CommSystem> systems, std::span<const CommSample* const> samples) {
  std::map<std::string, std::vector<const CommSample*>, Older> by_version;
  for (const CommSample* sample : samples) by_version[sample->version].push_back(sample);
  std::vector<VersionEra> eras;
  for (const auto& [version, own] : by_version) {
    if (eras.empty() || !agree(log_times(systems, own), log_times(systems, eras.back().samples))) eras.emplace_back();
    eras.back().through = version;
    eras.back().samples.insert(eras.back().samples.end(), own.begin(), own.end());
  }
  return eras;
}

const VersionEra& era_of(std::span<const VersionEra> eras, std::string_view version) {
  for (const VersionEra& era : eras) {
    if (!is_older_version(era.through, version)) return era;
  }
  return eras.back();
}

}  // namespace moesim
