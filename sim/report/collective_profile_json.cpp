#include "report/collective_profile_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/math.h"
#include "report/comm_prediction_text.h"
#include "report/short_lists.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

std::string us(Duration t) {
  return fmt::format("{:.5g} us", t.microseconds());
}

/// Absolute rates of shares, in GB/s.
struct Lines {
  double scale_up = 0, network = 0;
  std::string rate(double share) const { return fmt::format("{:.5g} GB/s", share * scale_up); }
  std::string network_rate(double share) const { return fmt::format("{:.5g} GB/s", share * network); }
};

ordered_json ring_json(const RingProtocols& ring, const Lines& line) {
  ordered_json json{{"base", us(ring.base)}, {"step", us(ring.step)}, {"ll_rate", line.rate(ring.ll_share)}};
  if (ring.ll128_share > 0) {
    json["ll128_extra"] = us(ring.ll128_extra);
    json["ll128_step"] = us(ring.ll128_step);
    json["ll128_rate"] = line.rate(ring.ll128_share);
  }
  json["simple_extra"] = us(ring.simple_extra);
  json["simple_step"] = us(ring.simple_step);
  json["simple_rate"] = line.rate(ring.simple_share);
  return json;
}

ordered_json all_to_all_json(const DirectProtocols& direct, const Lines& line) {
  ordered_json json{{"base", us(direct.base)},
                    {"per_peer", us(direct.per_peer)},
                    {"ll_rate", line.rate(direct.ll_share)},
                    {"simple_extra", us(direct.simple_extra)},
                    {"simple_rate", line.rate(direct.simple_share)}};
  if (direct.bulk_from.value > 0) {
    json["bulk_from"] = fmt::format("{:g} MB", static_cast<double>(direct.bulk_from.value) * 1e-6);
    json["bulk_rate"] = line.rate(direct.bulk_share);
  }
  return json;
}

ordered_json custom_json(const CustomAllReduce& custom, const Lines& line) {
  return {{"max_ranks", custom.max_ranks},
          {"one_shot_base", us(custom.one_shot_base)},
          {"one_shot_per_peer", us(custom.one_shot_per_peer)},
          {"one_shot_rate", line.rate(custom.one_shot_share)},
          {"two_shot_base", us(custom.two_shot_base)},
          {"two_shot_per_peer", us(custom.two_shot_per_peer)},
          {"two_shot_rate", line.rate(custom.two_shot_share)}};
}

ordered_json low_latency_json(const LowLatencyExchange& low, const Lines& line) {
  ordered_json json{{"latency", us(low.domain.latency)},
                    {"rate", line.rate(low.domain.share)},
                    {"network_latency", us(low.network.latency)},
                    {"per_log2_nodes", us(low.per_log2_nodes)},
                    {"network_rate", line.network_rate(low.network.share)},
                    {"per_expert", us(low.per_expert)},
                    {"token_latency", us(low.token_latency)}};
  if (low.token_share > 0) json["token_rate"] = line.rate(low.token_share);
  return json;
}

ordered_json normal_json(const NormalExchange& normal, const Lines& line) {
  ordered_json json{{"latency", us(normal.latency)},
                    {"per_log2_nodes", us(normal.per_log2_nodes)},
                    {"rate_per_sm", line.rate(normal.scale_up_share_per_sm)},
                    {"rate", line.rate(normal.scale_up_share)},
                    {"network_rate_per_sm", line.network_rate(normal.network_share_per_sm)},
                    {"network_rate", line.network_rate(normal.network_share)},
                    {"per_copy", us(normal.per_copy)},
                    {"per_token", us(normal.per_token)}};
  if (normal.token_share > 0) json["token_rate"] = line.rate(normal.token_share);
  return json;
}

ordered_json nvlink_json(const NvlinkExchange& exchange, const Lines& line, bool carries) {
  ordered_json json{{"latency", us(exchange.latency)},
                    {"per_log2_ranks", us(exchange.per_log2_ranks)},
                    {"per_token", us(exchange.per_token)}};
  if (carries) json["rate"] = line.rate(exchange.share);
  return json;
}

ordered_json network_json(const NetworkProtocols& network, const Lines& line) {
  return {{"hop", us(network.hop)},
          {"ll128_hop", us(network.ll128_hop)},
          {"bulk_hop", us(network.bulk_hop)},
          {"rate", line.network_rate(network.share)},
          {"ll_rate", line.network_rate(network.ll_share)},
          {"all_to_all_rate", line.network_rate(network.all_to_all_share)},
          {"two_node_factor", network.two_node_factor}};
}

ordered_json send_recv_json(const CollectiveProfile& profile, const Lines& line) {
  ordered_json json{{"latency", us(profile.send_recv.latency)}, {"rate", line.rate(profile.send_recv.share)}};
  if (profile.network_send_recv.share > 0) {
    json["network_latency"] = us(profile.network_send_recv.latency);
    json["network_rate"] = line.network_rate(profile.network_send_recv.share);
  }
  return json;
}

