#include "core/data_type.h"

#include <gtest/gtest.h>

#include <array>

namespace moesim {
namespace {

constexpr std::array all = {DataType::fp32, DataType::bf16, DataType::fp16,  DataType::fp8,  DataType::fp8_block,
                            DataType::int8, DataType::int4, DataType::mxfp4, DataType::nvfp4};

TEST(DataType, NameLeadsBackToTheType) {
  for (const DataType type : all) EXPECT_EQ(data_type_from_name(name(type)), type) << name(type);
  EXPECT_FALSE(data_type_from_name("fp9"));
  EXPECT_FALSE(data_type_from_name(""));
}

// A group of g elements of b bits with s bits beside them takes (g b + s) / g bits an element.
TEST(DataType, CountsItsShareOfTheScales) {
  EXPECT_EQ(bits_per_element(DataType::bf16), 16);
  EXPECT_EQ(bytes_per_element(DataType::fp32), 4);
  EXPECT_EQ(bits_per_element(DataType::fp8), 8);
  EXPECT_EQ(bits_per_element(DataType::mxfp4), (32 * 4 + 8) / 32.0);
  EXPECT_EQ(bits_per_element(DataType::nvfp4), (16 * 4 + 8) / 16.0);
  EXPECT_EQ(bits_per_element(DataType::int4), (128 * 4 + 16 + 4) / 128.0);
  EXPECT_EQ(bits_per_element(DataType::fp8_block), (16384 * 8 + 32) / 16384.0);
}

}  // namespace
}  // namespace moesim
