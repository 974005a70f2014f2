#pragma once
// Time of one kind of token mixer (attention, MLA, linear attention) on one rank in one step.

#include <cstdint>
#include <vector>

#include "execution/operator_time.h"
#include "execution/rank_batch.h"
#include "hardware/kernel_cost.h"
#include "model/operators.h"

namespace moesim {

class MixerCost {
 public:
  /// `index`: of the mixer in the model. References stay valid while the object lives.
  MixerCost(const OperatorContext& context, const KernelCost& kernels, std::int32_t index);

  /// Token-wise operators at `padded_tokens` (the size of a captured graph, or the rank's own) and the attention or
  /// recurrent kernels of what the batch really holds.
  Duration time(const RankBatch& batch, std::int64_t padded_tokens);

 private:
  Duration token_time(std::int64_t tokens, std::int64_t decode_tokens);
  Duration context_time(const RankBatch& batch);
  Duration indexer_time(std::int64_t queries, std::int64_t keys, std::int64_t sequences) const;

  const OperatorContext& context_;
  const KernelCost& kernels_;
  std::size_t index_;
  const MixerSpec& mixer_;
  AttentionShape shape_, expanded_;
  RecurrentShape recurrent_;
  TokenTable tokens_, absorbed_;
  std::vector<PrefillWork> work_;
};

}  // namespace moesim
