#include "hardware/kernel_cost.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace moesim {
namespace {

struct Tile {
  int rows, columns;
};
constexpr std::array<Tile, 7> kTiles{{{64, 64}, {64, 128}, {128, 64}, {128, 128}, {64, 256}, {128, 256}, {256, 128}}};
constexpr std::array<Tile, 16> kNarrowTiles{{{128, 128},
                                             {128, 112},
                                             {128, 96},
                                             {128, 80},
                                             {128, 64},
                                             {128, 48},
                                             {128, 32},
                                             {128, 16},
                                             {64, 128},
                                             {64, 112},
                                             {64, 96},
                                             {64, 80},
                                             {64, 64},
                                             {64, 48},
                                             {64, 32},
                                             {64, 16}}};
constexpr std::int64_t kBatchTile = 64;  // rows and columns of a tile of a batch of products
constexpr double kScaleDepth = 128;      // columns of k that share a scale
constexpr std::array<std::int64_t, 5> kSplits{1, 2, 4, 8, 16};
constexpr std::int64_t kDepth = 64;        // elements of k that a tile consumes at once
constexpr std::int64_t kWidenedRows = 16;  // rows of a matrix instruction of weight-only kernels
constexpr double kOutputBytes = 2;         // results are bf16
constexpr std::int64_t kQueryRows = 128;   // rows of the tiles that a residual counts
constexpr std::int64_t kKeyBlock = 64;     // keys are padded to this
constexpr std::int64_t kMixedRows = 64;    // rows of a tile of the kernel for mixed batches
constexpr std::int64_t kMixedKeys = 128;   // and keys that it takes at once
constexpr double kTailNorm = 1.5;          // joins the mean work of a multiprocessor and the longest tile
constexpr std::int64_t kLatentHeads = 64;  // query heads in one unit of absorbed MLA
constexpr std::int64_t kWideHeads = 128;   // and in one of the kernels for many heads
constexpr std::int64_t kQueryGroup = 16;   // query heads of a KV head are padded to this
constexpr double kScanChunk = 64;          // tokens
constexpr double kScanState = 128 * 128;   // state elements of a head to which per_chunk refers
constexpr std::size_t kMostNorms = 64;     // that are taken over
constexpr double kGroupedColumns = 128;    // columns of a tile of a grouped GEMM

std::size_t index(DataType type) {
  return static_cast<std::size_t>(type);
}
std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
double real(std::int64_t n) {
  return static_cast<double>(n);
}
double round_up(double x, double to) {
  return std::ceil(x / to) * to;
}
bool narrow(DataType type) {
  return bits_per_element(type) < 12;
}

/// The section for weights of type `weight` that meet activations of type `activation`.
template <class Sections>
const auto& section_for(const Sections& sections, DataType weight, DataType activation) {
  const auto& own = sections[index(weight)];
  if (narrow(own.math) && !narrow(activation)) return sections[index(activation)];
  return own;
}

double factor_of(const RegimeFactors& factors, KernelFamily family, double size) {
  return factors[static_cast<std::size_t>(size_regime(family, size))];
}

/// 1 + gain / (1 + (w / (share L2))^6).
double cache_speed(const CacheGain& cache, double working_set, double l2) {
  if (cache.gain == 0 || l2 <= 0) return 1;
  const double x = working_set / (cache.share * l2);
  return 1 + cache.gain / (1 + x * x * x * x * x * x);
}

/// Seconds of one element of k of a tile on one multiprocessor, promotion and operands included.
double tile_time(const Tile& tile, const GpuSpec& gpu, double matrix_rate, double promotion, BytesPerSecond draw,
                 double element) {
  const double a = tile.rows, b = tile.columns, s = gpu.multiprocessors;
  double time = 2 * a * b * s / matrix_rate;
  if (promotion > 0) time += promotion * 2 * a * b * s / (kScaleDepth * gpu.fp32.value);
  return draw.value > 0 ? std::max(time, (a + b) * element / draw.value) : time;
}

std::span<const Tile> tiles_of(TileChoice choice) {
  if (choice == TileChoice::wide) return kTiles;
  return kNarrowTiles;
}

/// Tiles of a mixed batch: how many, times the keys that each walks, and the keys of the longest.
struct MixedUnits {
  double count = 0, products = 0, longest = 0;
  std::int64_t longest_chunk = 1, sequences = 0;
};
MixedUnits mixed_units(const AttentionShape& shape, const DecodeWork& decode, std::span<const PrefillWork> prefill) {
  MixedUnits units{.sequences = decode.sequences};
  const auto add = [&](double count, double mean, double most) {
    const double keys = round_up(mean + kKeyBlock, kMixedKeys);
    units.count += count;
    units.products += count * keys;
    units.longest =
        std::max(units.longest, std::min(round_up(most, kMixedKeys), round_up(2 * mean + kKeyBlock, kMixedKeys)));
  };
  if (decode.sequences > 0) {
    const double keys = real(decode.visible_keys) / real(decode.sequences);
    add(real(decode.sequences * shape.query_heads), keys, keys + kKeyBlock);
  }
  for (const PrefillWork& w : prefill) {
    if (w.new_tokens <= 0) continue;
    ++units.sequences;
    units.longest_chunk = std::max(units.longest_chunk, w.new_tokens);
    add(real(shape.query_heads * ceil_div(w.new_tokens, kMixedRows)), w.pairs / real(w.new_tokens), real(w.keys));
  }
  return units;
}

}  // namespace

