#include "routing/gate_moments.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/math.h"
#include "routing/popularity.h"

namespace moesim {

namespace {

constexpr std::size_t most_single = 16;
constexpr std::int64_t sample_tokens = 1 << 18;

/// Probabilities that a race of `draws` takes e and f, exact over all sets of at most 16 experts.
std::vector<double> pair_inclusion(std::span<const double> weights, std::int64_t draws) {
  const std::size_t n = weights.size();
  const double whole = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> probability(std::size_t{1} << n, 0.0);
  std::vector<double> pairs(n * n, 0.0);
  probability[0] = 1;
  for (std::size_t set = 0; set < probability.size(); ++set) {
    const double p = probability[set];
    if (p <= 0) continue;
    if (std::popcount(set) == draws) {
      for (std::size_t e = 0; e < n; ++e)
        for (std::size_t f = 0; f < n; ++f)
          if ((set >> e & 1) != 0 && (set >> f & 1) != 0) pairs[e * n + f] += p;
      continue;
    }
    double rest = whole;
    for (std::size_t e = 0; e < n; ++e)
      if ((set >> e & 1) != 0) rest -= weights[e];
    for (std::size_t e = 0; e < n; ++e)
      if ((set >> e & 1) == 0) probability[set | std::size_t{1} << e] += p * weights[e] / std::max(rest, weights[e]);
  }
  return pairs;
}

/// Distribution of a group's key, the sum of its `scored` (1 or 2) earliest arrival times, at x:
///     1: 1 - exp(-W x)
///     2: sum over the first expert i of the integral over its time t < x / 2 of
///        w_i exp(-W t) (1 - exp(-(W - w_i) (x - 2 t)))
double key_distribution(std::span<const double> weights, double sum, std::int64_t scored, double x) {
  if (scored == 1) return 1 - exponential(-sum * x);
  double result = 1 - exponential(-sum * x / 2);
  for (const double w : weights) {
    const double a = sum - 2 * w;
    const double late = exponential(-(sum - w) * x);
    const double middle = exponential(-sum * x / 2);
    result -= w * (std::abs(a * x) < 1e-6 ? late * x / 2 : (middle - late) / a);
  }
  return result;
}

/// Probability that each group is among the best `top_groups`, by quadrature over its key. Scores of 1 or 2 experts.
std::vector<double> group_chosen(const MoeSpec& moe, std::span<const double> weights) {
  constexpr std::size_t nodes = 160;
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto wanted = static_cast<std::size_t>(moe.top_groups);
  const std::size_t size = weights.size() / groups;
  std::vector<double> sums;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto w = weights.subspan(g * size, size);
    sums.push_back(std::accumulate(w.begin(), w.end(), 0.0));
  }
  // From keys that nobody reaches to keys that all pass, evenly in the logarithm.
  const double low = 1e-3 / *std::max_element(sums.begin(), sums.end());
  const double high = 200 / *std::min_element(sums.begin(), sums.end());
  const double growth = exponential(logarithm(high / low) / static_cast<double>(nodes - 1));
  std::vector<double> chosen(groups, 0.0), before(groups, 0.0), last(groups, 1.0), now(groups), below(wanted);
  double x = low;
  for (std::size_t node = 0; node < nodes; ++node, x *= growth) {
    for (std::size_t g = 0; g < groups; ++g)
      now[g] = key_distribution(weights.subspan(g * size, size), sums[g], moe.group_score_experts, x);
    for (std::size_t g = 0; g < groups; ++g) {
      // Fewer than `wanted` others have a smaller key.
      std::fill(below.begin(), below.end(), 0.0);
      below[0] = 1;
      for (std::size_t h = 0; h < groups; ++h) {
        if (h == g) continue;
        for (std::size_t i = wanted; i-- > 0;) below[i] = below[i] * (1 - now[h]) + (i > 0 ? below[i - 1] * now[h] : 0);
      }
      const double wins = std::accumulate(below.begin(), below.end(), 0.0);
      chosen[g] += (now[g] - before[g]) * (wins + last[g]) / 2;
      last[g] = wins;
      before[g] = now[g];
    }
  }
  return chosen;
}

struct Sample {
  std::vector<double> chosen;      ///< per expert, of one token
  std::vector<double> choices;     ///< [g * (k + 1) + j]: probability that a token takes j of group g
  std::vector<double> limited_to;  ///< per group: probability that it is among the best
  GroupMoments moments;
};

Sample sample_gate(const MoeSpec& moe, std::span<const double> weights, std::int64_t tokens, std::uint64_t sample) {
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto k = static_cast<std::size_t>(moe.top_k);
  const std::size_t size = weights.size() / groups;
  const Gate gate(moe, weights);
  WordSource words(Stream(0, "routing/gate sample").substream(sample));
  std::vector<std::uint64_t> taken(weights.size(), 0), counts(groups * (k + 1), 0), products(groups * groups, 0);
  std::vector<std::uint64_t> limited(groups, 0);
  std::vector<std::uint16_t> ids(k);
  std::vector<std::uint32_t> group_of(weights.size()), in_group(groups);
  for (std::size_t e = 0; e < weights.size(); ++e) group_of[e] = static_cast<std::uint32_t>(e / size);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::uint64_t bits = gate.draw_with_groups(words, ids.data()); bits != 0; bits &= bits - 1)
      ++limited[static_cast<std::size_t>(std::countr_zero(bits))];
    std::fill(in_group.begin(), in_group.end(), 0u);
    for (const std::uint16_t e : ids) {
      ++taken[e];
      ++in_group[group_of[e]];
    }
    for (std::size_t g = 0; g < groups; ++g) {
      ++counts[g * (k + 1) + in_group[g]];
      if (in_group[g] == 0) continue;
      for (std::size_t h = 0; h <= g; ++h) products[g * groups + h] += std::uint64_t{in_group[g]} * in_group[h];
    }
  }
  Sample result;
  const auto n = static_cast<double>(tokens);
  for (const std::uint64_t c : taken) result.chosen.push_back(static_cast<double>(c) / n);
  for (const std::uint64_t c : counts) result.choices.push_back(static_cast<double>(c) / n);
  for (const std::uint64_t c : limited) result.limited_to.push_back(static_cast<double>(c) / n);
  GroupMoments& moments = result.moments;
  for (std::size_t g = 0; g < groups; ++g) {
    double mean = 0, third = 0;
    for (std::size_t j = 0; j <= k; ++j) mean += static_cast<double>(j) * result.choices[g * (k + 1) + j];
    for (std::size_t j = 0; j <= k; ++j) {
      const double d = static_cast<double>(j) - mean;
      third += d * d * d * result.choices[g * (k + 1) + j];
    }
    moments.mean.push_back(mean);
    moments.third.push_back(third);
  }
  moments.covariance.resize(groups * groups);
  for (std::size_t g = 0; g < groups; ++g)
    for (std::size_t h = 0; h < groups; ++h) {
      const std::uint64_t product = products[std::max(g, h) * groups + std::min(g, h)];
      moments.covariance[g * groups + h] = static_cast<double>(product) / n - moments.mean[g] * moments.mean[h];
    }
  return result;
}

