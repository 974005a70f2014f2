#pragma once
// Cost of one kind of token mixer (attention, MLA, linear attention) on one rank in one step.

#include <cstdint>
#include <vector>

#include "execution/operator_time.h"
#include "execution/rank_batch.h"
#include "model/operators.h"

namespace moesim {

class MixerCost {
 public:
  /// `index`: of the mixer in the model. References stay valid while the object lives.
  MixerCost(const OperatorContext& context, const OperatorPricing& pricing, std::int32_t index);

  /// Token-wise operators at `padded_tokens` (the size of a captured graph, or the rank's own) and the attention or
  /// recurrent kernels of what the batch really holds.
  OperatorCost cost(const RankBatch& batch, std::int64_t padded_tokens);

 private:
  OperatorCost token_cost(std::int64_t tokens, std::int64_t decode_tokens);
  OperatorCost context_cost(const RankBatch& batch);
  OperatorCost indexer_cost(std::int64_t queries, std::int64_t keys, std::int64_t sequences) const;

  const OperatorContext& context_;
  const OperatorPricing& pricing_;
  std::size_t index_;
  const MixerSpec& mixer_;
  AttentionShape shape_, expanded_;
  RecurrentShape recurrent_;
  CostTable tokens_, absorbed_;
  std::vector<PrefillWork> work_;
};

}  // namespace moesim
