#include "report/comm_prediction_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/math.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

/// Scored samples that share a system, a curve, a number of ranks and machines.
struct Group {
  std::string system;
  std::string_view curve;
  std::uint32_t ranks = 0, nodes = 0;
  bool extrapolated = false;
  std::vector<ScoredSample> scored = {};
};

std::vector<Group> groups_of(const CommPredictions& predictions) {
  std::map<std::tuple<std::string, std::string_view, std::uint32_t, std::uint32_t>, Group> groups;
  for (const ScoredSample& scored : predictions.scored) {
    const CommSample& sample = *scored.sample;
    const CommSystem& system = predictions.samples->systems[sample.system];
    Group& group = groups[{system.name, name(sample.curve), sample.ranks, sample.nodes}];
    if (group.scored.empty()) {
      group = {system.name, name(sample.curve), sample.ranks, sample.nodes, system.profile.extrapolated};
    }
    group.scored.push_back(scored);
  }
  std::vector<Group> list;
  for (auto& [key, group] : groups) list.push_back(std::move(group));
  return list;
}

std::map<std::string_view, std::vector<ScoredSample>> regimes_of(const CommPredictions& predictions) {
  std::map<std::string_view, std::vector<ScoredSample>> regimes;
  for (const ScoredSample& scored : predictions.scored) regimes[regime_of(*scored.sample)].push_back(scored);
  return regimes;
}

std::string profiles_of(const CommPredictions& predictions) {
  std::set<std::string> names;
  for (const ScoredSample& scored : predictions.scored) {
    names.insert(predictions.samples->systems[scored.sample->system].profile.name);
  }
  std::string text;
  for (const std::string& profile : names) text += (text.empty() ? "" : ", ") + profile;
  return text;
}

const CollectiveProfile& profile_of(const CommPredictions& predictions, const ScoredSample& scored) {
  return predictions.samples->systems[scored.sample->system].profile;
}

std::int64_t count_outside(const CommPredictions& predictions) {
  return std::count_if(predictions.scored.begin(), predictions.scored.end(), [&](const ScoredSample& scored) {
    return outside_fit(*scored.sample, profile_of(predictions, scored));
  });
}

bool any_extrapolated(const CommPredictions& predictions) {
  return std::any_of(predictions.scored.begin(), predictions.scored.end(),
                     [&](const ScoredSample& scored) { return profile_of(predictions, scored).extrapolated; });
}

std::string columns(const ErrorSummary& errors) {
  return fmt::format("{:>6} {:>9.1f} {:>9.1f} {:>9.1f} {:>+9.3f}", errors.scored, 100 * errors.median_ape,
                     100 * errors.p90_ape, 100 * errors.mape, errors.bias);
}

void add_errors(ordered_json& json, const ErrorSummary& errors) {
  json["scored"] = errors.scored;
  const auto value = [&](double x) { return errors.scored == 0 ? ordered_json(nullptr) : ordered_json(x); };
  json["mape"] = value(errors.mape);
  json["median_ape"] = value(errors.median_ape);
  json["p90_ape"] = value(errors.p90_ape);
  json["bias"] = value(errors.bias);
}

std::string quoted(const std::string& text) {
  return text.find(',') == std::string::npos ? text : '"' + text + '"';
}

}  // namespace

bool outside_fit(const CommSample& sample, const CollectiveProfile& profile) {
  return std::none_of(profile.fitted.begin(), profile.fitted.end(), [&](const FittedRange& range) {
    return range.curve == sample.curve && range.fewest_ranks <= sample.ranks && sample.ranks <= range.most_ranks &&
           range.smallest <= sample.size() && sample.size() <= range.largest;
  });
}

std::string_view regime_of(const CommSample& sample) {
  double bytes = static_cast<double>(sample.bytes * sample.messages);
  if (sample.tokens > 0) bytes = static_cast<double>(sample.tokens * sample.top_k * sample.payload.dispatch.value);
  return bytes < 65536 ? "below 64 KiB" : bytes <= 16777216 ? "to 16 MiB" : "above 16 MiB";
}

