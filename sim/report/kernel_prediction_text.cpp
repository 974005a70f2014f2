#include "report/kernel_prediction_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/math.h"
#include "hardware/cost_perturbation.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;
using Pairs = std::vector<MeasuredPair>;

/// Errors in all and by size.
struct Errors {
  Pairs all;
  std::map<std::pair<KernelFamily, SizeRegime>, Pairs> regimes;

  void add(const PredictedKernel& scored) {
    const MeasuredPair pair{scored.predicted, scored.sample->measured};
    all.push_back(pair);
    regimes[{family_of(*scored.sample), size_regime(*scored.sample)}].push_back(pair);
  }
};

/// Samples of one GPU, provider, kind of kernel and formats.
struct Group {
  std::string gpu, provider, family, dtype;
  std::set<std::string> profiles, stand_ins;
  Errors errors;
};

/// The parts of a section's name: "attention_decode/bf16/fp8/128" is of family attention_decode and dtype bf16/fp8.
std::pair<std::string, std::string> family_and_dtype(const std::string& section) {
  const std::size_t slash = std::min(section.find('/'), section.size());
  std::string family = section.substr(0, slash), dtype;
  for (std::size_t from = slash; from < section.size();) {
    const std::size_t end = std::min(section.find('/', from + 1), section.size());
    const std::string word = section.substr(from + 1, end - from - 1);
    if (word == "absorbed" || word == "expanded") {
      family += ' ' + word;
    } else if (data_type_from_name(word)) {
      dtype += (dtype.empty() ? "" : "/") + word;
    }
    from = end;
  }
  return {family, dtype};
}

struct Summary {
  std::vector<Group> groups;
  Errors all;
  std::set<std::string> profiles;
  bool extrapolated = false;
};

Summary summarize(const KernelPredictions& predictions) {
  // What stands in for a sample depends on these only.
  using Kind = std::tuple<std::size_t, std::string, std::string>;  // profile, version, section
  std::map<Kind, std::size_t> kinds;
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::size_t> places;
  Summary summary;
  for (const PredictedKernel& scored : predictions.scored) {
    const KernelSample& sample = *scored.sample;
    const auto [kind, fresh] = kinds.try_emplace({scored.profile, sample.version, sample.section}, 0);
    if (fresh) {
      const KernelProfileUse& use = predictions.profiles[scored.profile];
      const GpuSpec& gpu = predictions.samples->gpus[sample.gpu];
      const auto [family, dtype] = family_and_dtype(sample.section);
      const auto [place, first] = places.try_emplace({gpu.id, sample.provider, family, dtype}, summary.groups.size());
      if (first) summary.groups.push_back({gpu.id, sample.provider, family, dtype, {}, {}, {}});
      Group& group = summary.groups[place->second];
      group.profiles.insert(use.profile.name);
      summary.profiles.insert(use.profile.name);
      const std::string text = stand_in(use.profile, sample, gpu);
      if (!text.empty()) group.stand_ins.insert(text);
      kind->second = place->second;
    }
    summary.groups[kind->second].errors.add(scored);
    summary.all.add(scored);
  }
  summary.extrapolated = std::any_of(summary.groups.begin(), summary.groups.end(),
                                     [](const Group& group) { return !group.stand_ins.empty(); });
  return summary;
}

std::string joined(const std::set<std::string>& words, std::string_view between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? std::string() : std::string(between)) + word;
  return text;
}

std::string columns(const Pairs& pairs) {
  const ErrorSummary errors = summarize_errors(pairs);
  return fmt::format("{:>6} {:>9.1f} {:>9.1f} {:>9.1f} {:>+9.3f}", errors.scored, 100 * errors.median_ape,
                     100 * errors.p90_ape, 100 * errors.mape, errors.bias);
}

void add_errors(ordered_json& json, const Pairs& pairs) {
  const ErrorSummary errors = summarize_errors(pairs);
  json["scored"] = errors.scored;
  const auto value = [&](double x) { return pairs.empty() ? ordered_json(nullptr) : ordered_json(x); };
  json["mape"] = value(errors.mape);
  json["median_ape"] = value(errors.median_ape);
  json["p90_ape"] = value(errors.p90_ape);
  json["bias"] = value(errors.bias);
}

ordered_json regimes_json(const Errors& errors) {
  ordered_json regimes = ordered_json::object();
  for (const auto& [key, pairs] : errors.regimes) {
    ordered_json row;
    add_errors(row, pairs);
    regimes[std::string(regime_name(key.first, key.second))] = std::move(row);
  }
  return regimes;
}

ordered_json counts_json(const std::map<std::string, std::int64_t>& counts) {
  ordered_json json = ordered_json::object();
  for (const auto& [reason, count] : counts) json[reason] = count;
  return json;
}

std::string quoted(const std::string& text) {
  return text.find(',') == std::string::npos ? text : '"' + text + '"';
}

