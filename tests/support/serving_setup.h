#pragma once
// A whole serving run from shipped files, for tests and benchmarks.

#include <optional>
#include <string>
#include <vector>

#include "config/json_reader.h"
#include "config/model_catalog.h"
#include "config/read_cluster.h"
#include "config/read_collective_profile.h"
#include "config/read_gpu.h"
#include "config/read_model.h"
#include "config/read_profile.h"
#include "serving/serving_run.h"

namespace moesim {

/// Everything that ServingInputs refers to, as values a test may change before `run`.
struct ServingSetup {
  ModelSpec model;
  GpuSpec gpu;
  ClusterSpec cluster;
  KernelProfile kernels;
  CollectiveProfile collectives;
  EngineSpec engine;
  RoutingSpec routing;
  ArrivalSpec arrivals;
  std::vector<Request> requests;
  std::uint64_t seed = 1;
  bool strides = true;
  std::optional<PowerModel> power;
  Clocks clocks = Clocks::locked;

  ServingOutcome run(const ServingObserver& observer = {}) const {
    return run_serving({.model = model,
                        .gpu = gpu,
                        .cluster = cluster,
                        .kernels = kernels,
                        .collectives = collectives,
                        .engine = engine,
                        .routing = routing,
                        .arrivals = arrivals,
                        .requests = requests,
                        .seed = seed,
                        .strides = strides,
                        .power = power ? &*power : nullptr,
                        .clocks = clocks},
                       observer);
  }
};

/// `model` and `cluster` are stems of shipped files. One vLLM engine without front-end or host times on one GPU.
inline ServingSetup serving_setup(const std::string& model, const std::string& cluster, std::int32_t nodes = 1) {
  ServingSetup setup;
  const auto root = product_root();
  setup.model = read_model_file(find_model_by_name(model).value());
  setup.cluster = read_cluster_file(root / "topologies" / "cluster" / (cluster + ".json"));
  setup.cluster.nodes = nodes;
  setup.gpu = find_gpu(setup.cluster.gpu);
  setup.kernels = select_kernel_profile("auto", setup.gpu.id, EnginePreset::vllm).profile;
  setup.collectives = collective_profile_for(root / "calibrate" / "profiles", setup.gpu, setup.cluster);
  setup.engine.fusion = default_fusions(EnginePreset::vllm);
  setup.engine.max_model_len = 0;
  setup.arrivals.kind = ArrivalKind::trace;
  return setup;
}

/// `n` equal requests at time zero.
inline std::vector<Request> equal_requests(std::size_t n, std::int32_t input, std::int32_t output) {
  return std::vector<Request>(n, Request{Instant(), input, output});
}

}  // namespace moesim
