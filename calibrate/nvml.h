#pragma once
// The driver's version and the clock of a GPU, from NVML where the machine has it.

#include <string>

#include "shared_library.h"

namespace moesim::calibrate {

class Nvml {
 public:
  Nvml() = default;
  /// Of the GPU at a PCI address, "0000:1b:00.0".
  explicit Nvml(const char* bus);
  /// MHz of the multiprocessors now; 0: not known.
  int sm_clock() const;
  /// Empty: not known.
  std::string driver_version() const;

 private:
  SharedLibrary library_;
  void* device_ = nullptr;
};

}  // namespace moesim::calibrate
