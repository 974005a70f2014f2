#pragma once
// A log of nccl-tests as a table of measured communication.

#include <optional>
#include <string>

#include "config/import_collective_log.h"
#include "network/cluster_spec.h"

namespace moesim {

/// CSV with a header: log_id,system,gpu,intra_link,inter_link,nodes,gpus_per_node,ranks,library,lib_version,collective,
/// bytes,dtype,time_us,algbw_GBps,busbw_GBps,inplace_time_us,source_id. What is not known stays empty. The links are
/// those of the cluster, where one is given, its network with the name of a cloud's `transport` ("32x100G EFA v2", else
/// empty); `inter_link` is n/a in one node.
std::string nccl_tests_csv(const NcclTestLog& log, const std::string& system, const std::optional<ClusterSpec>& cluster,
                           const std::string& transport = {});

}  // namespace moesim