/// All groups alike: their averages. The rows of the covariance sum to 0.
void average_groups(Sample& sample, std::size_t groups, std::size_t k) {
  double variance = 0, third = 0;
  std::vector<double> choices(k + 1, 0.0);
  for (std::size_t g = 0; g < groups; ++g) {
    variance += sample.moments.covariance[g * groups + g] / static_cast<double>(groups);
    third += sample.moments.third[g] / static_cast<double>(groups);
    for (std::size_t j = 0; j <= k; ++j) choices[j] += sample.choices[g * (k + 1) + j] / static_cast<double>(groups);
  }
  for (std::size_t g = 0; g < groups; ++g) {
    sample.moments.mean[g] = static_cast<double>(k) / static_cast<double>(groups);
    sample.moments.third[g] = third;
    std::copy(choices.begin(), choices.end(), sample.choices.begin() + static_cast<std::ptrdiff_t>(g * (k + 1)));
    for (std::size_t h = 0; h < groups; ++h)
      sample.moments.covariance[g * groups + h] = g == h ? variance : -variance / static_cast<double>(groups - 1);
  }
}

/// Replaces what the sample says on how often a group is chosen, most of the noise of its mean, by the exact figure.
void correct_groups(Sample& sample, const MoeSpec& moe, std::span<const double> weights) {
  if (moe.group_score_experts > 2) return;
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto k = static_cast<std::size_t>(moe.top_k);
  const std::vector<double> chosen = group_chosen(moe, weights);
  const auto size = static_cast<std::int64_t>(weights.size()) / moe.groups;
  double sum = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    const double sampled = sample.limited_to[g];
    double mean = 0;
    for (std::size_t j = 1; j <= k; ++j) {
      double& p = sample.choices[g * (k + 1) + j];
      p *= sampled > 0 ? chosen[g] / sampled : 1;
      mean += static_cast<double>(j) * p;
    }
    sample.moments.mean[g] = mean;
    sum += mean;
  }
  for (std::size_t g = 0; g < groups; ++g) {
    const double scale = static_cast<double>(k) / sum;
    sample.moments.mean[g] =
        std::min(sample.moments.mean[g] * scale, static_cast<double>(std::min<std::int64_t>(moe.top_k, size)));
    for (std::size_t j = 1; j <= k; ++j) sample.choices[g * (k + 1) + j] *= scale;
  }
}