DataType compute_type(DataType weight, DataType activation) {
  return narrow(weight) && !narrow(activation) ? activation : weight;
}

const PNorm& KernelCost::norm(double p) {
  for (const auto& [exponent, prepared] : norms_) {
    if (exponent == p) return prepared;
  }
  return norms_.emplace_back(p, PNorm(p)).second;
}

PNorm KernelCost::prepared_norm(double p) const {
  for (const auto& [exponent, prepared] : norms_) {
    if (exponent == p) return prepared;
  }
  return PNorm(p);
}

template <class Section, class Suits>
KernelCost::AttentionTable KernelCost::prepare(const std::vector<Section>& sections, Suits suits) {
  AttentionTable table;
  for (std::size_t cache = 0; cache < 2; ++cache) {
    for (std::size_t math = 0; math < 2; ++math) {
      // The same cache width matters most (other kernels), then the same math.
      const auto fitness = [&](const Section& s) {
        return 2 * (narrow(s.kv_cache) == (cache == 1)) + (narrow(s.math) == (math == 1));
      };
      int best = -1;
      for (const Section& s : sections) {
        if (suits(s)) best = std::max(best, fitness(s));
      }
      for (std::size_t i = 0; i < sections.size(); ++i) {
        const Section& s = sections[i];
        if (!suits(s) || fitness(s) != best) continue;
        table[cache][math].push_back({.section = i,
                                      .head_dim = real(s.head_dim),
                                      .inverse_rate = 1 / (s.compute * matrix_peak(gpu_, s.math).value),
                                      .inverse_bandwidth = 1 / (s.memory * gpu_.memory_bandwidth.value),
                                      .norm = norm(s.norm)});
      }
      MOESIM_CHECK(!table[cache][math].empty(), "profile {} has no section of an attention family", profile_.name);
    }
  }
  return table;
}

ResidualPlace residual_place(const GemmShape& shape) {
  return {real(shape.m * shape.batch), real(shape.k)};
}

ResidualPlace residual_place(const AttentionShape& shape, const DecodeWork& work, int multiprocessors) {
  const std::int64_t heads = shape.latent ? ceil_div(shape.query_heads, kLatentHeads) : shape.kv_heads;
  return {real(work.sequences * heads) / multiprocessors,
          std::max(1.0, real(work.visible_keys) / real(work.sequences))};
}

ResidualPlace residual_place(const AttentionShape& shape, std::span<const PrefillWork> work, int multiprocessors) {
  const std::int64_t kv_heads = shape.latent ? 1 : shape.kv_heads;
  double units = 0, products = 0;
  for (const PrefillWork& w : work) {
    if (w.new_tokens <= 0) continue;
    const double packed = real(kv_heads * ceil_div(w.new_tokens * shape.query_heads, kv_heads * kQueryRows));
    units += packed;
    products += packed * round_up(w.pairs / real(w.new_tokens) + kKeyBlock, kKeyBlock);
  }
  return {units / multiprocessors, products / units};
}

ResidualPlace residual_place(const AttentionShape& shape, const DecodeWork& decode,
                             std::span<const PrefillWork> prefill, int multiprocessors) {
  const MixedUnits units = mixed_units(shape, decode, prefill);
  return {units.count / multiprocessors, units.products / units.count};
}

ResidualPlace residual_place(const ExpertLoad& load) {
  return {real(load.rows) / real(load.active), real(load.active)};
}

const KernelCost::PreparedAttention& KernelCost::choose(const AttentionTable& table, const AttentionShape& shape) {
  const auto& candidates = table[narrow(shape.kv_cache)][narrow(shape.math)];
  const PreparedAttention* best = &candidates.front();
  double best_ratio = INFINITY;
  for (const PreparedAttention& c : candidates) {
    const double dim = real(shape.key_dim);
    const double ratio = dim > c.head_dim ? dim / c.head_dim : c.head_dim / dim;
    if (ratio < best_ratio) {
      best_ratio = ratio;
      best = &c;
    }
  }
  return *best;
}

const GemmSection& KernelCost::gemm_section(const GemmShape& shape) const {
  return section_for(profile_.gemm, shape.weight, shape.activation);
}

const MoeSection& KernelCost::moe_section(const MoeShape& shape) const {
  return section_for(profile_.moe, shape.weight, shape.activation);
}

