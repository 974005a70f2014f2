#pragma once
// The correction of a prepared law by size, for one group.

#include <span>
#include <vector>

#include "collectives/collective_profile.h"

namespace moesim {

/// The corrections of `curve` for a group of `ranks`, prepared once.
class PreparedCorrection {
 public:
  PreparedCorrection() = default;
  PreparedCorrection(std::span<const CurveCorrection> corrections, CostCurve curve, double ranks);

  bool empty() const { return knots_.empty(); }
  /// At a size > 0: the factor on the law's time; 1 when empty.
  double factor(double size) const;

  /// Makes law(size) x factor(size) rise with size wherever `law` does: knots whose corrected times fall are pooled to
  /// one time (their geometric mean, rising by 1e-6 a knot), and between two knots the time stays between theirs.
  template <class Law>
  void make_monotone(const Law& law) {
    for (Knot& knot : knots_) knot.log_time = log_of(law(size_of(knot))) + knot.log_factor;
    pool();
    for (Knot& knot : knots_) knot.log_factor = knot.log_time - log_of(law(size_of(knot)));
  }
  /// `seconds` of the law at `size`, corrected; in the bounds that `make_monotone` set.
  double corrected(double seconds, double size) const;

 private:
  struct Knot {
    double log_size = 0, log_factor = 0, log_time = 0;
  };
  static double log_of(double x);
  static double size_of(const Knot& knot);
  void pool();
  std::vector<Knot> knots_;
};

}  // namespace moesim
