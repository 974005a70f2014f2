#include "routing/count_law.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/check.h"
#include "core/math.h"

namespace moesim {

namespace {

/// Experts handled side by side: loops over `lanes` become vector instructions.
constexpr std::size_t lanes = 8;
/// Four numbers that one instruction handles (the vector extension of GCC and Clang; plain code elsewhere than x86).
using Four = float __attribute__((vector_size(16)));
using FourCounts = std::int32_t __attribute__((vector_size(16)));
constexpr std::size_t most_positions = 4096;
constexpr std::size_t most_groups = 64;
/// Mean from which a count is drawn as a normal with correction terms.
constexpr double normal_mean = 10;

/// 4,096 equally likely normal values, scaled to variance 1. 0.8 a + 0.6 b of two of them is normal to four moments and
/// reaches 5 deviations.
const float* normal_values() {
  static const std::array<float, 4096> values = [] {
    std::array<double, 4096> exact;
    double squares = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      exact[i] = normal_quantile((static_cast<double>(i) + 0.5) / 4096);
      squares += exact[i] * exact[i];
    }
    std::array<float, 4096> result;
    const double scale = 1 / std::sqrt(squares / 4096);
    for (std::size_t i = 0; i < exact.size(); ++i) result[i] = static_cast<float>(exact[i] * scale);
    return result;
  }();
  return values.data();
}

float normal_of(const float* values, std::uint32_t word) {
  return 0.8f * values[word & 4095] + 0.6f * values[word >> 20];
}

/// exp(x) for -80 <= x <= 0 to 3e-7 relative.
inline float small_exponential(float x) {
  const float y = std::max(x, -80.0f) * 1.44269504f;
  const auto whole = static_cast<std::int32_t>(y - 0.5f);
  const float f = (y - static_cast<float>(whole)) * 0.693147181f;
  const float mantissa =
      1 + f * (1 + f * (0.5f + f * (0.16666667f + f * (0.041666667f + f * (0.0083333333f + f * 0.0013888889f)))));
  return mantissa * std::bit_cast<float>((whole + 127) << 23);
}

constexpr std::array<float, 128> reciprocals = [] {
  std::array<float, 128> result{};
  for (std::size_t i = 1; i < result.size(); ++i) result[i] = 1.0f / static_cast<float>(i);
  return result;
}();

/// Largest count that `small_counts` looks for at a mean.
std::size_t steps_of(float mean) {
  return std::min<std::size_t>(127, static_cast<std::size_t>(mean + 5.5f * std::sqrt(mean) + 6));
}

/// Inverts the binomials of mean m, variance m (1 - p) at the uniforms of `words`, `lanes` at once. `zero_rate` is
/// log(1 - p) / p, so that P(0) = exp(m zero_rate); `odds` p / (1 - p); `spread` 1 / p.
void small_counts(const float* mean, const float* zero_rate, const float* odds, const float* spread,
                  const std::uint32_t* words, std::int32_t* counts) {
  float uniform[lanes], zero[lanes], trials[lanes];
  float largest = 0;
  for (std::size_t l = 0; l < lanes; ++l) {
    uniform[l] = static_cast<float>(static_cast<std::int32_t>(words[l] >> 8)) * 0x1p-24f;
    zero[l] = small_exponential(mean[l] * zero_rate[l]);
    trials[l] = mean[l] * spread[l];
    largest = std::max(largest, mean[l]);
  }
  // Mass ratio (N - i + 1) / i * odds with N = m / p trials; the count is the number of partial sums below the uniform.
  const auto load = [](const float* from) {
    Four result;
    std::memcpy(&result, from, sizeof result);
    return result;
  };
  const std::size_t steps = steps_of(largest);
  static_assert(lanes == 8);
  Four u[2], mass[2], below[2], rest[2], step[2];
  FourCounts n[2] = {};
  for (std::size_t half = 0; half < 2; ++half) {
    u[half] = load(uniform + 4 * half);
    below[half] = mass[half] = load(zero + 4 * half);
    step[half] = load(odds + 4 * half);
    rest[half] = load(trials + 4 * half) * step[half];
  }
  for (std::size_t i = 1; i <= steps; ++i) {
    const float inverse = reciprocals[i];
    for (std::size_t half = 0; half < 2; ++half) {
      n[half] -= u[half] > below[half];
      mass[half] *= rest[half] * inverse;
      rest[half] = rest[half] > step[half] ? rest[half] - step[half] : Four{};
      below[half] += mass[half];
    }
  }
  std::memcpy(counts, n, sizeof n);
}

/// Shares out `surplus` among counts: added in proportion to `weights` and, when negative, taken in proportion to the
/// counts themselves (each token drawn is equally likely to go), by systematic sampling from the offset `u`.
void add_systematically(std::int64_t surplus, std::span<const float> weights, double u,
                        std::span<std::int32_t> counts) {
  if (surplus == 0) return;
  double sum = 0;
  if (surplus > 0)
    for (const float w : weights) sum += w;
  else
    for (const std::int32_t n : counts) sum += n;
  if (sum <= 0) return;
  const double scale = static_cast<double>(std::abs(surplus)) / sum;
  const std::int32_t sign = surplus > 0 ? 1 : -1;
  double run = u;
  std::int32_t before = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    run += scale * (surplus > 0 ? static_cast<double>(weights[i]) : static_cast<double>(counts[i]));
    const auto now = static_cast<std::int32_t>(run);
    counts[i] += sign * (now - before);
    before = now;
  }
}

