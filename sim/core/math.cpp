#include "core/math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace moesim {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// ln 2 in two parts; the first ends in 21 zero bits, so that its product with an exponent is exact.
constexpr double ln2_high = 0x1.62e42feep-1;
constexpr double ln2_low = 0x1.a39ef35793c76p-33;
constexpr double log2_e = 0x1.71547652b82fep+0;

/// 2^k for a normal result, -1022 <= k <= 1023.
double power_of_two(std::int64_t k) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52);
}

}  // namespace

double exponential(double x) {
  if (!(x < 709.79)) return x > 0 ? (x < 709.7827128933841 ? 0x1.fffffffffffffp+1023 : infinity) : x;
  if (x < -745.2) return 0;
  // x = k ln 2 + r, |r| <= ln(2) / 2. Adding 1.5 * 2^52 rounds to the nearest integer and leaves it in the low bits.
  const double shifted = x * log2_e + 0x1.8p52;
  const double k = shifted - 0x1.8p52;
  const double r = (x - k * ln2_high) - k * ln2_low;
  // e^r - 1 - r by its series to r^13 (the rest is below 5e-18), summed in pairs.
  const double r2 = r * r;
  const double r4 = r2 * r2;
  const double low = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
  const double middle = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
  const double high = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800));
  const double mantissa = 1 + (r + r2 * (low + r4 * (middle + r4 * high)));
  const auto exponent = static_cast<std::int64_t>(k);
  if (exponent >= -1021 && exponent <= 1023) return mantissa * power_of_two(exponent);
  // 2^k alone would leave the range of normal numbers.
  return exponent > 0 ? mantissa * 2 * power_of_two(exponent - 1) : mantissa * power_of_two(exponent + 100) * 0x1p-100;
}

double logarithm(double x) {
  std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  std::int64_t exponent = 0;
  // Zero, subnormal, negative, infinite or not a number: everything outside the positive normal numbers.
  if (bits - 0x0010000000000000u >= 0x7FE0000000000000u) {
    if (x == 0) return -infinity;
    if (!(x > 0)) return std::numeric_limits<double>::quiet_NaN();
    if (x == infinity) return x;
    bits = std::bit_cast<std::uint64_t>(x * 0x1p54);
    exponent = -54;
  }
  // x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).
  const std::uint64_t offset = bits - 0x3FE6A09E667F3BCDu;
  const std::int64_t shift = static_cast<std::int64_t>(offset) >> 52;
  const double f = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(shift) << 52)) - 1;
  const auto k = static_cast<double>(exponent + shift);
  // log(1 + f) = 2 atanh(s), s = f / (2 + f), |s| < 0.1716: f - f^2/2 + s (f^2/2 + rest), where f - f^2/2 is nearly
  // exact and `rest` is the series of 2 atanh(s)/s - 2 from s^2 to s^22 (the remainder is below 1e-19).
  const double s = f / (2 + f);
  const double z = s * s;
  const double z2 = z * z;
  const double z4 = z2 * z2;
  const double low = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
  const double middle = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
  const double high = (2.0 / 19 + z * (2.0 / 21)) + z2 * (2.0 / 23);
  const double rest = z * (low + z4 * (middle + z4 * high));
  const double half_square = 0.5 * f * f;
  return k * ln2_high - ((half_square - (s * (half_square + rest) + k * ln2_low)) - f);
}

double power(double x, double y) {
  if (y == 0 || x == 1) return 1;
  if (y == 1) return x;
  if (x == 0) return y > 0 ? 0 : infinity;
  return exponential(y * logarithm(x));
}

double normal_quantile(double p) {
  // Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988 (PPND16): three rational
  // functions of degree 7, the centre in q^2 and the tails in sqrt(-log(tail)).
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    const double top =
        ((((((2.5090809287301226727e+3 * r + 3.3430575583588128105e+4) * r + 6.7265770927008700853e+4) * r +
            4.5921953931549871457e+4) *
               r +
           1.3731693765509461125e+4) *
              r +
          1.9715909503065514427e+3) *
             r +
         1.3314166789178437745e+2) *
            r +
        3.3871328727963666080e0;
    const double bottom =
        ((((((5.2264952788528545610e+3 * r + 2.8729085735721942674e+4) * r + 3.9307895800092710610e+4) * r +
            2.1213794301586595867e+4) *
               r +
           5.3941960214247511077e+3) *
              r +
          6.8718700749205790830e+2) *
             r +
         4.2313330701600911252e+1) *
            r +
        1;
    return q * top / bottom;
  }
  const double tail = q < 0 ? p : 1 - p;
  double r = std::sqrt(-logarithm(tail));
  double top, bottom;
  if (r <= 5) {
    r -= 1.6;
    top = ((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r +
              1.27045825245236838258e0) *
                 r +
             3.64784832476320460504e0) *
                r +
            5.76949722146069140550e0) *
               r +
           4.63033784615654529590e0) *
              r +
          1.42343711074968357734e0;
    bottom = ((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r +
                 1.48103976427480074590e-1) *
                    r +
                6.89767334985100004550e-1) *
                   r +
               1.67638483018380384940e0) *
                  r +
              2.05319162663775882187e0) *
                 r +
             1;
  } else {
    r -= 5;
    top = ((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3) * r +
              2.65321895265761230930e-2) *
                 r +
             2.96560571828504891230e-1) *
                r +
            1.78482653991729133580e0) *
               r +
           5.46378491116411436990e0) *
              r +
          6.65790464350110377720e0;
    bottom = ((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5) * r +
                 7.86869131145613259100e-4) *
                    r +
                1.48753612908506148525e-2) *
                   r +
               1.36929880922735805310e-1) *
                  r +
              5.99832206555887937690e-1) *
                 r +
             1;
  }
  return q < 0 ? -top / bottom : top / bottom;
}

double p_norm(double a, double b, double p) {
  const double larger = std::max(a, b);
  const double smaller = std::min(a, b);
  if (smaller == 0 || larger == infinity) return larger;
  if (p == 1) return a + b;
  return larger * power(1 + power(smaller / larger, p), 1 / p);
}

}  // namespace moesim
