#pragma once
// Number formats of weights, activations and caches.

#include <optional>
#include <string_view>

namespace moesim {

/// `fp8` has one scale per tensor or token; `fp8_block` one fp32 scale per 128 x 128 weights; `int4` GPTQ/AWQ style
/// with one fp16 scale and one 4-bit zero point per 128 weights; `mxfp4` one 8-bit scale per 32; `nvfp4` one 8-bit
/// scale per 16.
enum class DataType { fp32, bf16, fp16, fp8, fp8_block, int8, int4, mxfp4, nvfp4 };

/// Stored bits of one element including its share of the scales.
double bits_per_element(DataType type);
inline double bytes_per_element(DataType type) {
  return bits_per_element(type) / 8;
}

std::string_view name(DataType type);
std::optional<DataType> data_type_from_name(std::string_view name);

}  // namespace moesim