/// Brings counts back into [0, tokens] and their sum to `total`, one token at a time from the front. Almost never has
/// anything to do.
void repair(std::int64_t total, std::int64_t tokens, std::span<std::int32_t> counts) {
  const auto top = static_cast<std::int32_t>(tokens);
  std::int64_t sum = 0;
  for (std::int32_t& n : counts) sum += n;
  std::int32_t lowest = 0, highest = 0;
  for (const std::int32_t n : counts) {
    lowest = std::min(lowest, n);
    highest = std::max(highest, n);
  }
  if (sum == total && lowest >= 0 && highest <= top) [[likely]]
    return;
  sum = 0;
  for (std::int32_t& n : counts) {
    n = std::clamp(n, 0, top);
    sum += n;
  }
  MOESIM_CHECK(total >= 0 && total <= static_cast<std::int64_t>(counts.size()) * tokens,
               "{} choices by {} tokens of {} experts", total, tokens, counts.size());
  while (sum != total) {
    const std::int64_t before = sum;
    for (std::int32_t& n : counts) {
      if (sum < total && n < top && (n > 0 || before == sum)) {
        ++n;
        ++sum;
      } else if (sum > total && n > 0) {
        --n;
        --sum;
      }
    }
  }
}

/// The variances before sharing: c_e (1 - 2 s_e) + s_e^2 (sum c + outer) = d_e.
std::vector<double> variances_before_sharing(std::span<const double> d, std::span<const double> s, double outer) {
  std::vector<double> c(d.begin(), d.end());
  for (int pass = 0; pass < 200; ++pass) {
    const double sum = std::accumulate(c.begin(), c.end(), 0.0) + outer;
    double change = 0;
    for (std::size_t e = 0; e < c.size(); ++e) {
      // A share near one half (a few experts) has no solution: its count is what the others leave.
      const double next = std::clamp((d[e] - s[e] * s[e] * sum) / std::max(1 - 2 * s[e], 0.2), 0.2 * d[e], 3 * d[e]);
      change = std::max(change, std::abs(next - c[e]));
      c[e] = next;
    }
    if (change < 1e-12) break;
  }
  return c;
}

}  // namespace

std::vector<double> race_shares(std::span<const double> inclusion) {
  std::vector<double> shares(inclusion.size());
  double sum = 0;
  for (std::size_t e = 0; e < shares.size(); ++e) {
    const double stay = 1 - inclusion[e];
    shares[e] = stay <= 0 ? 0 : inclusion[e] < 1e-6 ? inclusion[e] : -stay * logarithm(stay);
    sum += shares[e];
  }
  for (double& s : shares) s = sum > 0 ? s / sum : 1 / static_cast<double>(shares.size());
  return shares;
}

