#pragma once
// exp, log and pow of the model: written here from basic arithmetic, so that results are the same bytes with every
// C library and compiler (IEEE 754 double, no contraction). Relative error at most 2.3e-16 for exp and log (of normal
// results); pow(x, y) = exp(y log x) has an error of at most 3e-16 (1 + |y log x|). Overflow gives infinity.

namespace moesim {

double exponential(double x);
/// x > 0; minus infinity at 0.
double logarithm(double x);
/// x >= 0.
double power(double x, double y);
/// Standard normal quantile, 0 < p < 1.
double normal_quantile(double p);

/// (a^p + b^p)^(1/p) for a, b >= 0, p >= 1: between max(a, b) (p large) and a + b (p = 1).
double p_norm(double a, double b, double p);

}  // namespace moesim
