#include "execution/step_links.h"

#include <fmt/core.h>

#include "core/check.h"

namespace moesim {

StepLinks::StepLinks(const Topology& topology, const CollectiveProfile& profile, const ParallelPlan& plan,
                     GpuId first_gpu)
    : topology_(topology), profile_(profile), plan_(plan), first_gpu_(first_gpu) {
  MOESIM_CHECK(first_gpu.value + static_cast<std::uint32_t>(plan.world()) <= topology.gpu_count(),
               "an engine of {} GPUs from GPU {} on, of {}", plan.world(), first_gpu.value, topology.gpu_count());
}

GpuId StepLinks::gpu(std::int32_t stage, std::int32_t rank) const {
  return GpuId{first_gpu_.value + static_cast<std::uint32_t>(stage * plan_.stage_ranks() + rank)};
}

const std::vector<GroupCollectives>& StepLinks::groups(std::int32_t stage, std::int32_t size) {
  std::vector<GroupCollectives>& groups = groups_[{stage, size}];
  if (!groups.empty()) return groups;
  for (std::int32_t first = 0; first < plan_.stage_ranks(); first += size) {
    GpuGroup group;
    for (std::int32_t r = first; r < first + size; ++r) group.push_back(gpu(stage, r));
    groups.emplace_back(topology_, profile_, std::move(group));
  }
  return groups;
}

void StepLinks::add(TaskTraffic traffic, std::int32_t stage, std::int64_t times, const Buffers& buffers,
                    LinkBytes& to) {
  const auto all_groups = [&](std::int32_t size, Collective kind, Bytes buffer) {
    for (const GroupCollectives& group : groups(stage, size)) group.add_link_bytes(kind, buffer * times, to);
  };
  switch (traffic) {
    case TaskTraffic::tensor_reduce:
      return all_groups(plan_.tp, Collective::all_reduce, buffers.activations);
    case TaskTraffic::tensor_gather:
      return all_groups(plan_.tp, Collective::all_gather, buffers.activations);
    case TaskTraffic::logits_gather:
      return all_groups(plan_.tp, Collective::all_gather, buffers.logits);
    case TaskTraffic::expert_reduce:
      return all_groups(plan_.ep * plan_.etp, Collective::all_reduce, buffers.activations);
    case TaskTraffic::none:
    case TaskTraffic::dispatch:
    case TaskTraffic::combine:
      return;
  }
}

void StepLinks::add_stage_transfer(std::int32_t stage, Bytes message, LinkBytes& to) const {
  for (std::int32_t r = 0; r < plan_.stage_ranks(); ++r) {
    for (const LinkId link : topology_.path(gpu(stage, r), gpu(stage + 1, r))) {
      to.add(link, static_cast<double>(message.value));
    }
  }
}

std::vector<ExchangeLinks>& StepLinks::exchange(std::int32_t stage, std::size_t set, const ExpertStep& experts) {
  std::vector<ExchangeLinks>& same = exchanges_[{stage, set, experts.backend()}];
  if (!same.empty()) return same;
  const std::int32_t side_by_side = plan_.ep == 1 ? plan_.tp * plan_.cp : 1;
  const std::int32_t first = static_cast<std::int32_t>(set) * plan_.ep * plan_.etp;
  for (std::int32_t i = 0; i < side_by_side; ++i) {
    GpuGroup group;
    for (const GpuId member : experts.group()) {
      group.push_back(gpu(stage, first + i + static_cast<std::int32_t>(member.value)));
    }
    same.emplace_back(topology_, profile_, std::move(group), experts.backend(), experts.payload());
  }
  return same;
}

void StepLinks::collect(const Layer& layer, Way way, ExpertStep& experts) {
  experts.show_traffic(layer.moe_layer, layer.draw, [&](std::size_t set, const RoutedTraffic& moved) {
    for (ExchangeLinks& links : exchange(layer.stage, set, experts)) {
      switch (way) {
        case Way::dispatch:
          links.add_dispatch(moved);
          break;
        case Way::combine:
          links.add_combine(moved);
          break;
        case Way::both:
          links.add_both(moved);
          break;
      }
    }
  });
}

void StepLinks::lay_exchanges(LinkBytes& to) {
  for (auto& [key, same] : exchanges_) {
    for (ExchangeLinks& links : same) links.lay_on(to);
  }
}

}  // namespace moesim
