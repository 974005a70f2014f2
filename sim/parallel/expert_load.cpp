#include "parallel/expert_load.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "core/check.h"

namespace moesim {

namespace {

/// Slots of one layer at most; scratch of this size lies on the stack, so that the computations stay const.
constexpr std::size_t kMaxSlots = 4096;
using SlotRows = std::array<std::uint32_t, kMaxSlots>;

struct RowSums {
  std::uint32_t rows = 0, active = 0;
  std::array<std::uint32_t, kMoeBlocks.size()> padded{};
};

/// The loop is written for vectors: 32-bit lanes, no branch, no division (block sizes are powers of two).
RowSums sum_rows(const std::uint32_t* rows, std::size_t n) {
  std::uint32_t total = 0, active = 0, p16 = 0, p32 = 0, p64 = 0, p128 = 0, p256 = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t r = rows[i];
    total += r;
    active += r != 0;
    p16 += (r + 15U) & ~15U;
    p32 += (r + 31U) & ~31U;
    p64 += (r + 63U) & ~63U;
    p128 += (r + 127U) & ~127U;
    p256 += (r + 255U) & ~255U;
  }
  return {total, active, {p16, p32, p64, p128, p256}};
}
static_assert(kMoeBlocks == std::array<int, 5>{16, 32, 64, 128, 256});

/// rows x ratio to the nearest whole token, at most all of them.
std::int64_t distinct_tokens(std::int64_t rows, double ratio, std::int64_t tokens) {
  // Never negative, so that adding a half rounds; std::lround would be a call for every rank.
  const auto distinct =
      static_cast<std::int64_t>(static_cast<double>(rows) * ratio + 0.5);  // NOLINT(bugprone-incorrect-roundings)
  return std::min({distinct, rows, tokens});
}

/// count / copies, by a shift for the usual powers of two.
std::uint32_t share_of(std::uint32_t count, std::uint32_t copies) {
  return std::has_single_bit(copies) ? count >> std::countr_zero(copies) : count / copies;
}

template <std::uint32_t kLength>
void sum_runs_of(const std::uint32_t* rows, std::span<std::uint32_t> sums) {
  for (std::uint32_t& sum : sums) {
    std::uint32_t total = 0;
    for (std::uint32_t i = 0; i < kLength; ++i) total += rows[i];
    sum = total;
    rows += kLength;
  }
}

/// Sums of consecutive runs of `length` numbers. The usual numbers of experts a rank are unrolled: runs are too short
/// for a loop of unknown length.
void sum_runs(const std::uint32_t* rows, std::uint32_t length, std::span<std::uint32_t> sums) {
  switch (length) {
    case 1:
      return sum_runs_of<1>(rows, sums);
    case 2:
      return sum_runs_of<2>(rows, sums);
    case 4:
      return sum_runs_of<4>(rows, sums);
    case 8:
      return sum_runs_of<8>(rows, sums);
    case 9:
      return sum_runs_of<9>(rows, sums);
    case 16:
      return sum_runs_of<16>(rows, sums);
    case 32:
      return sum_runs_of<32>(rows, sums);
    default:
      for (std::uint32_t& sum : sums) {
        sum = 0;
        for (std::uint32_t i = 0; i < length; ++i) sum += *rows++;
      }
  }
}

}  // namespace

ExpertLoads::ExpertLoads(ExpertPlacement placement, std::vector<std::uint32_t> node_of_rank)
    : placement_(std::move(placement)), node_of_rank_(std::move(node_of_rank)) {
  MOESIM_CHECK(placement_.slots() <= kMaxSlots, "{} expert slots of a layer, at most {}", placement_.slots(),
               kMaxSlots);
  if (node_of_rank_.empty()) node_of_rank_.assign(placement_.ranks(), 0);
  MOESIM_CHECK(node_of_rank_.size() == placement_.ranks(), "nodes of {} ranks for {} ranks", node_of_rank_.size(),
               placement_.ranks());
  for (const std::uint32_t node : node_of_rank_) nodes_ = std::max(nodes_, node + 1);
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    const std::uint32_t count = placement_.first_slot[rank + 1] - placement_.first_slot[rank];
    rank_of_slot_.insert(rank_of_slot_.end(), count, rank);
  }
  in_order_ = placement_.slots() == placement_.experts;
  std::vector<std::vector<std::uint32_t>> slots_of(placement_.experts);
  for (std::uint32_t slot = 0; slot < placement_.slots(); ++slot) {
    in_order_ = in_order_ && placement_.expert_of[slot] == slot;
    slots_of[placement_.expert_of[slot]].push_back(slot);
  }
  for (std::uint32_t expert = 0; expert < placement_.experts; ++expert) {
    const auto copies = static_cast<std::uint32_t>(slots_of[expert].size());
    MOESIM_CHECK(copies > 0, "expert {} has no slot", expert);
    first_copy_.push_back(static_cast<std::uint32_t>(copy_slots_.size()));
    copies_.push_back(copies);
    copy_slots_.insert(copy_slots_.end(), slots_of[expert].begin(), slots_of[expert].end());
    if (copies == 1) continue;
    shared_.push_back({expert, static_cast<std::uint32_t>(shared_slots_.size()), copies});
    shared_slots_.insert(shared_slots_.end(), slots_of[expert].begin(), slots_of[expert].end());
  }
}