std::string predictions_table(const CommPredictions& predictions) {
  const std::vector<Group> groups = groups_of(predictions);
  constexpr std::size_t least = 24;
  std::size_t width = least;
  const auto label = [](const Group& group) {
    return fmt::format("{}  {}  {} ranks{}{}", group.system, group.curve, group.ranks,
                       group.nodes > 1 ? fmt::format(" on {} machines", group.nodes) : "",
                       group.extrapolated ? "  (extrapolated)" : "");
  };
  for (const Group& group : groups) width = std::max(width, label(group).size());
  std::string text =
      fmt::format("{} rows, {} predictions scored\n\n{:<{}} {:>6} {:>9} {:>9} {:>9} {:>9}\n", predictions.samples->rows,
                  predictions.scored.size(), "", width, "scored", "median %", "p90 %", "mean %", "bias");
  if (!predictions.scored.empty()) {
    text += fmt::format("{:<{}} {}\n\n", "all", width, columns(errors_of(predictions.scored)));
    const auto regimes = regimes_of(predictions);
    for (const std::string_view regime : {"below 64 KiB", "to 16 MiB", "above 16 MiB"}) {
      const auto found = regimes.find(regime);
      if (found != regimes.end()) text += fmt::format("{:<{}} {}\n", regime, width, columns(errors_of(found->second)));
    }
    text += '\n';
    for (const Group& group : groups) {
      text += fmt::format("{:<{}} {}\n", label(group), width, columns(errors_of(group.scored)));
    }
    text += "\n(errors: |predicted/measured - 1|; bias: median of ln(predicted/measured))\n";
    text += fmt::format("profiles: {}\n", profiles_of(predictions));
    if (const std::int64_t outside = count_outside(predictions); outside > 0) {
      text += fmt::format("{} predictions are outside of what their profile was fitted to\n", outside);
    }
  }
  if (!predictions.samples->skipped.empty()) {
    text += "\nnot scored:\n";
    for (const auto& [reason, count] : predictions.samples->skipped)
      text += fmt::format("  {:>6}  {}\n", count, reason);
  }
  return text;
}

std::string predictions_json(const CommPredictions& predictions) {
  ordered_json json;
  json["op"] = name(predictions.op);
  json["rows"] = predictions.samples->rows;
  add_errors(json, errors_of(predictions.scored));
  json["skipped"] = ordered_json::object();
  for (const auto& [reason, count] : predictions.samples->skipped) json["skipped"][reason] = count;
  json["regimes"] = ordered_json::object();
  for (const auto& [regime, scored] : regimes_of(predictions)) {
    ordered_json errors;
    add_errors(errors, errors_of(scored));
    json["regimes"][std::string(regime)] = std::move(errors);
  }
  json["groups"] = ordered_json::array();
  for (const Group& group : groups_of(predictions)) {
    ordered_json row{
        {"system", group.system}, {"collective", group.curve}, {"ranks", group.ranks}, {"nodes", group.nodes}};
    add_errors(row, errors_of(group.scored));
    row["extrapolated"] = group.extrapolated;
    json["groups"].push_back(std::move(row));
  }
  json["profile"] = profiles_of(predictions);
  json["extrapolated"] = any_extrapolated(predictions);
  json["outside_fit_range"] = count_outside(predictions);
  json["tool_version"] = MOESIM_VERSION;
  return json.dump(2) + '\n';
}

std::string predictions_csv(const CommPredictions& predictions) {
  std::string text =
      "table,line,system,gpu,collective,nodes,ranks,bytes,messages,tokens_per_rank,hidden,topk,experts,sms,library,"
      "predicted_us,measured_us,log_ratio,profile,extrapolated,outside_fit_range\n";
  for (const ScoredSample& scored : predictions.scored) {
    const CommSample& s = *scored.sample;
    const CommSystem& system = predictions.samples->systems[s.system];
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{:.6g},{:.6g},{:.4f},{},{},{}\n",
                        quoted(predictions.samples->tables[s.table]), s.line, quoted(system.name), system.gpu.id,
                        name(s.curve), s.nodes, s.ranks, s.bytes, s.messages, s.tokens, s.hidden, s.top_k, s.experts,
                        s.sms, quoted(s.library), scored.predicted * 1e6, s.measured * 1e6,
                        logarithm(scored.predicted / s.measured), system.profile.name,
                        system.profile.extrapolated ? "yes" : "no", outside_fit(s, system.profile) ? "yes" : "no");
  }
  return text;
}

}  // namespace moesim
