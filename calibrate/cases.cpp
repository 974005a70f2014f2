#include "cases.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "case_fields.h"
#include "core/check.h"
#include "random_values.h"

namespace moesim::calibrate {

namespace {

constexpr std::array<std::string_view, kFamilies> kFamilyNames{
    "gemm",       "quantize",    "grouped_gemm", "moe",  "memory_pass", "attn_decode", "attn_prefill",
    "mla_decode", "mla_prefill", "mla_bmm",      "nccl", "alltoallv",   "memory"};

constexpr Family kKernelFamilies[] = {
    Family::gemm,        Family::quantize,     Family::grouped_gemm, Family::moe,         Family::memory_pass,
    Family::attn_decode, Family::attn_prefill, Family::mla_decode,   Family::mla_prefill, Family::mla_bmm};
constexpr Family kCollectiveFamilies[] = {Family::nccl, Family::alltoallv};
constexpr Family kMemoryFamilies[] = {Family::memory};

/// Experts of public models: hidden, expert width, chosen, experts.
struct Experts {
  int hidden, inter, top_k, experts;
};
constexpr Experts kQwen3Moe30{2048, 768, 8, 128}, kQwen3Moe235{4096, 1536, 8, 128}, kDeepSeekV3{7168, 2048, 8, 256},
    kMixtral{4096, 14336, 2, 8}, kGptOss120{2880, 2880, 4, 128}, kMiniMaxM2{3072, 1536, 8, 256};

std::vector<int> powers(int first, int last, int factor) {
  std::vector<int> values;
  for (int value = first; value <= last; value *= factor) values.push_back(value);
  return values;
}

/// (n, k) of the projections of Llama-3 8B and 70B, Qwen3-235B and DeepSeek-V3, whole and split over 8 ranks.
constexpr std::array<std::pair<int, int>, 14> kProducts{{{6144, 4096},
                                                         {4096, 4096},
                                                         {28672, 4096},
                                                         {4096, 14336},
                                                         {10240, 8192},
                                                         {8192, 8192},
                                                         {7168, 8192},
                                                         {8192, 3584},
                                                         {9216, 4096},
                                                         {4096, 8192},
                                                         {2112, 7168},
                                                         {24576, 1536},
                                                         {7168, 16384},
                                                         {129280, 7168}}};

std::vector<Shape> gemm_shapes() {
  std::vector<Shape> shapes;
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    for (const auto& [n, k] : kProducts) {
      for (const int m : {1, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192}) {
        shapes.emplace_back(GemmCase{precision, m, n, k});
      }
    }
  }
  return shapes;
}

std::vector<Shape> quantize_shapes() {
  std::vector<Shape> shapes;
  for (const std::string_view pass : {"compute_scale", "fp8_quantize"}) {
    for (const int k : {1536, 4096, 7168, 16384}) {
      for (const int m : powers(1, 16384, 4)) shapes.emplace_back(QuantizeCase{pass, m, k});
    }
  }
  return shapes;
}

std::vector<MoeCase> moe_cases() {
  std::vector<MoeCase> cases;
  const auto add = [&](const Experts& e, int tp, int ep, const Skew& skew, std::span<const int> tokens) {
    for (const Precision precision : {Precision::bf16, Precision::fp8}) {
      for (const int t : tokens) {
        cases.push_back({precision, t, e.hidden, e.inter, e.top_k, e.experts, tp, ep, skew});
      }
    }
  };
  const std::vector<int> fine = powers(1, 16384, 2), coarse = powers(1, 16384, 4);
  for (const Experts& e : {kQwen3Moe30, kQwen3Moe235, kMixtral, kGptOss120, kMiniMaxM2}) {
    add(e, 1, 1, kBalanced, fine);
    add(e, 1, 1, kPowerLaw12, coarse);
    add(e, 4, 1, kPowerLaw101, coarse);
  }
  // 256 experts of DeepSeek-V3 do not fit one GPU: as held by the ranks of 8 and 32.
  for (const int ep : {8, 32}) {
    add(kDeepSeekV3, 1, ep, kBalanced, fine);
    add(kDeepSeekV3, 1, ep, kPowerLaw101, coarse);
    add(kDeepSeekV3, 1, ep, kPowerLaw12, coarse);
  }
  return cases;
}

std::vector<Shape> moe_shapes() {
  const std::vector<MoeCase> cases = moe_cases();
  return {cases.begin(), cases.end()};
}

/// As a table of grouped products counts: whole tokens from every rank, whole rows an expert in the mean, no split of
/// an expert.
std::vector<Shape> grouped_shapes() {
  std::vector<Shape> shapes;
  for (const MoeCase& moe : moe_cases()) {
    if (moe.tp == 1 && moe.tokens % moe.ep == 0 && moe.tokens * moe.top_k % moe.experts == 0) shapes.emplace_back(moe);
  }
  return shapes;
}

std::vector<Shape> moe_part_shapes() {
  std::vector<Shape> shapes;
  for (const std::string_view part :
       {"moe_gating_routing_topk", "moe_shuffling", "moe_activation", "moe_quantize", "moe_combine"}) {
    for (const Experts& e : {kQwen3Moe30, kDeepSeekV3, kMixtral}) {
      const int ep = e.experts == 256 ? 8 : 1;
      for (const int tokens : powers(1, 16384, 4)) {
        shapes.emplace_back(
            MoePartCase{part, {Precision::bf16, tokens, e.hidden, e.inter, e.top_k, e.experts, 1, ep, kBalanced}});
      }
    }
  }
  return shapes;
}

/// (query heads, key-value heads, head size) of a rank.
constexpr std::array<std::array<int, 3>, 6> kHeads{
    {{32, 8, 128}, {8, 1, 128}, {64, 8, 128}, {16, 1, 128}, {64, 4, 128}, {64, 8, 64}}};

std::vector<Shape> decode_shapes() {
  std::vector<Shape> shapes;
  for (const auto& [query, kv, dim] : kHeads) {
    for (const int length : powers(128, 131072, 4)) {
      for (const int batch : powers(1, 256, 4)) {
        if (std::int64_t{batch} * length * kv <= std::int64_t{1} << 24) {  // 8 GiB of keys and values
          shapes.emplace_back(AttentionCase{batch, length, query, kv, dim});
        }
      }
    }
  }
  return shapes;
}

std::vector<Shape> prefill_shapes() {
  std::vector<Shape> shapes;
  for (const auto& [query, kv, dim] : kHeads) {
    for (const int length : powers(128, 32768, 4)) {
      for (const int batch : powers(1, 64, 4)) {
        if (std::int64_t{batch} * length <= 32768) shapes.emplace_back(AttentionCase{batch, length, query, kv, dim});
      }
    }
  }
  return shapes;
}

std::vector<Shape> latent_shapes(int longest, std::int64_t most_tokens) {
  std::vector<Shape> shapes;
  for (const int heads : {16, 32, 128}) {
    for (const int length : powers(128, longest, 4)) {
      for (const int batch : powers(1, 256, 4)) {
        if (std::int64_t{batch} * length <= most_tokens) shapes.emplace_back(LatentCase{batch, length, heads});
      }
    }
  }
  return shapes;
}

std::vector<Shape> head_product_shapes() {
  std::vector<Shape> shapes;
  for (const std::string_view op : {"mla_gen_pre", "mla_gen_post"}) {
    for (const int heads : {16, 32, 128}) {
      for (const int tokens : powers(1, 4096, 4)) shapes.emplace_back(HeadProductCase{op, tokens, heads});
    }
  }
  return shapes;
}

constexpr std::string_view kEqualCollectives[] = {"all_reduce", "all_gather", "reduce_scatter", "alltoall",
                                                  "send_recv"};
constexpr std::string_view kUnequalCollectives[] = {"alltoallv"};

std::vector<Shape> collective_shapes(int gpus, std::span<const std::string_view> collectives) {
  std::vector<Shape> shapes;
  std::vector<int> ranks;
  for (int n = 2; n < gpus; n *= 2) ranks.push_back(n);
  if (gpus >= 2) ranks.push_back(gpus);
  for (const int n : ranks) {
    for (const std::string_view collective : collectives) {
      if (collective == "send_recv" && n != ranks.front()) continue;
      for (std::int64_t bytes = 512; bytes <= std::int64_t{512} << 20; bytes *= 2) {
        if (bytes < 2 * std::int64_t{n} * n) continue;  // an element for every pair
        if (collective == "alltoallv") {
          for (const double imbalance : {1.5, 3.0}) {
            if (imbalance < n) shapes.emplace_back(CollectiveCase{collective, n, bytes, imbalance});
          }
        } else {
          shapes.emplace_back(CollectiveCase{collective, n, bytes, 1});
        }
      }
    }
  }
  return shapes;
}

std::vector<Shape> memory_shapes() {
  std::vector<Shape> shapes;
  for (const std::string_view what : {"kernel_launch", "graph_launch", "graph_node"}) {
    shapes.emplace_back(MemoryCase{what, 0});
  }
  for (const std::string_view what : {"copy", "host_to_device", "device_to_host"}) {
    for (std::int64_t bytes = 4096; bytes <= std::int64_t{1} << 30; bytes *= 4)
      shapes.emplace_back(MemoryCase{what, bytes});
  }
  return shapes;
}

std::vector<Shape> shapes_of(Family family, int gpus) {
  switch (family) {
    case Family::gemm:
      return gemm_shapes();
    case Family::quantize:
      return quantize_shapes();
    case Family::grouped_gemm:
      return grouped_shapes();
    case Family::moe:
      return moe_shapes();
    case Family::memory_pass:
      return moe_part_shapes();
    case Family::attn_decode:
      return decode_shapes();
    case Family::attn_prefill:
      return prefill_shapes();
    case Family::mla_decode:
      return latent_shapes(131072, std::int64_t{1} << 22);
    case Family::mla_prefill:
      return latent_shapes(16384, 16384);
    case Family::mla_bmm:
      return head_product_shapes();
    case Family::nccl:
      return collective_shapes(gpus, kEqualCollectives);
    case Family::alltoallv:
      return collective_shapes(gpus, kUnequalCollectives);
    case Family::memory:
      return memory_shapes();
  }
  fail_invariant(__FILE__, __LINE__, "no such family");
}

std::optional<Precision> precision_of(const Shape& shape) {
  if (const auto* gemm = std::get_if<GemmCase>(&shape)) return gemm->precision;
  if (const auto* moe = std::get_if<MoeCase>(&shape)) return moe->precision;
  return std::nullopt;
}

}  // namespace

