#include "collectives/group_times.h"

#include "collectives/collective_perturbation.h"
#include "collectives/collective_program.h"
#include "core/check.h"

namespace moesim {

std::string_view name(NetworkModel model) {
  switch (model) {
    case NetworkModel::closed_form:
      return "closed_form";
    case NetworkModel::flow:
      return "flow";
  }
  fail_invariant(__FILE__, __LINE__, "unknown network model");
}

GroupTimes::GroupTimes(const Topology& topology, const CollectiveProfile& profile, std::vector<GpuGroup> groups,
                       NetworkModel model)
    : topology_(topology),
      profile_(profile),
      groups_(std::move(groups)),
      model_(model),
      first_(topology, profile, groups_.front()) {}

Duration GroupTimes::time(Collective kind, Bytes bytes) {
  const Duration time =
      model_ == NetworkModel::closed_form ? first_.time(kind, bytes) : simulated(kind, bytes, Kernels::library);
  return perturbed_time(time, profile_, cost_curve(kind), static_cast<double>(bytes.value));
}

Duration GroupTimes::custom_all_reduce_time(Bytes bytes) {
  const Duration time = model_ == NetworkModel::closed_form ? first_.custom_all_reduce_time(bytes)
                                                            : simulated(Collective::all_reduce, bytes, Kernels::engine);
  return perturbed_time(time, profile_, CostCurve::custom_all_reduce, static_cast<double>(bytes.value));
}

Duration GroupTimes::simulated(Collective kind, Bytes bytes, Kernels kernels) {
  if (ranks() == 1 || bytes.value <= 0) return {};
  const auto [known, is_new] = known_.try_emplace({kind, bytes.value, kernels});
  if (!is_new) return known->second;
  std::vector<TransferProgram> programs;
  for (const GpuGroup& group : groups_) {
    ChosenProgram chosen = kernels == Kernels::engine ? calibrated_engine_all_reduce(topology_, profile_, group, bytes)
                                                      : calibrated_program(topology_, profile_, group, kind, bytes);
    programs.push_back(std::move(chosen.program));
  }
  std::vector<ProgramStart> starts;
  for (const TransferProgram& program : programs) starts.push_back({&program, Instant()});
  known->second = run_programs(topology_, starts).end - Instant();
  return known->second;
}

}  // namespace moesim
