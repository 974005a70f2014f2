#pragma once
// Reads calibrate/profiles/collectives-*.json (format "moesim-collectives-1").

#include <filesystem>

#include "collectives/collective_profile.h"
#include "hardware/gpu_spec.h"
#include "network/cluster_spec.h"

namespace moesim {

/// One profile file over the values of `base`: sections that the file has replace those of `base`. Rates in a file are
/// absolute and divided by its "line_rate" x "efficiency" (NIC rates by the same of the network). Throws ConfigError.
CollectiveProfile read_collective_profile(const std::filesystem::path& path, const ClusterSpec& cluster,
                                          const CollectiveProfile& base = {});

/// The profile for a GPU in a cluster, from the collectives-*.json of `folder`: collectives-default.json overlaid by
/// the family that names the GPU (measured), else by the one that stands for its architecture and kind of scale-up,
/// else by nothing; the last two are extrapolated by the ratio of line rates and say so in `notes`. The hop of a known
/// cloud transport is taken by the cluster's name.
CollectiveProfile collective_profile_for(const std::filesystem::path& folder, const GpuSpec& gpu,
                                         const ClusterSpec& cluster);

/// Whether the file says that it is a profile of collectives. Throws ConfigError where it is no JSON.
bool is_collective_profile(const std::filesystem::path& path);

/// A user's own profile over `base`; extrapolated, with a note, where it was fitted on another GPU or scale-up.
CollectiveProfile own_collective_profile(const std::filesystem::path& path, const GpuSpec& gpu,
                                         const ClusterSpec& cluster, const CollectiveProfile& base);

}  // namespace moesim