std::string_view name(Family family) {
  return kFamilyNames[static_cast<std::size_t>(family)];
}
std::optional<Family> family_from_name(std::string_view text) {
  for (std::size_t i = 0; i < kFamilies; ++i) {
    if (kFamilyNames[i] == text) return static_cast<Family>(i);
  }
  return std::nullopt;
}

std::string_view name(Target target) {
  switch (target) {
    case Target::kernels:
      return "kernels";
    case Target::collectives:
      return "collectives";
    case Target::memory:
      return "memory";
  }
  fail_invariant(__FILE__, __LINE__, "no such target");
}
std::optional<Target> target_from_name(std::string_view text) {
  for (const Target target : {Target::kernels, Target::collectives, Target::memory}) {
    if (name(target) == text) return target;
  }
  return std::nullopt;
}
std::span<const Family> families_of(Target target) {
  switch (target) {
    case Target::kernels:
      return kKernelFamilies;
    case Target::collectives:
      return kCollectiveFamilies;
    case Target::memory:
      return kMemoryFamilies;
  }
  fail_invariant(__FILE__, __LINE__, "no such target");
}

std::string_view name(Precision precision) {
  return precision == Precision::bf16 ? "bfloat16" : "fp8";
}

std::vector<Case> cases_of(Family family, std::span<const KernelChoice> kernels, int gpus) {
  std::vector<Case> cases;
  for (const Shape& shape : shapes_of(family, gpus)) {
    for (const KernelChoice& choice : kernels) {
      if (choice.family != family) continue;
      if (const auto precision = precision_of(shape); choice.only && precision && *precision != *choice.only) continue;
      cases.push_back({family, choice.provider, choice.kernel, shape});
    }
  }
  return cases;
}

