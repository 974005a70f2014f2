// The source of the GPU kernels, run on the CPU by the emulator, against the references. What cannot be shown here is
// speed and what the ISA's text leaves open.

#define MOESIM_EMULATED_GPU

#include <gtest/gtest.h>

#include <numeric>

#include "calibrate/gpu_emulator.h"
#include "device/decode_attention.cuh"
#include "device/grouped_gemm.cuh"
#include "device/grouped_wgmma.cuh"
#include "device/moe_kernels.cuh"
#include "device/prefill_attention.cuh"
#include "random_values.h"
#include "references.h"

namespace moesim::calibrate {

namespace {

/// A buffer aligned as cudaMalloc does.
template <class Element>
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(size) {
    Element poison;
    std::memset(&poison, 0xff, sizeof poison);
    storage_.assign(size + 256, poison);
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    start_ = storage_.data() + (256 - address % 256) % 256 / sizeof(Element);
  }
  Buffer(std::size_t size, std::uint64_t seed) : Buffer(size) {
    for (std::size_t i = 0; i < size; ++i) start_[i] = random_element<Element>(seed, i);
  }
  Element* data() { return start_; }
  std::size_t size() const { return size_; }
  Element& operator[](std::size_t i) { return start_[i]; }
  std::vector<float> floats(std::size_t from, std::size_t count) const {
    std::vector<float> values;
    for (std::size_t i = from; i < from + count; ++i) values.push_back(to_float(start_[i]));
    return values;
  }

 private:
  std::vector<Element> storage_;
  Element* start_ = nullptr;
  std::size_t size_ = 0;
};

/// Rows of the product by the reference, from offsets.
template <class Element>
std::vector<double> grouped_reference(Buffer<Element>& rows, Buffer<Element>& weights,
                                      const std::vector<std::int32_t>& offsets, std::size_t n, std::size_t k) {
  std::vector<double> expected;
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    for (auto row = static_cast<std::size_t>(offsets[e]); row < static_cast<std::size_t>(offsets[e + 1]); ++row) {
      for (std::size_t column = 0; column < n; ++column) {
        expected.push_back(dot(rows.floats(row * k, k), weights.floats((e * n + column) * k, k)));
      }
    }
  }
  return expected;
}

/// Skewed and empty experts, rows that end within a tile, columns and depth that do not fill a tile.
template <class Element, class Launch>
void expect_grouped_product(std::size_t n, std::size_t k, const Launch& launch) {
  std::vector<std::int32_t> offsets{0, 0, 70, 71, 71, 204, 204};
  const auto rows = static_cast<std::size_t>(offsets.back()), experts = offsets.size() - 1;
  Buffer<Element> left(rows * k, 1), right(experts * n * k, 2);
  Buffer<Bf16> output((rows + 1) * n);
  float scales[2] = {0.5F, 4};
  const GroupedProduct<Element> product{.rows = left.data(),
                                        .weights = right.data(),
                                        .output = output.data(),
                                        .offsets = offsets.data(),
                                        .row_scale = scales,
                                        .weight_scale = scales + 1,
                                        .experts = static_cast<int>(experts),
                                        .n = static_cast<int>(n),
                                        .k = static_cast<int>(k)};
  launch(product, static_cast<int>(rows));
  std::vector<double> expected = grouped_reference(left, right, offsets, n, k);
  for (double& value : expected) value *= 2;
  const auto mismatch =
      first_mismatch(output.floats(0, rows * n), expected, product_tolerance(static_cast<std::int64_t>(k), false));
  EXPECT_FALSE(mismatch) << mismatch->text("product");
  for (std::size_t i = rows * n; i < output.size(); ++i) EXPECT_EQ(output[i].bits, 0xffff) << "written beyond the rows";
}

