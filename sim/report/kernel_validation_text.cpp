#include "report/kernel_validation_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "core/math.h"

namespace moesim {

namespace {

/// Typical difference between two software versions of one kernel: the middle of the stated range [kernel-cost]; 0
/// where none is known.
struct VersionNoise {
  double low = 0, high = 0;
};
VersionNoise version_noise(KernelOp op) {
  switch (op) {
    case KernelOp::gemm:
      return {0.02, 0.05};
    case KernelOp::moe:
      return {0.04, 0.11};
    case KernelOp::attn_decode:
    case KernelOp::attn_prefill:
    case KernelOp::mla_decode:
    case KernelOp::mla_prefill:
      return {0.04, 0.06};
    default:
      return {};
  }
}

std::string percent(double fraction) {
  return fmt::format("{:.1f}", 100 * fraction);
}

/// Share of the rows within predicted x exp(+-1.645 log_sd), log_sd of their regime and of shapes that they are not of:
/// the shapes of each fold by the errors of the others'. Negative where all rows are of one shape.
double coverage(const std::vector<ScoredKernel>& scored) {
  SampleList samples;
  for (const ScoredKernel& s : scored) samples.push_back(s.sample);
  const std::vector<std::size_t> folds = shape_folds(samples);
  const std::size_t last = *std::max_element(folds.begin(), folds.end());
  if (last == 0) return -1;
  std::int64_t inside = 0;
  for (std::size_t fold = 0; fold <= last; ++fold) {
    std::vector<ScoredKernel> others;
    for (std::size_t i = 0; i < scored.size(); ++i) {
      if (folds[i] != fold) others.push_back(scored[i]);
    }
    const std::vector<RegimeErrors> errors = errors_by_regime(others);
    double widest = 0;  // for a regime that the others have not
    for (const RegimeErrors& e : errors) widest = std::max(widest, e.log_sd);
    for (std::size_t i = 0; i < scored.size(); ++i) {
      if (folds[i] != fold) continue;
      const SizeRegime regime = size_regime(*scored[i].sample);
      const auto own =
          std::find_if(errors.begin(), errors.end(), [&](const RegimeErrors& e) { return e.regime == regime; });
      const double log_sd = own == errors.end() ? widest : own->log_sd;
      inside += std::abs(logarithm(scored[i].predicted / scored[i].sample->measured)) <= 1.645 * log_sd;
    }
  }
  return static_cast<double>(inside) / static_cast<double>(scored.size());
}

/// How far bf16 products of two providers on one GPU are apart: both call the vendor's library, in the version that
/// they come with.
std::string version_differences(std::span<const KernelValidation> validations) {
  std::string text;
  for (std::size_t a = 0; a < validations.size(); ++a) {
    for (std::size_t b = a + 1; b < validations.size(); ++b) {
      const KernelValidation &one = validations[a], &other = validations[b];
      if (one.section != "gemm/bf16" || other.section != one.section || one.gpu != other.gpu) continue;
      std::map<std::array<std::int64_t, 3>, double> times;
      for (const KernelSample* s : one.fit.samples) {
        const GemmShape& g = std::get<TimedGemm>(s->timed).shape;
        times[{g.m, g.n, g.k}] = s->measured;
      }
      std::vector<double> apart;
      for (const KernelSample* s : other.fit.samples) {
        const GemmShape& g = std::get<TimedGemm>(s->timed).shape;
        const auto same = times.find({g.m, g.n, g.k});
        if (same != times.end()) apart.push_back(std::abs(logarithm(s->measured / same->second)));
      }
      if (apart.empty()) continue;
      std::sort(apart.begin(), apart.end());
      text += fmt::format(
          "\nMeasured here: {} {} and {} {}, both of the vendor's library in bf16, differ by {:.1f} % in the median "
          "(p90 {:.1f}) over {} products.\n",
          one.gpu, one.provider, other.gpu, other.provider, 100 * apart[apart.size() / 2],
          100 * apart[apart.size() * 9 / 10], apart.size());
    }
  }
  return text;
}

std::string regime_cells(std::span<const RegimeErrors> errors) {
  std::string text;
  for (std::size_t r = 0; r < kSizeRegimes; ++r) {
    const auto own = std::find_if(errors.begin(), errors.end(),
                                  [&](const RegimeErrors& e) { return e.regime == static_cast<SizeRegime>(r); });
    text += own == errors.end() ? " - |" : fmt::format(" {} |", percent(own->mape));
  }
  return text;
}

}  // namespace

std::string kernel_validation_markdown(KernelOp op, const KernelSamples& samples,
                                       std::span<const KernelValidation> validations,
                                       std::span<const KernelTransfer> transfers, const std::string& command) {
  std::string text = fmt::format("## {}\n\n`{}`\n\n", name(op), command);
  for (const auto& [reason, count] : samples.skipped) text += fmt::format("- {} rows not scored: {}\n", count, reason);
  for (const auto& [reason, count] : samples.warnings) {
    text += fmt::format("- {} rows scored that look wrong: {}\n", count, reason);
  }
  if (!samples.skipped.empty() || !samples.warnings.empty()) text += '\n';
  const auto any = std::find_if(validations.begin(), validations.end(),
                                [](const KernelValidation& v) { return v.fit.problem.empty(); });
  if (any == validations.end()) return text + "No section has rows enough.\n\n";
  const KernelFamily family = family_of(*any->fit.samples.front());
  const VersionNoise noise = version_noise(op);
  const bool known = noise.high > 0;
  text += "| GPU | provider | section | rows | shapes | MAPE % | median % | p90 % | bias % | form alone, MAPE % | ";
  for (std::size_t r = 0; r < kSizeRegimes; ++r) {
    text += fmt::format("{} | ", regime_name(family, static_cast<SizeRegime>(r)));
  }
  text += known ? "median / versions | inside 90 % |\n" : "inside 90 % |\n";
  text += "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
  text += known ? " ---: | ---: |\n" : " ---: |\n";
  std::vector<ScoredKernel> all;
  double covered = 0, coverable = 0;  // rows
  for (const KernelValidation& v : validations) {
    if (!v.fit.problem.empty()) {
      text += fmt::format("| {} | {} | {}: not fitted, {} |\n", v.gpu, v.provider, v.section, v.fit.problem);
      continue;
    }
    const std::vector<ScoredKernel>& scored = v.fit.held_out();
    all.insert(all.end(), scored.begin(), scored.end());
    const ErrorSummary e = errors_of(scored);
    const std::vector<RegimeErrors> errors = errors_by_regime(scored);
    const bool unseen = !v.fit.law.empty();
    text +=
        fmt::format("| {} | {} | {}{} | {} | {} | {} | {} | {} | {:+.1f} | {} |", v.gpu, v.provider, v.fit.section->key,
                    unseen ? "" : " (seen)", e.scored, v.fit.shapes, percent(e.mape), percent(e.median_ape),
                    percent(e.p90_ape), 100 * e.bias, unseen ? percent(errors_of(v.fit.law).mape) : "-");
    text += regime_cells(errors);
    if (known) text += fmt::format(" {:.1f} |", e.median_ape / ((noise.low + noise.high) / 2));
    const double inside = coverage(scored);
    text += inside < 0 ? " - |\n" : fmt::format(" {:.0f} |\n", 100 * inside);
    if (inside >= 0) {
      covered += inside * static_cast<double>(scored.size());
      coverable += static_cast<double>(scored.size());
    }
  }
  const ErrorSummary e = errors_of(all);
  text += fmt::format("| all | | | {} | | **{}** | {} | {} | {:+.1f} | |", e.scored, percent(e.mape),
                      percent(e.median_ape), percent(e.p90_ape), 100 * e.bias);
  text += regime_cells(errors_by_regime(all));
  if (known) text += fmt::format(" {:.1f} |", e.median_ape / ((noise.low + noise.high) / 2));
  text += coverable > 0 ? fmt::format(" {:.0f} |\n", 100 * covered / coverable) : " |\n";
  if (known) {
    text += fmt::format(
        "\nTwo versions of one kernel differ by {:.0f} to {:.0f} % (median, [kernel-cost]); the ratio is to the "
        "middle, "
        "the mark is 1.3.\n",
        100 * noise.low, 100 * noise.high);
    text += version_differences(validations);
  }
  text += '\n';
  if (transfers.empty()) return text;
  text +=
      "| fitted on | predicted | provider | section | rows | MAPE % | median % | p90 % | bias % |\n"
      "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
  for (const KernelTransfer& t : transfers) {
    const ErrorSummary errors = errors_of(t.scored);
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {:+.1f} |\n", t.from.id, t.to.id, t.provider,
                        t.section, errors.scored, percent(errors.mape), percent(errors.median_ape),
                        percent(errors.p90_ape), 100 * errors.bias);
  }
  return text + '\n';
}

}  // namespace moesim