CountLawInput moments_from(const MoeSpec& moe, std::span<const double> weights, std::int64_t tokens,
                           std::uint64_t sample_index) {
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto k = static_cast<std::size_t>(moe.top_k);
  const std::size_t size = weights.size() / groups;
  const auto [least, most] = std::minmax_element(weights.begin(), weights.end());
  const bool equal = *least == *most;
  Sample sample = sample_gate(moe, weights, tokens, sample_index);
  if (equal)
    average_groups(sample, groups, k);
  else
    correct_groups(sample, moe, weights);
  CountLawInput result;
  result.top_k = moe.top_k;
  result.groups = sample.moments;
  if (equal) {
    const auto n = static_cast<double>(weights.size());
    result.inclusion.assign(weights.size(), static_cast<double>(k) / n);
    result.shares.assign(weights.size(), static_cast<double>(groups) / n);
    return result;
  }
  for (std::size_t g = 0; g < groups; ++g) {
    const std::span<const double> w = weights.subspan(g * size, size);
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    const std::vector<double> race = race_inclusion(w, moe.top_k);
    const std::size_t begin = g * size;
    result.inclusion.resize(begin + size, 0.0);
    result.shares.resize(begin + size, 0.0);
    double centre = 0, mass = 0;
    for (std::size_t e = 0; e < size; ++e) {
      double& q = result.inclusion[begin + e];
      for (std::size_t j = 1; j <= k; ++j) {
        const double p = sample.choices[g * (k + 1) + j] * race[(j - 1) * size + e];
        q += p;
        result.shares[begin + e] += (static_cast<double>(j) - sample.moments.mean[g]) * p;
      }
      centre += q * w[e] / sum;
      mass += q;
    }
    // Least squares of chosen / q = 1 + slope x with weights q, since sampling variance is in proportion to q; x is the
    // weight share in the group above its mean. Then each expert's own remainder, weighted by how its sampling variance
    // compares with remainders of 0.5%. The sample is scaled to the group's corrected mean first.
    const auto own = std::span(sample.chosen).subspan(begin, size);
    const double sampled = std::accumulate(own.begin(), own.end(), 0.0);
    const double scale = sampled > 0 ? mass / sampled : 1;
    if (mass > 0) centre /= mass;
    double top = 0, bottom = 0;
    for (std::size_t e = 0; e < size; ++e) {
      const double x = w[e] / sum - centre;
      top += x * (own[e] * scale - result.inclusion[begin + e]);
      bottom += x * x * result.inclusion[begin + e];
    }
    const double slope = bottom > 0 ? top / bottom : 0;
    double adjusted = 0, share_mass = 0;
    for (std::size_t e = 0; e < size; ++e) {
      double& q = result.inclusion[begin + e];
      double ratio = std::max(1 + slope * (w[e] / sum - centre), 0.1);
      const double noise = (1 - std::min(q, 1.0)) / (std::max(q, 1e-12) * static_cast<double>(tokens));
      constexpr double remainder = 0.005 * 0.005;
      if (q > 0) ratio += (own[e] * scale / q - ratio) * remainder / (remainder + noise);
      q = std::clamp(q * ratio, 1e-12, 1.0);
      result.shares[begin + e] = std::max(result.shares[begin + e] * ratio, 1e-15);
      adjusted += q;
      share_mass += result.shares[begin + e];
    }
    for (std::size_t e = begin; e < begin + size; ++e) {
      result.inclusion[e] = std::min(result.inclusion[e] * sample.moments.mean[g] / adjusted, 1.0);
      result.shares[e] /= share_mass;
    }
  }
  return result;
}

}  // namespace

