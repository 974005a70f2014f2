#include "execution/mixer_cost.h"

#include <algorithm>

namespace moesim {

MixerCost::MixerCost(const OperatorContext& context, const KernelCost& kernels, std::int32_t index)
    : context_(context),
      kernels_(kernels),
      index_(static_cast<std::size_t>(index)),
      mixer_(context.model->mixers[index_]),
      shape_(attention_shape(context, mixer_)) {
  if (mixer_.kind == MixerKind::latent) expanded_ = expanded_latent_shape(context, mixer_);
  if (has_constant_state(mixer_.kind)) recurrent_ = recurrent_shape(context, mixer_);
}

Duration MixerCost::time(const RankBatch& batch, std::int64_t padded_tokens) {
  return token_time(padded_tokens, batch.decode_sequences) + context_time(batch);
}

Duration MixerCost::token_time(std::int64_t tokens, std::int64_t decode_tokens) {
  Duration time =
      tokens_.at(tokens, [&] { return operators_time(kernels_, mixer_operators(context_, mixer_, tokens, 0)); });
  if (mixer_.kind == MixerKind::latent && !context_.fusion.mla_prefill_absorbed && decode_tokens > 0) {
    time += absorbed_.at(decode_tokens, [&] {
      return operators_time(kernels_, mixer_operators(context_, mixer_, decode_tokens, decode_tokens)) -
             operators_time(kernels_, mixer_operators(context_, mixer_, decode_tokens, 0));
    });
  }
  return time;
}

Duration MixerCost::context_time(const RankBatch& batch) {
  if (has_constant_state(mixer_.kind)) {
    RecurrentWork work{.decode_sequences = batch.decode_sequences};
    work.prefill_sequences = static_cast<std::int64_t>(batch.prefill.size());
    for (const PrefillChunk& chunk : batch.prefill) {
      work.prefill_tokens += chunk.new_tokens;
      work.longest_prefill = std::max(work.longest_prefill, chunk.new_tokens);
    }
    return work.decode_sequences + work.prefill_tokens > 0 ? kernels_.linear_attention(recurrent_, work) : Duration();
  }
  Duration sum;
  if (batch.decode_sequences > 0) {
    sum += kernels_.decode_attention(shape_, {batch.decode_sequences, batch.visible_keys[index_]});
    // Every sequence has its own keys.
    sum += indexer_time(1, batch.context_tokens / batch.decode_sequences, batch.decode_sequences);
  }
  if (batch.prefill.empty()) return sum;
  work_.clear();
  std::int64_t keys_to_expand = 0;
  for (const PrefillChunk& chunk : batch.prefill) {
    const VisibleKeys visible = visible_keys(mixer_, chunk.new_tokens, chunk.cached_tokens);
    work_.push_back({chunk.new_tokens, visible.keys, visible.pairs});
    keys_to_expand += visible.keys;
    sum += indexer_time(chunk.new_tokens, chunk.cached_tokens + (chunk.new_tokens + 1) / 2, 1);
  }
  if (mixer_.kind == MixerKind::latent && !context_.fusion.mla_prefill_absorbed) {
    sum += operators_time(kernels_, latent_expansion_operators(context_, mixer_, keys_to_expand));
    return sum + kernels_.prefill_attention(expanded_, work_);
  }
  return sum + kernels_.prefill_attention(shape_, work_);
}

/// Scores of the sparse indexer: index_heads products of length index_dim for every query-key pair, on fp8 keys, and
/// one pass over the fp32 sums to choose the best [DeepSeek-V3.2]. `queries` of each of `sequences` share their keys.
/// Without an indexer no time. Assumes that every TP rank does all heads, since each needs the choice.
Duration MixerCost::indexer_time(std::int64_t queries, std::int64_t keys, std::int64_t sequences) const {
  if (mixer_.index_top_k == 0 || keys <= 0) return {};
  return kernels_.gemm({.m = queries * mixer_.index_heads,
                        .n = keys,
                        .k = mixer_.index_dim,
                        .weight = DataType::fp8,
                        .activation = DataType::fp8,
                        .batch = sequences}) +
         kernels_.memory_pass(Bytes{sequences * queries * keys * 4});
}

}  // namespace moesim