CountLaw::CountLaw(const CountLawInput& input) : top_k_(input.top_k), normals_(normal_values()) {
  const std::size_t groups = input.groups.mean.size();
  const std::size_t experts = input.inclusion.size();
  MOESIM_CHECK(groups >= 1 && groups <= most_groups && experts % groups == 0, "{} experts in {} groups", experts,
               groups);
  group_size_ = experts / groups;
  stride_ = (group_size_ + lanes - 1) / lanes * lanes;
  MOESIM_CHECK(stride_ * groups <= most_positions, "{} experts in {} groups", experts, groups);
  const std::size_t positions = stride_ * groups;
  inclusion_.assign(positions, 0);
  share_.assign(positions, 0);
  deviation_ = square_ = cubic_ = linear_ = odds_ = zero_rate_ = spread_ = share_;
  for (std::size_t g = 0; g < groups; ++g) {
    segments_.push_back({g * stride_, input.groups.mean[g]});
    group_variance_.push_back(input.groups.covariance[g * groups + g]);
    const std::span<const double> q = std::span(input.inclusion).subspan(g * group_size_, group_size_);
    const std::span<const double> s = std::span(input.shares).subspan(g * group_size_, group_size_);
    std::vector<double> d(q.size());
    for (std::size_t e = 0; e < q.size(); ++e) d[e] = q[e] * (1 - q[e]);
    const std::vector<double> c = variances_before_sharing(d, s, group_variance_[g]);
    const double spread = std::accumulate(c.begin(), c.end(), 0.0);
    for (std::size_t e = 0; e < q.size(); ++e) {
      const std::size_t p = g * stride_ + e;
      inclusion_[p] = q[e];
      share_[p] = static_cast<float>(s[e]);
      if (d[e] <= 0) continue;
      const double deviation = std::sqrt(c[e]);
      deviation_[p] = static_cast<float>(deviation);
      // Cornish-Fisher: z^2 - 1 times third cumulant / 6 variance; then (fourth cumulant / 24 variance) (z^3 - 3 z) -
      // (third cumulant^2 / 36 variance^2) (2 z^3 - 5 z), and -z/12 for the variance 1/6 that the rounding adds, all
      // over the deviation.
      square_[p] = static_cast<float>((1 - 2 * q[e]) / 6);
      const double fourth = (1 - 6 * d[e]) / 24;
      const double third = (1 - 4 * d[e]) / 36;
      cubic_[p] = static_cast<float>((fourth - 2 * third) / deviation);
      linear_[p] = static_cast<float>((-3 * fourth + 5 * third - 1.0 / 12) / deviation);
      // Whole tokens shared out one by one vary themselves, by as much as the last term of the variances says.
      const double whole = c[e] + s[e] * s[e] * spread / std::max(1 - 2 * s[e], 0.2);
      const double success = std::clamp(1 - whole / q[e], 1e-4, 0.9999);
      odds_[p] = static_cast<float>(success / (1 - success));
      spread_[p] = static_cast<float>(1 / success);
      zero_rate_[p] = static_cast<float>(logarithm(1 - success) / success);
    }
  }
  if (groups == 1) return;
  const std::size_t free = groups - 1;
  factor_.assign(free * free, 0);
  for (std::size_t i = 0; i < free; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double rest = input.groups.covariance[i * groups + j];
      for (std::size_t l = 0; l < j; ++l) rest -= factor_[i * free + l] * factor_[j * free + l];
      if (i == j)
        factor_[i * free + i] = rest > 1e-12 ? std::sqrt(rest) : 0;
      else
        factor_[i * free + j] = factor_[j * free + j] > 0 ? rest / factor_[j * free + j] : 0;
    }
  }
  for (std::size_t g = 0; g < groups; ++g)
    bend_.push_back(group_variance_[g] > 0 ? static_cast<float>(input.groups.third[g] / (6 * group_variance_[g])) : 0);
}

