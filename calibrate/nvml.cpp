#include "nvml.h"

namespace moesim::calibrate {

namespace {

// The few functions and constants used, as NVML's interface fixes them: results of 0 are success.
using Initialize = int();
using DeviceByBus = int(const char*, void**);
using ClockInfo = int(void*, int kind, unsigned*);
using DriverVersion = int(char*, unsigned);
constexpr int kSmClock = 1;
constexpr unsigned kVersionLength = 80;

}  // namespace

Nvml::Nvml(const char* bus) : library_({"libnvidia-ml.so.1"}) {
  Initialize* initialize = nullptr;
  DeviceByBus* device_by_bus = nullptr;
  library_.find("nvmlInit_v2", initialize);
  library_.find("nvmlDeviceGetHandleByPciBusId_v2", device_by_bus);
  if (initialize == nullptr || device_by_bus == nullptr || initialize() != 0 || device_by_bus(bus, &device_) != 0) {
    device_ = nullptr;
  }
}

int Nvml::sm_clock() const {
  ClockInfo* clock_info = nullptr;
  library_.find("nvmlDeviceGetClockInfo", clock_info);
  unsigned clock = 0;
  if (device_ == nullptr || clock_info == nullptr || clock_info(device_, kSmClock, &clock) != 0) return 0;
  return static_cast<int>(clock);
}

std::string Nvml::driver_version() const {
  DriverVersion* get_version = nullptr;
  library_.find("nvmlSystemGetDriverVersion", get_version);
  char version[kVersionLength] = {};
  if (device_ == nullptr || get_version == nullptr || get_version(version, kVersionLength) != 0) return {};
  return version;
}

}  // namespace moesim::calibrate
