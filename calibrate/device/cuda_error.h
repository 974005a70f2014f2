#pragma once
// A failed call of CUDA or one of its libraries, as an exception that ends the row at hand.

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

#include "../timing.h"

namespace moesim::calibrate {

/// Ends a row with a reason.
class RowError : public std::runtime_error {
 public:
  RowError(Failure::Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  Failure::Kind kind() const { return kind_; }

 private:
  Failure::Kind kind_;
};

inline void cuda_check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // this one does not stick to the device
    throw RowError(Failure::Kind::out_of_memory, "the GPU has too little memory");
  }
  throw RowError(Failure::Kind::failed_call, std::string(call) + ": " + cudaGetErrorString(error));
}

}  // namespace moesim::calibrate

#define CUDA_TRY(call) ::moesim::calibrate::cuda_check((call), #call)
/// After every launch of a kernel.
#define CUDA_LAUNCHED(kernel) ::moesim::calibrate::cuda_check(cudaGetLastError(), kernel)
