#include "report/cross_validation_text.h"

#include <fmt/core.h>

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "calibration/version_eras.h"
#include "core/math.h"
#include "report/comm_prediction_text.h"

namespace moesim {

namespace {

constexpr HoldOut kHoldOuts[] = {HoldOut::points, HoldOut::series, HoldOut::ranks, HoldOut::systems};
constexpr std::string_view kRegimes[] = {"below 64 KiB", "to 16 MiB", "above 16 MiB"};

std::string_view explained(HoldOut hold_out, CommOp op) {
  switch (hold_out) {
    case HoldOut::points:
      return "a fifth of the sizes of every series";
    case HoldOut::series:
      return "a fifth of the series of a system, whole";
    case HoldOut::ranks:
      return "a count of ranks";
    case HoldOut::systems:
      return op == CommOp::p2p ? "a system, and so its NIC" : "a system of the family";
  }
  return {};
}

std::string percents(const ErrorSummary& errors) {
  if (errors.scored == 0) return "- | -";
  return fmt::format("{:.1f} | {:.1f}", 100 * errors.median_ape, 100 * errors.p90_ape);
}

/// |t / mean of its point - 1| of the rows of points that were timed more than once.
ErrorSummary noise_of(const CommSamples& samples, std::span<const VersionEra> groups) {
  std::vector<MeasuredPair> pairs;
  for (const VersionEra& group : groups) {
    std::map<std::string, std::vector<double>> points;
    for (const CommSample* sample : group.samples) {
      points[sample->point(samples.systems[sample->system].name)].push_back(logarithm(sample->measured));
    }
    for (const auto& [key, logs] : points) {
      if (logs.size() < 2) continue;
      double sum = 0;
      for (const double log : logs) sum += log;
      for (const double log : logs) {
        pairs.push_back({exponential(sum / static_cast<double>(logs.size())), exponential(log)});
      }
    }
  }
  return summarize_errors(pairs);
}

/// The samples of every engine on every GPU by era of its kernels.
std::vector<VersionEra> eras_of(const CommSamples& samples) {
  std::map<std::pair<CostCurve, std::string>, std::vector<const CommSample*>> engines;
  for (const CommSample& sample : samples.samples) {
    engines[{sample.curve, samples.systems[sample.system].gpu.id}].push_back(&sample);
  }
  std::vector<VersionEra> all;
  for (const auto& [engine, own] : engines) {
    for (VersionEra& era : version_eras(samples.systems, own)) all.push_back(std::move(era));
  }
  return all;
}

std::string noise_text(CommOp op, const CommSamples& samples) {
  VersionEra all;
  for (const CommSample& sample : samples.samples) all.samples.push_back(&sample);
  const ErrorSummary noise = noise_of(samples, {&all, 1});
  if (noise.scored == 0) return {};
  std::string text = fmt::format(
      "Noise of the rows themselves, around the mean of all rows of their point ({} rows): median {:.1f} %, p90 {:.1f} "
      "%.",
      noise.scored, 100 * noise.median_ape, 100 * noise.p90_ape);
  if (op == CommOp::custom_allreduce) {
    const ErrorSummary within = noise_of(samples, eras_of(samples));
    text += fmt::format(" Of versions of the same kernels ({} rows): median {:.1f} %, p90 {:.1f} %.", within.scored,
                        100 * within.median_ape, 100 * within.p90_ape);
  }
  return text + "\n\n";
}

}  // namespace

std::string cross_validation_markdown(CommOp op, const CommSamples& samples,
                                      std::span<const CrossValidation> validations, const std::string& command) {
  std::string text = fmt::format("## {}\n\n`{}`\n\n", name(op), command);
  text += noise_text(op, samples);
  std::map<HoldOut, std::vector<ScoredSample>> all;
  for (const CrossValidation& validation : validations) {
    for (const HeldOutErrors& errors : validation.held_out) {
      const auto& shipped = validation.corrected ? errors.corrected : errors.law;
      all[errors.hold_out].insert(all[errors.hold_out].end(), shipped.begin(), shipped.end());
    }
  }
  text +=
      "| left out | rows | median % | p90 % | below 64 KiB | to 16 MiB | above 16 MiB |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (const HoldOut hold_out : kHoldOuts) {
    const auto found = all.find(hold_out);
    if (found == all.end() || found->second.empty()) continue;
    text += fmt::format("| {} | {} | {} |", explained(hold_out, op), found->second.size(),
                        percents(errors_of(found->second)));
    for (const std::string_view regime : kRegimes) {
      std::vector<ScoredSample> part;
      for (const ScoredSample& s : found->second) {
        if (regime_of(*s.sample) == regime) part.push_back(s);
      }
      text += part.empty() ? " - |" : fmt::format(" {:.1f} |", 100 * errors_of(part).median_ape);
    }
    text += '\n';
  }
  text +=
      "\n| section | of | left out | rows | law, median % | p90 % | with corrections | p90 % | ships |\n"
      "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n";
  for (const CrossValidation& validation : validations) {
    for (const HeldOutErrors& errors : validation.held_out) {
      if (errors.law.empty()) continue;
      text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", validation.section->name, validation.subject,
                          name(errors.hold_out), errors.law.size(), percents(errors_of(errors.law)),
                          percents(errors_of(errors.corrected)), validation.corrected ? "with corrections" : "law");
    }
  }
  return text + '\n';
}

}  // namespace moesim
