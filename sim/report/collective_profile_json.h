#pragma once
// Writes collective profiles (format "moesim-collectives-1") with what they were fitted to.

#include <filesystem>
#include <span>
#include <string>

#include "calibration/comm_fit.h"

namespace moesim {

struct ProfileFile {
  std::string base;     ///< text of a profile file: what is not fitted stays as it is there; empty: a file of its own
  std::string source;   ///< where the rows are from
  std::string licence;  ///< of the rows, where known
  std::string command;  ///< that wrote it
  std::string date;     ///< YYYY-MM-DD
  std::string rest;     ///< the family that gives what the file lacks
  std::string network;  ///< the cloud transport that its network is of; empty: InfiniBand and RoCE
};

/// "network: 6 points for 5 constants, ..." where a fit had fewer than three points a constant; else empty.
std::string few_points_note(const SectionFit& fit);

/// The file with the sections of `fits` as `profile` has them, rates at the line rates of `base`, or of `cluster`.
std::string collective_profile_json(const CollectiveProfile& profile, std::span<const SectionFit> fits,
                                    const CommSystem& system, const ProfileFile& file);

}  // namespace moesim
