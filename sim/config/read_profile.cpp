#include "config/read_profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "config/json_reader.h"
#include "hardware/operator_shape.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "moesim-profile-1";
constexpr std::array<DataType, kDataTypes> kTypes{DataType::fp32, DataType::bf16,      DataType::fp16,
                                                  DataType::fp8,  DataType::fp8_block, DataType::int8,
                                                  DataType::int4, DataType::mxfp4,     DataType::nvfp4};
constexpr double kLargestTile = 256.0 * 128 / (256 + 128);  // harmonic size of the largest GEMM tile

std::string text(const JsonReader& section, std::string_view key) {
  const std::optional<JsonReader> value = section.find(key);
  return value ? value->string() : std::string();
}

/// A fraction of a datasheet rate.
double efficiency(const JsonReader& value) {
  const double e = value.number_in(0, 1);
  if (e == 0) value.fail("expected a number above 0 and at most 1, got 0");
  return e;
}

Duration time(const JsonReader& value) {
  const Duration t = value.duration();
  if (t < Duration()) value.fail("expected a time of at least 0");
  return t;
}

double norm(const JsonReader& value) {
  return value.number_in(1, 100);
}

/// `compute` multiplies size / (size + half): the product must not beat the peak at the largest size.
double ramped_efficiency(const JsonReader& section, double half, double largest) {
  const JsonReader value = section.at("compute");
  const double e = value.number();
  if (e <= 0 || e * largest / (largest + half) > 1 + 1e-3) {
    value.fail(
        fmt::format("expected an efficiency above 0 that stays within the peak at size {:.6g} (at most {:.6g}), got {}",
                    largest, (largest + half) / largest, e));
  }
  return e;
}

CacheGain read_cache(const JsonReader& reader) {
  constexpr std::array<std::string_view, 2> known{"gain", "share"};
  reader.expect_only(known);
  return {.gain = reader.at("gain").number_in(0, 100), .share = reader.at("share").number_in(1e-3, 100)};
}

CacheGain cache_of(const JsonReader& section) {
  const std::optional<JsonReader> cache = section.find("cache");
  return cache ? read_cache(*cache) : CacheGain{};
}

std::vector<double> numbers(const JsonReader& list, double low, double high) {
  std::vector<double> values;
  for (const JsonReader& element : list.elements()) values.push_back(element.number_in(low, high));
  return values;
}

/// Knots in octaves; factors within a factor three, so that a broken table cannot turn the law round.
RegimeFactors factor_of(const JsonReader& section) {
  RegimeFactors factors = kUnperturbed;
  const std::optional<JsonReader> list = section.find("factor");
  if (!list) return factors;
  const std::vector<JsonReader> elements = list->elements();
  if (elements.size() != factors.size()) {
    list->fail(fmt::format("expected {} numbers (small, medium, large), got {}", factors.size(), elements.size()));
  }
  for (std::size_t r = 0; r < factors.size(); ++r) factors[r] = elements[r].number_in(1e-2, 1e2);
  return factors;
}

KernelResidual residual_of(const JsonReader& section) {
  const std::optional<JsonReader> r = section.find("residual");
  if (!r) return {};
  constexpr std::array<std::string_view, 3> known{"x", "y", "factor"};
  r->expect_only(known);
  KernelResidual residual{.x = numbers(r->at("x"), -100, 100),
                          .y = numbers(r->at("y"), -100, 100),
                          .factor = numbers(r->at("factor"), 1.0 / 3, 3)};
  for (const std::string_view axis : {"x", "y"}) {
    const std::vector<double>& knots = axis == "x" ? residual.x : residual.y;
    if (knots.empty()) r->at(axis).fail("expected at least one knot");
    if (std::adjacent_find(knots.begin(), knots.end(), std::greater_equal<>()) != knots.end()) {
      r->at(axis).fail("expected knots in ascending order");
    }
  }
  const std::size_t count = residual.x.size() * residual.y.size();
  if (residual.factor.size() != count || count > kMostResidualKnots) {
    r->at("factor").fail(fmt::format("expected one factor a knot, {} and at most {}, got {}", count, kMostResidualKnots,
                                     residual.factor.size()));
  }
  return residual;
}

