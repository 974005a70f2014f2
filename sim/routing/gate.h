#pragma once
// The exact gate: which experts each token takes, one token at a time.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/random.h"
#include "model/model_spec.h"

namespace moesim {

/// 32-bit words of a stream, fetched many at a time.
class WordSource {
 public:
  explicit WordSource(const Stream& stream) : stream_(stream) {}
  std::uint32_t next() {
    if (used_ == words_.size()) {
      stream_.fill(words_);
      used_ = 0;
    }
    return words_[used_++];
  }
  /// The next `n` words where they lie until the next call; n <= 4,352.
  const std::uint32_t* take(std::size_t n) {
    stream_.fill(std::span(block_).first(n));
    return block_.data();
  }

 private:
  Stream stream_;
  std::array<std::uint32_t, 128> words_;
  std::size_t used_ = 128;
  std::array<std::uint32_t, 4352> block_;
};

/// Draws from fixed weights in constant time (Walker's alias method, built as by Vose): a word gives a column and,
/// with its fraction, the column's own item or its alias.
class AliasTable {
 public:
  explicit AliasTable(std::span<const double> weights);
  std::uint32_t draw(std::uint32_t word) const {
    const std::uint64_t place = std::uint64_t{word} * columns_.size();
    const auto column = static_cast<std::uint32_t>(place >> 32);
    // Which of the two is a coin toss that no processor foretells: no branch.
    const std::uint32_t other =
        0u - static_cast<std::uint32_t>(static_cast<std::uint32_t>(place) > columns_[column].keep);
    return column ^ (columns_[column].flip & other);
  }

 private:
  struct Column {
    std::uint32_t keep = UINT32_MAX;
    std::uint32_t flip = 0;  ///< column xor alias
  };
  std::vector<Column> columns_;
};

/// Top-k of independent Gumbel scores log w_e + G_e, inside the best groups where the model limits them.
///
/// Without groups this is drawing k experts one after the other in proportion to the weights of those left. With
/// groups (contiguous in expert id) the scores are seen as an exponential race, X_e = exp(-(log w_e + G_e)) ~
/// Exp(w_e), and the score of an expert in its group's sum is -X_e, the uniform transform exp(-X_e) of the Gumbel score
/// to first order: like the sigmoid of DeepSeek-V3 it is bounded above, so that one outlier does not decide. A group's
/// score is the sum over its `group_score_experts` best. With equal weights a token of V3's gate then reaches 1.97,
/// 3.12, 3.95 and 5.73 nodes of 2, 4, 8 and 16, the figures of independent random scores of any usual law (normal,
/// sigmoid, uniform: within 0.02).
class Gate {
 public:
  /// `weights` > 0 in order of expert id.
  Gate(const MoeSpec& moe, std::span<const double> weights);

  /// `ids[t * k + i]`: the distinct experts of each token.
  void draw(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const;
  /// One token, and the groups it was limited to as bits (a group among them may give it no expert).
  std::uint64_t draw_with_groups(WordSource& words, std::uint16_t* ids) const;

 private:
  void draw_ungrouped(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const;
  /// Return the groups of the last token.
  std::uint64_t draw_grouped(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const;
  std::uint64_t draw_by_race(WordSource& words, std::int64_t tokens, std::uint16_t* ids) const;

  std::int64_t top_k_ = 0, groups_ = 1, top_groups_ = 1, score_experts_ = 1, group_size_ = 0;
  std::vector<double> weights_;
  std::vector<double> group_weight_;
  std::vector<double> group_period_;    ///< 1 / weight of a group
  std::vector<double> period_without_;  ///< 1 / (weight of the group - weight of the expert)
  std::vector<AliasTable> tables_;      ///< one a group
  /// Few experts hold nearly all weight: repeated draws would seldom find a new one, so all of them race.
  bool concentrated_ = false;
};

}  // namespace moesim
