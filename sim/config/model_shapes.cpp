#include "config/model_shapes.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace moesim {

using Count = std::int64_t;

ShapeKeys::ShapeKeys(const JsonReader& text) : text_(text) {
  sources_.push_back(text);
  for (const std::string_view part : {"attn_config", "ffn_config"}) {
    if (const auto sub = text.find(part); sub && sub->json().is_object()) sources_.push_back(*sub);
  }
}

std::optional<JsonReader> ShapeKeys::find(Keys keys) const {
  for (const std::string_view key : keys) {
    for (const JsonReader& source : sources_) {
      if (auto value = source.find(key)) return value;
    }
  }
  return std::nullopt;
}

std::optional<Count> ShapeKeys::maybe(Keys keys, Count low, Count high) const {
  const auto value = find(keys);
  return value ? std::optional(value->integer_in(low, high)) : std::nullopt;
}

Count ShapeKeys::positive(Keys keys, Count high) const {
  if (const auto value = maybe(keys, 1, high)) return *value;
  std::string others;
  for (auto key = keys.begin() + 1; key < keys.end(); ++key) others += fmt::format(" or {}", *key);
  missing(*keys.begin(), "missing; the shapes need it" + others);
}

bool ShapeKeys::flag(std::string_view key, bool absent) const {
  const auto value = find({key});
  return value ? value->boolean() : absent;
}

void ShapeKeys::missing(std::string_view key, const std::string& message) const {
  JsonReader(text_.json(), text_.file(), fmt::format("{}/{}", text_.pointer(), key)).fail(message);
}

std::vector<JsonReader> per_layer(const JsonReader& list, Count layers) {
  auto entries = list.elements();
  if (static_cast<Count>(entries.size()) != layers) {
    list.fail(fmt::format("has {} entries; expected {}, one a layer", entries.size(), layers));
  }
  return entries;
}

namespace {

Count head_size(const ShapeKeys& keys, Count hidden, Count heads) {
  if (const auto given = keys.maybe({"head_dim"}, 1, widest_head)) return *given;
  if (hidden % heads != 0) {
    keys.missing("head_dim", fmt::format("missing, and hidden size {} is not divisible by {} heads", hidden, heads));
  }
  return hidden / heads;
}

}  // namespace

Shapes read_shapes(const ShapeKeys& keys, const ModelFamily& family) {
  Shapes s{.keys = keys, .family = family};
  s.hidden = keys.positive({"hidden_size", "n_embd", "d_model"}, widest);
  s.layers = keys.positive({"num_hidden_layers", "n_layer", "n_layers", "num_layers"}, most_layers);
  s.heads = keys.positive({"num_attention_heads", "n_head", "n_heads"}, most_heads);
  if (const auto kv = keys.maybe({"num_key_value_heads", "num_kv_heads", "kv_n_heads"}, 1, most_heads)) {
    s.kv_heads = *kv;
  } else {
    s.kv_heads = keys.flag("multi_query", false) && !keys.flag("new_decoder_architecture", false) ? 1 : s.heads;
  }
  const bool latent = keys.given("kv_lora_rank");
  if (s.heads % s.kv_heads != 0) {
    keys.find({"num_key_value_heads", "num_kv_heads", "kv_n_heads"})
        ->fail(fmt::format("{} query heads are not a multiple of {} key-value heads", s.heads, s.kv_heads));
  }
  s.head_dim = latent ? 0 : head_size(keys, s.hidden, s.heads);
  s.max_positions =
      keys.maybe({"max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"}, 1, most_tokens)
          .value_or(0);
  return s;
}

}  // namespace moesim