RegimeErrors read_errors(const JsonReader& reader) {
  constexpr std::array<std::string_view, 7> known{"regime", "rows", "mape", "median_ape", "p90_ape", "bias", "log_sd"};
  constexpr std::array<std::string_view, kSizeRegimes> regimes{"small", "medium", "large"};
  reader.expect_only(known);
  return {.regime = static_cast<SizeRegime>(reader.at("regime").choice(regimes)),
          .rows = reader.at("rows").integer_in(1, INT64_MAX),
          .mape = reader.at("mape").number_in(0, 1e3),
          .median_ape = reader.at("median_ape").number_in(0, 1e3),
          .p90_ape = reader.at("p90_ape").number_in(0, 1e3),
          .bias = reader.at("bias").number_in(-10, 10),
          .log_sd = reader.at("log_sd").number_in(0, 10)};
}

SectionOrigin read_origin(const JsonReader& section) {
  const JsonReader reader = section.at("origin");
  constexpr std::array<std::string_view, 9> known{"source",       "provider", "licence",   "gpu",   "fit_range",
                                                  "derived_from", "date",     "residuals", "errors"};
  reader.expect_only(known);
  SectionOrigin origin{.source = reader.at("source").string(),
                       .provider = reader.at("provider").string(),
                       .licence = reader.at("licence").string(),
                       .gpu = reader.at("gpu").string(),
                       .fit_range = text(reader, "fit_range"),
                       .derived_from = text(reader, "derived_from"),
                       .date = text(reader, "date"),
                       .residuals = {},
                       .errors = {}};
  if (const std::optional<JsonReader> residuals = reader.find("residuals")) {
    constexpr std::array<std::string_view, 6> fields{"median_ape",  "p90_ape",     "bias",
                                                     "rows_fitted", "rows_scored", "split"};
    residuals->expect_only(fields);
    origin.residuals = FitResiduals{.median_ape = residuals->at("median_ape").number_in(0, 1e3),
                                    .p90_ape = residuals->at("p90_ape").number_in(0, 1e3),
                                    .bias = residuals->at("bias").number_in(-10, 10),
                                    .rows_fitted = residuals->at("rows_fitted").integer_in(0, INT64_MAX),
                                    .rows_scored = residuals->at("rows_scored").integer_in(0, INT64_MAX),
                                    .split = residuals->at("split").string()};
  }
  if (const std::optional<JsonReader> errors = reader.find("errors")) {
    for (const JsonReader& element : errors->elements()) origin.errors.push_back(read_errors(element));
  }
  return origin;
}

TileChoice tiles_of(const JsonReader& r) {
  const std::string name = r.string();
  if (name == "wide") return TileChoice::wide;
  if (name != "narrow") r.fail(fmt::format("expected wide or narrow, got \"{}\"", name));
  return TileChoice::narrow;
}

/// What sections of products may lack: wide tiles, and nothing beside the matrix units.
template <class Section>
void read_tiles(const JsonReader& r, Section& s) {
  if (const std::optional<JsonReader> wave = r.find("per_wave")) s.per_wave = time(*wave);
  if (const std::optional<JsonReader> tiles = r.find("tiles")) s.tiles = tiles_of(*tiles);
  if (const std::optional<JsonReader> promotion = r.find("promotion")) s.promotion = promotion->number_in(0, 8);
  if (const std::optional<JsonReader> draw = r.find("draw")) s.draw = draw->bandwidth();
}