CountLawInput race_moments(std::span<const double> weights, std::int64_t top_k) {
  const std::size_t n = weights.size();
  CountLawInput result;
  result.top_k = top_k;
  const auto [least, most] = std::minmax_element(weights.begin(), weights.end());
  if (*least == *most)
    result.inclusion.assign(n, static_cast<double>(top_k) / static_cast<double>(n));
  else
    result.inclusion = race_inclusion_of(weights, top_k);
  if (n > most_single || n < 2) {
    result.shares = race_shares(result.inclusion);
    result.groups = {{static_cast<double>(top_k)}, {0.0}, {0.0}};
    return result;
  }
  result.shares.assign(n, 1.0);
  result.groups.mean = result.inclusion;
  result.groups.covariance = pair_inclusion(weights, top_k);
  for (std::size_t e = 0; e < n; ++e) {
    const double q = result.inclusion[e];
    result.groups.third.push_back(q * (1 - q) * (1 - 2 * q));
    for (std::size_t f = 0; f < n; ++f) result.groups.covariance[e * n + f] -= q * result.inclusion[f];
  }
  return result;
}

CountLawInput grouped_moments(const MoeSpec& moe, std::span<const double> weights, std::uint64_t sample) {
  return moments_from(moe, weights, sample_tokens, sample);
}

std::vector<double> grouped_weights_for_inclusion(const MoeSpec& moe, std::span<const double> target,
                                                  std::uint64_t sample) {
  std::vector<double> weights = weights_for_inclusion(target, moe.top_k);
  constexpr int passes = 9;
  for (int pass = 0; pass < passes; ++pass) {
    const CountLawInput moments =
        moments_from(moe, weights, pass + 3 < passes ? sample_tokens / 16 : sample_tokens / 2, sample);
    for (std::size_t e = 0; e < weights.size(); ++e) {
      const double goal = std::clamp(target[e], 1e-9, 1 - 1e-6);
      const double now = std::clamp(moments.inclusion[e], 1e-9, 1 - 1e-6);
      weights[e] *= power(std::clamp(logarithm(1 - goal) / logarithm(1 - now), 0.25, 4.0), 0.8);
    }
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w = std::max(w / sum, 1e-12 / static_cast<double>(weights.size()));
  return weights;
}

}  // namespace moesim
