#include "execution/mixer_cost.h"

#include <algorithm>

namespace moesim {

MixerCost::MixerCost(const OperatorContext& context, const OperatorPricing& pricing, std::int32_t index)
    : context_(context),
      pricing_(pricing),
      index_(static_cast<std::size_t>(index)),
      mixer_(context.model->mixers[index_]),
      shape_(attention_shape(context, mixer_)) {
  if (mixer_.kind == MixerKind::latent) expanded_ = expanded_latent_shape(context, mixer_);
  if (has_constant_state(mixer_.kind)) recurrent_ = recurrent_shape(context, mixer_);
}

OperatorCost MixerCost::cost(const RankBatch& batch, std::int64_t padded_tokens) {
  OperatorCost sum = token_cost(padded_tokens, batch.decode_sequences);
  sum += context_cost(batch);
  return sum;
}

OperatorCost MixerCost::token_cost(std::int64_t tokens, std::int64_t decode_tokens) {
  OperatorCost sum =
      tokens_.at(tokens, [&] { return pricing_.operators(mixer_operators(context_, mixer_, tokens, 0)); });
  if (mixer_.kind == MixerKind::latent && !context_.fusion.mla_prefill_absorbed && decode_tokens > 0) {
    sum += absorbed_.at(decode_tokens, [&] {
      OperatorCost more = pricing_.operators(mixer_operators(context_, mixer_, decode_tokens, decode_tokens));
      more -= pricing_.operators(mixer_operators(context_, mixer_, decode_tokens, 0));
      return more;
    });
  }
  return sum;
}

OperatorCost MixerCost::context_cost(const RankBatch& batch) {
  const KernelCost& kernels = pricing_.kernels();
  if (has_constant_state(mixer_.kind)) {
    RecurrentWork work{.decode_sequences = batch.decode_sequences};
    work.prefill_sequences = static_cast<std::int64_t>(batch.prefill.size());
    for (const PrefillChunk& chunk : batch.prefill) {
      work.prefill_tokens += chunk.new_tokens;
      work.longest_prefill = std::max(work.longest_prefill, chunk.new_tokens);
    }
    if (work.decode_sequences + work.prefill_tokens == 0) return {};
    return pricing_.kernel(kernels.linear_attention(recurrent_, work), work_of(recurrent_, work));
  }
  OperatorCost sum;
  const DecodeWork work{batch.decode_sequences, batch.decode_sequences > 0 ? batch.visible_keys[index_] : 0};
  const bool one_kernel = context_.fusion.mixed_attention && batch.decode_sequences > 0 && !batch.prefill.empty() &&
                          kernels.has_mixed_attention(shape_);
  if (batch.decode_sequences > 0) {
    if (!one_kernel) sum += pricing_.kernel(kernels.decode_attention(shape_, work), work_of(shape_, work));
    // Every sequence has its own keys.
    sum += indexer_cost(1, batch.context_tokens / batch.decode_sequences, batch.decode_sequences);
  }
  if (batch.prefill.empty()) return sum;
  work_.clear();
  std::int64_t keys_to_expand = 0;
  for (const PrefillChunk& chunk : batch.prefill) {
    const VisibleKeys visible = visible_keys(mixer_, chunk.new_tokens, chunk.cached_tokens);
    work_.push_back({chunk.new_tokens, visible.keys, visible.pairs});
    keys_to_expand += visible.keys;
    sum += indexer_cost(chunk.new_tokens, chunk.cached_tokens + (chunk.new_tokens + 1) / 2, 1);
  }
  const bool expands = mixer_.kind == MixerKind::latent && !context_.fusion.mla_prefill_absorbed;
  if (expands) sum += pricing_.operators(latent_expansion_operators(context_, mixer_, keys_to_expand));
  if (one_kernel) {
    KernelWork both = work_of(shape_, work);
    both += work_of(shape_, work_);
    sum += pricing_.kernel(kernels.mixed_attention(shape_, work, work_), both);
    return sum;
  }
  const AttentionShape& shape = expands ? expanded_ : shape_;
  sum += pricing_.kernel(kernels.prefill_attention(shape, work_), work_of(shape, work_));
  return sum;
}

/// Scores of the sparse indexer: index_heads products of length index_dim for every query-key pair, on fp8 keys, and
/// one pass over the fp32 sums to choose the best [DeepSeek-V3.2]. `queries` of each of `sequences` share their keys.
/// Without an indexer no time. Assumes that every TP rank does all heads, since each needs the choice.
OperatorCost MixerCost::indexer_cost(std::int64_t queries, std::int64_t keys, std::int64_t sequences) const {
  if (mixer_.index_top_k == 0 || keys <= 0) return {};
  const GemmShape scores{.m = queries * mixer_.index_heads,
                         .n = keys,
                         .k = mixer_.index_dim,
                         .weight = DataType::fp8,
                         .activation = DataType::fp8,
                         .batch = sequences};
  const Bytes sums{sequences * queries * keys * 4};
  const KernelCost& kernels = pricing_.kernels();
  OperatorCost sum = pricing_.kernel(kernels.gemm(scores), work_of(scores));
  sum += pricing_.kernel(kernels.memory_pass(sums), work_of_pass(sums));
  return sum;
}

}  // namespace moesim