GemmSection read_gemm(const JsonReader& r) {
  constexpr std::array<std::string_view, 17> known{
      "factor",   "math",      "batched_fixed",       "fixed", "compute", "memory",
      "norm",     "tile_half", "tiles_for_bandwidth", "split", "cache",   "residual",
      "per_wave", "tiles",     "promotion",           "draw",  "origin"};
  r.expect_only(known);
  GemmSection s;
  s.math = r.at("math").data_type();
  s.fixed = time(r.at("fixed"));
  s.batched_fixed = time(r.at("batched_fixed"));
  s.tile_half = r.at("tile_half").number_in(0, 1e4);
  s.compute = ramped_efficiency(r, s.tile_half, kLargestTile);
  s.memory = efficiency(r.at("memory"));
  s.norm = norm(r.at("norm"));
  s.tiles_for_bandwidth = r.at("tiles_for_bandwidth").number_in(1e-2, 1e4);
  s.split = time(r.at("split"));
  read_tiles(r, s);
  s.cache = cache_of(r);
  s.residual = residual_of(r);
  s.factor = factor_of(r);
  s.origin = read_origin(r);
  return s;
}

BatchedGemmSection read_batched_gemm(const JsonReader& r) {
  constexpr std::array<std::string_view, 11> known{"factor",   "math",      "fixed", "compute",  "memory", "norm",
                                                   "per_wave", "quantizes", "cache", "residual", "origin"};
  r.expect_only(known);
  const std::optional<JsonReader> quantizes = r.find("quantizes");
  return {.math = r.at("math").data_type(),
          .fixed = time(r.at("fixed")),
          .compute = efficiency(r.at("compute")),
          .memory = efficiency(r.at("memory")),
          .norm = norm(r.at("norm")),
          .per_wave = time(r.at("per_wave")),
          .quantizes = quantizes && quantizes->boolean(),
          .cache = cache_of(r),
          .residual = residual_of(r),
          .factor = factor_of(r),
          .origin = read_origin(r)};
}

MoeSection read_moe(const JsonReader& r) {
  constexpr std::array<std::string_view, 15> known{"factor",
                                                   "math",
                                                   "fixed",
                                                   "compute",
                                                   "memory",
                                                   "norm",
                                                   "block_half",
                                                   "activation_memory",
                                                   "per_expert",
                                                   "per_thousand_slots",
                                                   "tiles_for_bandwidth",
                                                   "cache",
                                                   "residual",
                                                   "remote_rows",
                                                   "origin"};
  r.expect_only(known);
  MoeSection s;
  s.math = r.at("math").data_type();
  s.fixed = time(r.at("fixed"));
  s.block_half = r.at("block_half").number_in(0, 1e4);
  s.compute = ramped_efficiency(r, s.block_half, kMoeBlocks.back());
  s.memory = efficiency(r.at("memory"));
  s.norm = norm(r.at("norm"));
  s.activation_memory = efficiency(r.at("activation_memory"));
  s.per_expert = time(r.at("per_expert"));
  s.per_thousand_slots = time(r.at("per_thousand_slots"));
  s.tiles_for_bandwidth = r.at("tiles_for_bandwidth").number_in(1e-2, 1e4);
  if (const std::optional<JsonReader> share = r.find("remote_rows")) s.remote_rows = share->number_in(0, 1);
  s.cache = cache_of(r);
  s.residual = residual_of(r);
  s.factor = factor_of(r);
  s.origin = read_origin(r);
  return s;
}

GroupedSection read_grouped(const JsonReader& r) {
  constexpr std::array<std::string_view, 14> known{
      "factor", "math",  "fixed",     "compute",  "memory", "norm",     "activation_memory",
      "block",  "tiles", "promotion", "per_wave", "draw",   "residual", "origin"};
  r.expect_only(known);
  GroupedSection s;
  s.math = r.at("math").data_type();
  s.fixed = time(r.at("fixed"));
  s.compute = efficiency(r.at("compute"));
  s.memory = efficiency(r.at("memory"));
  s.norm = norm(r.at("norm"));
  s.activation_memory = efficiency(r.at("activation_memory"));
  read_tiles(r, s);
  const JsonReader block = r.at("block");
  s.block = static_cast<int>(block.integer());
  if (std::find(kMoeBlocks.begin(), kMoeBlocks.end(), s.block) == kMoeBlocks.end()) {
    block.fail(fmt::format("expected one of 16, 32, 64, 128, 256, got {}", s.block));
  }
  s.residual = residual_of(r);
  s.factor = factor_of(r);
  s.origin = read_origin(r);
  return s;
}

