#include "report/kernel_profile_json.h"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "report/short_lists.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

constexpr std::string_view kFamilies[] = {"gemm", "mla_bmm", "moe", "grouped_masked", "grouped_contiguous"};
constexpr std::string_view kLists[] = {"attention_decode", "attention_prefill", "attention_mixed", "mla_decode",
                                       "mla_prefill"};
constexpr std::string_view kSingles[] = {"quantize_scale", "quantize_convert", "memory_pass", "recurrent_state",
                                         "chunked_scan"};
constexpr const char* kRegimes[] = {"small", "medium", "large"};

std::string us(Duration t) {
  return fmt::format("{:.5g} us", t.microseconds());
}
/// Five significant digits.
double number(double x) {
  return std::stod(fmt::format("{:.5g}", x));
}
double fraction(double x) {
  return std::round(x * 1e4) / 1e4;
}

ordered_json cache_json(const CacheGain& cache) {
  return {{"gain", number(cache.gain)}, {"share", number(cache.share)}};
}

ordered_json residual_json(const KernelResidual& residual) {
  ordered_json x = ordered_json::array(), y = ordered_json::array(), factor = ordered_json::array();
  for (const double knot : residual.x) x.push_back(number(knot));
  for (const double knot : residual.y) y.push_back(number(knot));
  for (const double f : residual.factor) factor.push_back(fraction(f));
  return {{"x", x}, {"y", y}, {"factor", factor}};
}

ordered_json origin_json(const SectionOrigin& origin) {
  ordered_json json{
      {"source", origin.source}, {"provider", origin.provider}, {"licence", origin.licence}, {"gpu", origin.gpu}};
  if (!origin.fit_range.empty()) json["fit_range"] = origin.fit_range;
  if (!origin.derived_from.empty()) json["derived_from"] = origin.derived_from;
  if (!origin.date.empty()) json["date"] = origin.date;
  if (origin.residuals) {
    const FitResiduals& r = *origin.residuals;
    json["residuals"] = {
        {"median_ape", fraction(r.median_ape)}, {"p90_ape", fraction(r.p90_ape)}, {"bias", fraction(r.bias)},
        {"rows_fitted", r.rows_fitted},         {"rows_scored", r.rows_scored},   {"split", r.split}};
  }
  if (!origin.errors.empty()) {
    ordered_json list = ordered_json::array();
    for (const RegimeErrors& e : origin.errors) {
      list.push_back({{"regime", kRegimes[static_cast<std::size_t>(e.regime)]},
                      {"rows", e.rows},
                      {"mape", fraction(e.mape)},
                      {"median_ape", fraction(e.median_ape)},
                      {"p90_ape", fraction(e.p90_ape)},
                      {"bias", fraction(e.bias)},
                      {"log_sd", fraction(e.log_sd)}});
    }
    json["errors"] = std::move(list);
  }
  return json;
}

/// What every section ends in.
template <class Section>
ordered_json finished(ordered_json json, const Section& s) {
  if constexpr (requires { s.cache; }) json["cache"] = cache_json(s.cache);
  if constexpr (requires { s.residual; }) {
    if (!s.residual.empty()) json["residual"] = residual_json(s.residual);
  }
  if (s.factor != kUnperturbed) {
    json["factor"] = {number(s.factor[0]), number(s.factor[1]), number(s.factor[2])};
  }
  json["origin"] = origin_json(s.origin);
  return json;
}

template <class Section>
void add_tiles(ordered_json& json, const Section& s) {
  if (s.tiles == TileChoice::narrow) json["tiles"] = "narrow";
  if (s.promotion > 0) json["promotion"] = number(s.promotion);
  if (s.draw.value > 0) json["draw"] = fmt::format("{:.5g} GB/s", s.draw.value * 1e-9);
}

ordered_json section_json(const GemmSection& s) {
  ordered_json json{{"math", name(s.math)},
                    {"fixed", us(s.fixed)},
                    {"batched_fixed", us(s.batched_fixed)},
                    {"compute", number(s.compute)},
                    {"memory", number(s.memory)},
                    {"norm", number(s.norm)},
                    {"tile_half", number(s.tile_half)},
                    {"per_wave", us(s.per_wave)},
                    {"tiles_for_bandwidth", number(s.tiles_for_bandwidth)},
                    {"split", us(s.split)}};
  add_tiles(json, s);
  return finished(std::move(json), s);
}

