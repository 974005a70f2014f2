// Attention of decode steps over paged caches and of prefills.

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <optional>

#include "../random_values.h"
#include "benches.h"
#include "cudnn_attention.h"
#include "row_check.h"

namespace moesim::calibrate {

namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr std::size_t kLatentKey = 576, kLatentValue = 512, kExpandedKey = 192, kExpandedValue = 128;
/// Elements of keys and values that the host recomputes for one row of a table.
constexpr std::size_t kCheckedElements = std::size_t{1} << 25;

struct Heads {
  std::size_t query, kv, key_dim, value_dim;
  DecodeHeads kind;
};

/// Scores of uniform inputs have a standard deviation of a third: the softmax is nearly flat, and an output is about
/// the mean of the n values that it sees, sqrt(1 / (3 n)). Wrong keys change it by as much.
Tolerance attention_tolerance(std::size_t seen) {
  return {1.0 / 64, 0.03 / std::sqrt(static_cast<double>(seen))};
}

/// Keys a block takes, so that the blocks fill the GPU twice: a multiple of the tile.
int keys_per_split(const Machine& machine, const Heads& heads, int batch, int length) {
  const int group = static_cast<int>(heads.query / heads.kv), tile = decode_tile(heads.kind);
  const int rows = decode_rows(heads.kind, group, machine.shared_bytes());
  const std::int64_t blocks = std::int64_t{batch} * static_cast<std::int64_t>(heads.kv) * ((group + rows - 1) / rows);
  const int tiles = (length + tile - 1) / tile;
  const std::int64_t wanted =
      std::clamp<std::int64_t>(2 * machine.multiprocessors() / blocks, 1, std::max(1, tiles / 4));
  return static_cast<int>((tiles + wanted - 1) / wanted) * tile;
}

/// A cache of its own for every turn of the rotation; the table of pages is a permutation of them.
struct Cache {
  DeviceBuffer<Bf16> keys, values;
};

Measured decode(Machine& machine, const Heads& heads, int batch, int length, std::uint64_t seed) {
  const bool latent = heads.kind == DecodeHeads::latent;
  const int page_size = latent ? 64 : 16;  // as the engines page these caches
  const int per_sequence = (length + page_size - 1) / page_size;
  const auto pages = static_cast<std::size_t>(batch) * static_cast<std::size_t>(per_sequence);
  const std::size_t tokens = pages * static_cast<std::size_t>(page_size);
  const auto sequences = static_cast<std::size_t>(batch);

  std::vector<std::int32_t> table(pages);
  std::iota(table.begin(), table.end(), 0);
  for (std::size_t i = pages; i > 1; --i) std::swap(table[i - 1], table[random_word(seed, i) % i]);
  const DeviceBuffer<std::int32_t> table_on_device{std::span<const std::int32_t>(table)};
  DeviceBuffer<Bf16> queries(sequences * heads.query * heads.key_dim),
      output(sequences * heads.query * heads.value_dim);
  queries.randomize(seed);
  const std::size_t cache_elements = tokens * heads.kv * (heads.key_dim + (latent ? 0 : heads.value_dim));
  const int rotation = rotated_copies(static_cast<std::int64_t>(cache_elements) * 2, machine.l2());
  std::deque<Cache> caches;
  for (int i = 0; i < rotation; ++i) {
    Cache& cache = caches.emplace_back(Cache{DeviceBuffer<Bf16>(tokens * heads.kv * heads.key_dim),
                                             DeviceBuffer<Bf16>(latent ? 0 : tokens * heads.kv * heads.value_dim)});
    cache.keys.randomize(seed + 1 + 2 * static_cast<std::uint64_t>(i));
    if (!latent) cache.values.randomize(seed + 2 + 2 * static_cast<std::uint64_t>(i));
  }
  const int per_split = keys_per_split(machine, heads, batch, length);
  const auto splits = static_cast<std::size_t>((length + per_split - 1) / per_split);
  const std::size_t partial_rows = splits > 1 ? splits * sequences * heads.query : 0;
  const DeviceBuffer<float> partial(partial_rows * heads.value_dim), partial_weight(partial_rows);
  const double scale = 1 / std::sqrt(static_cast<double>(latent ? kExpandedKey : heads.key_dim));
  const auto enqueue = [&](int copy) {
    const Cache& cache = caches[static_cast<std::size_t>(copy)];
    launch_decode(heads.kind,
                  {.queries = queries.data(),
                   .keys = cache.keys.data(),
                   .values = latent ? cache.keys.data() : cache.values.data(),
                   .pages = table_on_device.data(),
                   .output = output.data(),
                   .partial = partial.data(),
                   .partial_weight = partial_weight.data(),
                   .batch = batch,
                   .length = length,
                   .query_heads = static_cast<int>(heads.query),
                   .kv_heads = static_cast<int>(heads.kv),
                   .page_size = page_size,
                   .pages_per_sequence = per_sequence,
                   .keys_per_split = per_split,
                   .scale = static_cast<float>(scale * kLog2E)},
                  machine.shared_bytes(), machine.stream());
  };
  CUDA_TRY(cudaDeviceSynchronize());
  enqueue(0);
  machine.wait();
  require_written("decode attention", output);
  const auto seen = static_cast<std::size_t>(length);
  const std::size_t checked =
      std::clamp<std::size_t>(kCheckedElements / (seen * (heads.key_dim + heads.value_dim)), 2, 8);
  for (const std::size_t row : sampled_places(sequences * heads.query, checked, seed)) {
    const std::size_t sequence = row / heads.query, kv_head = row % heads.query / (heads.query / heads.kv);
    std::vector<float> keys, values;
    for (std::size_t i = 0; i < seen; ++i) {
      const auto size = static_cast<std::size_t>(page_size);
      const std::size_t page = sequence * static_cast<std::size_t>(per_sequence) + i / size;
      const std::size_t place = (static_cast<std::size_t>(table[page]) * size + i % size) * heads.kv + kv_head;
      const auto key = random_floats<Bf16>(seed + 1, place * heads.key_dim, heads.key_dim);
      keys.insert(keys.end(), key.begin(), key.end());
      if (latent) {
        values.insert(values.end(), key.begin(), key.begin() + static_cast<std::ptrdiff_t>(heads.value_dim));
      } else {
        const auto value = random_floats<Bf16>(seed + 2, place * heads.value_dim, heads.value_dim);
        values.insert(values.end(), value.begin(), value.end());
      }
    }
    const auto query = random_floats<Bf16>(seed, row * heads.key_dim, heads.key_dim);
    require_close("decode attention", output.download_floats(row * heads.value_dim, heads.value_dim),
                  attend(query, keys, values, scale), attention_tolerance(seen));
  }
  return machine.time(rotation, enqueue);
}

/// `kind` of the own kernel; cuDNN where absent.
Measured prefill(Machine& machine, std::optional<PrefillHeads> kind, const Heads& heads, int batch, int length,
                 std::uint64_t seed) {
  const auto seq = static_cast<std::size_t>(length);
  const std::size_t tokens = static_cast<std::size_t>(batch) * seq;
  DeviceBuffer<Bf16> queries(tokens * heads.query * heads.key_dim), output(tokens * heads.query * heads.value_dim);
  queries.randomize(seed);
  DeviceBuffer<Bf16> keys(tokens * heads.kv * heads.key_dim), values(tokens * heads.kv * heads.value_dim);
  keys.randomize(seed + 1);
  values.randomize(seed + 2);
  const double scale = 1 / std::sqrt(static_cast<double>(heads.key_dim));
  const PrefillAttention work{.queries = queries.data(),
                              .keys = keys.data(),
                              .values = values.data(),
                              .output = output.data(),
                              .batch = batch,
                              .length = length,
                              .query_heads = static_cast<int>(heads.query),
                              .kv_heads = static_cast<int>(heads.kv),
                              .scale = static_cast<float>(scale * kLog2E)};
  std::optional<CudnnAttention> cudnn;
  if (!kind) cudnn.emplace(machine, work, static_cast<int>(heads.key_dim), static_cast<int>(heads.value_dim));
  const auto enqueue = [&](int) {
    if (cudnn) {
      cudnn->enqueue(work);
    } else {
      launch_prefill(*kind, work, machine.stream());
    }
  };
  CUDA_TRY(cudaDeviceSynchronize());
  enqueue(0);
  machine.wait();
  require_written("prefill attention", output);
  for (const std::size_t row : sampled_places(tokens * heads.query, 8, seed)) {  // a token and a head
    const std::size_t token = row / heads.query, first = token / seq * seq;
    const std::size_t kv_head = row % heads.query / (heads.query / heads.kv);
    std::vector<float> seen_keys, seen_values;
    for (std::size_t i = first; i <= token; ++i) {
      const std::size_t place = i * heads.kv + kv_head;
      const auto key = random_floats<Bf16>(seed + 1, place * heads.key_dim, heads.key_dim);
      const auto value = random_floats<Bf16>(seed + 2, place * heads.value_dim, heads.value_dim);
      seen_keys.insert(seen_keys.end(), key.begin(), key.end());
      seen_values.insert(seen_values.end(), value.begin(), value.end());
    }
    const auto query = random_floats<Bf16>(seed, row * heads.key_dim, heads.key_dim);
    require_close("prefill attention", output.download_floats(row * heads.value_dim, heads.value_dim),
                  attend(query, seen_keys, seen_values, scale), attention_tolerance(token - first + 1));
  }
  return machine.time(1, enqueue);
}

Heads heads_of(const AttentionCase& shape) {
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  if (dim != 64 && dim != 128) throw RowError(Failure::Kind::not_supported, "the kernel has heads of 64 and 128");
  return {static_cast<std::size_t>(shape.query_heads), static_cast<std::size_t>(shape.kv_heads), dim, dim,
          dim == 64 ? DecodeHeads::grouped_64 : DecodeHeads::grouped_128};
}

}  // namespace

