#include "report/validation_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/errors_json.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

std::string group_name(const ErrorGroup& group) {
  std::string text;
  for (const std::string* part :
       {&group.family, &group.arch, &group.gpu_class, &group.precision, &group.metric_scope}) {
    if (!part->empty()) text += (text.empty() ? "" : "  ") + *part;
  }
  return text;
}

std::string error_columns(const ErrorSummary& errors) {
  return fmt::format("{:>6} {:>9.1f} {:>9.1f} {:>9.1f} {:>+9.3f}", errors.scored, 100 * errors.median_ape,
                     100 * errors.p90_ape, 100 * errors.mape, errors.bias);
}

std::string quoted(const std::string& text) {
  return text.find(',') == std::string::npos ? text : '"' + text + '"';
}

}  // namespace

std::string validation_table(const ValidationResult& result) {
  constexpr std::size_t least = 24;
  std::size_t width = least;
  for (const ErrorGroup& group : result.groups) width = std::max(width, group_name(group).size());
  std::string text = fmt::format("{} rows, {} scored", result.rows, result.scored.size());
  if (!result.scored.empty()) {
    text += fmt::format(", {} of them with constants of another GPU", result.extrapolated);
  }
  text += fmt::format("\n\n{:<{}} {:>6} {:>9} {:>9} {:>9} {:>9}\n", "", width, "scored", "median %", "p90 %", "mean %",
                      "bias");
  if (!result.scored.empty()) {
    text += fmt::format("{:<{}} {}\n", "all", width, error_columns(result.errors));
    for (const auto& [metric, errors] : result.metrics) {
      text += fmt::format("{:<{}} {}\n", metric, width, error_columns(errors));
    }
  }
  bool by_family = false, detailed = false, by_precision = false;
  for (const ErrorGroup& group : result.groups) {
    bool& seen = !group.precision.empty() ? by_precision : !group.gpu_class.empty() ? detailed : by_family;
    if (!seen) text += '\n';
    seen = true;
    text += fmt::format("{:<{}} {}\n", group_name(group), width, error_columns(group.errors));
  }
  text += "\n(errors: |predicted/measured - 1|; bias: median of ln(predicted/measured))\n\nnot scored:\n";
  for (std::size_t i = 0; i < result.skipped.size(); ++i) {
    if (result.skipped[i] > 0) {
      text += fmt::format("  {:>6}  {}\n", result.skipped[i], name(static_cast<SkipReason>(i)));
    }
  }
  text += "\nkernel profiles:";
  for (const std::string& profile : result.profiles) text += ' ' + profile;
  return text + '\n';
}

std::string validation_json(const ValidationResult& result) {
  ordered_json json;
  json["rows"] = result.rows;
  json.update(errors_json(result.errors));
  ordered_json skipped = ordered_json::object();
  for (std::size_t i = 0; i < result.skipped.size(); ++i) {
    if (result.skipped[i] > 0) skipped[std::string(name(static_cast<SkipReason>(i)))] = result.skipped[i];
  }
  json["skipped"] = std::move(skipped);
  ordered_json metrics = ordered_json::object();
  for (const auto& [metric, errors] : result.metrics) metrics[metric] = errors_json(errors);
  json["metrics"] = std::move(metrics);
  ordered_json groups = ordered_json::array();
  for (const ErrorGroup& group : result.groups) {
    ordered_json row = ordered_json::object();
    const auto add = [&row](const char* key, const std::string& value) {
      if (!value.empty()) row[key] = value;
    };
    add("family", group.family);
    add("arch", group.arch);
    add("gpu_class", group.gpu_class);
    add("precision", group.precision);
    add("metric_scope", group.metric_scope);
    row.update(errors_json(group.errors));
    row["extrapolated"] = group.extrapolated;
    groups.push_back(std::move(row));
  }
  json["groups"] = std::move(groups);
  json["profiles"] = result.profiles;
  json["extrapolated"] = result.extrapolated;
  json["tool_version"] = MOESIM_VERSION;
  return json.dump(2) + '\n';
}

std::string validation_csv(const ValidationResult& result) {
  std::string text =
      "line,id,family,metric_scope,model,arch,precision,gpu,gpu_class,n_gpus,sequences,isl,osl,metric,predicted,"
      "measured,log_ratio,profile,extrapolated\n";
  for (const ScoredRow& scored : result.scored) {
    const ServingRow& row = scored.row;
    const auto number = [](const std::optional<double>& value) {
      return value ? fmt::format("{}", *value) : std::string();
    };
    text +=
        fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{:.6g},{},{:.4f},{},{}\n", row.line, quoted(row.id),
                    quoted(row.family), name(scored.scope), quoted(row.model), quoted(row.arch),
                    quoted(scored.precision), scored.gpu, quoted(row.gpu_class), row.gpus.value_or(0), scored.sequences,
                    number(row.input_tokens), number(row.output_tokens), metric_of(scored.scope), scored.predicted,
                    scored.measured, scored.log_ratio(), scored.profile, scored.extrapolated ? "yes" : "no");
  }
  return text;
}

}  // namespace moesim
