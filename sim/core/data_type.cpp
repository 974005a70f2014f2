#include "core/data_type.h"

#include <array>

namespace moesim {

double bits_per_element(DataType type) {
  switch (type) {
    case DataType::fp32:
      return 32;
    case DataType::bf16:
    case DataType::fp16:
      return 16;
    case DataType::fp8:
    case DataType::int8:
      return 8;
    case DataType::fp8_block:
      return 8 + 32.0 / (128 * 128);
    case DataType::int4:
      return 4 + (16.0 + 4.0) / 128;
    case DataType::mxfp4:
      return 4 + 8.0 / 32;
    case DataType::nvfp4:
      return 4 + 8.0 / 16;
  }
  return 0;
}

std::string_view name(DataType type) {
  switch (type) {
    case DataType::fp32:
      return "fp32";
    case DataType::bf16:
      return "bf16";
    case DataType::fp16:
      return "fp16";
    case DataType::fp8:
      return "fp8";
    case DataType::fp8_block:
      return "fp8_block";
    case DataType::int8:
      return "int8";
    case DataType::int4:
      return "int4";
    case DataType::mxfp4:
      return "mxfp4";
    case DataType::nvfp4:
      return "nvfp4";
  }
  return "";
}

std::optional<DataType> data_type_from_name(std::string_view text) {
  constexpr std::array all = {DataType::fp32, DataType::bf16, DataType::fp16,  DataType::fp8,  DataType::fp8_block,
                              DataType::int8, DataType::int4, DataType::mxfp4, DataType::nvfp4};
  for (const DataType type : all)
    if (name(type) == text) return type;
  return std::nullopt;
}

}  // namespace moesim