const GroupedSection& KernelCost::grouped_section(const MoeShape& shape, GroupedLayout layout) const {
  return section_for(layout == GroupedLayout::masked ? profile_.grouped_masked : profile_.grouped_contiguous,
                     shape.weight, shape.activation);
}

const KernelCost::PreparedAttention& KernelCost::prepared_decode(const AttentionShape& shape) const {
  return choose(shape.latent ? latent_decode_ : decode_, shape);
}

const KernelCost::PreparedAttention& KernelCost::prepared_prefill(const AttentionShape& shape) const {
  return choose(shape.latent ? absorbed_prefill_ : expanded(shape) ? expanded_prefill_ : prefill_, shape);
}

const BatchedGemmSection& KernelCost::batched_section(const GemmShape& shape) const {
  return section_for(profile_.mla_bmm, shape.weight, shape.activation);
}

const MixedAttentionSection& KernelCost::mixed_section(const AttentionShape& shape) const {
  return profile_.attention_mixed[choose(mixed_, shape).section];
}

const DecodeAttentionSection& KernelCost::decode_section(const AttentionShape& shape) const {
  return (shape.latent ? profile_.mla_decode : profile_.attention_decode)[prepared_decode(shape).section];
}

const PrefillAttentionSection& KernelCost::prefill_section(const AttentionShape& shape) const {
  const bool mla = shape.latent || expanded(shape);
  return (mla ? profile_.mla_prefill : profile_.attention_prefill)[prepared_prefill(shape).section];
}

KernelCost::KernelCost(const GpuSpec& gpu, const KernelProfile& profile, CacheState cache)
    : KernelCost(gpu, profile, cache, Norms()) {}

KernelCost::KernelCost(const GpuSpec& gpu, const KernelProfile& profile, CacheState cache, Norms known)
    : gpu_(gpu),
      profile_(profile),
      cache_(cache),
      norms_(known.size() < kMostNorms ? std::move(known) : Norms()),
      scan_norm_(norm(profile.chunked_scan.norm)),
      tail_norm_(norm(kTailNorm)) {
  MOESIM_CHECK(gpu.multiprocessors > 0 && gpu.memory_bandwidth.value > 0 && gpu.bf16.value > 0,
               "GPU {}: {} multiprocessors, {} B/s, {} FLOP/s in bf16", gpu.id, gpu.multiprocessors,
               gpu.memory_bandwidth.value, gpu.bf16.value);
  const double s = gpu.multiprocessors;
  gemms_.reserve(kDataTypes);
  for (const GemmSection& section : profile_.gemm) {
    PreparedGemm p{.fixed = section.fixed.seconds(),
                   .split = section.split.seconds(),
                   .tiles = {},
                   .splits = section.tiles == TileChoice::wide ? kSplits.size() : 1,
                   .per_wave = section.per_wave.seconds(),
                   .inverse_bandwidth = 1 / (section.memory * gpu.memory_bandwidth.value),
                   .bandwidth_share = section.tiles_for_bandwidth / s,
                   .norm = norm(section.norm)};
    const double peak = matrix_peak(gpu_, section.math).value;
    for (const Tile& tile : tiles_of(section.tiles)) {
      const double h = real(tile.rows * tile.columns) / (tile.rows + tile.columns);
      const double rate = peak * section.compute * h / (h + section.tile_half);
      p.tiles.push_back(
          {tile.rows, tile.columns,
           tile_time(tile, gpu_, rate, section.promotion, section.draw, bytes_per_element(section.math))});
    }
    gemms_.push_back(std::move(p));
  }
  batches_.reserve(kDataTypes);
  for (const BatchedGemmSection& section : profile_.mla_bmm) {
    const double rate = section.compute * matrix_peak(gpu_, section.math).value;
    batches_.push_back({.depth = 2 * real(kBatchTile * kBatchTile) * s / rate,
                        .inverse_bandwidth = 1 / (section.memory * gpu.memory_bandwidth.value),
                        .norm = norm(section.norm)});
  }
  const auto any = [](const auto&) { return true; };
  decode_ = prepare(profile_.attention_decode, any);
  latent_decode_ = prepare(profile_.mla_decode, any);
  prefill_ = prepare(profile_.attention_prefill, any);
  expanded_prefill_ = prepare(profile_.mla_prefill, [](const auto& section) { return !section.absorbed; });
  absorbed_prefill_ = prepare(profile_.mla_prefill, [](const auto& section) { return section.absorbed; });
  if (!profile_.attention_mixed.empty()) mixed_ = prepare(profile_.attention_mixed, any);
  for (const MoeSection& section : profile_.moe) norm(section.norm);
  for (const GroupedSection& section : profile_.grouped_masked) norm(section.norm);
  for (const GroupedSection& section : profile_.grouped_contiguous) norm(section.norm);
}

double KernelCost::bandwidth(const CacheGain& gain, double working_set) const {
  const double speed = cache_ == CacheState::replayed ? cache_speed(gain, working_set, real(gpu_.l2.value)) : 1;
  return gpu_.memory_bandwidth.value * speed;
}

