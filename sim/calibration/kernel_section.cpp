#include "calibration/kernel_section.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "hardware/operator_shape.h"

namespace moesim {

namespace {

template <class Section>
using Reach = std::function<Section&(KernelProfile&)>;

template <class Section>
struct Field {
  std::string_view key;
  double low, typical, high;
  double (*get)(const Section&);
  void (*set)(Section&, double);
};

Duration us(double t) {
  return Duration::from_seconds(t * 1e-6);
}

// A time, a plain number and the L2 gain of a section S; S is named by the list that uses them.
#define MOESIM_TIME(member, low, typical, high)        \
  {#member,                                            \
   low,                                                \
   typical,                                            \
   high,                                               \
   [](const S& s) { return s.member.microseconds(); }, \
   [](S& s, double v) { s.member = us(v); }}
#define MOESIM_NUMBER(member, low, typical, high) \
  {#member, low, typical, high, [](const S& s) { return s.member; }, [](S& s, double v) { s.member = v; }}
#define MOESIM_CACHE                                                                                                 \
  {"cache.gain", 0.01, 0.5, 6, [](const S& s) { return s.cache.gain; }, [](S& s, double v) { s.cache.gain = v; }}, {                                        \
    "cache.share", 0.03, 0.5, 2, [](const S& s) { return s.cache.share; }, [](S& s, double v) { s.cache.share = v; } \
  }
// 64 bytes a clock at 2 GHz.
#define MOESIM_DRAW \
  {"draw", 30, 90, 128, [](const S& s) { return s.draw.value / 1e9; }, [](S& s, double v) { \
     s.draw.value = v * 1e9; }}
// Efficiency at the end of a ramp size / (size + half).
#define MOESIM_RAMP(half, size, low, typical)                         \
  {"compute",                                                         \
   low,                                                               \
   typical,                                                           \
   1.0,                                                               \
   [](const S& s) { return s.compute * (size) / ((size) + s.half); }, \
   [](S& s, double v) { s.compute = v * ((size) + s.half) / (size); }}

constexpr double kLargestTile = 256.0 * 128 / (256 + 128);  // harmonic size of the largest GEMM tile
constexpr double kUnbounded = 1e4;                          // tiles_for_bandwidth: `draw` bounds instead
constexpr double kLargestBlock = kMoeBlocks.back();

std::vector<Field<GemmSection>> gemm_fields() {
  using S = GemmSection;
  return {MOESIM_TIME(fixed, 0.3, 5, 60),
          MOESIM_NUMBER(tile_half, 0.05, 8, 300),
          MOESIM_TIME(per_wave, 0.001, 0.5, 20),
          MOESIM_RAMP(tile_half, kLargestTile, 0.1, 0.75),
          MOESIM_NUMBER(memory, 0.2, 0.8, 1),
          MOESIM_NUMBER(norm, 1, 3, 8),
          MOESIM_NUMBER(tiles_for_bandwidth, 0.3, 3, 10),
          MOESIM_TIME(split, 0.02, 1, 20),
          MOESIM_CACHE};
}

// Of narrow tiles. What the rows of an H20, which is never short of memory, cannot tell is bounded by what is known of
// the hardware: HBM gives at most 93 % of its rate to a copy, loads run beside the matrix units (p of 2 and more).
std::vector<Field<GemmSection>> narrow_fields() {
  using S = GemmSection;
  return {MOESIM_TIME(fixed, 0.3, 5, 60),       MOESIM_TIME(per_wave, 0.001, 0.5, 20),
          MOESIM_NUMBER(compute, 0.1, 0.75, 1), MOESIM_NUMBER(memory, 0.2, 0.85, 0.93),
          MOESIM_NUMBER(norm, 2, 3, 8),         MOESIM_DRAW};
}

std::vector<Field<BatchedGemmSection>> batched_fields() {
  using S = BatchedGemmSection;
  return {MOESIM_TIME(fixed, 0.3, 4, 60),        MOESIM_TIME(per_wave, 0.001, 0.5, 20),
          MOESIM_NUMBER(compute, 0.05, 0.75, 1), MOESIM_NUMBER(memory, 0.2, 0.8, 1),
          MOESIM_NUMBER(norm, 1, 3, 8),          MOESIM_CACHE};
}

std::vector<Field<MoeSection>> moe_fields() {
  using S = MoeSection;
  return {MOESIM_TIME(fixed, 1, 20, 200),
          MOESIM_NUMBER(block_half, 0.05, 20, 400),
          MOESIM_RAMP(block_half, kLargestBlock, 0.05, 0.6),
          MOESIM_NUMBER(memory, 0.1, 0.8, 1),
          MOESIM_NUMBER(norm, 1, 1.6, 8),
          MOESIM_NUMBER(activation_memory, 0.05, 0.6, 1),
          MOESIM_TIME(per_expert, 0.001, 0.2, 3),
          MOESIM_TIME(per_thousand_slots, 0.005, 0.6, 20),
          MOESIM_NUMBER(tiles_for_bandwidth, 0.3, 3, 10),
          MOESIM_NUMBER(remote_rows, 0.001, 0.1, 1),
          MOESIM_CACHE};
}

std::vector<Field<GroupedSection>> grouped_fields() {
  using S = GroupedSection;
  return {MOESIM_TIME(fixed, 1, 20, 600), MOESIM_NUMBER(compute, 0.05, 0.6, 1), MOESIM_NUMBER(memory, 0.1, 0.8, 1),
          MOESIM_NUMBER(norm, 1, 2, 8), MOESIM_NUMBER(activation_memory, 0.03, 0.5, 1)};
}

std::vector<Field<GroupedSection>> narrow_grouped_fields() {
  using S = GroupedSection;
  return {MOESIM_TIME(fixed, 1, 20, 600),
          MOESIM_TIME(per_wave, 0.001, 0.5, 20),
          MOESIM_NUMBER(compute, 0.05, 0.75, 1),
          MOESIM_NUMBER(memory, 0.2, 0.85, 0.93),
          MOESIM_NUMBER(norm, 2, 3, 8),
          MOESIM_DRAW,
          MOESIM_NUMBER(activation_memory, 0.03, 0.5, 1)};
}

std::vector<Field<DecodeAttentionSection>> decode_fields() {
  using S = DecodeAttentionSection;
  return {MOESIM_TIME(fixed, 0.3, 7, 60),           MOESIM_TIME(underfilled, 0.001, 1, 30),
          MOESIM_TIME(per_unit, 0.001, 1.5, 30),    MOESIM_NUMBER(compute, 0.005, 0.3, 1),
          MOESIM_NUMBER(memory, 0.1, 0.8, 1),       MOESIM_NUMBER(norm, 1, 2, 8),
          MOESIM_NUMBER(split_keys, 1, 64, 524288), MOESIM_CACHE};
}

/// Absorbed MLA. Starts between kernels that split every sequence and those that split none.
std::vector<Field<DecodeAttentionSection>> latent_decode_fields() {
  using S = DecodeAttentionSection;
  std::vector<Field<S>> fields = decode_fields();
  for (Field<S>& field : fields) {
    if (field.key == "split_keys") field.typical = 2048;
  }
  fields.push_back(MOESIM_NUMBER(wide_unit, 1, 2, 8));
  fields.push_back(MOESIM_NUMBER(last_round, 0.5, 0.8, 1));
  return fields;
}

std::vector<Field<PrefillAttentionSection>> prefill_fields() {
  using S = PrefillAttentionSection;
  return {MOESIM_TIME(fixed, 0.3, 8, 100),       MOESIM_TIME(per_unit, 0.001, 0.6, 30),
          MOESIM_NUMBER(compute, 0.05, 0.6, 1),  MOESIM_NUMBER(memory, 0.05, 0.7, 1),
          MOESIM_NUMBER(norm, 1, 2, 8),          MOESIM_NUMBER(longest, 0.01, 0.7, 10),
          MOESIM_NUMBER(kv_passes, 0.01, 1, 10), MOESIM_CACHE};
}

std::vector<Field<MixedAttentionSection>> mixed_fields() {
  using S = MixedAttentionSection;
  return {MOESIM_TIME(fixed, 0.3, 5, 100),      MOESIM_TIME(per_unit, 0.001, 0.6, 30),
          MOESIM_TIME(per_slot, 0.001, 0.1, 4), MOESIM_NUMBER(compute, 0.05, 0.6, 1),
          MOESIM_NUMBER(memory, 0.05, 0.7, 1),  MOESIM_NUMBER(norm, 1, 2, 8),
          MOESIM_NUMBER(longest, 0.01, 0.7, 10)};
}

std::vector<Field<PassSection>> pass_fields() {
  using S = PassSection;
  return {MOESIM_TIME(fixed, 0.3, 2, 60), MOESIM_NUMBER(memory, 0.05, 0.8, 1), MOESIM_CACHE};
}

std::vector<Field<ScanSection>> scan_fields() {
  using S = ScanSection;
  return {MOESIM_TIME(fixed, 0.3, 8, 100), MOESIM_TIME(per_chunk, 0.05, 2, 50), MOESIM_NUMBER(memory, 0.05, 0.7, 1),
          MOESIM_NUMBER(norm, 1, 2, 8)};
}

#undef MOESIM_TIME
#undef MOESIM_NUMBER
#undef MOESIM_CACHE
#undef MOESIM_DRAW
#undef MOESIM_RAMP

/// Reaches only read through it, though they need a profile that they could write to.
KernelProfile& writable(const KernelProfile& profile) {
  return const_cast<KernelProfile&>(profile);
}

template <class Section>
KernelSection section_of(const std::vector<Field<Section>>& fields, const Reach<Section>& reach) {
  KernelSection section;
  for (const Field<Section>& f : fields) {
    section.constants.push_back({f.key, f.low, f.typical, f.high,
                                 [=](const KernelProfile& p) { return f.get(reach(writable(p))); },
                                 [=](KernelProfile& p, double v) { f.set(reach(p), v); }});
  }
  section.origin = [=](KernelProfile& p) -> SectionOrigin& { return reach(p).origin; };
  section.factor = [=](KernelProfile& p) -> RegimeFactors& { return reach(p).factor; };
  section.residual = [=](KernelProfile& p) -> KernelResidual* {
    if constexpr (requires(Section& s) { s.residual; }) {
      return &reach(p).residual;
    } else {
      return nullptr;
    }
  };
  return section;
}

std::vector<std::string_view> parts_of(std::string_view key) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= key.size();) {
    const std::size_t end = std::min(key.find('/', at), key.size());
    parts.push_back(key.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

template <class Section>
std::optional<KernelSection> typed(const std::vector<Field<Section>>& fields,
                                   std::array<Section, kDataTypes> KernelProfile::* family,
                                   std::span<const std::string_view> parts) {
  if (parts.size() != 2) return std::nullopt;
  const std::optional<DataType> type = data_type_from_name(parts[1]);
  if (!type) return std::nullopt;
  const auto i = static_cast<std::size_t>(*type);
  return section_of<Section>(fields, [=](KernelProfile& p) -> Section& { return (p.*family)[i]; });
}

bool alike(const DecodeAttentionSection&, const DecodeAttentionSection&) {
  return true;
}
bool alike(const MixedAttentionSection&, const MixedAttentionSection&) {
  return true;
}
bool alike(const PrefillAttentionSection& a, const PrefillAttentionSection& b) {
  return a.absorbed == b.absorbed;
}

/// Index of the section of these formats and head size; a copy of the nearest where there is none.
template <class Section>
std::size_t place_of(std::vector<Section>& sections, const Section& wanted) {
  std::size_t best = 0;
  double least = 1e9;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const Section& s = sections[i];
    const double dims = static_cast<double>(s.head_dim) / static_cast<double>(wanted.head_dim);
    const double distance = 1e6 * !alike(s, wanted) + 1e4 * (s.kv_cache != wanted.kv_cache) +
                            1e3 * (s.math != wanted.math) + (dims > 1 ? dims : 1 / dims) - 1;
    if (distance >= least) continue;
    least = distance;
    best = i;
  }
  if (least == 0) return best;
  Section added = sections.empty() ? Section{} : sections[best];
  added.math = wanted.math;
  added.kv_cache = wanted.kv_cache;
  added.head_dim = wanted.head_dim;
  if constexpr (requires(Section& s) { s.absorbed; }) added.absorbed = wanted.absorbed;
  sections.push_back(std::move(added));
  return sections.size() - 1;
}

/// "attention_decode/bf16/fp8/128"; of MLA prefill the form (expanded 192, absorbed 576) instead of the head size.
template <class Section>
std::optional<KernelSection> listed(const std::vector<Field<Section>>& fields,
                                    std::vector<Section> KernelProfile::* family,
                                    std::span<const std::string_view> parts, KernelProfile& profile) {
  if (parts.size() != 4) return std::nullopt;
  const std::optional<DataType> math = data_type_from_name(parts[1]), cache = data_type_from_name(parts[2]);
  if (!math || !cache) return std::nullopt;
  Section wanted;
  wanted.math = *math;
  wanted.kv_cache = *cache;
  if constexpr (requires(Section& s) { s.absorbed; }) wanted.absorbed = parts[3] == "absorbed";
  wanted.head_dim = 0;
  if (parts[3] == "absorbed" || parts[3] == "expanded") {
    wanted.head_dim = parts[3] == "absorbed" ? 576 : 192;
  } else {
    for (const char c : parts[3]) {
      if (c < '0' || c > '9' || wanted.head_dim > 65536) return std::nullopt;
      wanted.head_dim = 10 * wanted.head_dim + (c - '0');
    }
  }
  if (wanted.head_dim < 1) return std::nullopt;
  const std::size_t i = place_of(profile.*family, wanted);
  KernelSection section = section_of<Section>(fields, [=](KernelProfile& p) -> Section& { return (p.*family)[i]; });
  if constexpr (std::is_same_v<Section, PrefillAttentionSection>) {
    // A choice is the rows of a tile plus the number of its packing.
    section.blocks = {64, 65, 66, 128, 129, 130, 256, 257, 258};
    section.set_block = [=](KernelProfile& p, int block) {
      Section& s = (p.*family)[i];
      s.tile_rows = block - block % 64;
      s.packing = static_cast<QueryPacking>(block % 64);
    };
    section.get_block = [=](const KernelProfile& p) {
      const Section& s = (p.*family)[i];
      return static_cast<int>(s.tile_rows) + static_cast<int>(s.packing);
    };
  }
  if constexpr (std::is_same_v<Section, DecodeAttentionSection>) {
    if (parts[0] == "mla_decode") {
      section.blocks = {16, 64};  // query heads of a unit
      section.set_block = [=](KernelProfile& p, int heads) { (p.*family)[i].tile_heads = heads; };
      section.get_block = [=](const KernelProfile& p) { return static_cast<int>((p.*family)[i].tile_heads); };
    }
  }
  return section;
}

bool block_scaled(std::span<const std::string_view> parts) {
  return parts.size() == 2 && parts[1] == "fp8_block";
}

/// The matrix units of Hopper know no scales: an FMA of the vector units adds every accumulator, scaled, after 128
/// columns. Rows of one GPU cannot tell that from a lower efficiency of the matrix units, so it is not fitted.
template <class Section>
void choose_narrow(Section& section) {
  section.tiles = TileChoice::narrow;
  section.promotion = 1;
}

std::optional<KernelSection> found_section(KernelOp op, std::string_view key, KernelProfile& profile,
                                           std::string_view architecture) {
  const bool hopper = architecture == "hopper";
  const std::vector<std::string_view> parts = parts_of(key);
  const std::string_view family = parts.front();
  using P = KernelProfile;
  switch (op) {
    case KernelOp::gemm:
      if (family == "gemm" && block_scaled(parts) && hopper) {
        GemmSection& section = profile.gemm[static_cast<std::size_t>(DataType::fp8_block)];
        choose_narrow(section);
        section.tile_half = 0;
        section.tiles_for_bandwidth = kUnbounded;
        section.cache = {};
        return typed(narrow_fields(), &P::gemm, parts);
      }
      if (family == "gemm") return typed(gemm_fields(), &P::gemm, parts);
      [[fallthrough]];  // tables of products may hold batches
    case KernelOp::mla_bmm:
      if (family == "mla_bmm") {
        // TensorRT-LLM's op with scales by block contains a kernel that quantises and permutes.
        if (op == KernelOp::mla_bmm && block_scaled(parts)) {
          profile.mla_bmm[static_cast<std::size_t>(DataType::fp8_block)].quantizes = true;
        }
        return typed(batched_fields(), &P::mla_bmm, parts);
      }
      break;
    case KernelOp::moe:
    case KernelOp::moe_wideep:
    case KernelOp::grouped_gemm: {
      if (family == "moe") return typed(moe_fields(), &P::moe, parts);
      const bool masked = family == "grouped_masked";
      if (!masked && family != "grouped_contiguous") break;
      const auto member = masked ? &P::grouped_masked : &P::grouped_contiguous;
      if (block_scaled(parts) && hopper) {
        choose_narrow((profile.*member)[static_cast<std::size_t>(DataType::fp8_block)]);
        return typed(narrow_grouped_fields(), member, parts);
      }
      std::optional<KernelSection> section = typed(grouped_fields(), member, parts);
      if (!section) break;
      const auto i = static_cast<std::size_t>(*data_type_from_name(parts[1]));
      section->blocks = {64, 128};  // of DeepGEMM's layouts
      section->set_block = [=](P& p, int block) { (p.*member)[i].block = block; };
      section->get_block = [=](const P& p) { return (p.*member)[i].block; };
      return section;
    }
    case KernelOp::attn_decode:
      if (family == "attention_decode") return listed(decode_fields(), &P::attention_decode, parts, profile);
      break;
    case KernelOp::attn_prefill:
      if (family == "attention_prefill") return listed(prefill_fields(), &P::attention_prefill, parts, profile);
      break;
    case KernelOp::mla_decode:
      if (family == "mla_decode") return listed(latent_decode_fields(), &P::mla_decode, parts, profile);
      break;
    case KernelOp::mla_prefill:
      if (family == "mla_prefill") return listed(prefill_fields(), &P::mla_prefill, parts, profile);
      break;
    case KernelOp::quantize:
      if (key == "quantize_convert") {
        return section_of<PassSection>(pass_fields(), [](P& p) -> PassSection& { return p.quantize_convert; });
      }
      if (key == "quantize_scale") {
        if (!profile.quantize_scale) profile.quantize_scale = profile.quantize_convert;
        return section_of<PassSection>(pass_fields(), [](P& p) -> PassSection& { return *p.quantize_scale; });
      }
      break;
    case KernelOp::linear_attention:
      if (key == "recurrent_state") {
        return section_of<PassSection>(pass_fields(), [](P& p) -> PassSection& { return p.recurrent_state; });
      }
      if (key == "chunked_scan") {
        return section_of<ScanSection>(scan_fields(), [](P& p) -> ScanSection& { return p.chunked_scan; });
      }
      break;
    case KernelOp::memory_pass:
      if (key == "memory_pass") {
        return section_of<PassSection>(pass_fields(), [](P& p) -> PassSection& { return p.memory_pass; });
      }
      break;
    case KernelOp::attn_mixed:  // decode steps alone are predicted from their own sections
      if (family == "attention_mixed") return listed(mixed_fields(), &P::attention_mixed, parts, profile);
      break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<KernelSection> kernel_section(KernelOp op, std::string_view key, KernelProfile& profile,
                                            std::string_view architecture) {
  std::optional<KernelSection> section = found_section(op, key, profile, architecture);
  if (section) {
    section->op = op;
    section->key = key;
  }
  return section;
}

void copy_section(const KernelSection& to, const KernelProfile& from_profile, const KernelSection& from,
                  KernelProfile& to_profile) {
  KernelProfile& source = writable(from_profile);
  for (std::size_t i = 0; i < to.constants.size(); ++i) {
    to.constants[i].set(to_profile, from.constants[i].get(from_profile));
  }
  if (to.set_block) to.set_block(to_profile, from.get_block(from_profile));
  to.factor(to_profile) = from.factor(source);
  if (KernelResidual* const residual = to.residual(to_profile)) *residual = *from.residual(source);
  to.origin(to_profile).errors = from.origin(source).errors;
  to.origin(to_profile).residuals = from.origin(source).residuals;
}

KernelProfile constants_only(const KernelProfile& profile, const KernelSection& section) {
  KernelProfile plain = profile;
  const auto strip = [&](auto& s) {
    s.origin = {};
    if constexpr (requires { s.norm; }) s.norm = 2;
    if constexpr (requires { s.residual; }) s.residual = {};
  };
  for (auto& s : plain.gemm) strip(s);
  for (auto& s : plain.mla_bmm) strip(s);
  for (auto& s : plain.moe) strip(s);
  for (auto& s : plain.grouped_masked) strip(s);
  for (auto& s : plain.grouped_contiguous) strip(s);
  for (auto& s : plain.attention_decode) strip(s);
  for (auto& s : plain.attention_prefill) strip(s);
  for (auto& s : plain.attention_mixed) strip(s);
  for (auto& s : plain.mla_decode) strip(s);
  for (auto& s : plain.mla_prefill) strip(s);
  if (plain.quantize_scale) strip(*plain.quantize_scale);
  strip(plain.quantize_convert);
  strip(plain.memory_pass);
  strip(plain.recurrent_state);
  strip(plain.chunked_scan);
  plain.notes.clear();
  for (const KernelConstant& constant : section.constants) constant.set(plain, constant.get(profile));
  return plain;
}

}  // namespace moesim
