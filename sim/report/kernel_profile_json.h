#pragma once
// Writes kernel profiles (format "moesim-profile-1") with what they were fitted to.

#include <span>
#include <string>

#include "calibration/kernel_fit.h"

namespace moesim {

struct KernelProfileFile {
  std::string base;  ///< text of a profile file: what is not fitted stays as it is there
  std::string date;  ///< YYYY-MM-DD
  /// A file of its own, not a new edition of `base`: the name, GPU, provider and source of the profile replace those of
  /// `base`, and what is not fitted says that it was taken from there.
  bool fresh = false;
  /// A new edition of `base` under the name, GPU, notes and `also_for` of the profile.
  bool renamed = false;
};

/// The file with the sections of `fits` as `profile` has them, their origins included.
std::string kernel_profile_json(const KernelProfile& profile, std::span<const KernelFit> fits,
                                const KernelProfileFile& file);

}  // namespace moesim