void ExpertLoads::split(std::span<const std::uint32_t> counts, std::span<std::uint32_t> slot_rows) const {
  const std::uint32_t* expert_of = placement_.expert_of.data();
  for (std::size_t slot = 0; slot < slot_rows.size(); ++slot) slot_rows[slot] = counts[expert_of[slot]];
  for (const Shared& shared : shared_) {
    const std::uint32_t count = counts[shared.expert];
    const std::uint32_t each = share_of(count, shared.copies);
    const std::uint32_t longer = count - each * shared.copies;
    for (std::uint32_t j = 0; j < shared.copies; ++j) {
      slot_rows[shared_slots_[shared.first + j]] = each + (j < longer ? 1 : 0);
    }
  }
}

void ExpertLoads::loads(std::span<const std::uint32_t> slot_rows, std::int64_t tokens,
                        std::span<ExpertLoad> out) const {
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    const std::uint32_t begin = placement_.first_slot[rank];
    const RowSums sums = sum_rows(slot_rows.data() + begin, placement_.first_slot[rank + 1] - begin);
    ExpertLoad& load = out[rank];
    load.tokens = tokens;
    load.rows = sums.rows;
    load.active = sums.active;
    for (std::size_t b = 0; b < sums.padded.size(); ++b) load.padded_rows[b] = sums.padded[b];
  }
}

void ExpertLoads::from_counts(std::span<const std::uint32_t> counts, std::int64_t tokens,
                              std::span<const double> distinct_ratio, std::span<ExpertLoad> out) const {
  if (in_order_) {
    loads(counts, tokens, out);
  } else {
    SlotRows scratch;
    const std::span<std::uint32_t> slot_rows(scratch.data(), placement_.slots());
    split(counts, slot_rows);
    loads(slot_rows, tokens, out);
  }
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    out[rank].local_tokens = distinct_tokens(out[rank].rows, distinct_ratio[rank], tokens);
  }
}

void ExpertLoads::from_matrix(std::span<const std::uint32_t> counts, std::int64_t tokens,
                              std::span<const double> distinct_ratio, std::span<ExpertLoad> out,
                              ExchangeCounts& exchange) const {
  const std::size_t experts = placement_.experts;
  const std::size_t sources = counts.size() / experts;
  MOESIM_CHECK(sources * experts == counts.size() && ranks() % sources == 0, "{} counts of {} experts for {} ranks",
               counts.size(), experts, ranks());
  const std::size_t spread = ranks() / sources;  // a source stands for its first rank
  const std::size_t slots = placement_.slots();
  SlotRows slot_rows, turn, source_rows;
  std::fill_n(slot_rows.begin(), slots, 0U);
  std::fill_n(turn.begin(), shared_.size(), 0U);
  std::fill(exchange.pair_rows.begin(), exchange.pair_rows.end(), 0U);
  for (std::size_t s = 0; s < sources; ++s) {
    const std::uint32_t* row = counts.data() + s * experts;
    const std::uint32_t* own = in_order_ ? row : source_rows.data();
    if (!in_order_) {
      for (std::size_t slot = 0; slot < slots; ++slot) source_rows[slot] = row[placement_.expert_of[slot]];
    }
    for (std::size_t i = 0; i < shared_.size(); ++i) {
      // The tokens of an expert go to its copies in turn, on from where the source before stopped.
      const auto [expert, first, copies] = shared_[i];
      const std::uint32_t each = share_of(row[expert], copies);
      const std::uint32_t longer = row[expert] - each * copies;
      std::uint32_t copy = turn[i];
      for (std::uint32_t j = 0; j < copies; ++j) {
        source_rows[shared_slots_[first + copy]] = each + (j < longer ? 1 : 0);
        if (j + 1 == longer) turn[i] = copy + 1 == copies ? 0 : copy + 1;
        copy = copy + 1 == copies ? 0 : copy + 1;
      }
    }
    for (std::size_t slot = 0; slot < slots; ++slot) slot_rows[slot] += own[slot];
    const std::span<std::uint32_t> pairs(exchange.pair_rows.data() + s * spread * ranks(), ranks());
    if (slots % ranks() == 0) {
      sum_runs(own, static_cast<std::uint32_t>(slots) / ranks(), pairs);
    } else {
      for (std::size_t slot = 0; slot < slots; ++slot) pairs[rank_of_slot_[slot]] += own[slot];
    }
  }
  loads(std::span<const std::uint32_t>(slot_rows.data(), placement_.slots()), tokens, out);
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    out[rank].local_tokens = distinct_tokens(out[rank].rows, distinct_ratio[rank], tokens);
    exchange.rows[rank] = out[rank].rows;
  }
}