ordered_json section_json(const BatchedGemmSection& s) {
  ordered_json json{{"math", name(s.math)},       {"fixed", us(s.fixed)},   {"compute", number(s.compute)},
                    {"memory", number(s.memory)}, {"norm", number(s.norm)}, {"per_wave", us(s.per_wave)}};
  if (s.quantizes) json["quantizes"] = true;
  return finished(std::move(json), s);
}

ordered_json section_json(const MoeSection& s) {
  return finished({{"math", name(s.math)},
                   {"fixed", us(s.fixed)},
                   {"compute", number(s.compute)},
                   {"memory", number(s.memory)},
                   {"norm", number(s.norm)},
                   {"block_half", number(s.block_half)},
                   {"activation_memory", number(s.activation_memory)},
                   {"per_expert", us(s.per_expert)},
                   {"per_thousand_slots", us(s.per_thousand_slots)},
                   {"tiles_for_bandwidth", number(s.tiles_for_bandwidth)},
                   {"remote_rows", number(s.remote_rows)}},
                  s);
}

ordered_json section_json(const GroupedSection& s) {
  ordered_json json{{"math", name(s.math)},
                    {"fixed", us(s.fixed)},
                    {"compute", number(s.compute)},
                    {"memory", number(s.memory)},
                    {"norm", number(s.norm)},
                    {"activation_memory", number(s.activation_memory)},
                    {"block", s.block}};
  if (s.per_wave > Duration()) json["per_wave"] = us(s.per_wave);
  add_tiles(json, s);
  return finished(std::move(json), s);
}

ordered_json section_json(const DecodeAttentionSection& s) {
  ordered_json json{{"math", name(s.math)},
                    {"kv_cache", name(s.kv_cache)},
                    {"head_dim", s.head_dim},
                    {"fixed", us(s.fixed)},
                    {"underfilled", us(s.underfilled)},
                    {"per_unit", us(s.per_unit)},
                    {"compute", number(s.compute)},
                    {"memory", number(s.memory)},
                    {"norm", number(s.norm)},
                    {"split_keys", number(s.split_keys)}};
  if (s.last_round > 0) {
    json.update(
        {{"tile_heads", s.tile_heads}, {"wide_unit", number(s.wide_unit)}, {"last_round", number(s.last_round)}});
  }
  return finished(std::move(json), s);
}

std::string_view name(QueryPacking packing) {
  switch (packing) {
    case QueryPacking::group:
      return "group";
    case QueryPacking::single:
      return "single";
    case QueryPacking::heads:
      return "heads";
  }
  return "group";
}

ordered_json section_json(const PrefillAttentionSection& s, bool mla) {
  ordered_json json{{"math", name(s.math)}, {"kv_cache", name(s.kv_cache)}, {"head_dim", s.head_dim}};
  if (mla) json["absorbed"] = s.absorbed;
  json.update({{"fixed", us(s.fixed)},
               {"per_unit", us(s.per_unit)},
               {"compute", number(s.compute)},
               {"memory", number(s.memory)},
               {"norm", number(s.norm)},
               {"longest", number(s.longest)},
               {"tile_rows", s.tile_rows},
               {"packing", name(s.packing)},
               {"kv_passes", number(s.kv_passes)}});
  return finished(std::move(json), s);
}

ordered_json section_json(const MixedAttentionSection& s) {
  return finished({{"math", name(s.math)},
                   {"kv_cache", name(s.kv_cache)},
                   {"head_dim", s.head_dim},
                   {"fixed", us(s.fixed)},
                   {"per_unit", us(s.per_unit)},
                   {"per_slot", us(s.per_slot)},
                   {"compute", number(s.compute)},
                   {"memory", number(s.memory)},
                   {"norm", number(s.norm)},
                   {"longest", number(s.longest)}},
                  s);
}

ordered_json section_json(const PassSection& s) {
  return finished({{"fixed", us(s.fixed)}, {"memory", number(s.memory)}}, s);
}

ordered_json section_json(const ScanSection& s) {
  return finished(
      {{"fixed", us(s.fixed)}, {"per_chunk", us(s.per_chunk)}, {"memory", number(s.memory)}, {"norm", number(s.norm)}},
      s);
}

