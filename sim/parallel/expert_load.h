#pragma once
// From what the gates chose to what every rank has to do and every port has to carry: (token, expert) pairs per slot,
// per rank and per pair of ranks, through the placement of the experts.

#include <cstdint>
#include <span>
#include <vector>

#include "hardware/operator_shape.h"
#include "parallel/placement.h"

namespace moesim {

/// What one exchange moves, in rows and copies. Sized once; the computations below fill it without allocating.
struct ExchangeCounts {
  std::vector<std::int64_t> tokens;       ///< per source rank
  std::vector<std::int64_t> rows;         ///< per destination rank: (token, expert) pairs
  std::vector<std::int64_t> rank_copies;  ///< per destination rank: distinct tokens
  std::vector<std::int64_t> node_copies;  ///< per destination node: distinct tokens
  // By source and destination, source-major. Empty where they are not known: at resolution `counts` all of them
  // (sources then send in proportion to their tokens), at `matrix` the copies (rows x copies / rows of the
  // destination).
  std::vector<std::uint32_t> pair_rows;         ///< ranks x ranks: rows
  std::vector<std::uint32_t> pair_rank_copies;  ///< ranks x ranks: distinct tokens
  std::vector<std::uint32_t> pair_node_copies;  ///< ranks x nodes: distinct tokens
};

/// Prepared once a placement. The ranks are those of the expert group; `node_of_rank` says which share a scale-up
/// domain. Tokens of a redundant expert are shared evenly by its slots: whole numbers, exact sums, the first slots
/// take the remainder.
class ExpertLoads {
 public:
  /// No `node_of_rank`: one node.
  explicit ExpertLoads(ExpertPlacement placement, std::vector<std::uint32_t> node_of_rank = {});

  /// From tokens per logical expert (`counts.size() == experts`) among `tokens` tokens. `distinct_ratio[r]`: distinct
  /// tokens that reach rank r by row there (`Router::distinct_ratio`). `out` has one entry a rank.
  /// 128 experts on 8 ranks take under 0.4 us, 288 slots on 32 ranks under 1 us.
  void from_counts(std::span<const std::uint32_t> counts, std::int64_t tokens, std::span<const double> distinct_ratio,
                   std::span<ExpertLoad> out) const;

  /// From `counts[s * experts + e]` of source ranks s; fills `rows` and `pair_rows` of `exchange` too. Sources number
  /// `sources` and are the ranks of the group, or fewer and then evenly spread over them in order.
  void from_matrix(std::span<const std::uint32_t> counts, std::int64_t tokens, std::span<const double> distinct_ratio,
                   std::span<ExpertLoad> out, ExchangeCounts& exchange) const;

  /// From the distinct experts of every token, `ids[t * top_k + i]`: exact distinct tokens of ranks and nodes, by
  /// source too. Tokens belong to the sources in order, `exchange.tokens[s]` each. Copies of a redundant expert are
  /// taken in turn.
  void from_tokens(std::span<const std::uint16_t> ids, std::int64_t top_k, std::span<ExpertLoad> out,
                   ExchangeCounts& exchange) const;

  /// Rows and copies of an exchange from loads: rank copies are `local_tokens`, node copies rows on the node times
  /// `node_ratio[n]`, at most all tokens. Leaves `tokens` and `pair_rows` alone.
  void fill_copies(std::span<const ExpertLoad> loads, std::span<const double> node_ratio,
                   ExchangeCounts& exchange) const;

  /// Vectors of the right sizes, zero.
  ExchangeCounts exchange_counts() const;

  const ExpertPlacement& placement() const { return placement_; }
  std::uint32_t ranks() const { return placement_.ranks(); }
  std::uint32_t nodes() const { return nodes_; }
  /// Node of every logical expert's first copy: the partition for `Router::distinct_ratio`.
  std::vector<std::uint32_t> node_of_experts() const;

 private:
  struct Shared {
    std::uint32_t expert = 0, first = 0, copies = 0;  ///< slots shared_slots_[first, first + copies)
  };
  /// Rows of every slot.
  void split(std::span<const std::uint32_t> counts, std::span<std::uint32_t> slot_rows) const;
  void loads(std::span<const std::uint32_t> slot_rows, std::int64_t tokens, std::span<ExpertLoad> out) const;

  ExpertPlacement placement_;
  std::vector<std::uint32_t> node_of_rank_;
  std::uint32_t nodes_ = 1;
  bool in_order_ = false;  ///< slot i holds expert i: counts are slot rows as they are
  std::vector<Shared> shared_;
  std::vector<std::uint32_t> shared_slots_;
  std::vector<std::uint32_t> rank_of_slot_;
  std::vector<std::uint32_t> first_copy_, copies_;  ///< per expert, into copy_slots_
  std::vector<std::uint32_t> copy_slots_;
};

}  // namespace moesim