void ExpertLoads::from_tokens(std::span<const std::uint16_t> ids, std::int64_t top_k, std::span<ExpertLoad> out,
                              ExchangeCounts& exchange) const {
  SlotRows slot_rows, turn;
  std::fill_n(slot_rows.begin(), placement_.slots(), 0U);
  std::fill_n(turn.begin(), placement_.experts, 0U);
  std::fill(exchange.rank_copies.begin(), exchange.rank_copies.end(), 0);
  std::fill(exchange.node_copies.begin(), exchange.node_copies.end(), 0);
  std::fill(exchange.pair_rows.begin(), exchange.pair_rows.end(), 0U);
  std::fill(exchange.pair_rank_copies.begin(), exchange.pair_rank_copies.end(), 0U);
  std::fill(exchange.pair_node_copies.begin(), exchange.pair_node_copies.end(), 0U);
  const std::size_t k = static_cast<std::size_t>(top_k);
  const std::size_t tokens = ids.size() / k;
  // The last token that reached a rank or node, so that the next ones need no clearing.
  std::array<std::uint32_t, kMaxSlots> last_of_rank, last_of_node;
  std::fill_n(last_of_rank.begin(), ranks(), UINT32_MAX);
  std::fill_n(last_of_node.begin(), nodes_, UINT32_MAX);
  std::size_t source = 0;
  std::int64_t left = exchange.tokens[0];
  for (std::uint32_t t = 0; t < tokens; ++t) {
    while (left == 0) left = exchange.tokens[++source];
    --left;
    std::uint32_t* pairs = exchange.pair_rows.data() + source * ranks();
    std::uint32_t* rank_pairs = exchange.pair_rank_copies.data() + source * ranks();
    std::uint32_t* node_pairs = exchange.pair_node_copies.data() + source * nodes_;
    for (std::size_t i = 0; i < k; ++i) {
      const std::uint16_t expert = ids[t * k + i];
      std::uint32_t copy = 0;
      if (copies_[expert] > 1) {
        copy = turn[expert];
        turn[expert] = copy + 1 == copies_[expert] ? 0 : copy + 1;
      }
      const std::uint32_t slot = copy_slots_[first_copy_[expert] + copy];
      const std::uint32_t rank = rank_of_slot_[slot];
      const std::uint32_t node = node_of_rank_[rank];
      ++slot_rows[slot];
      ++pairs[rank];
      const bool new_rank = last_of_rank[rank] != t, new_node = last_of_node[node] != t;
      exchange.rank_copies[rank] += new_rank;
      rank_pairs[rank] += new_rank;
      last_of_rank[rank] = t;
      exchange.node_copies[node] += new_node;
      node_pairs[node] += new_node;
      last_of_node[node] = t;
    }
  }
  loads(std::span<const std::uint32_t>(slot_rows.data(), placement_.slots()), static_cast<std::int64_t>(tokens), out);
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    out[rank].local_tokens = exchange.rank_copies[rank];
    exchange.rows[rank] = out[rank].rows;
  }
}

void ExpertLoads::fill_copies(std::span<const ExpertLoad> loads, std::span<const double> node_ratio,
                              ExchangeCounts& exchange) const {
  std::fill(exchange.node_copies.begin(), exchange.node_copies.end(), 0);
  for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
    exchange.rows[rank] = loads[rank].rows;
    exchange.rank_copies[rank] = loads[rank].local_tokens;
    exchange.node_copies[node_of_rank_[rank]] += loads[rank].rows;
  }
  for (std::uint32_t node = 0; node < nodes_; ++node) {
    std::int64_t& copies = exchange.node_copies[node];
    copies = distinct_tokens(copies, node_ratio[node], loads[0].tokens);
  }
}

ExchangeCounts ExpertLoads::exchange_counts() const {
  ExchangeCounts counts;
  counts.tokens.resize(ranks());
  counts.rows.resize(ranks());
  counts.rank_copies.resize(ranks());
  counts.node_copies.resize(nodes_);
  counts.pair_rows.resize(std::size_t{ranks()} * ranks());
  counts.pair_rank_copies.resize(std::size_t{ranks()} * ranks());
  counts.pair_node_copies.resize(std::size_t{ranks()} * nodes_);
  return counts;
}

std::vector<std::uint32_t> ExpertLoads::node_of_experts() const {
  std::vector<std::uint32_t> nodes = rank_of_experts(placement_);
  for (std::uint32_t& node : nodes) node = node_of_rank_[node];
  return nodes;
}

}  // namespace moesim