std::uint64_t seed_of(const Case& measured) {
  std::uint64_t seed = static_cast<std::uint64_t>(measured.family);
  for (const std::string& field : shape_fields(measured)) {
    for (const char c : field + ',') seed = random_word(seed, static_cast<unsigned char>(c));
  }
  return seed;
}

std::int64_t bytes_of(const MoePartCase& part, std::uint64_t seed) {
  const MoeCase& moe = part.moe;
  const RoutedTokens routed = routing_of(moe, seed);
  const int local = moe.experts / moe.ep;
  const std::int64_t rows =
      std::count_if(routed.chosen.begin(), routed.chosen.end(), [&](std::int32_t e) { return e < local; });
  const std::int64_t tokens = moe.tokens, hidden = moe.hidden, inter = moe.inter / moe.tp;
  if (part.part == "moe_gating_routing_topk") return tokens * (4 * moe.experts + 8 * moe.top_k);
  if (part.part == "moe_shuffling") return 2 * hidden * (rows + std::min(rows, tokens));
  if (part.part == "moe_activation") return 2 * 3 * inter * rows;
  if (part.part == "moe_quantize") return (2 + 2 + 1) * inter * rows;
  return 2 * hidden * (rows + tokens);
}

std::int64_t elements_to(const CollectiveCase& collective, int destination) {
  const double mean = static_cast<double>(collective.bytes) / 2 / collective.ranks;
  const double others = (collective.ranks - collective.imbalance) / (collective.ranks - 1);
  return static_cast<std::int64_t>(mean * (destination == 0 ? collective.imbalance : others));
}

RoutedTokens routing_of(const MoeCase& moe, std::uint64_t seed) {
  const Stream stream(seed, "calibrate/routing");
  const std::vector<std::int64_t> counts =
      draw_counts(moe.skew, moe.tokens, moe.top_k, moe.experts, stream.substream(0));
  RoutedTokens routed = assign_tokens(counts, moe.tokens, moe.top_k, stream.substream(1));
  put_busiest_rank_first(routed, moe.ep);
  return routed;
}

}  // namespace moesim::calibrate