void CountLaw::draw_group_totals(WordSource& words, std::int64_t tokens, std::span<std::int64_t> totals) const {
  const std::size_t groups = segments_.size();
  const std::size_t free = groups - 1;
  const std::uint32_t* w = words.take(groups);
  const double root = std::sqrt(static_cast<double>(tokens));
  std::array<double, most_groups> z, value;
  for (std::size_t i = 0; i < free; ++i) z[i] = normal_of(normals_, w[i]);
  double last = 0;
  for (std::size_t i = 0; i < free; ++i) {
    value[i] = 0;
    for (std::size_t j = 0; j <= i; ++j) value[i] += factor_[i * free + j] * z[j];
    last -= value[i];
  }
  value[free] = last;
  const auto whole = static_cast<double>(tokens * top_k_);
  double surplus = whole;
  double variance = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    const double v = group_variance_[g];
    const double bend = v > 0 ? bend_[g] * (value[g] * value[g] / v - 1) : 0;
    value[g] = static_cast<double>(tokens) * segments_[g].mean + root * value[g] + bend;
    surplus -= value[g];
    variance += v;
  }
  const auto most = static_cast<double>(tokens * std::min(top_k_, static_cast<std::int64_t>(group_size_)));
  double run = static_cast<double>(w[free]) * 0x1p-32;
  std::int64_t before = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    if (variance > 0) value[g] += surplus * group_variance_[g] / variance;
    run += std::clamp(value[g], 0.0, most);
    const auto now = static_cast<std::int64_t>(run);
    totals[g] = now - before;
    before = now;
  }
  // Clamping or the last bit of a sum may leave a difference: the groups with room take it in turn.
  std::int64_t rest = tokens * top_k_ - before;
  const auto limit = static_cast<std::int64_t>(most);
  for (std::size_t g = 0; rest != 0; g = (g + 1) % groups) {
    const std::int64_t take = rest > 0 ? std::min(rest, limit - totals[g]) : std::max(rest, -totals[g]);
    totals[g] += take;
    rest -= take;
  }
}