Duration KernelCost::gemm(const GemmShape& shape) const {
  if (shape.m <= 0 || shape.n <= 0 || shape.k <= 0 || shape.batch <= 0) return {};
  if (shape.batched()) return batched_gemm(shape);
  const GemmSection& section = gemm_section(shape);
  const PreparedGemm& p = gemms_[static_cast<std::size_t>(&section - profile_.gemm.data())];
  const double m = real(shape.m), n = real(shape.n), k = real(shape.k);
  const double weights = n * k * bytes_per_element(shape.weight);
  const double results = m * n;
  const double bytes = m * k * bytes_per_element(shape.activation) + weights + kOutputBytes * results;
  double inverse_bandwidth = p.inverse_bandwidth;
  if (cache_ == CacheState::replayed) {
    const double l2 = real(gpu_.l2.value);
    inverse_bandwidth /= cache_speed(section.cache, std::min(5.0, std::ceil(l2 / weights)) * weights, l2);
  }
  const std::int64_t processors = gpu_.multiprocessors;
  // Kernels that widen their weights compute on 16 rows at a time where fewer than a tile's are there (Marlin).
  const bool widened = bits_per_element(shape.weight) < 0.75 * bits_per_element(section.math);
  const double rows = real(ceil_div(shape.m, kWidenedRows) * kWidenedRows);
  double best = INFINITY;
  for (const PreparedTile& tile : p.tiles) {
    const double wave = widened ? tile.wave * std::min(1.0, rows / real(tile.rows)) : tile.wave;
    const std::int64_t tiles = ceil_div(shape.m, tile.rows) * ceil_div(shape.n, tile.columns);
    for (std::size_t i = 0; i < p.splits; ++i) {
      const std::int64_t splits = kSplits[i];
      // A split shorter than one step of k does nothing.
      if (splits > 1 && shape.k <= (splits - 1) * kDepth) break;
      const double depth = real(ceil_div(shape.k, splits * kDepth) * kDepth);
      const double compute = real(ceil_div(tiles * splits, processors)) * (wave * depth + p.per_wave);
      if (compute >= best) continue;
      const double partial = splits > 1 ? 8 * results * real(splits) : 0;
      const double share = std::min(1.0, p.bandwidth_share * real(tiles * splits));
      const double memory = (bytes + partial) * inverse_bandwidth / share;
      best = std::min(best, p.norm(compute, memory) + (splits > 1 ? p.split : 0));
    }
  }
  const double time = p.fixed + best;
  return Duration::from_seconds(time * section.residual(m, k) * factor_of(section.factor, KernelFamily::gemm, m));
}

Duration KernelCost::batched_gemm(const GemmShape& shape) const {
  const BatchedGemmSection& section = batched_section(shape);
  const PreparedBatch& p = batches_[static_cast<std::size_t>(&section - profile_.mla_bmm.data())];
  const double m = real(shape.m), n = real(shape.n), k = real(shape.k), batch = real(shape.batch);
  // Tokens x heads are read with a stride as heads x tokens, or by a kernel before this one that quantises too.
  const double element = bytes_per_element(shape.activation), input = section.quantizes ? 2 + 2 * element : element;
  const double bytes = batch * (m * k * input + n * k * bytes_per_element(shape.weight) + kOutputBytes * m * n);
  double inverse_bandwidth = p.inverse_bandwidth;
  if (cache_ == CacheState::replayed) {  // the loop keeps one copy of everything
    const double kept = bytes - batch * m * k * (input - element);
    inverse_bandwidth /= cache_speed(section.cache, kept, real(gpu_.l2.value));
  }
  const std::int64_t tiles = shape.batch * ceil_div(shape.m, kBatchTile) * ceil_div(shape.n, kBatchTile);
  const double depth = real(ceil_div(shape.k, kDepth) * kDepth);
  const double compute = real(ceil_div(tiles, gpu_.multiprocessors)) * (p.depth * depth + section.per_wave.seconds());
  const double time = section.fixed.seconds() + p.norm(compute, bytes * inverse_bandwidth);
  return Duration::from_seconds(time * section.residual(m * batch, k) *
                                factor_of(section.factor, KernelFamily::batched_gemm, m));
}

