#pragma once
// Memory of a GPU that frees itself.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cuda_error.h"
#include "launches.h"

namespace moesim::calibrate {

template <class Element>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Poisoned: every bf16, fp8 and float is NaN until it is written.
  explicit DeviceBuffer(std::size_t size) : size_(size) {
    CUDA_TRY(cudaMalloc(&data_, bytes() > 0 ? bytes() : 1));
    poison();
  }
  DeviceBuffer(std::span<const Element> values) : DeviceBuffer(values.size()) {
    CUDA_TRY(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(data_); }

  Element* data() const { return static_cast<Element*>(data_); }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(Element); }

  void poison() { CUDA_TRY(cudaMemset(data_, 0xff, bytes())); }
  /// Element i is random_element(seed, i).
  void randomize(std::uint64_t seed) { launch_fill_random(data(), size_, seed, nullptr); }

  std::vector<Element> download(std::size_t from, std::size_t count) const {
    std::vector<Element> values(count);
    CUDA_TRY(cudaMemcpy(values.data(), data() + from, count * sizeof(Element), cudaMemcpyDeviceToHost));
    return values;
  }
  std::vector<Element> download() const { return download(0, size_); }
  std::vector<float> download_floats(std::size_t from, std::size_t count) const {
    std::vector<float> values;
    for (const Element element : download(from, count)) values.push_back(to_float(element));
    return values;
  }
  /// Elements that are NaN: those not written since they were poisoned, and wrong results.
  std::size_t count_nan() const { return launch_count_nan(data(), size_); }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace moesim::calibrate
