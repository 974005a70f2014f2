// Copies and the cost of starts.

#include <algorithm>
#include <cstring>

#include "../random_values.h"
#include "benches.h"
#include "row_check.h"

namespace moesim::calibrate {

namespace {

/// Host memory that the GPU copies from and to without the host's help.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(std::size_t size) : size_(size) { CUDA_TRY(cudaMallocHost(&data_, size)); }
  ~PinnedBuffer() { cudaFreeHost(data_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(data_); }
  std::span<std::uint8_t> bytes() const { return {data(), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

void fill(std::span<std::uint8_t> bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const std::uint64_t word = random_word(seed, i);
    std::memcpy(bytes.data() + i, &word, 8);
  }
}

void require_equal(std::span<const std::uint8_t> got, std::span<const std::uint8_t> expected) {
  if (!std::equal(got.begin(), got.end(), expected.begin(), expected.end())) wrong("the copy differs from its source");
}

Measured copy(Machine& machine, std::size_t bytes, std::uint64_t seed) {
  const int rotation = rotated_copies(static_cast<std::int64_t>(2 * bytes), machine.l2());
  const auto copies = static_cast<std::size_t>(rotation);
  DeviceBuffer<std::uint8_t> from(copies * bytes), to(copies * bytes);
  launch_fill_random(reinterpret_cast<float*>(from.data()), from.size() / sizeof(float), seed, nullptr);
  const auto enqueue = [&](int i) {
    const std::size_t start = static_cast<std::size_t>(i) * bytes;
    CUDA_TRY(
        cudaMemcpyAsync(to.data() + start, from.data() + start, bytes, cudaMemcpyDeviceToDevice, machine.stream()));
  };
  CUDA_TRY(cudaDeviceSynchronize());
  enqueue(0);
  machine.wait();
  require_equal(to.download(0, bytes), from.download(0, bytes));
  return machine.time(rotation, enqueue);
}

Measured host_copy(Machine& machine, cudaMemcpyKind direction, std::size_t bytes, std::uint64_t seed) {
  const PinnedBuffer host(bytes);
  DeviceBuffer<std::uint8_t> device(bytes);
  const bool up = direction == cudaMemcpyHostToDevice;
  void* const target = up ? device.data() : host.data();
  const void* const source = up ? host.data() : device.data();
  std::vector<std::uint8_t> expected(bytes);
  fill(expected, seed);
  CUDA_TRY(cudaMemcpy(const_cast<void*>(source), expected.data(), bytes, cudaMemcpyDefault));
  if (!up) std::fill(host.bytes().begin(), host.bytes().end(), std::uint8_t{0xff});
  const auto enqueue = [&](int) { CUDA_TRY(cudaMemcpyAsync(target, source, bytes, direction, machine.stream())); };
  CUDA_TRY(cudaDeviceSynchronize());
  enqueue(0);
  machine.wait();
  if (up) {
    require_equal(device.download(), expected);
  } else {
    require_equal(host.bytes(), expected);
  }
  return machine.time(1, enqueue);
}

/// Time of one of `count` starts in a row: of what the host can issue, where that is slower than what the GPU can do.
template <class Start>
Measured starts(Machine& machine, int count, const Start& start) {
  constexpr int repeats = 50, warm_up = 3;
  const Marks marks(2);
  std::vector<double> samples;
  for (int i = 0; i < warm_up + repeats; ++i) {
    marks.set(0, machine.stream());
    for (int j = 0; j < count; ++j) start();
    marks.set(1, machine.stream());
    machine.wait();
    if (i >= warm_up) samples.push_back(marks.between(0, 1) / count);
  }
  return {.times = {summarize(samples)}, .sm_clock = machine.sm_clock()};
}

}  // namespace

Measured measure_memory(Machine& machine, const MemoryCase& shape, std::uint64_t seed) {
  const auto bytes = static_cast<std::size_t>(shape.bytes);
  if (shape.what == "copy") return copy(machine, bytes, seed);
  if (shape.what == "host_to_device") return host_copy(machine, cudaMemcpyHostToDevice, bytes, seed);
  if (shape.what == "device_to_host") return host_copy(machine, cudaMemcpyDeviceToHost, bytes, seed);
  launch_nothing(machine.stream());  // loads the kernel: a graph that is recorded must not
  machine.wait();
  if (shape.what == "kernel_launch") return starts(machine, 1000, [&] { launch_nothing(machine.stream()); });
  if (shape.what == "graph_launch") {
    const Graph one(machine.stream(), [&] { launch_nothing(machine.stream()); });
    return starts(machine, 1000, [&] { one.start(machine.stream()); });
  }
  return machine.time(1, [&](int) { launch_nothing(machine.stream()); });  // graph_node: one after the other in a graph
}

}  // namespace moesim::calibrate
