#include "report/result_parts.h"

#include <nlohmann/json.hpp>

namespace moesim {

using nlohmann::ordered_json;

ordered_json provenance_json(const Provenance& provenance) {
  ordered_json json;
  json["tool_version"] = provenance.tool_version;
  json["seed"] = provenance.seed;
  ordered_json inputs = ordered_json::object();
  for (const auto& [file, hash] : provenance.input_hashes) inputs[file] = hash;
  json["input_hashes"] = std::move(inputs);
  ordered_json profiles = ordered_json::array();
  for (const Provenance::Profile& profile : provenance.profiles) {
    ordered_json row{{"name", profile.name}};
    if (!profile.provider.empty()) row["provider"] = profile.provider;
    if (!profile.date.empty()) row["date"] = profile.date;
    if (!profile.source.empty()) row["source"] = profile.source;
    row["extrapolated"] = profile.extrapolated;
    profiles.push_back(std::move(row));
  }
  json["calibration_profiles"] = std::move(profiles);
  json["extrapolated"] = provenance.extrapolated;
  json["notes"] = provenance.notes;
  return json;
}

ordered_json links_json(std::span<const LinkUse> links) {
  ordered_json rows = ordered_json::array();
  for (const LinkUse& use : links) {
    rows.push_back({{"from", use.from},
                    {"to", use.to},
                    {"link_class", use.kind},
                    {"bytes", Bytes::ceil(use.bytes).value},
                    {"utilization", use.utilization},
                    {"peak", use.peak}});
  }
  return rows;
}

}  // namespace moesim
