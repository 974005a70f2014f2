#include "calibration/kernel_rescale.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibration/kernel_prediction.h"
#include "calibration/kernel_section.h"
#include "core/math.h"
#include "core/statistics.h"

namespace moesim {

namespace {

using Fastest = std::map<std::string, const KernelSample*>;

Fastest fastest_of(std::span<const KernelSample* const> samples) {
  Fastest fastest;
  for (const KernelSample* sample : samples) {
    const KernelSample*& place = fastest[sizes_of(*sample)];
    if (place == nullptr || sample->measured < place->measured) place = sample;
  }
  return fastest;
}

double median(const std::vector<double>& values) {
  Distribution<double> distribution;
  for (const double value : values) distribution.add(value);
  distribution.sort();
  return distribution.quantile(0.5);
}

/// Logarithms by regime.
using ByRegime = std::array<std::vector<double>, kSizeRegimes>;

/// The median of each regime, of all where a regime has few.
RegimeFactors medians(const ByRegime& logs) {
  std::vector<double> all;
  for (const std::vector<double>& some : logs) all.insert(all.end(), some.begin(), some.end());
  RegimeFactors factors = kUnperturbed;
  for (std::size_t r = 0; r < kSizeRegimes; ++r) {
    factors[r] = exponential(median(logs[r].size() < kFewestRatios ? all : logs[r]));
  }
  return factors;
}

struct Pairs {
  std::vector<const KernelSample*> local, reference;
};

SectionRatio ratio_of(const Pairs& pairs, const KernelProfile& profile, const GpuSpec& local_gpu,
                      const GpuSpec& reference_gpu) {
  const std::vector<double> here = predict_kernels(pairs.local, local_gpu, profile);
  const std::vector<double> there = predict_kernels(pairs.reference, reference_gpu, profile);
  ByRegime measured, corrections;
  for (std::size_t i = 0; i < pairs.local.size(); ++i) {
    const auto regime = static_cast<std::size_t>(size_regime(*pairs.local[i]));
    measured[regime].push_back(logarithm(pairs.local[i]->measured / pairs.reference[i]->measured));
    corrections[regime].push_back(measured[regime].back() - logarithm(here[i] / there[i]));
  }
  SectionRatio ratio;
  ratio.rows = pairs.local.size();
  ratio.factor = medians(corrections);
  ratio.local_to_reference = medians(measured);
  std::vector<double> deviations;
  for (std::size_t r = 0; r < kSizeRegimes; ++r) {
    for (const double log : corrections[r]) deviations.push_back(std::abs(log - logarithm(ratio.factor[r])));
  }
  constexpr double sd_of_median_deviation = 1.4826;  // of a normal law
  ratio.log_sd = sd_of_median_deviation * median(deviations);
  return ratio;
}

}  // namespace

std::map<std::string, SectionRatio> rescale(KernelProfile& profile, const GpuSpec& local_gpu,
                                            std::span<const KernelSample* const> local, const GpuSpec& reference_gpu,
                                            std::span<const KernelSample* const> reference) {
  std::map<std::string, SectionRatio> ratios;
  std::map<std::string, Pairs> pairs;
  const Fastest there = fastest_of(reference);
  for (const auto& [sizes, sample] : fastest_of(local)) {
    ratios[sample->section];
    const auto other = there.find(sizes);
    if (other == there.end()) continue;
    pairs[sample->section].local.push_back(sample);
    pairs[sample->section].reference.push_back(other->second);
  }
  // All ratios before any factor: a product's time can contain another section's.
  const KernelProfile before = profile;
  for (auto& [key, ratio] : ratios) {
    const auto found = pairs.find(key);
    const std::size_t rows = found == pairs.end() ? 0 : found->second.local.size();
    const std::string provider = local.front()->provider;
    if (rows < kFewestRatios) {
      ratio.rows = rows;
      ratio.problem =
          fmt::format("{} rows of {} were measured on both GPUs, {} are needed", rows, provider, kFewestRatios);
      continue;
    }
    KernelProfile probe = before;
    const std::optional<KernelSection> section = kernel_section(found->second.local.front()->op, key, probe);
    if (!section) {
      ratio.problem = "no such section in a profile";
      continue;
    }
    const SectionOrigin& known = section->origin(probe);
    if (known.gpu != reference_gpu.id || !known.derived_from.empty() || section_origin(before, key) == nullptr) {
      ratio.problem = fmt::format("{} was not measured by {} on {}", key, profile.provider, reference_gpu.id);
      continue;
    }
    ratio = ratio_of(found->second, before, local_gpu, reference_gpu);
    section->factor(profile) = ratio.factor;
    SectionOrigin& origin = section->origin(profile);
    const double farther = local_gpu.architecture == reference_gpu.architecture ? 0 : kOtherArchitectureLogSd;
    for (RegimeErrors& errors : origin.errors) {
      errors.log_sd = std::hypot(errors.log_sd, ratio.log_sd, farther);
    }
    origin.source += fmt::format("; rescaled to {} by {} of {} over {}: {} rows, median ratio {:.3g}, {:.3g}, {:.3g}",
                                 local_gpu.id, provider, local_gpu.id, reference_gpu.id, ratio.rows,
                                 ratio.local_to_reference[0], ratio.local_to_reference[1], ratio.local_to_reference[2]);
  }
  return ratios;
}

}  // namespace moesim