template <class Element>
void expect_mma(std::size_t n, std::size_t k) {
  expect_grouped_product<Element>(n, k, [](const GroupedProduct<Element>& product, int) {
    emulator::launch({3, 1, 1}, kMmaThreads, kMmaSharedBytes, [&] { grouped_mma(product); });
  });
}
TEST(GroupedMma, IsTheProductOfEveryExpert) {
  expect_mma<Bf16>(136, 72);
  expect_mma<Bf16>(256, 320);
}
TEST(GroupedMma, IsTheProductInFp8) {
  expect_mma<Fp8>(136, 464);
}

template <class Element>
void expect_wgmma(std::size_t n, std::size_t k) {
  expect_grouped_product<Element>(n, k, [&](const GroupedProduct<Element>& product, int rows) {
    constexpr int depth = 128 / sizeof(Element);
    const TensorMap rows_map{
        reinterpret_cast<const unsigned char*>(product.rows), sizeof(Element), {product.k, rows, 1}, {depth, 128, 1}};
    const TensorMap weights_map{reinterpret_cast<const unsigned char*>(product.weights),
                                sizeof(Element),
                                {product.k, product.n, product.experts},
                                {depth, 128, 1}};
    emulator::launch({3, 1, 1}, kWgmmaThreads, kWgmmaSharedBytes,
                     [&] { grouped_wgmma(rows_map, weights_map, product); });
  });
}
TEST(GroupedWgmma, IsTheProductOfEveryExpert) {
  expect_wgmma<Bf16>(136, 72);
  expect_wgmma<Bf16>(256, 448);
}
TEST(GroupedWgmma, IsTheProductInFp8) {
  expect_wgmma<Fp8>(136, 720);
}

TEST(Router, ChoosesAsTheReferenceDoes) {
  constexpr int tokens = 11, experts = 72, top_k = 6;
  std::vector<float> scores(tokens * experts);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = std::floor(8 * random_value(3, i));  // many ties
  std::vector<std::int32_t> chosen(tokens * top_k, -7);
  std::vector<float> weights(tokens * top_k, NAN);
  emulator::launch({3, 1, 1}, 128, 0,
                   [&] { choose_experts(scores.data(), chosen.data(), weights.data(), tokens, experts, top_k); });
  for (std::size_t t = 0; t < tokens; ++t) {
    const Choice choice = choose(std::span(scores).subspan(t * experts, experts), top_k);
    for (std::size_t j = 0; j < top_k; ++j) {
      EXPECT_EQ(chosen[t * top_k + j], choice.experts[j]);
      EXPECT_NEAR(weights[t * top_k + j], choice.weights[j], 1e-6);
    }
  }
}

TEST(Permutation, OfTheKernelsIsThatOfTheReference) {
  constexpr int tokens = 700, experts = 40, local = 33, top_k = 3;  // three chunks, the last one in part
  const RoutedTokens routed =
      assign_tokens(draw_counts(kPowerLaw12, tokens, top_k, experts, Stream(1, "a")), tokens, top_k, Stream(1, "b"));
  const int slots = tokens * top_k, chunks = (slots + kSlotsPerChunk - 1) / kSlotsPerChunk;
  std::vector<std::int32_t> counts(static_cast<std::size_t>(local * chunks), -9), total(local, -9),
      offsets(local + 1, -9);
  std::vector<std::int32_t> row_of(static_cast<std::size_t>(slots), -9), slot_of(static_cast<std::size_t>(slots), -9);
  const auto blocks = static_cast<unsigned>(chunks);
  emulator::launch({blocks, 1, 1}, 256, 0, [&] { count_chunk(routed.chosen.data(), counts.data(), slots, local); });
  emulator::launch({local, 1, 1}, 32, 0, [&] { sum_chunks(counts.data(), total.data(), chunks); });
  emulator::launch({1, 1, 1}, 32, 0, [&] { sum_experts(total.data(), offsets.data(), local); });
  emulator::launch({blocks, 1, 1}, 32, 0, [&] {
    place_slots(routed.chosen.data(), counts.data(), offsets.data(), row_of.data(), slot_of.data(), slots, local);
  });
  const Permutation expected = permute(routed.chosen, local);
  EXPECT_EQ(offsets, expected.offsets);
  EXPECT_EQ(row_of, expected.row_of);
  slot_of.resize(expected.slot_of.size());
  EXPECT_EQ(slot_of, expected.slot_of);
}

