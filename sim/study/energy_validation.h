#pragma once
// Predicted energy of measured serving points: joules of an output token, and the power of a GPU.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/read_energy_table.h"
#include "core/error_summary.h"
#include "hardware/power.h"
#include "study/validate.h"
#include "study/validation_case.h"

namespace moesim {

/// The run that stands for a row, or why there is none.
///  - Cluster: one standard node of the GPU; rows of several nodes, of prefill and decode apart, and with speculative
///    decoding are not simulated.
///  - Engine: vllm or sglang with its defaults and asynchronous scheduling, which both have by default.
///  - Plan: tensor parallel over decode_tp ranks, or with decode_attn_dp as many data-parallel ranks of one GPU; whole
///    experts on decode_ep of them.
///  - Precision: fp4 is nvfp4 on NVIDIA's GPUs and mxfp4 on others for experts and dense FFN; fp8 holds for all
///    matrices; formats that the model's config.json already has stay.
///  - Load: closed loop, `concurrency` in flight, lengths uniform in [0.8 L, L], twice as many requests.
struct EnergyCase {
  ValidationCase run;
  PowerModel power;
  WorkloadSpec workload;
};
std::variant<EnergyCase, SkipReason> energy_case(const EnergyRow& row, ValidationSources& sources);

struct EnergyScore {
  EnergyRow row;
  std::string gpu, profile;
  bool extrapolated = false;  ///< kernels, collectives or power were measured on another GPU
  bool fitted = false;        ///< the row is of the half on which constants of power were fitted
  double measured_watts = 0;  ///< of a GPU: J/token x output tokens/s of a GPU
  double predicted_joules = 0, predicted_watts = 0, predicted_tokens_per_s_per_gpu = 0;
  /// Of the work that an output token takes at the measured throughput: independent of the predicted time.
  double watts_at_measured_rate = 0;
  Energy joules_per_token;  ///< predicted, by part
  double awake_share = 0;   ///< of the time
  double mean_clock = 1;
};

struct EnergyGroup {
  std::string gpu;         ///< empty: all
  std::string model = {};  ///< empty: all
  std::string precision = {};
  bool fitted = false;
  ErrorSummary joules, watts, throughput;  ///< watts: at the measured throughput
};

struct EnergyValidation {
  std::int64_t rows = 0;
  Clocks clocks = Clocks::locked;
  std::array<std::int64_t, kSkipReasons> skipped{};
  std::vector<EnergyScore> scored;  ///< in the order of the table
  std::vector<EnergyGroup> groups;  ///< unseen and fitted halves: all, by GPU, by GPU, model and precision
};

/// Whether a configuration is of the half on which the constants of topologies/power.json were fitted: FNV-1a of its
/// id, lowest bit. The other half is what scores.
bool is_fitted(const std::string& config_id);

/// Simulates every row with a measured energy that has a case, `jobs` at a time; the result does not depend on `jobs`.
EnergyValidation validate_energy(std::span<const EnergyRow> rows, ValidationSources& sources, Clocks clocks, int jobs,
                                 const CaseProgress& progress = {});

}  // namespace moesim
