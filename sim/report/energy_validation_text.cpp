#include "report/energy_validation_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/errors_json.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

std::string group_name(const EnergyGroup& group) {
  if (group.gpu.empty()) return "all";
  return group.model.empty() ? group.gpu : fmt::format("{}  {}  {}", group.gpu, group.model, group.precision);
}

std::string error_columns(const ErrorSummary& errors) {
  return fmt::format("{:>9.1f} {:>7.1f} {:>+7.3f}", 100 * errors.median_ape, 100 * errors.p90_ape, errors.bias);
}

}  // namespace

std::string energy_validation_table(const EnergyValidation& result) {
  std::size_t width = 24;
  for (const EnergyGroup& group : result.groups) width = std::max(width, group_name(group).size());
  std::string text =
      fmt::format("{} rows, {} scored, clocks {}\n\n", result.rows, result.scored.size(), name(result.clocks));
  text += fmt::format("{:<{}} {:>6} {:^25} {:^25} {:^25}\n", "", width, "", "J per output token",
                      "W at measured throughput", "tokens/s");
  text += fmt::format("{:<{}} {:>6}", "", width, "scored");
  for (int i = 0; i < 3; ++i) text += fmt::format(" {:>9} {:>7} {:>7}", "median %", "p90 %", "bias");
  text += '\n';
  for (const bool fitted : {false, true}) {
    text += fitted ? "\nrows on which constants of power were fitted\n" : "\nrows that no fit saw\n";
    for (const EnergyGroup& group : result.groups) {
      if (group.fitted != fitted) continue;
      text += fmt::format("{:<{}} {:>6} {} {} {}\n", group_name(group), width, group.joules.scored,
                          error_columns(group.joules), error_columns(group.watts), error_columns(group.throughput));
    }
  }
  text += "\n(errors: |predicted/measured - 1|; bias: median of ln(predicted/measured))\n\nnot scored:\n";
  for (std::size_t i = 0; i < result.skipped.size(); ++i) {
    if (result.skipped[i] > 0) {
      text += fmt::format("  {:>6}  {}\n", result.skipped[i], name(static_cast<SkipReason>(i)));
    }
  }
  return text;
}

std::string energy_validation_json(const EnergyValidation& result) {
  ordered_json json;
  json["rows"] = result.rows;
  ordered_json groups = ordered_json::array();
  const EnergyGroup* unseen = nullptr;
  for (const EnergyGroup& group : result.groups) {
    if (!group.fitted && group.gpu.empty()) unseen = &group;
    ordered_json row{{"fitted", group.fitted}};
    if (!group.gpu.empty()) row["gpu"] = group.gpu;
    if (!group.model.empty()) {
      row["model"] = group.model;
      row["precision"] = group.precision;
    }
    row["joules_per_output_token"] = errors_json(group.joules);
    row["watts_at_measured_throughput"] = errors_json(group.watts);
    row["total_tokens_per_s_per_gpu"] = errors_json(group.throughput);
    groups.push_back(std::move(row));
  }
  const EnergyGroup none;
  const EnergyGroup& shown = unseen == nullptr ? none : *unseen;
  json.update(errors_json(shown.joules));
  ordered_json skipped = ordered_json::object();
  for (std::size_t i = 0; i < result.skipped.size(); ++i) {
    if (result.skipped[i] > 0) skipped[std::string(name(static_cast<SkipReason>(i)))] = result.skipped[i];
  }
  json["skipped"] = std::move(skipped);
  json["clocks"] = name(result.clocks);
  json["metrics"] = {{"joules_per_output_token", errors_json(shown.joules)},
                     {"watts_at_measured_throughput", errors_json(shown.watts)},
                     {"total_tokens_per_s_per_gpu", errors_json(shown.throughput)}};
  json["groups"] = std::move(groups);
  json["tool_version"] = MOESIM_VERSION;
  return json.dump(2) + '\n';
}

std::string energy_validation_csv(const EnergyValidation& result) {
  std::string text =
      "line,config_id,model,precision,framework,gpu,n_gpus,tp,ep,attn_dp,isl,osl,concurrency,fitted,"
      "predicted_joules_per_token,measured_joules_per_token,watts_at_measured_rate,predicted_watts,measured_watts,"
      "predicted_tokens_per_s_per_gpu,measured_tokens_per_s_per_gpu,idle_joules,awake_joules,compute_joules,"
      "memory_joules,network_joules,awake_share,mean_clock,profile,extrapolated\n";
  for (const EnergyScore& score : result.scored) {
    const EnergyRow& row = score.row;
    const Energy& part = score.joules_per_token;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},", row.line, row.config_id, row.model, row.precision,
                        row.framework, score.gpu, row.gpus, row.tp, row.ep, row.attention_dp, row.input_tokens,
                        row.output_tokens, row.concurrency, score.fitted ? "yes" : "no");
    text += fmt::format("{:.6g},{},{:.6g},{:.6g},{:.6g},{:.6g},{},", score.predicted_joules,
                        *row.joules_per_output_token, score.watts_at_measured_rate, score.predicted_watts,
                        score.measured_watts, score.predicted_tokens_per_s_per_gpu, *row.tokens_per_s_per_gpu);
    text += fmt::format("{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.4f},{:.4f},{},{}\n", part.idle, part.awake, part.compute,
                        part.memory, part.network, score.awake_share, score.mean_clock, score.profile,
                        score.extrapolated ? "yes" : "no");
  }
  return text;
}

}  // namespace moesim
