#pragma once
// All-to-all traffic of unequal sizes on a two-level fat tree: what the benchmarks of link sharing run.

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/random.h"
#include "core/units.h"

namespace moesim {

struct SizedFlow {
  std::vector<std::uint32_t> links;
  Bytes bytes;
};

struct Traffic {
  std::vector<BytesPerSecond> capacities;
  std::vector<SizedFlow> flows;
};

/// Every GPU sends to every other one. A GPU has one 50 GB/s port each way into its leaf of 16 (of 32 from 512 GPUs
/// on), a leaf one trunk each way to the spine of 1 / `oversubscription` times its ports. One leaf for all up to 8
/// GPUs. Sizes are log-normal, median 1 MB, sigma 0.5.
inline Traffic all_to_all_on_fat_tree(std::uint32_t gpus, double oversubscription, std::uint64_t seed) {
  const double port = 50e9;
  const std::uint32_t leaf = gpus >= 512 ? 32 : 16, leaves = (gpus + leaf - 1) / leaf;
  Traffic traffic;
  traffic.capacities.assign(2 * gpus, {port});
  traffic.capacities.resize(2 * gpus + 2 * leaves, {port * leaf / oversubscription});
  Stream stream(seed, "bench/flow");
  for (std::uint32_t a = 0; a < gpus; ++a)
    for (std::uint32_t b = 0; b < gpus; ++b) {
      if (a == b) continue;
      SizedFlow flow{{a}, {static_cast<std::int64_t>(1e6 * std::exp(0.5 * stream.normal()))}};
      if (a / leaf != b / leaf) {
        flow.links.push_back(2 * gpus + a / leaf);
        flow.links.push_back(2 * gpus + leaves + b / leaf);
      }
      flow.links.push_back(gpus + b);
      traffic.flows.push_back(std::move(flow));
    }
  return traffic;
}

}  // namespace moesim