void CountLaw::draw_segment(const Segment& segment, std::int64_t tokens, std::int64_t total, const std::uint32_t* words,
                            std::int32_t* counts) const {
  const std::size_t base = segment.begin;
  const std::size_t size = group_size_;
  const double* q = &inclusion_[base];
  const float* share = &share_[base];
  const auto t = static_cast<double>(tokens);
  const auto root = static_cast<float>(std::sqrt(t));
  const float inverse_root = 1 / root;
  const double shift = static_cast<double>(total) - t * segment.mean;
  const double u = static_cast<double>(words[stride_]) * 0x1p-32;

  // Positions are sorted by popularity: nearly certain experts, then normal counts, then small ones.
  std::size_t certain = 0;
  while (certain < size && t * (1 - q[certain]) < normal_mean && q[certain] > 0.5) ++certain;
  std::size_t normal_end = size;
  while (normal_end > certain && t * q[normal_end - 1] < normal_mean) --normal_end;
  const std::size_t small = std::min((normal_end + lanes - 1) / lanes * lanes, size);

  // 1. Nearly certain: the tokens that do not take it are few. They take no part in the sharing.
  std::int64_t drawn = 0;
  for (std::size_t p = 0; p < certain; ++p) {
    const double mean = t * (1 - q[p]);
    const double uniform = (static_cast<double>(words[p]) + 0.5) * 0x1p-32;
    double mass = exponential(t * logarithm(std::max(q[p], 1e-12)));
    double below = mass;
    std::int64_t missing = 0;
    const double odds = (1 - q[p]) / q[p];
    while (uniform > below && missing < tokens && missing < static_cast<std::int64_t>(mean) + 100) {
      mass *= odds * static_cast<double>(tokens - missing) / static_cast<double>(missing + 1);
      below += mass;
      ++missing;
    }
    counts[p] = static_cast<std::int32_t>(tokens - missing);
    drawn += counts[p];
  }

  // 2. Deviations of the normal counts from T q.
  std::array<float, most_positions> value;
  double surplus = 0;
  double normal_share = 0;
  const auto shift_part = static_cast<float>(shift);
  for (std::size_t p = certain; p < small; ++p) value[p] = normal_of(normals_, words[p]);
  for (std::size_t p = certain; p < small; ++p) {
    const float z = value[p];
    value[p] = share[p] * shift_part - square_[base + p] +
               z * (root * deviation_[base + p] + inverse_root * linear_[base + p] +
                    z * (square_[base + p] + z * (inverse_root * cubic_[base + p])));
  }
  {
    std::array<double, 4> value_sum{}, share_sum{};
    double mean_sum = 0;
    for (std::size_t p = certain; p < small; ++p) {
      value_sum[p & 3] += value[p];
      share_sum[p & 3] += share[p];
      mean_sum += q[p];
    }
    surplus -= t * mean_sum + ((value_sum[0] + value_sum[1]) + (value_sum[2] + value_sum[3]));
    normal_share = (share_sum[0] + share_sum[1]) + (share_sum[2] + share_sum[3]);
  }

  // 3. Small counts.
  double small_share = 0;
  std::int64_t small_sum = 0;
  for (std::size_t p = small; p < size; p += lanes) {
    float mean[lanes];
    for (std::size_t l = 0; l < lanes; ++l)
      mean[l] = std::max(static_cast<float>(t * q[p + l]) + share[p + l] * shift_part, 0.0f);
    small_counts(mean, &zero_rate_[base + p], &odds_[base + p], &spread_[base + p], words + p, counts + p);
    for (std::size_t l = 0; l < lanes; ++l) {
      small_share += share[p + l];
      small_sum += counts[p + l];
    }
  }

  // 4. The surplus: small counts take their part in whole tokens, normal ones the rest.
  surplus += static_cast<double>(total - drawn - small_sum);
  if (small < size) {
    std::int64_t part = total - drawn - small_sum;
    if (small > certain)
      part = static_cast<std::int64_t>(std::floor(surplus * small_share / (small_share + normal_share) + u));
    part = std::max(part, -small_sum);
    add_systematically(part, std::span(share + small, size - small), static_cast<double>(words[stride_ + 1]) * 0x1p-32,
                       std::span(counts + small, size - small));
    surplus -= static_cast<double>(part);
    small_sum += part;
  }
  if (small > certain) {
    const double scale = normal_share > 0 ? surplus / normal_share : 0;
    const auto scale_part = static_cast<float>(scale);
    constexpr double one = 1 << 20;
    auto run = static_cast<std::int64_t>(u * one);
    std::int64_t before = 0;
    for (std::size_t p = certain; p < small; ++p) {
      const double x = t * q[p] + static_cast<double>(value[p] + scale_part * share[p]);
      run += static_cast<std::int64_t>(std::max(x, 0.0) * one);
      const std::int64_t now = run >> 20;
      counts[p] = static_cast<std::int32_t>(now - before);
      before = now;
    }
    // The fixed point of the running sum loses less than one token in all.
    const std::int64_t rest = total - drawn - small_sum - before;
    if (rest == 1 || rest == -1)
      counts[certain + static_cast<std::size_t>(words[stride_] % (small - certain))] += static_cast<std::int32_t>(rest);
  }
  repair(total, tokens, std::span(counts, size));
}

void CountLaw::draw(WordSource& words, std::int64_t tokens, std::span<const std::uint16_t> ids,
                    std::uint32_t* counts) const {
  std::array<std::int32_t, most_positions> drawn;
  std::array<std::int64_t, most_groups> totals;
  const std::size_t groups = segments_.size();
  if (groups == 1)
    totals[0] = tokens * top_k_;
  else
    draw_group_totals(words, tokens, std::span(totals).first(groups));
  if (group_size_ == 1) {
    for (std::size_t g = 0; g < groups; ++g) counts[ids[g]] = static_cast<std::uint32_t>(totals[g]);
    return;
  }
  // Two more words than positions: the offsets of the rounding and of the shared surplus.
  const std::size_t each = stride_ + 2;
  const std::uint32_t* w = words.take(groups * each);
  for (std::size_t g = 0; g < groups; ++g)
    draw_segment(segments_[g], tokens, totals[g], w + g * each, drawn.data() + g * stride_);
  for (std::size_t g = 0; g < groups; ++g)
    for (std::size_t e = 0; e < group_size_; ++e)
      counts[ids[g * group_size_ + e]] = static_cast<std::uint32_t>(drawn[g * stride_ + e]);
}

}  // namespace moesim
