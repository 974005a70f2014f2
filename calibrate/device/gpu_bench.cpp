#include "gpu_bench.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <ctime>

#include "../nccl_library.h"
#include "benches.h"
#include "collective_bench.h"
#include "cudnn_attention.h"

namespace moesim::calibrate {

namespace {

std::string dotted(int version, int major, int minor) {
  return fmt::format("{}.{}.{}", version / major, version % major / minor, version % minor);
}

class GpuBench : public Bench {
 public:
  GpuBench(const Options& options, int gpus) : machine_(options.device), gpus_(gpus) {
    provenance_.gpu = machine_.name();
    provenance_.driver = machine_.nvml().driver_version();
    int version = 0;
    if (provenance_.driver.empty()) {
      CUDA_TRY(cudaDriverGetVersion(&version));
      provenance_.driver = "CUDA " + dotted(version, 1000, 10);
    }
    CUDA_TRY(cudaRuntimeGetVersion(&version));
    provenance_.cuda = dotted(version, 1000, 10);
    provenance_.cublas = dotted(static_cast<int>(cublasLtGetVersion()), 10000, 100);
    provenance_.cudnn = CudnnAttention::version();
    provenance_.date = fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)));
    provenance_.gpus_per_node = gpus;
    if (options.target == Target::collectives) {
      nccl_ = NcclLibrary::load();
      provenance_.nccl = nccl_.version();
      collectives_ = std::make_unique<CollectiveBench>(nccl_, gpus, options.group, options.device);
      if (options.group) {
        provenance_.nodes = collectives_->nodes();
        provenance_.gpus_per_node = options.group->ranks / provenance_.nodes;
      }
    }
  }

  const Provenance& provenance() const override { return provenance_; }
  int gpus() const override { return collectives_ ? collectives_->ranks() : gpus_; }

  /// What this GPU can run. Kernels for fp8 need sm_89, wgmma is of sm_90 alone.
  std::vector<KernelChoice> kernels() const override {
    std::vector<KernelChoice> found;
    for (KernelChoice choice : all_kernels()) {
      if (choice.provider == "cudnn" && provenance_.cudnn.empty()) continue;
      if (choice.kernel == "wgmma" && machine_.architecture() != 90) continue;
      if (!machine_.has_fp8() && !choice.only) choice.only = Precision::bf16;
      found.push_back(std::move(choice));
    }
    return found;
  }

  Outcome measure(const Case& measured) override {
    try {
      CUDA_TRY(cudaSetDevice(machine_.device()));
      return time_of(measured, seed_of(measured));
    } catch (const RowError& error) {
      // An error that the next call reports again is the device's, not the row's.
      cudaGetLastError();
      const bool lost = cudaDeviceSynchronize() != cudaSuccess;
      return Failure{lost ? Failure::Kind::device_lost : error.kind(), error.what()};
    }
  }

  bool as_rank_0_says(bool mine) override { return collectives_ ? collectives_->as_rank_0_says(mine) : mine; }

 private:
  Measured time_of(const Case& c, std::uint64_t seed) {
    switch (c.family) {
      case Family::gemm:
        return measure_gemm(machine_, std::get<GemmCase>(c.shape), seed);
      case Family::quantize:
        return measure_quantize(machine_, std::get<QuantizeCase>(c.shape), seed);
      case Family::grouped_gemm:
        return measure_grouped(machine_, std::get<MoeCase>(c.shape), c.kernel, seed);
      case Family::moe:
        return measure_moe(machine_, std::get<MoeCase>(c.shape), c.kernel, seed);
      case Family::memory_pass:
        return measure_moe_part(machine_, std::get<MoePartCase>(c.shape), seed);
      case Family::attn_decode:
        return measure_decode(machine_, std::get<AttentionCase>(c.shape), seed);
      case Family::attn_prefill:
        return measure_prefill(machine_, std::get<AttentionCase>(c.shape), c.kernel, seed);
      case Family::mla_decode:
        return measure_latent_decode(machine_, std::get<LatentCase>(c.shape), seed);
      case Family::mla_prefill:
        return measure_latent_prefill(machine_, std::get<LatentCase>(c.shape), c.kernel, seed);
      case Family::mla_bmm:
        return measure_head_product(machine_, std::get<HeadProductCase>(c.shape), seed);
      case Family::nccl:
      case Family::alltoallv:
        return collectives_->measure(std::get<CollectiveCase>(c.shape), seed);
      case Family::memory:
        return measure_memory(machine_, std::get<MemoryCase>(c.shape), seed);
    }
    throw RowError(Failure::Kind::not_supported, "no such family");
  }

  Machine machine_;
  int gpus_;
  Provenance provenance_;
  NcclLibrary nccl_;
  std::unique_ptr<CollectiveBench> collectives_;
};

}  // namespace

std::variant<std::unique_ptr<Bench>, NoBench> open_gpu_bench(const Options& given) {
  Options options = given;
  int gpus = 0;
  const cudaError_t error = cudaGetDeviceCount(&gpus);
  if (error != cudaSuccess) return NoBench{6, fmt::format("no GPU: {}", cudaGetErrorString(error))};
  if (gpus == 0) return NoBench{6, "no GPU: the driver sees none"};
  // A process of a group may see its own GPU only: its number on the node is then not one of the driver's.
  if (options.group && gpus == 1) options.device = 0;
  if (options.device >= gpus) return NoBench{6, fmt::format("no GPU {}: the driver sees {}", options.device, gpus)};
  if (options.target == Target::collectives) {
    if (!NcclLibrary::load()) return NoBench{3, "NCCL is missing: the loader finds no libnccl.so.2"};
    if (!options.group && gpus < 2) return NoBench{6, "collectives need two GPUs, or processes with --id-file"};
  }
  try {
    return std::make_unique<GpuBench>(options, gpus);
  } catch (const RowError& problem) {
    return NoBench{6, problem.what()};
  }
}

}  // namespace moesim::calibrate