std::string label(const Group& group) {
  return fmt::format("{}  {}  {}{}{}{}", group.gpu, group.provider, group.family, group.dtype.empty() ? "" : "  ",
                     group.dtype, group.stand_ins.empty() ? "" : "  (extrapolated)");
}

}  // namespace

std::string predictions_table(const KernelPredictions& predictions) {
  const Summary summary = summarize(predictions);
  std::size_t width = 24;
  for (const Group& group : summary.groups) width = std::max(width, label(group).size());
  std::string text =
      fmt::format("{} rows, {} predictions scored\n", predictions.samples->rows, predictions.scored.size());
  if (!predictions.scored.empty()) {
    text += fmt::format("\n{:<{}} {:>6} {:>9} {:>9} {:>9} {:>9}\n", "", width, "scored", "median %", "p90 %", "mean %",
                        "bias");
    text += fmt::format("{:<{}} {}\n", "all", width, columns(summary.all.all));
    for (const Group& group : summary.groups) {
      text += fmt::format("\n{:<{}} {}\n", label(group), width, columns(group.errors.all));
      for (const auto& [key, pairs] : group.errors.regimes) {
        text += fmt::format("  {:<{}} {}\n", regime_name(key.first, key.second), width - 2, columns(pairs));
      }
      if (!group.stand_ins.empty()) text += fmt::format("  extrapolated: {}\n", joined(group.stand_ins, "; "));
    }
    text += "\n(errors: |predicted/measured - 1|; bias: median of ln(predicted/measured))\n";
    for (const KernelProfileUse& use : predictions.profiles) {
      text += fmt::format("profile of {} {}: {} ({})\n", predictions.samples->gpus[use.gpu].id, use.provider,
                          use.profile.name, use.reason);
    }
  }
  for (const auto& [title, counts] : {std::pair("not scored", &predictions.samples->skipped),
                                      std::pair("scored, but look wrong", &predictions.samples->warnings)}) {
    if (counts->empty()) continue;
    text += fmt::format("\n{}:\n", title);
    for (const auto& [reason, count] : *counts) text += fmt::format("  {:>6}  {}\n", count, reason);
  }
  return text;
}

std::string predictions_json(const KernelPredictions& predictions) {
  const Summary summary = summarize(predictions);
  ordered_json json;
  json["op"] = name(predictions.op);
  json["rows"] = predictions.samples->rows;
  add_errors(json, summary.all.all);
  json["skipped"] = counts_json(predictions.samples->skipped);
  json["warnings"] = counts_json(predictions.samples->warnings);
  json["regimes"] = regimes_json(summary.all);
  json["groups"] = ordered_json::array();
  for (const Group& group : summary.groups) {
    ordered_json row{
        {"gpu", group.gpu}, {"provider", group.provider}, {"family", group.family}, {"dtype", group.dtype}};
    add_errors(row, group.errors.all);
    row["regimes"] = regimes_json(group.errors);
    row["profile"] = joined(group.profiles, ", ");
    row["extrapolated"] = !group.stand_ins.empty();
    if (!group.stand_ins.empty()) row["stands_in"] = joined(group.stand_ins, "; ");
    json["groups"].push_back(std::move(row));
  }
  json["profile"] = joined(summary.profiles, ", ");
  json["extrapolated"] = summary.extrapolated;
  json["tool_version"] = MOESIM_VERSION;
  return json.dump(2) + '\n';
}

namespace {

double sd_of(const KernelProfile& profile, const KernelSample& sample, const GpuSpec& gpu) {
  const SectionOrigin* const origin = section_origin(profile, sample.section);
  return origin == nullptr ? kRooflineLogSd : log_sd(*origin, size_regime(sample), gpu.id);
}

}  // namespace

std::string predictions_csv(const KernelPredictions& predictions) {
  std::string text =
      "table,line,gpu,provider,version,section,shape,regime,predicted_us,measured_us,log_ratio,log_sd,profile,"
      "extrapolated\n";
  for (const PredictedKernel& scored : predictions.scored) {
    const KernelSample& s = *scored.sample;
    const GpuSpec& gpu = predictions.samples->gpus[s.gpu];
    const KernelProfile& profile = predictions.profiles[scored.profile].profile;
    text += fmt::format("{},{},{},{},{},{},{},{},{:.6g},{:.6g},{:.4f},{:.4f},{},{}\n",
                        quoted(predictions.samples->tables[s.table]), s.line, gpu.id, quoted(s.provider),
                        quoted(s.version), s.section, quoted(s.shape), regime_name(s), scored.predicted * 1e6,
                        s.measured * 1e6, logarithm(scored.predicted / s.measured), sd_of(profile, s, gpu),
                        profile.name, stand_in(profile, s, gpu).empty() ? "no" : "yes");
  }
  return text;
}

}  // namespace moesim
