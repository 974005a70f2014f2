#pragma once
// What scenarios of every mode read alike: the files they name, their hashes, the cluster, the profile of collectives.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "collectives/collective_profile.h"
#include "config/json_reader.h"
#include "config/scenario.h"
#include "hardware/gpu_spec.h"
#include "metrics/run_result.h"
#include "network/cluster_spec.h"

namespace moesim {

class ScenarioInputs {
 public:
  /// `provenance` takes hashes and notes as they come; it stays valid while the object lives. `folder`: of the file.
  ScenarioInputs(JsonReader root, std::filesystem::path folder, Provenance& provenance);

  const JsonReader& root() const { return root_; }
  const std::filesystem::path& folder() const { return folder_; }
  void add_hash(const std::filesystem::path& file);
  void note(std::string text);
  void note_overrides(std::span<const Override> overrides);
  /// The file that a field names; `shipped` is the folder of the product that holds files of this kind.
  std::filesystem::path file_of(const JsonReader& value, const std::filesystem::path& shipped = {}) const;

  /// The fields `cluster` and `nodes`.
  ClusterSpec read_cluster();
  GpuSpec gpu_of(const ClusterSpec& cluster);
  /// What the field `calibration` names: files of collectives, in their order, and the one entry that is none of these
  /// ("auto" where there is no such entry).
  struct Calibration {
    std::string kernels = "auto";
    std::vector<std::filesystem::path> collectives;
  };
  Calibration read_calibration() const;
  /// By GPU and cluster, overlaid by `files`.
  CollectiveProfile read_collectives(const GpuSpec& gpu, const ClusterSpec& cluster,
                                     std::span<const std::filesystem::path> files);
  /// Adds a profile of collectives to the provenance. The last of its sources is of the profile itself, those before it
  /// of what it does not measure: the network and exchanges of experts, where these are used.
  enum class Uses { domain, network };
  void add_profile(const CollectiveProfile& profile, Uses uses);

 private:
  JsonReader root_;
  std::filesystem::path folder_;
  Provenance& provenance_;
};

bool looks_like_a_file(const std::string& text);
/// "no model of this name in models; did you mean ...?"
[[noreturn]] void fail_unknown_name(const JsonReader& value, const std::string& what,
                                    const std::filesystem::path& folder);

}  // namespace moesim