Duration KernelCost::decode_attention(const AttentionShape& shape, const DecodeWork& work) const {
  if (work.sequences <= 0) return {};
  const bool latent = shape.latent;
  const PreparedAttention& p = prepared_decode(shape);
  const DecodeAttentionSection& section = (latent ? profile_.mla_decode : profile_.attention_decode)[p.section];
  const double sequences = real(work.sequences);
  const double keys = std::max(1.0, real(work.visible_keys) / sequences);
  const double width = real(shape.key_dim + (latent ? 0 : shape.value_dim));
  const double kv_heads = latent ? 1 : real(shape.kv_heads);
  const std::int64_t pad = latent ? kLatentHeads : kQueryGroup;
  const std::int64_t group = latent ? shape.query_heads : ceil_div(shape.query_heads, shape.kv_heads);
  const double rows = real(ceil_div(group, pad) * pad);
  const double units = sequences * (latent ? real(ceil_div(shape.query_heads, kLatentHeads)) : kv_heads);
  const double bytes = sequences * kv_heads * keys * width * bytes_per_element(shape.kv_cache);
  const double flops =
      sequences * kv_heads * rows * round_up(keys, kKeyBlock) * 2 * real(shape.key_dim + shape.value_dim);
  const double load = units / gpu_.multiprocessors;
  double inverse_bandwidth = p.inverse_bandwidth;
  if (cache_ == CacheState::replayed) inverse_bandwidth /= cache_speed(section.cache, bytes, real(gpu_.l2.value));
  const auto around = [&](double filled, double unit) {  // beside the kernel's inner loop
    return section.underfilled.seconds() * std::max(0.0, 1 - filled) + unit * std::max(1.0, filled);
  };
  double time = section.fixed.seconds();
  if (latent && section.last_round > 0) {
    const double head_walk = 2 * real(shape.key_dim + shape.value_dim) * gpu_.multiprocessors * p.inverse_rate;
    const double share = std::max(1.0, keys / section.split_keys);
    const auto kernel = [&](std::int64_t heads, double unit, double key_walk) {
      const std::int64_t count = work.sequences * ceil_div(shape.query_heads, heads);
      const double filled = real(count) / gpu_.multiprocessors;
      // As many splits as leave all units in one round, none shorter than c.
      const double most = real(std::max<std::int64_t>(1, gpu_.multiprocessors / count));
      const double longest = std::max(keys / most, std::min(keys, section.split_keys));
      const std::int64_t pieces = count * static_cast<std::int64_t>(std::ceil(keys / longest * (1 - 1e-12)));
      const std::int64_t left = pieces % gpu_.multiprocessors;
      const double last = left == 0 ? 0 : 2 * left <= gpu_.multiprocessors ? section.last_round : 1;
      const double walk = key_walk * round_up(longest, kKeyBlock) * (real(pieces / gpu_.multiprocessors) + last);
      return around(filled, unit) + p.norm(bytes * inverse_bandwidth / std::min(1.0, filled * share), walk);
    };
    const double unit = section.per_unit.seconds();
    if (section.tile_heads < kLatentHeads) {
      const double wide = real(kWideHeads) * head_walk;
      time += std::min(kernel(section.tile_heads, unit, wide / section.wide_unit),
                       kernel(kWideHeads, unit * section.wide_unit, wide));
    } else {
      time += kernel(section.tile_heads, unit, real(section.tile_heads) * head_walk);
    }
  } else {
    const double memory = bytes * inverse_bandwidth / std::min(1.0, load * std::ceil(keys / section.split_keys));
    time += around(load, section.per_unit.seconds()) + p.norm(memory, flops * p.inverse_rate);
  }
  return Duration::from_seconds(time * section.residual(load, keys) *
                                factor_of(section.factor, decode_family(shape), keys));
}

