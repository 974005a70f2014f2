#include "model/model_spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace moesim {
namespace {

/// Query-key pairs and distinct keys counted one by one.
VisibleKeys count_visible(const MixerSpec& mixer, std::int64_t new_tokens, std::int64_t cached) {
  VisibleKeys seen;
  std::set<std::int64_t> keys;
  for (std::int64_t query = cached; query < cached + new_tokens; ++query) {
    std::int64_t first = 0;
    if (mixer.extent > 0 && mixer.kind == MixerKind::window)
      first = std::max<std::int64_t>(0, query - mixer.extent + 1);
    if (mixer.extent > 0 && mixer.kind == MixerKind::chunked) first = query / mixer.extent * mixer.extent;
    std::int64_t in_sight = query - first + 1;
    if (mixer.index_top_k > 0) in_sight = std::min(in_sight, mixer.index_top_k);
    seen.pairs += static_cast<double>(in_sight);
    for (std::int64_t key = first; key <= query; ++key) keys.insert(key);
  }
  seen.keys = static_cast<std::int64_t>(keys.size());
  if (mixer.index_top_k > 0) seen.keys = std::min(seen.keys, new_tokens * mixer.index_top_k);
  return seen;
}

TEST(VisibleKeys, ClosedFormsEqualACountOneByOne) {
  const MixerSpec mixers[] = {{.kind = MixerKind::full},
                              {.kind = MixerKind::window, .extent = 1},
                              {.kind = MixerKind::window, .extent = 7},
                              {.kind = MixerKind::chunked, .extent = 8},
                              {.kind = MixerKind::latent},
                              {.kind = MixerKind::latent, .index_top_k = 5},
                              {.kind = MixerKind::full, .index_top_k = 9},
                              {.kind = MixerKind::chunked, .extent = 8, .index_top_k = 3}};
  for (const MixerSpec& mixer : mixers) {
    for (std::int64_t n = 1; n <= 20; ++n) {
      for (std::int64_t c = 0; c <= 20; ++c) {
        const VisibleKeys expected = count_visible(mixer, n, c), got = visible_keys(mixer, n, c);
        ASSERT_EQ(got.pairs, expected.pairs)
            << static_cast<int>(mixer.kind) << ' ' << mixer.extent << ' ' << n << ' ' << c;
        ASSERT_EQ(got.keys, expected.keys)
            << static_cast<int>(mixer.kind) << ' ' << mixer.extent << ' ' << n << ' ' << c;
      }
    }
  }
}

TEST(VisibleKeys, AConstantStateHasNone) {
  const VisibleKeys none = visible_keys({.kind = MixerKind::linear}, 10, 10);
  EXPECT_EQ(none.pairs, 0);
  EXPECT_EQ(none.keys, 0);
}

TEST(VisibleKeys, AMillionTokenPromptIsExact) {
  // n (n + 1) / 2 below 2^53.
  EXPECT_EQ(visible_keys({.kind = MixerKind::full}, 1'000'000, 0).pairs, 500'000'500'000.0);
}

/// Two layers, one dense with a window of 4, one MoE with full attention, worked out by hand.
ModelSpec two_layers() {
  ModelSpec model;
  model.hidden = 8;
  model.vocabulary = 50;
  // h q + 2 h kv + q h with 2 query heads and 1 key-value head of 4.
  const std::int64_t attention = 8 * 8 + 2 * 8 * 4 + 8 * 8;
  const MixerSpec full{.kind = MixerKind::full,
                       .query_heads = 2,
                       .kv_heads = 1,
                       .key_dim = 4,
                       .value_dim = 4,
                       .weights = attention,
                       .matrix_weights = attention};
  MixerSpec window = full;
  window.kind = MixerKind::window;
  window.extent = 4;
  model.mixers = {window, full};
  model.layers = {{.mixer = 0, .dense_width = 16, .dense_weights = 3 * 8 * 16, .norm_weights = 16},
                  {.mixer = 1, .moe = true, .norm_weights = 16}};
  model.moe = {.experts = 6,
               .top_k = 2,
               .width = 5,
               .shared_width = 5,
               .expert_weights = 3 * 8 * 5,
               .shared_weights = 3 * 8 * 5,
               .router_weights = 8 * 6};
  model.embedding_weights = model.head_weights = 50 * 8;
  model.other_weights = 8;
  return model;
}

TEST(CountParameters, PartsSumToTheTotalAndIdleExpertsAreNotActive) {
  const ParameterCount count = count_parameters(two_layers());
  EXPECT_EQ(count.attention, 2 * 192);
  EXPECT_EQ(count.experts, 6 * 120);
  EXPECT_EQ(count.total, 384 + 384 + 720 + 120 + 48 + 32 + 400 + 400 + 8);
  EXPECT_EQ(count.active, count.total - 4 * 120);
  EXPECT_EQ(count.active_without_embedding, count.active - 400);
  EXPECT_EQ(count.active_without_embedding_and_head, count.active - 800);
}

TEST(CountParameters, ATiedTableStaysActiveAsTheHead) {
  ModelSpec model = two_layers();
  model.tied_embeddings = true;
  model.head_weights = 0;
  const ParameterCount count = count_parameters(model);
  EXPECT_EQ(count.active_without_embedding, count.active);
  EXPECT_EQ(count.active_without_embedding_and_head, count.active - 400);
}

TEST(WeightBytes, EachPartHasItsOwnFormat) {
  ModelSpec model = two_layers();
  const WeightBytes plain = weight_bytes(model, model.formats);
  EXPECT_EQ(plain.total().value, 2 * count_parameters(model).total);
  WeightFormats formats;
  formats.experts = DataType::int8;
  EXPECT_EQ(weight_bytes(model, formats).experts.value, 720);
  EXPECT_EQ(weight_bytes(model, formats).attention.value, plain.attention.value);
}

TEST(CacheBytes, AWindowStopsGrowingAndAStateNeverDoes) {
  ModelSpec model = two_layers();
  // 2 x kv_heads x head size = 8 elements a token and layer, two bytes each.
  EXPECT_EQ(cache_bytes_per_token(model, DataType::bf16).value, 2 * 8 * 2);
  const CacheBytes cache = cache_bytes(model, 100, DataType::bf16);
  EXPECT_EQ(cache.growing.value, 100 * 16);
  EXPECT_EQ(cache.windowed.value, 4 * 16);
  EXPECT_EQ(cache.constant.value, 0);
  model.mixers[0] = {.kind = MixerKind::linear, .state_elements = 64, .state_format = DataType::fp32};
  EXPECT_EQ(cache_bytes(model, 1, DataType::fp8).constant.value, 64 * 4);
  EXPECT_EQ(cache_bytes(model, 100, DataType::fp8).constant.value, 64 * 4);
  EXPECT_EQ(cache_bytes_per_token(model, DataType::fp8).value, 8);
}

TEST(FlopsPerToken, CountTwoForEachChosenWeightAndEachPairOfElements) {
  // Matrices a token passes: both attentions, the dense FFN, two experts and the shared one, router, head; scores and
  // values: 2 x heads x (key + value size) x keys, 4 in the window, 10 in full sight.
  const double matrices = 192 + 192 + 384 + 2 * 120 + 120 + 48 + 400;
  const double scores = 2.0 * 2 * (4 + 4) * (4 + 10);
  EXPECT_EQ(flops_per_token(two_layers(), 10).value, 2 * matrices + scores);
}

TEST(CacheElements, ALatentMixerKeepsItsLatentTheRopeKeyAndTheIndexKey) {
  // DeepSeek-V3 512 + 64 [arXiv:2412.19437]; V3.2 adds an index key of 128.
  MixerSpec mixer{.kind = MixerKind::latent, .kv_rank = 512, .rope_dim = 64};
  EXPECT_EQ(cache_elements_per_token(mixer), 576);
  mixer.index_dim = 128;
  EXPECT_EQ(cache_elements_per_token(mixer), 704);
}

}  // namespace
}  // namespace moesim