TEST(MoeParts, GatherActivateAndCombine) {
  constexpr std::size_t tokens = 5, hidden = 40, top_k = 2, inter = 24;
  Buffer<Bf16> input(tokens * hidden, 4), permuted(8 * hidden), halves(7 * 2 * inter, 5), activated(8 * inter),
      out(tokens * hidden);
  // Slot 3 is not local, slots 8 and 9 neither.
  const std::vector<std::int32_t> slot_of{7, 0, 4, 1, 6, 2, 5}, row_of{1, 3, 5, -1, 2, 6, 4, 0, -1, -1};
  const std::int32_t rows = 7;
  emulator::launch({3, 1, 1}, 32, 0, [&] {
    gather_rows(reinterpret_cast<const uint4*>(input.data()), slot_of.data(), &rows,
                reinterpret_cast<uint4*>(permuted.data()), top_k, hidden / 8);
  });
  for (std::size_t row = 0; row < 7; ++row) {
    EXPECT_EQ(permuted.floats(row * hidden, hidden),
              input.floats(static_cast<std::size_t>(slot_of[row]) / top_k * hidden, hidden));
  }
  EXPECT_EQ(permuted[7 * hidden].bits, 0xffff);
  emulator::launch({2, 1, 1}, 32, 0, [&] { swiglu(halves.data(), &rows, activated.data(), inter); });
  for (std::size_t i = 0; i < 7 * inter; ++i) {
    const std::size_t gate = i / inter * 2 * inter + i % inter;
    const double expected = swiglu(to_float(halves[gate]), to_float(halves[gate + inter]));
    EXPECT_NEAR(to_float(activated[i]), expected, std::abs(expected) / 256 + 1e-6);
  }
  std::vector<float> weights(tokens * top_k);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = random_value(6, i);
  emulator::launch({tokens, 1, 1}, 32, 0,
                   [&] { combine_rows(permuted.data(), row_of.data(), weights.data(), out.data(), top_k, hidden); });
  for (std::size_t i = 0; i < tokens * hidden; ++i) {
    double expected = 0;
    for (std::size_t j = 0; j < top_k; ++j) {
      const std::int32_t row = row_of[i / hidden * top_k + j];
      if (row >= 0)
        expected += double{weights[i / hidden * top_k + j]} *
                    to_float(permuted[static_cast<std::size_t>(row) * hidden + i % hidden]);
    }
    EXPECT_NEAR(to_float(out[i]), expected, std::abs(expected) / 256 + 1e-6);
  }
}

TEST(Quantisation, ScalesByTheLargestMagnitude) {
  constexpr std::size_t m = 5, k = 48;
  Buffer<Bf16> input((m + 1) * k, 7);
  input[3 * k + 5] = to_bf16(-3.5F);
  input[m * k] = to_bf16(100);  // beyond the rows that there are
  Buffer<Fp8> output((m + 1) * k);
  std::uint32_t scale = 0;
  const std::int32_t rows = m;
  emulator::launch({2, 1, 1}, 64, 0, [&] { compute_scale(input.data(), &rows, k, 0, &scale); });
  EXPECT_EQ(float_of(scale), scale_of(input.floats(0, m * k)));
  EXPECT_EQ(float_of(scale), 3.5F / 448);
  emulator::launch({2, 1, 1}, 64, 0, [&] { quantize(input.data(), &rows, k, 0, &scale, output.data()); });
  for (std::size_t i = 0; i < m * k; ++i) {
    const double x = to_float(input[i]);
    EXPECT_NEAR(to_float(output[i]) * float_of(scale), x, std::abs(x) / 16 + float_of(scale) / 1024);
  }
  EXPECT_EQ(output[m * k].bits, 0xff);
}