Duration KernelCost::prefill_attention(const AttentionShape& shape, std::span<const PrefillWork> work) const {
  const PreparedAttention& p = prepared_prefill(shape);
  const bool mla = shape.latent || expanded(shape);
  const PrefillAttentionSection& section = (mla ? profile_.mla_prefill : profile_.attention_prefill)[p.section];
  const std::int64_t kv_heads = shape.latent ? 1 : shape.kv_heads;
  const double width = real(shape.key_dim + shape.value_dim);
  const double key_bytes =
      real(kv_heads) * (shape.latent ? real(shape.key_dim) : width) * bytes_per_element(shape.kv_cache);
  const std::int64_t tile = section.tile_rows;
  double units = 0, packed_units = 0;              // tiles
  double unit_products = 0, packed_products = 0;   // tiles x keys
  double longest = 0, bytes = 0, kv_elements = 0;  // rows x keys, of the tile that sees most; of the new tokens
  double place_units = 0, place_products = 0;      // residual_place
  std::int64_t longest_chunk = 0;
  for (const PrefillWork& w : work) {
    if (w.new_tokens <= 0) continue;
    longest_chunk = std::max(longest_chunk, w.new_tokens);
    const double mean = w.pairs / real(w.new_tokens);
    const double keys = round_up(mean + kKeyBlock, kKeyBlock);
    const double u = real(shape.query_heads * ceil_div(w.new_tokens, tile));
    const double packed = real(kv_heads * ceil_div(w.new_tokens * shape.query_heads, kv_heads * tile));
    const double placed = real(kv_heads * ceil_div(w.new_tokens * shape.query_heads, kv_heads * kQueryRows));
    units += u;
    packed_units += packed;
    place_units += placed;
    unit_products += u * keys;
    packed_products += packed * keys;
    place_products += placed * keys;
    // The last tile of a causal mask sees twice the mean, never more than all keys.
    const double most = std::min(round_up(real(w.keys), kKeyBlock), round_up(2 * mean + kKeyBlock, kKeyBlock));
    longest = std::max(longest, real(tile) * most);
    bytes += real(w.new_tokens * shape.query_heads) * width * kOutputBytes + real(w.keys) * key_bytes;
    kv_elements += real(w.new_tokens * kv_heads) * (shape.latent ? real(shape.key_dim) : width);
  }
  if (units == 0) return {};
  const double per_product = 2 * width * p.inverse_rate;
  const double tail = section.longest * longest * gpu_.multiprocessors;
  double inverse_bandwidth = p.inverse_bandwidth;
  if (cache_ == CacheState::replayed) inverse_bandwidth /= cache_speed(section.cache, bytes, real(gpu_.l2.value));
  const double memory = bytes * inverse_bandwidth;
  const double writes = section.kv_passes * kv_elements * kOutputBytes * inverse_bandwidth;
  const double per_unit = section.per_unit.seconds();
  const auto time = [&](double tiles, double products) {
    return per_unit * std::max(1.0, tiles / gpu_.multiprocessors) +
           p.norm(memory, std::max(products * real(tile), tail) * per_product);
  };
  const bool may_pack =
      section.packing != QueryPacking::heads && (section.packing == QueryPacking::group || longest_chunk == 1);
  double attention = time(units, unit_products);
  if (may_pack && packed_units < units) attention = std::min(attention, time(packed_units, packed_products));
  const double form = section.fixed.seconds() + writes + attention;
  const double residual = section.residual(place_units / gpu_.multiprocessors, place_products / place_units);
  return Duration::from_seconds(form * residual *
                                factor_of(section.factor, prefill_family(shape), real(longest_chunk)));
}

Duration KernelCost::mixed_attention(const AttentionShape& shape, const DecodeWork& decode,
                                     std::span<const PrefillWork> prefill) const {
  const PreparedAttention& p = choose(mixed_, shape);
  const MixedAttentionSection& section = profile_.attention_mixed[p.section];
  const MixedUnits units = mixed_units(shape, decode, prefill);
  if (units.count == 0) return {};
  const double processors = gpu_.multiprocessors;
  const double width = real(shape.key_dim + shape.value_dim), key = width * bytes_per_element(shape.kv_cache);
  const double row_bytes = real(shape.query_heads) * width * kOutputBytes;
  double bytes = 0;
  for (const PrefillWork& w : prefill) {
    bytes += real(w.new_tokens) * row_bytes + real(w.keys * shape.kv_heads) * key;
  }
  if (decode.sequences > 0) {
    const double group = real(shape.query_heads) / real(shape.kv_heads);
    const double together = std::clamp(processors / real(decode.sequences), 1.0, group);
    const double head = real(decode.visible_keys) * key;
    const double kept = head / real(gpu_.l2.value);
    const double again = 1 + (group / together - 1) * (1 - 1 / (1 + kept * kept));
    bytes += real(decode.sequences) * row_bytes + real(shape.kv_heads) * head * again;
  }
  const double walked = tail_norm_(units.products, section.longest * units.longest * processors);
  const double compute = walked * real(kMixedRows) * 2 * width * p.inverse_rate;
  const double slots = real(shape.query_heads * units.sequences * ceil_div(units.longest_chunk, kMixedRows));
  const double time = section.fixed.seconds() + section.per_unit.seconds() * std::max(1.0, units.count / processors) +
                      section.per_slot.seconds() * slots / processors + p.norm(bytes * p.inverse_bandwidth, compute);
  return Duration::from_seconds(time * section.residual(units.count / processors, units.products / units.count) *
                                factor_of(section.factor, KernelFamily::mixed_attention, real(units.longest_chunk)));
}

Duration KernelCost::memory_pass(Bytes bytes) const {
  return bytes.value > 0 ? pass_time(profile_.memory_pass, KernelFamily::memory_pass, real(bytes.value)) : Duration();
}

Duration KernelCost::pass_time(const PassSection& section, KernelFamily family, double bytes) const {
  const double time = section.fixed.seconds() + bytes / (section.memory * bandwidth(section.cache, bytes));
  return Duration::from_seconds(time * factor_of(section.factor, family, bytes));
}

Duration KernelCost::quantize(std::int64_t m, std::int64_t k, DataType to) const {
  const Duration convert = quantize_convert(m, k, to);
  return to == DataType::fp8 ? convert + quantize_scale(m, k) : convert;
}

Duration KernelCost::quantize_convert(std::int64_t m, std::int64_t k, DataType to) const {
  if (m <= 0 || k <= 0) return {};
  return pass_time(profile_.quantize_convert, KernelFamily::quantize, real(m) * real(k) * (2 + bytes_per_element(to)));
}

