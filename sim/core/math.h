#pragma once
// exp, log and pow of the model: written here from basic arithmetic, so that results are the same bytes with every
// C library and compiler (IEEE 754 double, no contraction). Relative error at most 4e-16 times a few for exp and log;
// pow(x, y) = exp(y log x) with error growing with |y log x|; tests state the bounds.

namespace moesim {

double exponential(double x);
/// x > 0.
double logarithm(double x);
/// x >= 0.
double power(double x, double y);
/// Standard normal quantile, 0 < p < 1.
double normal_quantile(double p);

/// (a^p + b^p)^(1/p) for a, b >= 0, p >= 1: between max(a, b) (p large) and a + b (p = 1).
double p_norm(double a, double b, double p);

}  // namespace moesim