template <class Shape>
void expect_decode(int length, int query_heads, int kv_heads, int splits) {
  constexpr int batch = 2, page_size = 16;
  constexpr std::size_t key_dim = Shape::kKeyDim, value_dim = Shape::kValueDim;
  const int pages_per_sequence = (length + page_size - 1) / page_size, pages = batch * pages_per_sequence;
  const std::size_t tokens = static_cast<std::size_t>(pages * page_size), kv = static_cast<std::size_t>(kv_heads);
  const auto heads = static_cast<std::size_t>(query_heads);
  Buffer<Bf16> queries(batch * heads * key_dim, 11), keys(tokens * kv * key_dim, 12),
      values(Shape::kLatent ? 1 : tokens * kv * value_dim, 13);
  for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = to_bf16(4 * to_float(queries[i]));  // a peaked softmax
  Buffer<Bf16> output(batch * heads * value_dim);
  std::vector<float> partial(static_cast<std::size_t>(splits) * batch * heads * value_dim, NAN),
      partial_weight(static_cast<std::size_t>(splits) * batch * heads, NAN);
  std::vector<std::int32_t> page_table(static_cast<std::size_t>(pages));
  for (int i = 0; i < pages; ++i) page_table[static_cast<std::size_t>(i)] = (i * 7 + 3) % pages;
  ASSERT_NE(pages % 7, 0) << "the table is no permutation";
  const double scale = 1 / std::sqrt(static_cast<double>(key_dim));
  const int tiles = (length + Shape::kTile - 1) / Shape::kTile;
  const DecodeAttention work{.queries = queries.data(),
                             .keys = keys.data(),
                             .values = values.data(),
                             .pages = page_table.data(),
                             .output = output.data(),
                             .partial = partial.data(),
                             .partial_weight = partial_weight.data(),
                             .batch = batch,
                             .length = length,
                             .query_heads = query_heads,
                             .kv_heads = kv_heads,
                             .page_size = page_size,
                             .pages_per_sequence = pages_per_sequence,
                             .keys_per_split = (tiles + splits - 1) / splits * Shape::kTile,
                             .scale = static_cast<float>(scale * 1.4426950408889634)};
  ASSERT_LE((splits - 1) * work.keys_per_split, length - 1) << "an empty split";
  const int group = query_heads / kv_heads, blocks = (group + Shape::kRows - 1) / Shape::kRows;
  emulator::launch({static_cast<unsigned>(splits), static_cast<unsigned>(kv_heads * blocks), batch}, kDecodeThreads,
                   Shape::kSharedBytes, [&] { decode_attention<Shape>(work); });
  if (splits > 1) {
    const int rows = batch * query_heads;
    emulator::launch({static_cast<unsigned>(rows), 1, 1}, 64, 0, [&] {
      combine_splits(partial.data(), partial_weight.data(), output.data(), splits, rows, value_dim);
    });
  }
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t h = 0; h < heads; ++h) {
      std::vector<float> seen_keys, seen_values;
      for (std::size_t t = 0; t < static_cast<std::size_t>(length); ++t) {
        const auto page =
            static_cast<std::size_t>(page_table[b * static_cast<std::size_t>(pages_per_sequence) + t / page_size]);
        const std::size_t token = (page * page_size + t % page_size) * kv + h / (heads / kv);
        const auto key = keys.floats(token * key_dim, key_dim);
        seen_keys.insert(seen_keys.end(), key.begin(), key.end());
        const auto value =
            Shape::kLatent ? keys.floats(token * key_dim, value_dim) : values.floats(token * value_dim, value_dim);
        seen_values.insert(seen_values.end(), value.begin(), value.end());
      }
      const auto expected = attend(queries.floats((b * heads + h) * key_dim, key_dim), seen_keys, seen_values, scale);
      const auto mismatch =
          first_mismatch(output.floats((b * heads + h) * value_dim, value_dim), expected, {1.0 / 64, 1.0 / 128});
      ASSERT_FALSE(mismatch) << "sequence " << b << " head " << h << ": " << mismatch->text("attention");
    }
  }
}
TEST(DecodeAttention, OfGroupedHeadsIsTheReference) {
  expect_decode<DecodeShape<128, 128, false, 1, 64>>(200, 16, 2, 1);
  expect_decode<DecodeShape<64, 64, false, 1, 64>>(130, 4, 1, 1);
}
TEST(DecodeAttention, AddsUpItsSplits) {
  expect_decode<DecodeShape<128, 128, false, 1, 64>>(260, 5, 1, 3);
}
TEST(DecodeAttention, TakesMoreHeadsThanABlockHolds) {
  expect_decode<DecodeShape<64, 64, false, 1, 64>>(40, 20, 1, 1);
}
TEST(DecodeAttention, OfLatentHeadsIsTheReference) {
  expect_decode<DecodeShape<576, 512, true, 4, 32>>(70, 66, 1, 2);
  expect_decode<DecodeShape<576, 512, true, 1, 32>>(70, 16, 1, 1);
}

