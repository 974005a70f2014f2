#include "machine.h"

#include <fmt/core.h>

#include "../timing.h"

namespace moesim::calibrate {

void blas_check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const auto kind = status == CUBLAS_STATUS_NOT_SUPPORTED   ? Failure::Kind::not_supported
                    : status == CUBLAS_STATUS_ALLOC_FAILED  ? Failure::Kind::out_of_memory
                    : status == CUBLAS_STATUS_INVALID_VALUE ? Failure::Kind::not_supported
                    : status == CUBLAS_STATUS_ARCH_MISMATCH ? Failure::Kind::not_supported
                                                            : Failure::Kind::failed_call;
  throw RowError(kind, fmt::format("{}: {}", std::string_view(call).substr(0, std::string_view(call).find('(')),
                                   cublasGetStatusString(status)));
}

Machine::Machine(int device) : device_(device) {
  CUDA_TRY(cudaSetDevice(device));
  cudaDeviceProp properties{};
  CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  name_ = properties.name;
  architecture_ = properties.major * 10 + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  shared_bytes_ = static_cast<int>(properties.sharedMemPerBlockOptin);
  l2_ = properties.l2CacheSize;
  CUDA_TRY(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  BLAS_TRY(cublasLtCreate(&lt_));
  BLAS_TRY(cublasCreate(&blas_));
  workspace_ = DeviceBuffer<std::uint8_t>(std::size_t{64} << 20);
  BLAS_TRY(cublasSetStream(blas_, stream_));
  BLAS_TRY(cublasSetWorkspace(blas_, workspace_.data(), workspace_.bytes()));
  char bus[32] = {};
  CUDA_TRY(cudaDeviceGetPCIBusId(bus, sizeof bus, device));
  nvml_ = Nvml(bus);
}

Machine::~Machine() {
  if (blas_ != nullptr) cublasDestroy(blas_);
  if (lt_ != nullptr) cublasLtDestroy(lt_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Graph::Graph(cudaStream_t stream, const std::function<void()>& enqueue) {
  // The buffers of the caller were filled on the default stream.
  CUDA_TRY(cudaDeviceSynchronize());
  CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);  // the stream must be usable for the next row
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  CUDA_TRY(cudaStreamEndCapture(stream, &graph));
  const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(error, "cudaGraphInstantiate");
}
Graph::~Graph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
}

Marks::Marks(int count) : events_(static_cast<std::size_t>(count)) {
  for (cudaEvent_t& event : events_) CUDA_TRY(cudaEventCreate(&event));
}
Marks::~Marks() {
  for (const cudaEvent_t event : events_) {
    if (event != nullptr) cudaEventDestroy(event);
  }
}
double Marks::between(int from, int to) const {
  float milliseconds = 0;
  CUDA_TRY(cudaEventElapsedTime(&milliseconds, events_[static_cast<std::size_t>(from)],
                                events_[static_cast<std::size_t>(to)]));
  return milliseconds * 1e-3;
}

Measured Machine::time(int rotation, const std::function<void(int)>& enqueue) {
  const auto record = [&](int copies) {
    return std::make_unique<Graph>(stream_, [&, copies] {
      for (int i = 0; i < copies; ++i) enqueue(i % rotation);
    });
  };
  // A rough time by the second of two replays.
  std::unique_ptr<Graph> graph = record(rotation);
  const Marks rough(2);
  graph->start(stream_);
  rough.set(0, stream_);
  graph->start(stream_);
  rough.set(1, stream_);
  wait();
  const RepeatPlan plan = plan_repeats(rough.between(0, 1) / rotation, rotation);

  if (plan.copies != rotation) graph = record(plan.copies);
  const Marks marks(plan.repeats + 1);
  for (int i = 0; i < plan.warm_up; ++i) graph->start(stream_);
  marks.set(0, stream_);
  for (int i = 0; i < plan.repeats; ++i) {
    graph->start(stream_);
    marks.set(i + 1, stream_);
  }
  Measured measured;
  measured.sm_clock = sm_clock();  // the replays are under way
  wait();
  std::vector<double> samples;
  for (int i = 0; i < plan.repeats; ++i) samples.push_back(marks.between(i, i + 1) / plan.copies);
  measured.times.push_back(summarize(samples));
  return measured;
}

}  // namespace moesim::calibrate
