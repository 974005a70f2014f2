#include "config/read_experts.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace moesim {

using Count = std::int64_t;

Count ffn_matrices(bool gated, Count hidden, Count width) {
  return (gated ? 3 : 2) * hidden * width;
}

MoeSpec read_moe(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  MoeSpec moe;
  if (!keys.flag("enable_moe_block", true)) return moe;
  const auto experts_key = keys.find({"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"});
  if (!experts_key) {
    if (keys.given("moe_intermediate_size")) keys.missing("num_experts", "missing, but moe_intermediate_size is given");
    return moe;
  }
  moe.experts = experts_key->integer_in(0, most_experts);
  if (moe.experts == 0) return moe;
  const auto top_k =
      keys.find({"num_experts_per_tok", "experts_per_token", "moe_top_k", "top_k_experts", "moe_topk", "moe_k"});
  if (!top_k) keys.missing("num_experts_per_tok", fmt::format("missing; {} experts need it", moe.experts));
  moe.top_k = top_k->integer_in(1, most_experts);
  if (moe.top_k > moe.experts) top_k->fail(fmt::format("{} experts a token, but there are {}", moe.top_k, moe.experts));
  moe.gated = s.family.gated_ffn;
  moe.width = keys.positive({"moe_intermediate_size", "intermediate_size", "ffn_hidden_size"}, widest);
  moe.expert_weights = ffn_matrices(moe.gated, s.hidden, moe.width);
  if (s.family.expert_biases) moe.expert_weights += (moe.gated ? 2 : 1) * moe.width + s.hidden;

  const Count shared_experts = keys.maybe({"n_shared_experts", "num_shared_experts"}, 0, 1024).value_or(0);
  if (const auto width = keys.maybe({"shared_expert_intermediate_size"}, 0, widest)) {
    moe.shared_width = *width;  // Qwen: with a gate of one column
    if (*width > 0) moe.shared_weights = s.hidden;
  } else if (const auto total = keys.maybe({"moe_shared_expert_intermediate_size"}, 0, widest)) {
    moe.shared_width = *total;
  } else if (const auto minimax = keys.maybe({"shared_intermediate_size"}, 0, widest)) {
    moe.shared_width = *minimax * std::max<Count>(1, shared_experts);
  } else if (shared_experts > 0) {
    moe.shared_width = shared_experts * moe.width;
  } else if (keys.given("intermediate_size_mlp")) {
    moe.shared_width = keys.positive({"intermediate_size"}, widest);  // Llama 4: one, as wide as a routed expert
  }
  moe.shared_weights += ffn_matrices(moe.gated, s.hidden, moe.shared_width);

  const std::string method = keys.given("topk_method") ? keys.find({"topk_method"})->string() : "";
  const bool corrected = method == "noaux_tc";
  moe.router_weights = s.hidden * moe.experts;
  if (corrected || s.family.router_bias || keys.flag("use_routing_bias", false)) moe.router_weights += moe.experts;
  if (s.family.scaled_router) moe.router_weights += s.hidden + moe.experts;
  if (const auto scoring = keys.find({"scoring_func"})) {
    constexpr std::string_view names[] = {"softmax", "sigmoid", "sqrtsoftplus"};
    moe.sigmoid_scores = scoring->choice(names) != 0;
  } else {
    moe.sigmoid_scores = corrected || s.family.sigmoid_scores;
  }
  const auto groups = keys.find({"n_group"});
  if (groups && groups->integer_in(0, most_experts) > 1 && method != "greedy") {
    moe.groups = groups->integer();
    if (moe.experts % moe.groups != 0) {
      groups->fail(fmt::format("{} experts are not divisible by {} groups", moe.experts, moe.groups));
    }
    const auto top_groups = keys.find({"topk_group"});
    if (!top_groups) keys.missing("topk_group", fmt::format("missing; {} groups need it", moe.groups));
    moe.top_groups = top_groups->integer_in(1, moe.groups);
    if (moe.top_k > moe.top_groups * (moe.experts / moe.groups)) {
      top_groups->fail(fmt::format("{} groups hold fewer than {} experts", moe.top_groups, moe.top_k));
    }
    moe.group_score_experts = corrected || s.family.router_bias ? std::min<Count>(2, moe.experts / moe.groups) : 1;
  }
  return moe;
}

std::vector<bool> read_moe_layers(const Shapes& s) {
  const ShapeKeys& keys = s.keys;
  std::vector<bool> moe(static_cast<std::size_t>(s.layers), true);
  const auto keep = [&](auto predicate) {
    for (Count i = 0; i < s.layers; ++i)
      moe[static_cast<std::size_t>(i)] = moe[static_cast<std::size_t>(i)] && predicate(i);
  };
  if (const auto types = keys.find({"mlp_layer_types"})) {
    constexpr std::string_view names[] = {"dense", "sparse"};
    const auto entries = per_layer(*types, s.layers);
    keep([&](Count i) { return entries[static_cast<std::size_t>(i)].choice(names) == 1; });
    return moe;
  }
  if (const auto first = keys.maybe({"first_k_dense_replace"}, 0, most_layers))
    keep([&](Count i) { return i >= *first; });
  if (const auto frequency = keys.find({"moe_layer_freq"})) {
    if (frequency->json().is_array()) {
      const auto entries = per_layer(*frequency, s.layers);
      keep([&](Count i) { return entries[static_cast<std::size_t>(i)].integer_in(0, 1) == 1; });
    } else {
      const Count step = frequency->integer_in(1, most_layers);
      keep([&](Count i) { return i % step == 0; });
    }
  }
  if (const auto list = keys.find({"moe_layers"}); list && list->json().is_array()) {
    std::vector<bool> named(moe.size(), false);
    for (const JsonReader& entry : list->elements())
      named[static_cast<std::size_t>(entry.integer_in(0, s.layers - 1))] = true;
    keep([&](Count i) { return named[static_cast<std::size_t>(i)]; });
  } else if (const auto interleave = keys.maybe(
                 {"interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_frequency"}, 1, most_layers)) {
    keep([&](Count i) { return (i + 1) % *interleave == 0; });
  }
  if (const auto period = keys.maybe({"expert_layer_period"}, 1, most_layers)) {
    const Count offset = keys.maybe({"expert_layer_offset"}, 0, *period - 1).value_or(0);
    keep([&](Count i) { return i % *period == offset; });
  }
  if (const auto dense = keys.find({"mlp_only_layers"})) {
    for (const JsonReader& entry : dense->elements())
      moe[static_cast<std::size_t>(entry.integer_in(0, s.layers - 1))] = false;
  }
  return moe;
}

Count dense_width(const Shapes& s, Keys spellings) {
  if (const auto width = s.keys.maybe(spellings, 1, widest)) return *width;
  if (const auto ratio = s.keys.maybe({"expansion_ratio"}, 1, 64)) return *ratio * s.hidden;
  if (s.family.default_ffn_ratio > 0) return s.family.default_ffn_ratio * s.hidden;
  s.keys.missing("intermediate_size", "missing; the shapes need it");
}

void add_dense_ffn(const Shapes& s, Count width, LayerSpec& layer) {
  layer.dense_width = width;
  layer.dense_gated = s.family.gated_ffn;
  layer.dense_weights = ffn_matrices(layer.dense_gated, s.hidden, width);
  const bool all_biases = s.family.all_biases && !s.keys.flag("no_bias", false);
  if (all_biases || s.family.ffn_biases || s.keys.flag("mlp_bias", s.keys.flag("bias", false))) {
    layer.dense_weights += (layer.dense_gated ? 2 : 1) * width + s.hidden;
  }
}

}  // namespace moesim