template <class Shape>
void expect_prefill(int length, int query_heads, int kv_heads) {
  constexpr int batch = 2;
  constexpr std::size_t key_dim = Shape::kKeyDim, value_dim = Shape::kValueDim;
  const auto tokens = static_cast<std::size_t>(batch * length), heads = static_cast<std::size_t>(query_heads),
             kv = static_cast<std::size_t>(kv_heads);
  Buffer<Bf16> queries(tokens * heads * key_dim, 21), keys(tokens * kv * key_dim, 22),
      values(tokens * kv * value_dim, 23), output((tokens + 1) * heads * value_dim);
  for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = to_bf16(4 * to_float(queries[i]));
  const double scale = 1 / std::sqrt(static_cast<double>(key_dim));
  const PrefillAttention work{.queries = queries.data(),
                              .keys = keys.data(),
                              .values = values.data(),
                              .output = output.data(),
                              .batch = batch,
                              .length = length,
                              .query_heads = query_heads,
                              .kv_heads = kv_heads,
                              .scale = static_cast<float>(scale * 1.4426950408889634)};
  emulator::launch(
      {static_cast<unsigned>((length + kPrefillRows - 1) / kPrefillRows), static_cast<unsigned>(query_heads), batch},
      kPrefillThreads, Shape::kSharedBytes, [&] { prefill_attention<Shape>(work); });
  for (std::size_t t = 0; t < tokens; t += 7) {
    const std::size_t first = t / static_cast<std::size_t>(length) * static_cast<std::size_t>(length);
    for (std::size_t h = 0; h < heads; ++h) {
      std::vector<float> seen_keys, seen_values;
      for (std::size_t i = first; i <= t; ++i) {
        const std::size_t place = i * kv + h / (heads / kv);
        const auto key = keys.floats(place * key_dim, key_dim), value = values.floats(place * value_dim, value_dim);
        seen_keys.insert(seen_keys.end(), key.begin(), key.end());
        seen_values.insert(seen_values.end(), value.begin(), value.end());
      }
      const auto expected = attend(queries.floats((t * heads + h) * key_dim, key_dim), seen_keys, seen_values, scale);
      const auto mismatch =
          first_mismatch(output.floats((t * heads + h) * value_dim, value_dim), expected, {1.0 / 64, 1.0 / 128});
      ASSERT_FALSE(mismatch) << "token " << t << " head " << h << ": " << mismatch->text("attention");
    }
  }
  EXPECT_EQ(output[tokens * heads * value_dim].bits, 0xffff) << "written beyond the tokens";
}
TEST(PrefillAttention, IsTheReference) {
  expect_prefill<PrefillShape<128, 128>>(150, 4, 2);
  expect_prefill<PrefillShape<64, 64>>(64, 1, 1);
  expect_prefill<PrefillShape<192, 128>>(71, 2, 2);
}

}  // namespace

}  // namespace moesim::calibrate