DecodeAttentionSection read_decode(const JsonReader& r) {
  constexpr std::array<std::string_view, 17> known{
      "factor", "math",       "kv_cache",   "head_dim",  "fixed",      "underfilled", "per_unit", "compute", "memory",
      "norm",   "split_keys", "tile_heads", "wide_unit", "last_round", "cache",       "residual", "origin"};
  r.expect_only(known);
  DecodeAttentionSection s;
  s.math = r.at("math").data_type();
  s.kv_cache = r.at("kv_cache").data_type();
  s.head_dim = r.at("head_dim").integer_in(1, 65536);
  s.fixed = time(r.at("fixed"));
  s.underfilled = time(r.at("underfilled"));
  s.per_unit = time(r.at("per_unit"));
  s.compute = efficiency(r.at("compute"));
  s.memory = efficiency(r.at("memory"));
  s.norm = norm(r.at("norm"));
  s.split_keys = r.at("split_keys").number_in(1, 1e9);
  if (const std::optional<JsonReader> heads = r.find("tile_heads")) s.tile_heads = heads->integer_in(1, 4096);
  if (const std::optional<JsonReader> wide = r.find("wide_unit")) s.wide_unit = wide->number_in(1, 8);
  if (const std::optional<JsonReader> last = r.find("last_round")) s.last_round = last->number_in(0, 1);
  s.cache = cache_of(r);
  s.residual = residual_of(r);
  s.factor = factor_of(r);
  s.origin = read_origin(r);
  return s;
}

PrefillAttentionSection read_prefill(const JsonReader& r) {
  constexpr std::array<std::string_view, 17> known{
      "factor", "math",    "kv_cache",  "head_dim", "absorbed",  "fixed", "per_unit", "compute", "memory",
      "norm",   "longest", "tile_rows", "packing",  "kv_passes", "cache", "residual", "origin"};
  constexpr std::array<std::string_view, 3> packings{"group", "single", "heads"};
  r.expect_only(known);
  PrefillAttentionSection s;
  s.math = r.at("math").data_type();
  s.kv_cache = r.at("kv_cache").data_type();
  s.head_dim = r.at("head_dim").integer_in(1, 65536);
  if (const std::optional<JsonReader> absorbed = r.find("absorbed")) s.absorbed = absorbed->boolean();
  s.fixed = time(r.at("fixed"));
  s.per_unit = time(r.at("per_unit"));
  s.compute = efficiency(r.at("compute"));
  s.memory = efficiency(r.at("memory"));
  s.norm = norm(r.at("norm"));
  s.longest = r.at("longest").number_in(0, 100);
  if (const std::optional<JsonReader> rows = r.find("tile_rows")) s.tile_rows = rows->integer_in(1, 4096);
  if (const std::optional<JsonReader> packing = r.find("packing")) {
    s.packing = static_cast<QueryPacking>(packing->choice(packings));
  }
  if (const std::optional<JsonReader> passes = r.find("kv_passes")) s.kv_passes = passes->number_in(0, 100);
  s.cache = cache_of(r);
  s.residual = residual_of(r);
  s.factor = factor_of(r);
  s.origin = read_origin(r);
  return s;
}

