// Speed of the samplers: one call is one MoE layer of one step. Read as ns per call on one core.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "routing/router.h"

namespace moesim {
namespace {

MoeSpec gate_of(std::int64_t experts, std::int64_t top_k, std::int64_t groups = 1) {
  MoeSpec moe;
  moe.experts = experts;
  moe.top_k = top_k;
  moe.groups = groups;
  moe.top_groups = groups > 1 ? groups / 2 : 1;
  moe.group_score_experts = groups > 1 ? 2 : 1;
  return moe;
}

RoutingSpec zipf(double exponent) {
  RoutingSpec spec;
  spec.popularity.exponent = exponent;
  return spec;
}

constexpr std::int32_t layers = 16;

/// Arguments: experts, top k, groups, tokens, 100 x Zipf exponent.
void draw_counts(benchmark::State& state) {
  const Router router(gate_of(state.range(0), state.range(1), state.range(2)), layers,
                      zipf(static_cast<double>(state.range(4)) / 100), 1);
  std::vector<std::uint32_t> counts(static_cast<std::size_t>(router.experts()));
  std::uint64_t call = 0;
  for (auto _ : state) {
    router.draw_counts(static_cast<std::int32_t>(call % layers), call / layers, state.range(3), counts);
    benchmark::DoNotOptimize(counts.data());
    ++call;
  }
}
BENCHMARK(draw_counts)
    ->ArgNames({"experts", "k", "groups", "tokens", "zipf"})
    ->ArgsProduct({{128}, {8}, {1}, {16, 64, 256, 512, 1024, 2560}, {20, 60, 90}})
    ->ArgsProduct({{256}, {8}, {8}, {16, 64, 256, 2048}, {20, 60, 90}})
    ->Args({256, 8, 1, 2048, 20})
    ->Args({8, 2, 1, 512, 20})
    ->Args({8, 2, 1, 64, 20});

/// Arguments: experts, top k, groups, sources, tokens a source.
void draw_matrix(benchmark::State& state) {
  const Router router(gate_of(state.range(0), state.range(1), state.range(2)), layers, zipf(0.6), 1);
  const std::vector<std::int64_t> tokens(static_cast<std::size_t>(state.range(3)), state.range(4));
  std::vector<std::uint32_t> counts(tokens.size() * static_cast<std::size_t>(router.experts()));
  std::uint64_t call = 0;
  for (auto _ : state) {
    router.draw_matrix(static_cast<std::int32_t>(call % layers), call / layers, tokens, counts);
    benchmark::DoNotOptimize(counts.data());
    ++call;
  }
}
BENCHMARK(draw_matrix)
    ->ArgNames({"experts", "k", "groups", "sources", "tokens"})
    ->Args({128, 8, 1, 8, 64})
    ->Args({256, 8, 8, 32, 64});

/// Arguments: experts, top k, groups, tokens. Also reports the time of one token.
void draw_tokens(benchmark::State& state) {
  const Router router(gate_of(state.range(0), state.range(1), state.range(2)), layers, zipf(0.6), 1);
  std::vector<std::uint16_t> ids(static_cast<std::size_t>(state.range(3) * state.range(1)));
  std::uint64_t call = 0;
  for (auto _ : state) {
    router.draw_tokens(static_cast<std::int32_t>(call % layers), call / layers, state.range(3), ids);
    benchmark::DoNotOptimize(ids.data());
    ++call;
  }
  state.SetItemsProcessed(state.iterations() * state.range(3));
}
BENCHMARK(draw_tokens)
    ->ArgNames({"experts", "k", "groups", "tokens"})
    ->Args({8, 2, 1, 512})
    ->Args({128, 8, 1, 512})
    ->Args({256, 8, 8, 2048});

/// Construction: the laws of all layers. Arguments: experts, top k, groups, kind of popularity.
void construct(benchmark::State& state) {
  RoutingSpec spec;
  spec.popularity.kind = static_cast<PopularityKind>(state.range(3));
  for (auto _ : state) {
    const Router router(gate_of(state.range(0), state.range(1), state.range(2)), layers, spec, 1);
    benchmark::DoNotOptimize(&router);
  }
}
BENCHMARK(construct)
    ->ArgNames({"experts", "k", "groups", "kind"})
    ->Unit(benchmark::kMillisecond)
    ->Args({128, 8, 1, static_cast<std::int64_t>(PopularityKind::zipf)})
    ->Args({128, 8, 1, static_cast<std::int64_t>(PopularityKind::lognormal)})
    ->Args({256, 8, 8, static_cast<std::int64_t>(PopularityKind::zipf)});

}  // namespace
}  // namespace moesim
