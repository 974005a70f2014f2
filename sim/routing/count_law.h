#pragma once
// How many tokens of a batch take each expert, drawn at once rather than token by token.
//
// The counts are a sum of T independent tokens, each of which takes exactly k experts. With q_e the inclusion
// probability of an expert, d_e = q_e (1 - q_e) and w_e its rate in the exponential race that is Gumbel top-k, the sum
// is drawn in two levels:
//
//   1. Tokens' choices per group of experts, M_g. One group: M = T k. Groups: normal with the per-token mean,
//      covariance and skewness of the group totals, rounded to integers that sum to T k.
//   2. Inside a group, independent counts n_e with mean T q_e + s_e (M_g - T Q_g) and variance T c_e, and then the
//      surplus R = M_g - sum n_e is shared out in proportion to s_e.
//
// The shares are those by which a longer race adds choices, s_e ~ w_e exp(-w_e t) = (1 - q_e) (-log(1 - q_e)) / t
// (Rosen 1972, successive sampling), and for groups the regression of an expert's choices on its group's. The variances
// c_e are solved so that after sharing each expert has its exact one:
//      c_e (1 - 2 s_e) + s_e^2 (sum c + Var M_g / T) = d_e.
// Counts of mean 10 or more are normal with Cornish-Fisher terms to third order, rounded along their running sum;
// smaller ones are inverted exactly from the binomial of the same mean and variance, and the surplus adds or takes
// single tokens by systematic sampling.

#include <cstdint>
#include <span>
#include <vector>

#include "routing/gate.h"

namespace moesim {

/// Per-token moments of the choices per group of experts.
struct GroupMoments {
  std::vector<double> mean;        ///< sum = k
  std::vector<double> covariance;  ///< row-major, rows sum to 0
  std::vector<double> third;       ///< third central moments
};

/// What a law is built from. Experts lie group after group, all groups of one size, most popular first in each.
struct CountLawInput {
  std::int64_t top_k = 0;
  std::vector<double> inclusion;
  std::vector<double> shares;  ///< s_e, sum 1 in each group
  GroupMoments groups;
};

/// Shares of one race with these inclusion probabilities (sum 1).
std::vector<double> race_shares(std::span<const double> inclusion);

class CountLaw {
 public:
  CountLaw() = default;
  explicit CountLaw(const CountLawInput& input);

  /// `counts[ids[p]]` receives the count at position p of the input; `tokens` is at least 16 or so for the normal parts
  /// to be good. Counts sum to tokens * k and none is above `tokens`.
  void draw(WordSource& words, std::int64_t tokens, std::span<const std::uint16_t> ids, std::uint32_t* counts) const;

 private:
  struct Segment {
    std::size_t begin = 0;  ///< position in the padded arrays
    double mean = 0;        ///< Q_g
  };
  void draw_group_totals(WordSource& words, std::int64_t tokens, std::span<std::int64_t> totals) const;
  void draw_segment(const Segment& segment, std::int64_t tokens, std::int64_t total, const std::uint32_t* words,
                    std::int32_t* counts) const;

  std::int64_t top_k_ = 0;
  std::size_t group_size_ = 0;  ///< experts
  std::size_t stride_ = 0;      ///< positions: the size rounded up to whole lanes
  std::vector<Segment> segments_;
  std::vector<double> factor_;  ///< lower Cholesky factor of the covariance without its last group
  std::vector<float> bend_;     ///< skewness terms of the group totals
  std::vector<double> group_variance_;
  const float* normals_ = nullptr;
  // One entry a position.
  std::vector<double> inclusion_;
  std::vector<float> share_, deviation_, square_, cubic_, linear_, odds_, spread_, zero_rate_;
};

}  // namespace moesim