/// Replaces the entry of these formats and head size, or adds it.
void put_in_list(ordered_json& list, const ordered_json& section) {
  for (ordered_json& entry : list) {
    bool same = true;
    for (const char* key : {"math", "kv_cache", "head_dim"}) same = same && entry.at(key) == section.at(key);
    if (!same || entry.value("absorbed", false) != section.value("absorbed", false)) continue;
    entry = section;
    return;
  }
  list.push_back(section);
}

/// "bf16" of "gemm/bf16".
std::string last_part(const std::string& key) {
  return key.substr(key.rfind('/') + 1);
}

void put(ordered_json& json, KernelProfile& profile, const KernelFit& fit) {
  const std::string& key = fit.section->key;
  const std::string family = key.substr(0, key.find('/'));
  const SectionOrigin& origin = fit.section->origin(profile);
  const auto typed = [&](const auto& sections) {
    for (const auto& s : sections) {
      if (&s.origin != &origin) continue;
      ordered_json& place = json[family][last_part(key)];
      // What stands on another type's constants goes on doing so, unless its own kernels were measured.
      if (place.contains("same_as") && !origin.derived_from.empty()) continue;
      place = section_json(s);
    }
  };
  if (family == "gemm") typed(profile.gemm);
  if (family == "mla_bmm") typed(profile.mla_bmm);
  if (family == "moe") typed(profile.moe);
  if (family == "grouped_masked") typed(profile.grouped_masked);
  if (family == "grouped_contiguous") typed(profile.grouped_contiguous);
  const auto listed = [&](const auto& sections, const auto&... mla) {
    for (const auto& s : sections) {
      if (&s.origin == &origin) put_in_list(json[family], section_json(s, mla...));
    }
  };
  if (family == "attention_mixed") listed(profile.attention_mixed);
  if (family == "attention_decode") listed(profile.attention_decode);
  if (family == "mla_decode") listed(profile.mla_decode);
  if (family == "attention_prefill") listed(profile.attention_prefill, false);
  if (family == "mla_prefill") listed(profile.mla_prefill, true);
  if (family == "quantize_scale") json[family] = section_json(*profile.quantize_scale);
  if (family == "quantize_convert") json[family] = section_json(profile.quantize_convert);
  if (family == "memory_pass") json[family] = section_json(profile.memory_pass);
  if (family == "recurrent_state") json[family] = section_json(profile.recurrent_state);
  if (family == "chunked_scan") json[family] = section_json(profile.chunked_scan);
}

/// Says of every section that it was taken from the profile `name`, where it does not yet say what it stands for.
void mark_taken(ordered_json& json, const std::string& name) {
  const auto mark = [&](ordered_json& section) {
    if (!section.contains("origin")) return;  // same_as says why itself
    std::string& from = section["origin"]["derived_from"].is_string()
                            ? section["origin"]["derived_from"].get_ref<std::string&>()
                            : (section["origin"]["derived_from"] = std::string()).get_ref<std::string&>();
    from = from.empty() ? "not measured: taken from " + name : from + " (taken from " + name + ")";
  };
  for (const std::string_view family : kFamilies) {
    if (!json.contains(family)) continue;  // batches of products
    for (auto& [type, section] : json[std::string(family)].items()) mark(section);
  }
  for (const std::string_view list : kLists) {
    if (!json.contains(list)) continue;  // mixed batches
    for (ordered_json& section : json[std::string(list)]) mark(section);
  }
  for (const std::string_view single : kSingles) {
    if (json.contains(single)) mark(json[std::string(single)]);
  }
}

}  // namespace

std::string kernel_profile_json(const KernelProfile& profile, std::span<const KernelFit> fits,
                                const KernelProfileFile& file) {
  ordered_json json = ordered_json::parse(file.base, nullptr, true, true);
  if (file.fresh) {
    mark_taken(json, json.at("name").get<std::string>());
    json["name"] = profile.name;
    json["gpu"] = profile.gpu;
    json["provider"] = profile.provider;
    json["source"] = profile.source;
    json["notes"] = profile.notes;
    json.erase("also_for");
  }
  if (file.renamed) {
    json["name"] = profile.name;
    json["gpu"] = profile.gpu;
    json["notes"] = profile.notes;
    json["also_for"] = profile.also_for;
  }
  json["date"] = file.date;
  KernelProfile written = profile;
  for (const KernelFit& fit : fits) put(json, written, fit);
  return with_short_lists(json.dump(1)) + '\n';
}

}  // namespace moesim