MixedAttentionSection read_mixed(const JsonReader& r) {
  constexpr std::array<std::string_view, 13> known{"factor",   "math",     "kv_cache", "head_dim", "fixed",
                                                   "per_unit", "per_slot", "compute",  "memory",   "norm",
                                                   "longest",  "residual", "origin"};
  r.expect_only(known);
  return {.math = r.at("math").data_type(),
          .kv_cache = r.at("kv_cache").data_type(),
          .head_dim = r.at("head_dim").integer_in(1, 65536),
          .fixed = time(r.at("fixed")),
          .per_unit = time(r.at("per_unit")),
          .per_slot = time(r.at("per_slot")),
          .compute = efficiency(r.at("compute")),
          .memory = efficiency(r.at("memory")),
          .norm = norm(r.at("norm")),
          .longest = r.at("longest").number_in(0, 100),
          .residual = residual_of(r),
          .factor = factor_of(r),
          .origin = read_origin(r)};
}

PassSection read_pass(const JsonReader& r) {
  constexpr std::array<std::string_view, 5> known{"factor", "fixed", "memory", "cache", "origin"};
  r.expect_only(known);
  return {.fixed = time(r.at("fixed")),
          .memory = efficiency(r.at("memory")),
          .cache = cache_of(r),
          .factor = factor_of(r),
          .origin = read_origin(r)};
}

ScanSection read_scan(const JsonReader& r) {
  constexpr std::array<std::string_view, 6> known{"factor", "fixed", "per_chunk", "memory", "norm", "origin"};
  r.expect_only(known);
  return {.fixed = time(r.at("fixed")),
          .per_chunk = time(r.at("per_chunk")),
          .memory = efficiency(r.at("memory")),
          .norm = norm(r.at("norm")),
          .factor = factor_of(r),
          .origin = read_origin(r)};
}

/// A family by data type, into `sections`, which keep what they hold where the file has no entry: its own constants, or
/// `same_as` another type's with the `math` whose peak they are relative to and the reason.
template <class Section>
void read_entries(const JsonReader& family, Section (*read)(const JsonReader&),
                  std::array<Section, kDataTypes>& sections) {
  std::vector<std::string_view> names;
  for (const DataType type : kTypes) names.push_back(name(type));
  family.expect_only(names);
  std::array<bool, kDataTypes> measured{};
  for (const DataType type : kTypes) {
    const std::optional<JsonReader> entry = family.find(name(type));
    if (!entry || entry->has("same_as")) continue;
    sections[static_cast<std::size_t>(type)] = read(*entry);
    measured[static_cast<std::size_t>(type)] = true;
  }
  for (const DataType type : kTypes) {
    const std::optional<JsonReader> entry = family.find(name(type));
    const std::optional<JsonReader> same = entry ? entry->find("same_as") : std::nullopt;
    if (!same) continue;
    constexpr std::array<std::string_view, 3> known{"same_as", "math", "derived_from"};
    entry->expect_only(known);
    const auto other = static_cast<std::size_t>(same->data_type());
    if (!measured[other]) same->fail(fmt::format("{} has no constants of its own", same->string()));
    Section& section = sections[static_cast<std::size_t>(type)] = sections[other];
    section.math = entry->at("math").data_type();
    section.origin.derived_from = entry->at("derived_from").string();
  }
}

/// One with an entry for every data type.
template <class Section>
std::array<Section, kDataTypes> read_family(const JsonReader& family, Section (*read)(const JsonReader&)) {
  std::array<Section, kDataTypes> sections;
  read_entries(family, read, sections);
  for (const DataType type : kTypes) family.at(name(type));
  return sections;
}

template <class Section>
std::vector<Section> read_sections(const JsonReader& family, Section (*read)(const JsonReader&)) {
  std::vector<Section> sections;
  for (const JsonReader& element : family.elements()) sections.push_back(read(element));
  if (sections.empty()) family.fail("expected at least one section");
  return sections;
}

/// Both forms of MLA prefill; the kernels differ too much for one to serve the other without saying so.
std::vector<PrefillAttentionSection> read_mla_prefill(const JsonReader& family) {
  std::vector<PrefillAttentionSection> sections = read_sections(family, read_prefill);
  for (const bool absorbed : {false, true}) {
    if (std::any_of(sections.begin(), sections.end(), [&](const auto& s) { return s.absorbed == absorbed; })) continue;
    family.fail(
        fmt::format("expected expanded and absorbed sections, got no {} one; copy the section that stands in "
                    "and name it in derived_from",
                    absorbed ? "absorbed" : "expanded"));
  }
  return sections;
}