Duration KernelCost::quantize_scale(std::int64_t m, std::int64_t k) const {
  if (m <= 0 || k <= 0 || !profile_.quantize_scale) return {};
  return pass_time(*profile_.quantize_scale, KernelFamily::quantize, real(m) * real(k) * 2);
}

Duration KernelCost::linear_attention(const RecurrentShape& shape, const RecurrentWork& work) const {
  const double state = real(shape.state.value), token = real(shape.token.value);
  double time = 0;
  if (work.decode_sequences > 0) {
    const PassSection& s = profile_.recurrent_state;
    const double bytes = real(work.decode_sequences) * (2 * state + token);
    time += (s.fixed.seconds() + bytes / (s.memory * bandwidth(s.cache, bytes))) *
            factor_of(s.factor, KernelFamily::linear_attention, real(work.decode_sequences));
  }
  if (work.prefill_tokens > 0) {
    const ScanSection& s = profile_.chunked_scan;
    const double bytes = real(work.prefill_sequences) * 2 * state + real(work.prefill_tokens) * token;
    const double chunks = std::max(real(work.prefill_tokens) / kScanChunk, real(work.prefill_sequences));
    const double in_turn =
        std::max(std::ceil(real(work.longest_prefill) / kScanChunk), chunks * real(shape.heads) / gpu_.multiprocessors);
    const double chunk = s.per_chunk.seconds() * real(shape.key_dim * shape.value_dim) / kScanState;
    time += (s.fixed.seconds() + scan_norm_(chunk * in_turn, bytes / (s.memory * gpu_.memory_bandwidth.value))) *
            factor_of(s.factor, KernelFamily::linear_attention, real(work.prefill_tokens));
  }
  return Duration::from_seconds(time);
}

MoeCost MoeCost::fused(const KernelCost& kernels, const MoeShape& shape) {
  const GpuSpec& gpu = kernels.gpu();
  const MoeSection& s = kernels.moe_section(shape);
  const double hidden = real(shape.hidden), inner = real(shape.intermediate);
  const double matrices = shape.gated ? 2 : 1;
  const double peak = matrix_peak(gpu, s.math).value, bandwidth = gpu.memory_bandwidth.value;
  const double weight = bytes_per_element(shape.weight), activation = bytes_per_element(shape.activation);

  MoeCost cost(kernels.prepared_norm(s.norm));
  cost.first_block_ = 0;
  cost.last_block_ = kMoeBlocks.size() - 1;
  const std::array<std::array<double, 2>, 2> products{{{matrices * inner, hidden}, {hidden, inner}}};
  for (std::size_t g = 0; g < 2; ++g) {
    const auto [n, k] = products[g];
    const double columns = std::ceil(n / kGroupedColumns);
    for (std::size_t i = 0; i < kMoeBlocks.size(); ++i) {
      const double block = kMoeBlocks[i];
      cost.gemms_[g].tiles[i] = columns / block;
      cost.gemms_[g].tile[i] = 2 * block * n * k / columns / (peak * s.compute * block / (block + s.block_half));
    }
    cost.gemms_[g].expert = n * k * weight / (s.memory * bandwidth);
  }
  const double pass = 1 / (s.activation_memory * bandwidth);
  cost.fixed_ = s.fixed.seconds();
  cost.factor_ = s.factor;
  cost.per_expert_ = s.per_expert.seconds();
  cost.top_k_ = shape.top_k;
  cost.per_token_ = 2 * hidden * pass + s.per_thousand_slots.seconds() * real(shape.top_k) / 1000;
  cost.per_local_token_ = 2 * hidden * pass;
  const double row = (2 * hidden * activation + 4 * matrices * inner + inner * activation + 4 * hidden) * pass;
  cost.per_row_ = (1 - s.remote_rows) * row;
  cost.per_slot_ = s.remote_rows * row;
  cost.wave_ = gpu.multiprocessors;
  cost.tiles_for_full_bandwidth_ = gpu.multiprocessors / s.tiles_for_bandwidth;
  cost.expert_bytes_ = (matrices + 1) * inner * hidden * weight;
  cost.residual_ = s.residual;
  if (kernels.cache() == CacheState::replayed) {
    cost.cache_bytes_ = real(gpu.l2.value);
    cost.cache_ = s.cache;
  }
  return cost;
}

