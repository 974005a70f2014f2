#include "routing/gate_moments.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/math.h"
#include "routing/popularity.h"

namespace moesim {

namespace {

constexpr std::size_t most_single = 16;
constexpr std::int64_t sample_tokens = 1 << 16;

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

struct Sample {
  std::vector<double> chosen;   ///< per expert, of one token
  std::vector<double> choices;  ///< [g * (k + 1) + j]: probability that a token takes j of group g
  GroupMoments moments;
};

Sample sample_gate(const MoeSpec& moe, std::span<const double> weights, std::int64_t tokens, std::uint64_t sample) {
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto k = static_cast<std::size_t>(moe.top_k);
  const std::size_t size = weights.size() / groups;
  const Gate gate(moe, weights);
  WordSource words(Stream(0, "routing/gate sample").substream(sample));
  std::vector<std::uint64_t> taken(weights.size(), 0), counts(groups * (k + 1), 0), products(groups * groups, 0);
  std::vector<std::uint16_t> ids(k);
  std::vector<std::uint32_t> group_of(weights.size()), in_group(groups);
  for (std::size_t e = 0; e < weights.size(); ++e) group_of[e] = static_cast<std::uint32_t>(e / size);
  for (std::int64_t t = 0; t < tokens; ++t) {
    gate.draw(words, 1, ids.data());
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

CountLawInput moments_from(const MoeSpec& moe, std::span<const double> weights, std::int64_t tokens,
                           std::uint64_t sample_index) {
  const auto groups = static_cast<std::size_t>(moe.groups);
  const auto k = static_cast<std::size_t>(moe.top_k);
  const std::size_t size = weights.size() / groups;
  const auto [least, most] = std::minmax_element(weights.begin(), weights.end());
  const bool equal = *least == *most;
  Sample sample = sample_gate(moe, weights, tokens, sample_index);
  if (equal) average_groups(sample, groups, k);
  CountLawInput result;
  result.top_k = moe.top_k;
  result.groups = sample.moments;
  for (std::size_t g = 0; g < groups; ++g) {
    const std::span<const double> w = weights.subspan(g * size, size);
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    const double mean = sample.moments.mean[g];
    if (equal) {
      result.inclusion.insert(result.inclusion.end(), size, mean / static_cast<double>(size));
      result.shares.insert(result.shares.end(), size, 1 / static_cast<double>(size));
      continue;
    }
    const std::vector<double> race = race_inclusion(w, moe.top_k);
    std::vector<double> q(size, 0.0), with_count(size, 0.0);
    for (std::size_t j = 1; j <= k; ++j) {
      const double p = sample.choices[g * (k + 1) + j];
      for (std::size_t e = 0; e < size; ++e) {
        q[e] += p * race[(j - 1) * size + e];
        with_count[e] += p * static_cast<double>(j) * race[(j - 1) * size + e];
      }
    }
    // Least squares of chosen / q = 1 + a (x - mean x) with weights q: sampling variance is in proportion to q.
    double centre = 0, mass = 0, top = 0, bottom = 0;
    for (std::size_t e = 0; e < size; ++e) {
      centre += q[e] * w[e] / sum;
      mass += q[e];
    }
    if (mass <= 0) mass = 1;
    centre /= mass;
    for (std::size_t e = 0; e < size; ++e) {
      const double x = w[e] / sum - centre;
      top += x * (sample.chosen[g * size + e] - q[e]);
      bottom += x * x * q[e];
    }
    const double slope = bottom > 0 ? top / bottom : 0;
    double adjusted = 0, share_sum = 0;
    std::vector<double> share(size);
    for (std::size_t e = 0; e < size; ++e) {
      const double ratio = 1 + slope * (w[e] / sum - centre);
      share[e] = std::max((with_count[e] - mean * q[e]) * ratio, 0.0);
      q[e] = std::clamp(q[e] * ratio, 1e-12, 1.0);
      adjusted += q[e];
      share_sum += share[e];
    }
    for (std::size_t e = 0; e < size; ++e) {
      result.inclusion.push_back(std::min(q[e] * (adjusted > 0 ? mean / adjusted : 1), 1.0));
      result.shares.push_back(share_sum > 0 ? share[e] / share_sum : 1 / static_cast<double>(size));
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
  constexpr int passes = 10;
  for (int pass = 0; pass < passes; ++pass) {
    const CountLawInput moments =
        moments_from(moe, weights, pass + 4 < passes ? sample_tokens / 4 : sample_tokens, sample);
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
