#pragma once
// The GPU that kernels run on: what it is, its stream, its clock, and the timing of an operator in a CUDA graph.

#include <cublasLt.h>
#include <cublas_v2.h>

#include <functional>
#include <memory>
#include <string>

#include "cuda_error.h"
#include "device_buffer.h"
#include "nvml.h"

namespace moesim::calibrate {

class Machine {
 public:
  /// Makes `device` current. Throws RowError.
  explicit Machine(int device);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  int device() const { return device_; }
  const std::string& name() const { return name_; }
  int architecture() const { return architecture_; }  ///< 90 for compute capability 9.0
  int multiprocessors() const { return multiprocessors_; }
  std::int64_t l2() const { return l2_; }
  int shared_bytes() const { return shared_bytes_; }  ///< that a block can ask for
  bool has_fp8() const { return architecture_ >= 89; }

  cudaStream_t stream() const { return stream_; }
  cublasLtHandle_t lt() const { return lt_; }
  cublasHandle_t blas() const { return blas_; }
  void* workspace() const { return workspace_.data(); }
  std::size_t workspace_bytes() const { return workspace_.bytes(); }
  const Nvml& nvml() const { return nvml_; }
  int sm_clock() const { return nvml_.sm_clock(); }

  void wait() const { CUDA_TRY(cudaStreamSynchronize(stream_)); }

  /// Times what `enqueue(i)` puts on the stream for the i-th copy in a graph; `rotation` copies differ. The clock of
  /// the multiprocessors is read while the GPU works.
  Measured time(int rotation, const std::function<void(int)>& enqueue);

 private:
  int device_ = 0;
  std::string name_;
  int architecture_ = 0, multiprocessors_ = 0, shared_bytes_ = 0;
  std::int64_t l2_ = 0;
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t lt_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  DeviceBuffer<std::uint8_t> workspace_;
  Nvml nvml_;
};

void blas_check(cublasStatus_t status, const char* call);

/// A recorded graph, ready to start.
class Graph {
 public:
  /// Records what `enqueue` puts on `stream`; nothing of it runs.
  Graph(cudaStream_t stream, const std::function<void()>& enqueue);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void start(cudaStream_t stream) const { CUDA_TRY(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Points in the time of a stream.
class Marks {
 public:
  explicit Marks(int count);
  ~Marks();
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;
  void set(int mark, cudaStream_t stream) const {
    CUDA_TRY(cudaEventRecord(events_[static_cast<std::size_t>(mark)], stream));
  }
  /// Seconds between two marks that the stream has passed.
  double between(int from, int to) const;

 private:
  std::vector<cudaEvent_t> events_;
};

}  // namespace moesim::calibrate

#define BLAS_TRY(call) ::moesim::calibrate::blas_check((call), #call)
