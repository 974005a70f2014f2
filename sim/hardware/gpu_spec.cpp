#include "hardware/gpu_spec.h"

namespace moesim {

namespace {

FlopsPerSecond first_supported(FlopsPerSecond narrow, FlopsPerSecond wider) {
  return narrow.value > 0 ? narrow : wider;
}

}  // namespace

FlopsPerSecond matrix_peak(const GpuSpec& gpu, DataType type) {
  const FlopsPerSecond half = first_supported(gpu.bf16, gpu.fp32);
  const FlopsPerSecond byte = first_supported(gpu.fp8, half);
  switch (type) {
    case DataType::fp32:
      return gpu.fp32;
    case DataType::bf16:
    case DataType::fp16:
      return half;
    case DataType::fp8:
    case DataType::fp8_block:
      return byte;
    case DataType::int8:
      return first_supported(gpu.int8, half);
    case DataType::int4:
      // GPTQ and AWQ kernels widen the weights to 16 bits before they multiply.
      return half;
    case DataType::mxfp4:
    case DataType::nvfp4:
      return first_supported(gpu.fp4, byte);
  }
  return half;
}

}  // namespace moesim