fs::path profile_folder() {
  return product_root() / "calibrate" / "profiles";
}

/// Another GPU on which sections were measured that stand for their own kernels: of a rescaled profile.
std::string carried_from(const KernelProfile& profile) {
  const auto foreign = [&](const auto& sections) -> std::string {
    for (const auto& s : sections) {
      if (s.origin.derived_from.empty() && s.origin.gpu != profile.gpu) return s.origin.gpu;
    }
    return {};
  };
  for (const std::string& gpu : {foreign(profile.gemm), foreign(profile.moe), foreign(profile.attention_decode)}) {
    if (!gpu.empty()) return gpu;
  }
  return {};
}

struct Candidate {
  fs::path file;
  std::string provider;
  bool same_gpu = false;
};

/// Kernel profiles that may serve `gpu`, by file name: those measured on it, else those of the same chip.
std::vector<Candidate> profiles_of(std::string_view gpu) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(profile_folder(), error)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Candidate> own, related;
  for (const fs::path& file : files) {
    const nlohmann::ordered_json json = parse_json_file(file);
    const JsonReader root(json, file.string());
    if (!root.has("kind") || root.at("kind").string() != "kernels") continue;
    const std::string provider = root.at("provider").string();
    if (root.at("gpu").string() == gpu) own.push_back({file, provider, true});
    if (const std::optional<JsonReader> others = root.find("also_for")) {
      for (const JsonReader& other : others->elements()) {
        if (other.string() == gpu) related.push_back({file, provider, false});
      }
    }
  }
  return own.empty() ? related : own;
}

}  // namespace

KernelProfile read_kernel_profile_file(const fs::path& path) {
  const nlohmann::ordered_json json = parse_json_file(path);
  const JsonReader root(json, path.string());
  const JsonReader format = root.at("format");
  if (format.string() != kFormat) format.fail(fmt::format("expected \"{}\", got \"{}\"", kFormat, format.string()));
  const JsonReader kind = root.at("kind");
  if (kind.string() != "kernels")
    kind.fail(fmt::format("expected a profile of \"kernels\", got \"{}\"", kind.string()));
  constexpr std::array<std::string_view, 25> known{"also_for",
                                                   "attention_mixed",
                                                   "format",
                                                   "kind",
                                                   "name",
                                                   "gpu",
                                                   "provider",
                                                   "date",
                                                   "source",
                                                   "notes",
                                                   "launch",
                                                   "gemm",
                                                   "mla_bmm",
                                                   "moe",
                                                   "grouped_masked",
                                                   "grouped_contiguous",
                                                   "attention_decode",
                                                   "attention_prefill",
                                                   "mla_decode",
                                                   "mla_prefill",
                                                   "quantize_scale",
                                                   "quantize_convert",
                                                   "memory_pass",
                                                   "recurrent_state",
                                                   "chunked_scan"};
  root.expect_only(known);

  KernelProfile profile;
  profile.name = root.at("name").string();
  profile.gpu = root.at("gpu").string();
  profile.provider = root.at("provider").string();
  profile.date = root.at("date").string();
  profile.source = root.at("source").string();
  if (const std::optional<JsonReader> notes = root.find("notes")) {
    for (const JsonReader& note : notes->elements()) profile.notes.push_back(note.string());
  }
  if (const std::optional<JsonReader> others = root.find("also_for")) {
    for (const JsonReader& gpu : others->elements()) profile.also_for.push_back(gpu.string());
  }
  const JsonReader launch = root.at("launch");
  constexpr std::array<std::string_view, 3> launch_keys{"eager", "graph", "source"};
  launch.expect_only(launch_keys);
  profile.launch = {
      .eager = time(launch.at("eager")), .graph = time(launch.at("graph")), .source = launch.at("source").string()};
  profile.gemm = read_family(root.at("gemm"), read_gemm);
  std::transform(profile.gemm.begin(), profile.gemm.end(), profile.mla_bmm.begin(), batched_from_single);
  if (const std::optional<JsonReader> batches = root.find("mla_bmm")) {
    read_entries(*batches, read_batched_gemm, profile.mla_bmm);
  }
  profile.moe = read_family(root.at("moe"), read_moe);
  profile.grouped_masked = read_family(root.at("grouped_masked"), read_grouped);
  profile.grouped_contiguous = read_family(root.at("grouped_contiguous"), read_grouped);
  profile.attention_decode = read_sections(root.at("attention_decode"), read_decode);
  profile.attention_prefill = read_sections(root.at("attention_prefill"), read_prefill);
  if (const std::optional<JsonReader> mixed = root.find("attention_mixed")) {
    profile.attention_mixed = read_sections(*mixed, read_mixed);
  }
  profile.mla_decode = read_sections(root.at("mla_decode"), read_decode);
  profile.mla_prefill = read_mla_prefill(root.at("mla_prefill"));
  if (const std::optional<JsonReader> scale = root.find("quantize_scale")) profile.quantize_scale = read_pass(*scale);
  profile.quantize_convert = read_pass(root.at("quantize_convert"));
  profile.memory_pass = read_pass(root.at("memory_pass"));
  profile.recurrent_state = read_pass(root.at("recurrent_state"));
  profile.chunked_scan = read_scan(root.at("chunked_scan"));
  return profile;
}

