#include "model/model_spec.h"

#include <algorithm>

namespace moesim {
namespace {

/// Sum of min(t, cap) for t = first .. last.
double capped_sum(std::int64_t first, std::int64_t last, std::int64_t cap) {
  const std::int64_t below = std::clamp<std::int64_t>(cap - first + 1, 0, last - first + 1);
  const auto n = static_cast<double>(below);
  return n * static_cast<double>(first) + n * (n - 1) / 2 +
         static_cast<double>(last - first + 1 - below) * static_cast<double>(cap);
}

/// Sum over the tokens 1 .. t of the keys of their own chunk up to themselves, each at most `cap`.
double chunked_pairs(std::int64_t t, std::int64_t chunk, std::int64_t cap) {
  const std::int64_t whole = t / chunk, rest = t % chunk;
  return static_cast<double>(whole) * capped_sum(1, chunk, cap) + (rest > 0 ? capped_sum(1, rest, cap) : 0);
}

Bytes bytes_of(std::int64_t elements, DataType format) {
  return Bytes::ceil(static_cast<double>(elements) * bytes_per_element(format));
}

double matrices(bool gated) {
  return gated ? 3 : 2;
}

}  // namespace

bool has_constant_state(MixerKind kind) {
  return kind == MixerKind::linear || kind == MixerKind::mamba;
}

std::int64_t cache_elements_per_token(const MixerSpec& mixer) {
  switch (mixer.kind) {
    case MixerKind::full:
    case MixerKind::window:
    case MixerKind::chunked:
      return mixer.kv_heads * (mixer.key_dim + mixer.value_dim) + mixer.index_dim;
    case MixerKind::latent:
      return mixer.kv_rank + mixer.rope_dim + mixer.index_dim;
    case MixerKind::linear:
    case MixerKind::mamba:
      break;
  }
  return 0;
}

ParameterCount count_parameters(const ModelSpec& model) {
  ParameterCount count;
  std::int64_t idle = 0;  // experts that a token does not choose
  for (const LayerSpec& layer : model.layers) {
    count.attention += model.mixers[static_cast<std::size_t>(layer.mixer)].weights;
    count.dense_ffn += layer.dense_weights;
    count.norms += layer.norm_weights;
    if (layer.moe) {
      count.experts += model.moe.experts * model.moe.expert_weights;
      count.shared += model.moe.shared_weights;
      count.router += model.moe.router_weights;
      idle += (model.moe.experts - model.moe.top_k) * model.moe.expert_weights;
    }
  }
  count.embedding = model.embedding_weights;
  count.head = model.head_weights;
  count.other = model.other_weights;
  count.total = count.attention + count.dense_ffn + count.experts + count.shared + count.router + count.norms +
                count.embedding + count.head + count.other;
  count.active = count.total - idle;
  // A tied table is also the head, which every token multiplies.
  count.active_without_embedding = count.active - (model.tied_embeddings ? 0 : count.embedding);
  count.active_without_embedding_and_head = count.active - count.embedding - count.head;
  return count;
}

WeightBytes weight_bytes(const ModelSpec& model, const WeightFormats& formats) {
  const ParameterCount count = count_parameters(model);
  return {.attention = bytes_of(count.attention, formats.attention),
          .dense_ffn = bytes_of(count.dense_ffn, formats.dense_ffn),
          .experts = bytes_of(count.experts, formats.experts),
          .shared = bytes_of(count.shared, formats.shared),
          .router = bytes_of(count.router, formats.router),
          .embedding = bytes_of(count.embedding, formats.embedding),
          .head = bytes_of(count.head, formats.head),
          .other = bytes_of(count.norms + count.other, model.activation_format)};
}

CacheBytes cache_bytes(const ModelSpec& model, std::int64_t tokens, DataType format) {
  std::int64_t growing = 0, windowed = 0;
  CacheBytes bytes;
  for (std::size_t i = static_cast<std::size_t>(model.encoder_layers); i < model.layers.size(); ++i) {
    const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(model.layers[i].mixer)];
    if (has_constant_state(mixer.kind)) {
      bytes.constant += bytes_of(mixer.state_elements, mixer.state_format);
    } else if (mixer.extent > 0) {
      windowed += cache_elements_per_token(mixer) * std::min(tokens, mixer.extent);
    } else {
      growing += cache_elements_per_token(mixer) * tokens;
    }
  }
  bytes.growing = bytes_of(growing, format);
  bytes.windowed = bytes_of(windowed, format);
  return bytes;
}

Bytes cache_bytes_per_token(const ModelSpec& model, DataType format) {
  std::int64_t elements = 0;
  for (std::size_t i = static_cast<std::size_t>(model.encoder_layers); i < model.layers.size(); ++i) {
    elements += cache_elements_per_token(model.mixers[static_cast<std::size_t>(model.layers[i].mixer)]);
  }
  return bytes_of(elements, format);
}

Flops flops_per_token(const ModelSpec& model, std::int64_t context) {
  const auto hidden = static_cast<double>(model.hidden);
  double flops = 2 * hidden * static_cast<double>(model.vocabulary);
  for (const LayerSpec& layer : model.layers) {
    const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(layer.mixer)];
    flops += 2 * static_cast<double>(mixer.matrix_weights);
    if (has_constant_state(mixer.kind)) {
      flops += 4 * static_cast<double>(mixer.state_elements);
    } else {
      const double pairs = visible_keys(mixer, 1, context - 1).pairs;
      flops += 2 * static_cast<double>(mixer.query_heads * (mixer.key_dim + mixer.value_dim)) * pairs;
      flops += 2 * static_cast<double>(mixer.index_heads * mixer.index_dim) * static_cast<double>(context);
    }
    flops += 2 * matrices(layer.dense_gated) * hidden * static_cast<double>(layer.dense_width);
    if (layer.moe) {
      const MoeSpec& moe = model.moe;
      flops += 2 * matrices(moe.gated) * hidden * static_cast<double>(moe.top_k * moe.width + moe.shared_width);
      flops += 2 * hidden * static_cast<double>(moe.experts);
    }
  }
  return {flops};
}

VisibleKeys visible_keys(const MixerSpec& mixer, std::int64_t new_tokens, std::int64_t cached) {
  if (has_constant_state(mixer.kind) || new_tokens <= 0) return {};
  const std::int64_t last = cached + new_tokens;
  const std::int64_t top = mixer.index_top_k > 0 ? mixer.index_top_k : last;
  VisibleKeys visible;
  if (mixer.extent > 0 && mixer.kind == MixerKind::chunked) {
    visible.pairs = chunked_pairs(last, mixer.extent, top) - chunked_pairs(cached, mixer.extent, top);
    visible.keys = last - cached / mixer.extent * mixer.extent;
  } else {
    const std::int64_t window = mixer.extent > 0 ? mixer.extent : last;
    visible.pairs = capped_sum(cached + 1, last, std::min(window, top));
    visible.keys = std::min(last, new_tokens + window - 1);
  }
  if (mixer.index_top_k > 0 && top < visible.keys) {
    // new_tokens * top can pass 64 bits only where it no longer limits anything.
    if (new_tokens < visible.keys / top + 1) visible.keys = std::min(visible.keys, new_tokens * top);
  }
  return visible;
}

}  // namespace moesim
