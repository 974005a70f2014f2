#pragma once
// Which experts the tokens of a step choose. Every MoE layer has its own popularity; every token draws k distinct
// experts with Gumbel top-k semantics (equal to drawing without replacement in proportion to exp(logit)), inside the
// best groups where the model limits them. Draws are fresh for each layer and step and depend only on
// (seed, layer, step).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/ids.h"
#include "model/model_spec.h"

namespace moesim {

enum class PopularityKind { uniform, zipf, lognormal, dirichlet, file };

/// The law of expert popularity in a layer. Defaults: a mixed fleet is flat (the rank loads reported for a 16-rank
/// Kimi deployment, max/mean 1.069, are those of Zipf 0.15 to 0.2 at random placement [vllm PR 50647]); one user or
/// task is skewed (DeepSeek-V4-Flash, 31,841 choices: the busiest 8 to 64 of 256 experts follow Zipf 0.88 [colibri
/// issue 864]).
struct PopularitySpec {
  PopularityKind kind = PopularityKind::zipf;
  double exponent = 0.2;       ///< zipf: p_r ~ r^-exponent. 0.2 mixed traffic, 0.9 one user or task
  double sigma = 0.5;          ///< lognormal: standard deviation of log popularity
  double concentration = 1.0;  ///< dirichlet: common alpha; large = uniform
  /// file: one row a MoE layer of inclusion probabilities (sum = k) or of counts in proportion to them; one row for all
  /// layers is allowed.
  std::vector<std::vector<double>> table;
};

/// `counts`: tokens per expert only. `matrix`: by source rank as well. `token`: every token's experts.
enum class RoutingResolution { counts, matrix, token };

struct RoutingSpec {
  PopularitySpec popularity;
  RoutingResolution resolution = RoutingResolution::counts;
};

class Router {
 public:
  /// `layers`: number of MoE layers. Expert ids of a layer are permuted by the stream "routing/layer/<l>/permutation";
  /// a table is taken by expert id as it is. Where the gate has groups, layers l and l + 8 have the same popularities
  /// in the same groups ("routing/composition/<l mod 8>") with groups, and ids in each, permuted by the layer's stream:
  /// the law of a group-limited gate takes a tenth of a second to find.
  Router(const MoeSpec& moe, std::int32_t layers, const RoutingSpec& spec, std::uint64_t seed);
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  std::int32_t layers() const;
  std::int64_t experts() const;
  std::int64_t top_k() const;

  /// Probability that a token of the layer uses expert e; sums to k. Exact without groups and where all are equal; with
  /// groups good to about 0.2% (gate_moments.h).
  std::span<const double> inclusion(std::int32_t layer) const;

  /// Tokens per expert among `tokens` tokens: counts.size() == experts, sum == tokens * k, each <= tokens. Same joint
  /// law as summing `draw_tokens` (fast path for many tokens).
  void draw_counts(std::int32_t layer, std::uint64_t step, std::int64_t tokens, std::span<std::uint32_t> counts) const;

  /// The same by source: `counts[s * experts + e]` for the `tokens[s]` tokens of source s.
  void draw_matrix(std::int32_t layer, std::uint64_t step, std::span<const std::int64_t> tokens,
                   std::span<std::uint32_t> counts) const;

  /// Exact: `ids[t * k + i]`, the k distinct experts of token t.
  void draw_tokens(std::int32_t layer, std::uint64_t step, std::int64_t tokens, std::span<std::uint16_t> ids) const;

  /// For a partition of the experts (`part_of[e]` in [0, parts)): per part, the expected number of distinct tokens that
  /// reach it divided by the expected number of (token, expert) rows in it, from the gate's own draws (a fixed sample
  /// of 4,096 tokens). A dispatch that sends a token once to a part moves rows x ratio copies. 1 when k = 1.
  std::vector<double> distinct_ratio(std::int32_t layer, std::span<const std::uint32_t> part_of,
                                     std::uint32_t parts) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moesim