/// The section of the file at `member` ("exchange/normal_dispatch").
ordered_json member_json(const CollectiveProfile& p, std::string_view member, const Lines& line) {
  const std::string_view part = member.substr(member.find('/') + 1);
  if (member == "ring") return ring_json(p.ring, line);
  if (member == "all_to_all") return all_to_all_json(p.all_to_all, line);
  if (member == "send_recv") return send_recv_json(p, line);
  if (member == "network") return network_json(p.network, line);
  if (member == "custom_all_reduce") return custom_json(p.custom_all_reduce, line);
  if (member == "custom_all_reduce_sglang") return custom_json(p.custom_all_reduce_sglang, line);
  if (member == "custom_all_reduce_trtllm") return custom_json(p.custom_all_reduce_trtllm, line);
  if (part == "low_latency_dispatch") return low_latency_json(p.low_latency_dispatch, line);
  if (part == "low_latency_combine") return low_latency_json(p.low_latency_combine, line);
  if (part == "normal_dispatch") return normal_json(p.normal_dispatch, line);
  if (part == "normal_combine") return normal_json(p.normal_combine, line);
  if (part == "two_sided_prepare") return nvlink_json(p.two_sided_prepare, line, false);
  if (part == "two_sided_dispatch") return nvlink_json(p.two_sided_dispatch, line, true);
  if (part == "two_sided_combine") return nvlink_json(p.two_sided_combine, line, true);
  if (part == "one_sided_dispatch") return nvlink_json(p.one_sided_dispatch, line, true);
  if (part == "one_sided_combine") return nvlink_json(p.one_sided_combine, line, true);
  if (member == "put") {
    return {{"latency", us(p.put.latency)},
            {"per_message", us(p.put.per_message)},
            {"rate", line.network_rate(p.put.share)}};
  }
  ordered_json protocols = ordered_json::array();  // all_reduce
  for (const DomainAllReduce& protocol : p.domain_all_reduce) {
    protocols.push_back(
        {{"min_ranks", protocol.ranks}, {"latency", us(protocol.latency)}, {"rate", line.rate(protocol.share)}});
  }
  return protocols;
}

double rounded(double x, double unit) {
  return std::round(x / unit) * unit;
}

ordered_json errors_json(std::span<const ScoredSample> scored) {
  const ErrorSummary errors = errors_of(scored);
  return {{"scored", errors.scored},
          {"median_ape", rounded(errors.median_ape, 1e-4)},
          {"p90_ape", rounded(errors.p90_ape, 1e-4)}};
}

/// Where and how well a curve was fitted.
ordered_json fit_json(const SectionFit& fit, const FittedRange& range, const ProfileFile& file) {
  const auto own = [&](std::span<const ScoredSample> scored) {
    std::vector<ScoredSample> list;
    for (const ScoredSample& s : scored) {
      if (s.sample->curve == range.curve) list.push_back(s);
    }
    return list;
  };
  std::set<std::string> libraries;
  for (const CommSample* sample : fit.samples) {
    if (sample->curve == range.curve && !sample->library.empty()) libraries.insert(sample->library);
  }
  ordered_json json{{"of", name(range.curve)},
                    {"between_domains", fit.section->between_domains},
                    {"ranks", {range.fewest_ranks, range.most_ranks}},
                    {"size", {range.smallest, range.largest}},
                    {"libraries", libraries},
                    {"fitted", errors_json(own(fit.after))}};
  const bool corrected = fit.corrections == Corrections::fitted;
  ordered_json left_out = ordered_json::object();
  for (const HeldOutErrors& errors : fit.held_out) {
    const std::vector<ScoredSample> scored = own(corrected ? errors.corrected : errors.law);
    if (scored.empty()) continue;
    ordered_json all = errors_json(scored);
    std::map<std::string_view, std::vector<ScoredSample>> regimes;
    for (const ScoredSample& s : scored) regimes[regime_of(*s.sample)].push_back(s);
    for (const auto& [regime, part] : regimes) all[std::string(regime)] = rounded(errors_of(part).median_ape, 1e-4);
    left_out[std::string(name(errors.hold_out))] = std::move(all);
  }
  json["left_out"] = std::move(left_out);
  json["source"] = file.source;
  json["date"] = file.date;
  json["command"] = file.command;
  return json;
}

ordered_json correction_json(const CurveCorrection& correction) {
  ordered_json at = ordered_json::array(), factor = ordered_json::array();
  for (const double size : correction.log_size) at.push_back(rounded(exponential(size), 1));
  for (const double log_factor : correction.log_factor) factor.push_back(rounded(exponential(log_factor), 1e-4));
  return {{"of", name(correction.curve)}, {"ranks", correction.ranks}, {"at", at}, {"factor", factor}};
}