KernelProfileChoice select_kernel_profile(const std::string& calibration, std::string_view gpu, EnginePreset engine,
                                          const fs::path& from) {
  return select_kernel_profile(calibration, gpu, name(engine), from);
}

KernelProfileChoice select_kernel_profile(const std::string& calibration, std::string_view gpu,
                                          std::string_view provider, const fs::path& from) {
  KernelProfileChoice choice;
  if (calibration == "auto") {
    const fs::path expected = profile_folder() / fmt::format("{}-{}.json", gpu, provider);
    std::error_code error;
    // The usual case without opening every profile.
    const std::vector<Candidate> candidates =
        fs::exists(expected, error) ? std::vector{Candidate{expected, std::string(provider), true}} : profiles_of(gpu);
    if (candidates.empty()) {
      choice.file = profile_folder() / "roofline.json";
      choice.reason = fmt::format("no measured profile of {}; stated efficiencies of its datasheet rates", gpu);
    } else {
      const auto same = std::find_if(candidates.begin(), candidates.end(),
                                     [&](const Candidate& c) { return c.provider == provider; });
      const Candidate& best = same != candidates.end() ? *same : candidates.front();
      choice.file = best.file;
      choice.reason = best.same_gpu ? fmt::format("measured on {}", gpu)
                                    : fmt::format("no measured profile of {}; one of the same chip stands in", gpu);
      if (same == candidates.end()) choice.reason += fmt::format(", {} for {}", best.provider, provider);
    }
  } else if (calibration == "roofline") {
    choice.file = profile_folder() / "roofline.json";
    choice.reason = "asked for";
  } else {
    choice.file = resolve_path(calibration, from);
    choice.reason = "asked for";
  }
  choice.profile = read_kernel_profile_file(choice.file);
  choice.extrapolated = choice.profile.gpu != gpu;
  if (const std::string measured_on = carried_from(choice.profile); !measured_on.empty()) {
    choice.extrapolated = true;
    choice.reason += fmt::format(", carried from {}", measured_on);
  }
  if (choice.reason == "asked for" && choice.extrapolated && choice.profile.gpu != "any") {
    choice.reason += fmt::format(", measured on {}", choice.profile.gpu);
  }
  if (choice.reason.starts_with("asked for") && choice.profile.provider != provider) {
    choice.reason += fmt::format(", kernels of {} for {}", choice.profile.provider, provider);
  }
  return choice;
}

}  // namespace moesim