Measured measure_decode(Machine& machine, const AttentionCase& shape, std::uint64_t seed) {
  return decode(machine, heads_of(shape), shape.batch, shape.length, seed);
}
Measured measure_latent_decode(Machine& machine, const LatentCase& shape, std::uint64_t seed) {
  const Heads heads{static_cast<std::size_t>(shape.query_heads), 1, kLatentKey, kLatentValue, DecodeHeads::latent};
  return decode(machine, heads, shape.batch, shape.length, seed);
}
Measured measure_prefill(Machine& machine, const AttentionCase& shape, const std::string& kernel, std::uint64_t seed) {
  std::optional<PrefillHeads> own = shape.head_dim == 64 ? PrefillHeads::d64 : PrefillHeads::d128;
  if (kernel == "sdpa") own.reset();
  return prefill(machine, own, heads_of(shape), shape.batch, shape.length, seed);
}
Measured measure_latent_prefill(Machine& machine, const LatentCase& shape, const std::string& kernel,
                                std::uint64_t seed) {
  std::optional<PrefillHeads> own = PrefillHeads::latent;
  if (kernel == "sdpa") own.reset();
  const auto query = static_cast<std::size_t>(shape.query_heads);
  const Heads heads{query, query, kExpandedKey, kExpandedValue, DecodeHeads::latent};
  return prefill(machine, own, heads, shape.batch, shape.length, seed);
}

}  // namespace moesim::calibrate
