#include "calibration/comm_sample.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/check.h"

namespace moesim {

std::string_view name(CommOp op) {
  switch (op) {
    case CommOp::nccl:
      return "nccl";
    case CommOp::custom_allreduce:
      return "custom_allreduce";
    case CommOp::deepep_ll:
      return "deepep_ll";
    case CommOp::deepep_normal:
      return "deepep_normal";
    case CommOp::nvlink_a2a:
      return "nvlink_a2a";
    case CommOp::p2p:
      return "p2p";
  }
  fail_invariant(__FILE__, __LINE__, "unknown op");
}

std::optional<CommOp> comm_op(std::string_view text) {
  for (std::size_t i = 0; i < kCommOps; ++i) {
    if (name(static_cast<CommOp>(i)) == text) return static_cast<CommOp>(i);
  }
  return std::nullopt;
}

std::string CommSample::series(std::string_view system_name) const {
  std::string text = fmt::format("{} {} {} ranks on {}", system_name, name(curve), ranks, nodes);
  if (tokens > 0) text += fmt::format(", hidden {}, top-{} of {}", hidden, top_k, experts);
  if (sms > 0) text += fmt::format(", {} SMs", sms);
  if (tokens > 0 && payload.dispatch.value > 0) text += fmt::format(", {} B", payload.dispatch.value);
  if (messages > 1) text += ", batches";
  return text;
}

std::string CommSample::point(std::string_view system_name) const {
  return fmt::format("{} {} x {}", series(system_name), tokens > 0 ? tokens : bytes, messages);
}

namespace {

std::uint32_t machines_of_domain(const ClusterSpec& cluster) {
  return static_cast<std::uint32_t>(std::max(1, cluster.scale_up_domain / cluster.gpus_per_node));
}

}  // namespace

std::int32_t machines_for(const ClusterSpec& cluster, std::uint32_t nodes) {
  const std::uint32_t each = machines_of_domain(cluster);
  return static_cast<std::int32_t>((nodes + each - 1) / each * each);
}

GpuGroup sample_group(const ClusterSpec& cluster, std::uint32_t nodes, std::uint32_t ranks) {
  const std::uint32_t each = machines_of_domain(cluster);
  const std::uint32_t domains = (nodes + each - 1) / each;
  const std::uint32_t even = (nodes + domains - 1) / domains;
  GpuGroup group;
  for (std::uint32_t n = 0; n < nodes; ++n) {
    const std::uint32_t machine = n / even * each + n % even;
    for (std::uint32_t i = 0; i < ranks / nodes; ++i) {
      group.push_back(GpuId{machine * static_cast<std::uint32_t>(cluster.gpus_per_node) + i});
    }
  }
  return group;
}

}  // namespace moesim
