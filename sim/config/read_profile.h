#pragma once
// Calibration profiles: files of format "moesim-profile-1" (docs/model.md lists every field).

#include <filesystem>
#include <string>
#include <string_view>

#include "hardware/kernel_profile.h"
#include "serving/engine_spec.h"

namespace moesim {

/// Reads and checks one kernel profile. Every data type has a section or says which one stands in (`same_as`), nothing
/// is filled in silently. Efficiencies that would beat the datasheet are refused. Throws ConfigError.
KernelProfile read_kernel_profile_file(const std::filesystem::path& path);

/// A profile with what the provenance of a result says about it.
struct KernelProfileChoice {
  KernelProfile profile;
  std::filesystem::path file;
  /// True when the profile was not measured on this GPU.
  bool extrapolated = false;
  /// Why this profile, one line.
  std::string reason;
};

/// The profile that `calibration` asks for: "auto" takes one measured on `gpu`, else one of the same chip (its
/// `also_for`), of the engine's own kernels where there is one and else the first by file name, else the roofline;
/// "roofline"; or a file, tried in the folder `from`, the current one and the product's root. Throws ConfigError.
KernelProfileChoice select_kernel_profile(const std::string& calibration, std::string_view gpu, EnginePreset engine,
                                          const std::filesystem::path& from = {});
/// The same for kernels of any provider: trtllm, deepgemm, ours ...
KernelProfileChoice select_kernel_profile(const std::string& calibration, std::string_view gpu,
                                          std::string_view provider, const std::filesystem::path& from = {});

}  // namespace moesim
