#pragma once
// What of a kernel profile a kind of measurement fits: a section, its constants and their bounds.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/kernel_sample.h"
#include "hardware/kernel_profile.h"

namespace moesim {

/// One constant: microseconds of a time, else a number as it stands in the file. Fitted as logarithms, so all of it is
/// positive. `typical` is where fits start, whatever a profile held before: the same rows give the same constants.
/// Bounds keep constants physical, as config/read_profile checks: efficiencies at most 1 (of a ramp, at its end).
struct KernelConstant {
  std::string_view key;
  double low = 0, typical = 0, high = 0;
  std::function<double(const KernelProfile&)> get;
  std::function<void(KernelProfile&, double)> set;
};

/// A section of a kernel profile as a fit sees it. Constants are set in their order (a ramp's size before its end).
struct KernelSection {
  KernelOp op = KernelOp::gemm;
  std::string key;  ///< "gemm/bf16", "attention_decode/bf16/fp8/128": as `KernelSample::section`
  std::vector<KernelConstant> constants;
  std::vector<int> blocks;  ///< to choose from: row blocks of a grouped GEMM, tiles of prefill; empty elsewhere
  std::function<void(KernelProfile&, int)> set_block;
  std::function<SectionOrigin&(KernelProfile&)> origin;
  std::function<RegimeFactors&(KernelProfile&)> factor;
  std::function<KernelResidual*(KernelProfile&)> residual;  ///< null where the family has none

  std::function<int(const KernelProfile&)> get_block;

  bool takes(const KernelSample& sample) const { return sample.op == op && sample.section == key; }
};

/// The section named `key` of `profile`, which gets it where it lacks it (a head size, a format of the cache): with the
/// constants that stood in for it, until it is fitted. Nullopt where `op` fits no such section.
///   quantize  before gemm: a measured product with a dynamic format contains the quantisation of its input
/// On the `architecture` of the GPU measured depends the form of block-scaled products: on Hopper the section gets
/// narrow tiles and a promotion of 1, and other constants are fitted.
std::optional<KernelSection> kernel_section(KernelOp op, std::string_view key, KernelProfile& profile,
                                            std::string_view architecture = {});

/// Constants, residual and errors of the section `from` of one profile in the same section of another.
void copy_section(const KernelSection& to, const KernelProfile& from_profile, const KernelSection& from,
                  KernelProfile& to_profile);

/// `profile` without texts and with one exponent in all p-norms but those of `section`: prepares much faster.
KernelProfile constants_only(const KernelProfile& profile, const KernelSection& section);

}  // namespace moesim