MoeCost MoeCost::grouped(const KernelCost& kernels, const MoeShape& shape, GroupedLayout layout) {
  const GpuSpec& gpu = kernels.gpu();
  const KernelProfile& profile = kernels.profile();
  const GroupedSection& s = kernels.grouped_section(shape, layout);
  const double hidden = real(shape.hidden), inner = real(shape.intermediate);
  const double matrices = shape.gated ? 2 : 1;
  const double peak = matrix_peak(gpu, s.math).value, bandwidth = gpu.memory_bandwidth.value;
  const double weight = bytes_per_element(shape.weight), activation = bytes_per_element(shape.activation);

  MoeCost cost(kernels.prepared_norm(s.norm));
  const auto* const block = std::find(kMoeBlocks.begin(), kMoeBlocks.end(), s.block);
  MOESIM_CHECK(block != kMoeBlocks.end(), "profile {}: grouped GEMM block {}", profile.name, s.block);
  cost.first_block_ = cost.last_block_ = static_cast<std::size_t>(block - kMoeBlocks.begin());
  const std::array<std::array<double, 2>, 2> products{{{matrices * inner, hidden}, {hidden, inner}}};
  for (std::size_t g = 0; g < 2; ++g) {
    const auto [n, k] = products[g];
    cost.gemms_[g].tiles.fill(1);
    cost.gemms_[g].tile.fill(2 * n * k / (peak * s.compute));
    cost.gemms_[g].expert = n * k * weight / (s.memory * bandwidth);
    cost.gemms_[g].row = (k * activation + kOutputBytes * n) / (s.memory * bandwidth);
  }
  if (s.tiles == TileChoice::narrow) {
    for (const Tile& tile : kNarrowTiles) {
      const double time = tile_time(tile, gpu, peak * s.compute, s.promotion, s.draw, bytes_per_element(s.math));
      GroupedTile prepared;
      while (kMoeBlocks[prepared.block] != tile.rows) ++prepared.block;
      for (std::size_t g = 0; g < 2; ++g) {
        const auto [n, k] = products[g];
        prepared.rounds[g] = std::ceil(n / tile.columns) / (real(tile.rows) * gpu.multiprocessors);
        prepared.wave[g] = k * time + s.per_wave.seconds();
      }
      cost.tiles_.push_back(prepared);
    }
  }
  cost.fixed_ = s.fixed.seconds();
  cost.factor_ = s.factor;
  cost.per_row_ = (2 * matrices * inner + inner * activation) / (s.activation_memory * bandwidth);
  cost.residual_ = s.residual;
  return cost;
}

double MoeCost::compute(const ExpertLoad& load, std::size_t g) const {
  if (tiles_.empty()) return gemms_[g].tile[first_block_] * real(load.padded_rows[first_block_]);
  double best = INFINITY;
  for (const GroupedTile& tile : tiles_) {
    best = std::min(best, std::ceil(real(load.padded_rows[tile.block]) * tile.rounds[g]) * tile.wave[g]);
  }
  return best;
}

Duration MoeCost::operator()(const ExpertLoad& load) const {
  if (load.rows <= 0) return {};
  const double rows = real(load.rows), active = real(load.active);
  double slower = 1;
  if (cache_.gain != 0) slower = 1 / cache_speed(cache_, active * expert_bytes_, cache_bytes_);
  const std::array<double, 2> read{(active * gemms_[0].expert + rows * gemms_[0].row) * slower,
                                   (active * gemms_[1].expert + rows * gemms_[1].row) * slower};
  double best = tiles_.empty() ? INFINITY : norm_(compute(load, 0), read[0]) + norm_(compute(load, 1), read[1]);
  for (std::size_t i = first_block_; i <= last_block_ && tiles_.empty(); ++i) {
    const double padded = real(load.padded_rows[i]);
    std::array<double, 2> compute, memory;
    for (std::size_t g = 0; g < 2; ++g) {
      const double tiles = padded * gemms_[g].tiles[i];
      compute[g] = gemms_[g].tile[i] * (std::max(tiles, wave_) + wave_ / 2);
      memory[g] = tiles < tiles_for_full_bandwidth_ ? read[g] * tiles_for_full_bandwidth_ / tiles : read[g];
    }
    // A p-norm is at least its larger part: most blocks need no more than this.
    if (std::max(compute[0], memory[0]) + std::max(compute[1], memory[1]) >= best) continue;
    best = std::min(best, norm_(compute[0], memory[0]) + norm_(compute[1], memory[1]));
  }
  const double time = fixed_ + best + per_expert_ * active + per_token_ * real(load.tokens) +
                      per_local_token_ * real(load.local_tokens) + per_row_ * rows +
                      per_slot_ * std::max(rows, real(load.tokens * top_k_));
  return Duration::from_seconds(time * residual_(rows / active, active) *
                                factor_of(factor_, KernelFamily::fused_experts, expert_size(load)));
}

Duration MoeCost::product(const ExpertLoad& load, Product product) const {
  if (load.rows <= 0) return {};
  MOESIM_CHECK(first_block_ == last_block_, "the products of a fused op are not apart");
  const Gemm& gemm = gemms_[product == Product::up ? 0 : 1];
  const double memory = real(load.active) * gemm.expert + real(load.rows) * gemm.row;
  const double factor = residual_(real(load.rows) / real(load.active), real(load.active)) *
                        factor_of(factor_, KernelFamily::grouped_experts, expert_size(load));
  return Duration::from_seconds((fixed_ / 2 + norm_(compute(load, product == Product::up ? 0 : 1), memory)) * factor);
}

}  // namespace moesim
