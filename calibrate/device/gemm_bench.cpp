// Dense products and quantisation.

#include <algorithm>
#include <cmath>
#include <deque>

#include "../random_values.h"
#include "benches.h"
#include "cublas_product.h"
#include "row_check.h"

namespace moesim::calibrate {

namespace {

constexpr std::size_t kChecked = 256;

/// x in bf16, copies of w, and for fp8 the quantised x and the scales.
template <class Element>
Measured measure_product(Machine& machine, const GemmCase& shape, std::uint64_t seed) {
  constexpr bool fp8 = sizeof(Element) == 1;
  const auto m = static_cast<std::size_t>(shape.m), n = static_cast<std::size_t>(shape.n),
             k = static_cast<std::size_t>(shape.k);
  const CublasProduct product(machine, {.precision = shape.precision, .m = shape.m, .n = shape.n, .k = shape.k});
  DeviceBuffer<Bf16> x(m * k), y(m * n);
  x.randomize(seed);
  const int rotation = rotated_copies(shape.n * shape.k * static_cast<std::int64_t>(sizeof(Element)), machine.l2());
  std::deque<DeviceBuffer<Element>> weights;
  for (int i = 0; i < rotation; ++i) {
    weights.emplace_back(n * k);
    weights.back().randomize(seed + 1 + static_cast<std::uint64_t>(i));
  }
  DeviceBuffer<Fp8> quantized(fp8 ? m * k : 0);
  const std::vector<float> ones{1, 1};
  const DeviceBuffer<float> scales{std::span<const float>(ones)};  // of x, of w

  const auto enqueue = [&](int copy) {
    const Element* const w = weights[static_cast<std::size_t>(copy)].data();
    if constexpr (fp8) {
      product.enqueue(quantized.data(), w, y.data(), scales.data(), scales.data() + 1);
    } else {
      product.enqueue(x.data(), w, y.data());
    }
  };
  CUDA_TRY(cudaDeviceSynchronize());
  if constexpr (fp8) {
    const auto size = static_cast<long long>(m * k);
    launch_compute_scale(x.data(), nullptr, 0, size, scales.data(), machine.stream());
    launch_quantize(x.data(), nullptr, 0, size, scales.data(), quantized.data(), machine.stream());
  }
  enqueue(0);
  machine.wait();
  require_written("gemm", y);
  const float scale = fp8 ? scales.download()[0] : 1.0F;
  std::vector<float> got;
  std::vector<double> expected;
  for (const std::size_t place : sampled_places(m * n, kChecked, seed)) {
    std::vector<float> row = random_floats<Bf16>(seed, place / n * k, k);
    if (fp8) {
      for (float& value : row) value = to_float(to_fp8(value * (1.0F / scale))) * scale;
    }
    got.push_back(y.download_floats(place, 1)[0]);
    expected.push_back(dot(row, random_floats<Element>(seed + 1, place % n * k, k)));
  }
  require_close("gemm", got, expected, product_tolerance(shape.k, fp8));
  return machine.time(rotation, enqueue);
}

}  // namespace

Measured measure_gemm(Machine& machine, const GemmCase& shape, std::uint64_t seed) {
  return shape.precision == Precision::fp8 ? measure_product<Fp8>(machine, shape, seed)
                                           : measure_product<Bf16>(machine, shape, seed);
}

Measured measure_head_product(Machine& machine, const HeadProductCase& shape, std::uint64_t seed) {
  const bool before = shape.op == "mla_gen_pre";
  const std::int64_t k = before ? 128 : 512, n = before ? 512 : 128;
  const auto tokens = static_cast<std::size_t>(shape.tokens), heads = static_cast<std::size_t>(shape.heads);
  const auto uk = static_cast<std::size_t>(k), un = static_cast<std::size_t>(n);
  const CublasProduct product(machine, {.m = shape.tokens,
                                        .n = n,
                                        .k = k,
                                        .batch = shape.heads,
                                        .x_pitch = shape.heads * k,
                                        .y_pitch = shape.heads * n,
                                        .x_stride = k,
                                        .w_stride = n * k,
                                        .y_stride = n});
  DeviceBuffer<Bf16> x(tokens * heads * uk), y(tokens * heads * un);
  x.randomize(seed);
  const int rotation = rotated_copies(shape.heads * n * k * 2, machine.l2());
  std::deque<DeviceBuffer<Bf16>> weights;
  for (int i = 0; i < rotation; ++i) {
    weights.emplace_back(heads * un * uk);
    weights.back().randomize(seed + 1 + static_cast<std::uint64_t>(i));
  }
  const auto enqueue = [&](int copy) {
    product.enqueue(x.data(), weights[static_cast<std::size_t>(copy)].data(), y.data());
  };
  CUDA_TRY(cudaDeviceSynchronize());
  enqueue(0);
  machine.wait();
  require_written("mla_bmm", y);
  std::vector<float> got;
  std::vector<double> expected;
  for (const std::size_t place : sampled_places(tokens * heads * un, kChecked, seed)) {
    const std::size_t row = place / un;  // token and head
    got.push_back(y.download_floats(place, 1)[0]);
    expected.push_back(dot(random_floats<Bf16>(seed, row * uk, uk),
                           random_floats<Bf16>(seed + 1, (row % heads * un + place % un) * uk, uk)));
  }
  require_close("mla_bmm", got, expected, product_tolerance(k, false));
  return machine.time(rotation, enqueue);
}

Measured measure_quantize(Machine& machine, const QuantizeCase& shape, std::uint64_t seed) {
  const std::size_t size = static_cast<std::size_t>(shape.m) * static_cast<std::size_t>(shape.k);
  const int rotation = rotated_copies(shape.m * shape.k * 2, machine.l2());
  std::deque<DeviceBuffer<Bf16>> inputs;
  for (int i = 0; i < rotation; ++i) {
    inputs.emplace_back(size);
    inputs.back().randomize(seed + static_cast<std::uint64_t>(i));
  }
  DeviceBuffer<Fp8> output(size);
  const DeviceBuffer<float> scale(1);
  const auto compute = [&](int copy) {
    launch_compute_scale(inputs[static_cast<std::size_t>(copy)].data(), nullptr, 0, static_cast<long long>(size),
                         scale.data(), machine.stream());
  };
  const auto convert = [&](int copy) {
    launch_quantize(inputs[static_cast<std::size_t>(copy)].data(), nullptr, 0, static_cast<long long>(size),
                    scale.data(), output.data(), machine.stream());
  };
  CUDA_TRY(cudaDeviceSynchronize());
  compute(0);
  convert(0);
  machine.wait();
  const float factor = scale.download()[0];
  // A whole pass over a large input takes the host too long: there the inputs' bound of 1 and a part of them decide.
  const std::size_t checked = std::min(size, std::size_t{1} << 20);
  const std::vector<float> values = random_floats<Bf16>(seed, 0, checked);
  const float least = scale_of(values);
  if (checked == size ? factor != least : factor < least || factor > 1.0F / kLargestFp8) {
    wrong("compute_scale: " + std::to_string(factor) + ", expected " + std::to_string(least));
  }
  require_written("fp8_quantize", output);
  const std::vector<Fp8> got = output.download(0, checked);
  for (std::size_t i = 0; i < checked; ++i) {
    if (got[i].bits != to_fp8(values[i] * (1.0F / factor)).bits) wrong("fp8_quantize: element " + std::to_string(i));
  }
  return shape.pass == "compute_scale" ? machine.time(rotation, compute) : machine.time(rotation, convert);
}

}  // namespace moesim::calibrate
