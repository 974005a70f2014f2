#pragma once
// What a run put on the network, by kind of link and link by link.

#include <memory>
#include <vector>

#include "metrics/run_result.h"
#include "network/topology.h"
#include "serving/replica.h"

namespace moesim {

struct NetworkUse {
  std::vector<LinkClassUse> classes;
  std::vector<LinkUse> links;  ///< busiest first, at most kMostLinks
  std::int64_t links_left_out = 0;
};
inline constexpr std::size_t kMostLinks = 64;

/// "gpu3->nvswitch0".
std::string link_name(const Topology& topology, LinkId link);

/// Bytes a token of the sampled steps times the tokens of all steps, of every engine. The peak is that of the sampled
/// step with most; engines that share a link are Assumed to have theirs at once.
NetworkUse network_use(const std::vector<std::unique_ptr<Replica>>& replicas, const Topology& topology, Instant end);

}  // namespace moesim
