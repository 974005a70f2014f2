#include "report/kernel_validation_text.h"

#include <fmt/core.h>

#include <algorithm>
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

/// Share of the rows whose measured time lies within predicted x exp(+-1.645 log_sd) of their regime.
double coverage(std::span<const ScoredKernel> scored, std::span<const RegimeErrors> errors) {
  std::int64_t inside = 0;
  for (const ScoredKernel& s : scored) {
    const SizeRegime regime = size_regime(*s.sample);
    const auto own =
        std::find_if(errors.begin(), errors.end(), [&](const RegimeErrors& e) { return e.regime == regime; });
    inside += std::abs(logarithm(s.predicted / s.sample->measured)) <= 1.645 * own->log_sd;
  }
  return static_cast<double>(inside) / static_cast<double>(scored.size());
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
    text += fmt::format(" {:.0f} |\n", 100 * coverage(scored, errors));
  }
  const ErrorSummary e = errors_of(all);
  text += fmt::format("| all | | | {} | | **{}** | {} | {} | {:+.1f} | |", e.scored, percent(e.mape),
                      percent(e.median_ape), percent(e.p90_ape), 100 * e.bias);
  text += regime_cells(errors_by_regime(all));
  text += known ? fmt::format(" {:.1f} | |\n", e.median_ape / ((noise.low + noise.high) / 2)) : " |\n";
  if (known) {
    text += fmt::format(
        "\nTwo versions of one kernel differ by {:.0f} to {:.0f} % (median, [kernel-cost]); the ratio is to the "
        "middle, "
        "the mark is 1.3.\n",
        100 * noise.low, 100 * noise.high);
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