/// Keeps the entries of `list` that are not of the section, appends `entries`.
void replace_entries(ordered_json& file, const char* list, const FitSection& section, const ordered_json& entries) {
  ordered_json kept = ordered_json::array();
  if (file.contains(list)) {
    for (const ordered_json& entry : file[list]) {
      const bool same = std::any_of(section.curves.begin(), section.curves.end(),
                                    [&](CostCurve curve) { return entry.at("of") == name(curve); }) &&
                        entry.value("between_domains", false) == section.between_domains;
      if (!same) kept.push_back(entry);
    }
  }
  for (const ordered_json& entry : entries) kept.push_back(entry);
  if (kept.empty()) {
    file.erase(list);
  } else {
    file[list] = std::move(kept);
  }
}

/// The note of the section in the list of notes; none where `note` is empty.
void replace_note(ordered_json& file, const FitSection& section, const std::string& note) {
  ordered_json notes = file.value("notes", ordered_json::array());
  const std::string start = std::string(section.name) + ": ";
  for (std::size_t i = notes.size(); i-- > 0;) {
    if (notes[i].get<std::string>().starts_with(start)) notes.erase(i);
  }
  if (!note.empty()) notes.push_back(note);
  file.erase("notes");
  if (!notes.empty()) file["notes"] = std::move(notes);
}

/// "450 GB/s" of a file that was read before, so that it is in order.
double gigabytes(const std::string& text) {
  return std::stod(text);
}

ordered_json new_file(const CommSystem& system, const ProfileFile& file) {
  const ClusterSpec& cluster = system.topology->cluster();
  constexpr const char* kinds[] = {"switched", "mesh", "pcie"};
  ordered_json json{{"format", "moesim-collectives-1"}, {"source", file.source}, {"date", file.date}};
  json["gpus"] = {{"names", {system.gpu.id}}, {"scale_up", kinds[static_cast<std::size_t>(cluster.scale_up)]}};
  json["rest"] = file.rest;
  json["line_rate"] = fmt::format("{:.6g} GB/s", cluster.scale_up_link.bandwidth.value * 1e-9);
  json["efficiency"] = cluster.scale_up_link.efficiency;
  const bool nics = cluster.nics_per_node > 0;
  json["network_line_rate"] = fmt::format("{:.6g} GB/s", nics ? cluster.nic.bandwidth.value * 1e-9 : 50);
  json["network_efficiency"] = nics ? cluster.nic.efficiency : 0.93;
  return json;
}

}  // namespace

std::string few_points_note(const SectionFit& fit) {
  if (fit.points >= kEnoughPoints * fit.constants) return {};
  return fmt::format("{}: {} points for {} constants, fewer than {} each: the fit follows their noise",
                     fit.section->name, fit.points, fit.constants, kEnoughPoints);
}

std::string collective_profile_json(const CollectiveProfile& profile, std::span<const SectionFit> fits,
                                    const CommSystem& system, const ProfileFile& file) {
  ordered_json json = file.base.empty() ? new_file(system, file) : ordered_json::parse(file.base, nullptr, true, true);
  json["date"] = file.date;
  if (!file.licence.empty()) json["licence"] = file.licence;
  const Lines line{
      gigabytes(json.at("line_rate").get<std::string>()) * json.at("efficiency").get<double>(),
      gigabytes(json.at("network_line_rate").get<std::string>()) * json.at("network_efficiency").get<double>()};
  for (const SectionFit& fit : fits) {
    for (const std::string_view member : fit.section->members) {
      ordered_json section = member_json(profile, member, line);
      const std::size_t slash = member.find('/');
      ordered_json& place = slash == std::string_view::npos
                                ? json[std::string(member)]
                                : json[std::string(member.substr(0, slash))][std::string(member.substr(slash + 1))];
      if (section.is_object() && place.is_object()) {
        place.update(section);  // what is not fitted stays: transports of a network
      } else {
        place = std::move(section);
      }
      if (place.is_array() && place.empty()) json.erase(std::string(member));
      // Hops fitted to one transport are its own; those of others that the base lists would go out from them.
      if (member == "network" && !file.network.empty()) place.erase("transports");
    }
    replace_note(json, *fit.section, few_points_note(fit));
    ordered_json entries = ordered_json::array(), corrections = ordered_json::array();
    for (const FittedRange& range : fit.ranges) entries.push_back(fit_json(fit, range, file));
    for (const CurveCorrection& correction : profile.corrections) {
      if (std::find(fit.section->curves.begin(), fit.section->curves.end(), correction.curve) !=
          fit.section->curves.end()) {
        corrections.push_back(correction_json(correction));
      }
    }
    replace_entries(json, "fits", *fit.section, entries);
    if (!fit.section->between_domains) replace_entries(json, "corrections", *fit.section, corrections);
  }
  return with_short_lists(json.dump(2)) + '\n';
}

}  // namespace moesim
