// Closed forms on a profile made by hand (the larger of compute and memory, round efficiencies), and properties that
// every shipped profile must keep far outside the shapes it was fitted on.

#include "hardware/kernel_cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "config/read_profile.h"
#include "core/random.h"
#include "datasheet_gpus.h"

namespace moesim {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kCompute = 0.5, kMemory = 0.8;

/// 1 PFLOPS in bf16, 2 in fp8, 4 TB/s, 128 multiprocessors.
GpuSpec round_gpu() {
  return testing::datasheet_gpu("round", 4, 1000, 2000, 4000, 128, 50);
}

/// time = fixed + max(flops / (0.5 P), bytes / (0.8 W)), no other term.
KernelProfile plain_profile() {
  KernelProfile p;
  p.name = "plain";
  for (const DataType type : {DataType::fp32, DataType::bf16, DataType::fp16, DataType::fp8, DataType::fp8_block,
                              DataType::int8, DataType::int4, DataType::mxfp4, DataType::nvfp4}) {
    const auto i = static_cast<std::size_t>(type);
    const DataType math = bits_per_element(type) > 8.5 ? type : DataType::fp8;
    p.gemm[i] = {.math = math,
                 .fixed = Duration::microseconds(3),
                 .batched_fixed = Duration::microseconds(4),
                 .compute = kCompute,
                 .memory = kMemory,
                 .norm = kInfinity,
                 .tile_half = 0,
                 .tiles_for_bandwidth = 1e9,
                 .split = {},
                 .cache = {},
                 .origin = {}};
    p.mla_bmm[i] = batched_from_single(p.gemm[i]);
    p.moe[i] = {.math = math,
                .fixed = Duration::microseconds(20),
                .compute = kCompute,
                .memory = kMemory,
                .norm = kInfinity,
                .block_half = 0,
                .activation_memory = 1,
                .per_expert = Duration::nanoseconds(100),
                .per_thousand_slots = {},
                .tiles_for_bandwidth = 1e9,
                .cache = {},
                .origin = {}};
    p.grouped_masked[i] = {.math = math,
                           .fixed = Duration::microseconds(20),
                           .compute = kCompute,
                           .memory = kMemory,
                           .norm = kInfinity,
                           .activation_memory = 1,
                           .block = 64,
                           .origin = {}};
    p.grouped_contiguous[i] = p.grouped_masked[i];
    p.grouped_contiguous[i].block = 128;
  }
  p.attention_decode = {{.math = DataType::bf16,
                         .kv_cache = DataType::bf16,
                         .head_dim = 128,
                         .fixed = Duration::microseconds(7),
                         .underfilled = {},
                         .per_unit = {},
                         .compute = kCompute,
                         .memory = kMemory,
                         .norm = kInfinity,
                         .split_keys = 1,
                         .cache = {},
                         .origin = {}}};
  p.mla_decode = p.attention_decode;
  p.mla_decode[0].head_dim = 576;
  p.attention_prefill = {{.math = DataType::bf16,
                          .kv_cache = DataType::bf16,
                          .head_dim = 128,
                          .absorbed = false,
                          .fixed = Duration::microseconds(9),
                          .per_unit = {},
                          .compute = kCompute,
                          .memory = kMemory,
                          .norm = kInfinity,
                          .longest = 0,
                          .origin = {}}};
  p.mla_prefill = {p.attention_prefill[0], p.attention_prefill[0]};
  p.mla_prefill[1].absorbed = true;
  p.quantize_convert = {.fixed = Duration::microseconds(1), .memory = kMemory, .cache = {}, .origin = {}};
  p.quantize_scale = PassSection{.fixed = Duration::microseconds(5), .memory = kMemory, .cache = {}, .origin = {}};
  p.memory_pass = {.fixed = Duration::microseconds(2), .memory = kMemory, .cache = {}, .origin = {}};
  p.recurrent_state = {.fixed = Duration::microseconds(4), .memory = kMemory, .cache = {}, .origin = {}};
  p.chunked_scan = {.fixed = Duration::microseconds(8),
                    .per_chunk = Duration::microseconds(3),
                    .memory = kMemory,
                    .norm = kInfinity,
                    .origin = {}};
  return p;
}

KernelCost plain() {
  return {round_gpu(), plain_profile()};
}

double read_us(double bytes) {
  return bytes / (kMemory * 4e12) * 1e6;
}
double bf16_us(double flops) {
  return flops / (kCompute * 1000e12) * 1e6;
}

ExpertLoad even_load(std::int64_t experts, std::int64_t rows_each) {
  ExpertLoad load{.tokens = experts * rows_each,
                  .local_tokens = experts * rows_each,
                  .rows = experts * rows_each,
                  .active = experts,
                  .padded_rows = {}};
  for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) {
    load.padded_rows[b] = experts * ((rows_each + kMoeBlocks[b] - 1) / kMoeBlocks[b]) * kMoeBlocks[b];
  }
  return load;
}

TEST(Gemm, LargeOneTakesItsFlopsAtTheComputeRate) {
  // 128 x 128 tiles of 128 x 256: 128 full waves on 128 multiprocessors.
  const double n = 16384;
  const Duration t = plain().gemm({.m = 16384, .n = 16384, .k = 16384});
  EXPECT_NEAR(t.microseconds(), 3 + bf16_us(2 * n * n * n), 0.01);
}

TEST(Gemm, ThinOneTakesItsWeightsAtTheMemoryRate) {
  const double k = 16384, n = 16384;
  const Duration t = plain().gemm({.m = 1, .n = 16384, .k = 16384});
  EXPECT_NEAR(t.microseconds(), 3 + read_us(2 * k * n + 2 * k + 2 * n), 0.01);
}

TEST(Gemm, WeightOnlyFormatReadsItsBitsAndComputesAsItsActivations) {
  const double n = 16384;
  const KernelCost kernels = plain();
  // Matrix units fast enough that a tile of 64 rows for one row of input does not decide.
  GpuSpec fast = round_gpu();
  fast.bf16 = {1e16};
  // int4 with a 16-bit scale and a 4-bit zero a group of 128: 4 + 20 / 128 bits.
  const Duration thin =
      KernelCost(fast, plain_profile()).gemm({.m = 1, .n = 16384, .k = 16384, .weight = DataType::int4});
  EXPECT_NEAR(thin.microseconds(), 3 + read_us(n * n * (4 + 20.0 / 128) / 8 + 4 * n), 0.01);
  EXPECT_EQ(kernels.gemm({.m = 16384, .n = 16384, .k = 16384, .weight = DataType::int4}),
            kernels.gemm({.m = 16384, .n = 16384, .k = 16384}));
}

TEST(Gemm, WeightOnlyFormatWastesNoTileOnFewRows) {
  // 16 rows of a tile of 64: a quarter of the tile's compute [Marlin: 16-row instructions].
  GpuSpec slow = round_gpu();
  slow.bf16 = {1e12};
  const KernelCost kernels(slow, plain_profile());
  const GemmShape few{.m = 16, .n = 8192, .k = 8192, .weight = DataType::int4};
  GemmShape many = few;
  many.m = 64;
  EXPECT_NEAR((kernels.gemm(many).microseconds() - 3) / (kernels.gemm(few).microseconds() - 3), 4, 1e-3);
}

TEST(Gemm, EightBitOperandsComputeAtTheEightBitRate) {
  const double n = 16384;
  const Duration t =
      plain().gemm({.m = 16384, .n = 16384, .k = 16384, .weight = DataType::fp8, .activation = DataType::fp8});
  EXPECT_NEAR(t.microseconds(), 3 + bf16_us(2 * n * n * n) / 2, 0.01);
}

TEST(Gemm, BatchMultipliesTheBytesButNotTheFixedTime) {
  const KernelCost kernels = plain();
  const double one = kernels.gemm({.m = 1, .n = 512, .k = 128}).microseconds() - 3;
  const double many = kernels.gemm({.m = 1, .n = 512, .k = 128, .batch = 128}).microseconds() - 4;
  // A single small product is bound by one wave of compute instead.
  EXPECT_NEAR(many, read_us(128 * (2 * 512 * 128 + 2 * 128 + 2 * 512)), 1e-3);
  EXPECT_LT(one, many);
}

TEST(Gemm, BatchGoesInRoundsOfTilesOf64) {
  const KernelCost kernels = plain();
  GemmShape shape{.m = 512, .n = 512, .k = 65536, .batch = 2};  // 128 tiles, one a multiprocessor
  const double round = 2 * 64.0 * 64 * 65536 * 128 / (kCompute * 1e15) * 1e6;
  EXPECT_NEAR(kernels.gemm(shape).microseconds(), 4 + round, 1e-3);
  shape.batch = 3;
  EXPECT_NEAR(kernels.gemm(shape).microseconds(), 4 + 2 * round, 1e-3);
}

TEST(Gemm, OneProductOfABatchIsByTheKernelForBatches) {
  KernelProfile profile = plain_profile();
  profile.mla_bmm[static_cast<std::size_t>(DataType::bf16)].fixed = Duration::microseconds(9);
  const KernelCost kernels(round_gpu(), profile);
  const GemmShape single{.m = 16, .n = 512, .k = 128}, batch{.m = 16, .n = 512, .k = 128, .in_batch = true};
  EXPECT_LT(kernels.gemm(single).microseconds(), 9);
  EXPECT_GT(kernels.gemm(batch).microseconds(), 9);
}

TEST(Gemm, BatchThatQuantisesReadsItsInputThreeTimes) {
  KernelProfile profile = plain_profile();
  const GemmShape shape{
      .m = 4096, .n = 64, .k = 512, .weight = DataType::fp8, .activation = DataType::fp8, .batch = 128};
  const double plain = KernelCost(round_gpu(), profile).gemm(shape).microseconds();
  profile.mla_bmm[static_cast<std::size_t>(DataType::fp8)].quantizes = true;
  // 16 bits read, 8 written and read instead of 8 read.
  EXPECT_NEAR(KernelCost(round_gpu(), profile).gemm(shape).microseconds() - plain, read_us(128 * 3.0 * 4096 * 512),
              1e-2);
}

/// One kernel for mixed batches: 5 us, 1 us a round of tiles, 0.1 us a place of the grid and multiprocessor.
KernelProfile mixed_profile(double memory) {
  KernelProfile profile = plain_profile();
  profile.attention_mixed = {{.fixed = Duration::microseconds(5),
                              .per_unit = Duration::microseconds(1),
                              .per_slot = Duration::nanoseconds(100),
                              .compute = kCompute,
                              .memory = memory,
                              .norm = kInfinity,
                              .longest = 0,
                              .origin = {}}};
  return profile;
}
constexpr AttentionShape kGrouped{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};

TEST(MixedAttention, DecodeStepTakesATileOfEveryQueryHead) {
  const KernelCost kernels(round_gpu(), mixed_profile(kMemory));
  ASSERT_TRUE(kernels.has_mixed_attention(kGrouped));
  const std::vector<PrefillWork> chunk{{.new_tokens = 64, .keys = 64, .pairs = 64 * 65 / 2.0}};
  const Duration t = kernels.mixed_attention(kGrouped, {.sequences = 128, .visible_keys = 128 * 128}, chunk);
  // 128 + 64 keys in two blocks of 128; 32.5 + 64 in one. 129 sequences of one tile a head on 128 multiprocessors.
  const double products = 128 * 32 * 256.0 + 32 * 128.0, units = 129 * 32 / 128.0;
  EXPECT_NEAR(t.microseconds(), 5 + 1.1 * units + products * 64 * 2 * 256 / (kCompute * 1e15) * 1e6, 0.01);
}

TEST(MixedAttention, ManyLongSequencesReadTheirKeysForEveryQueryHead) {
  constexpr double memory = 0.05;  // far from compute
  const KernelCost kernels(round_gpu(), mixed_profile(memory));
  const auto seconds = [&](std::int64_t sequences) {
    const double units = std::max(1.0, static_cast<double>(sequences) * 32 / 128);
    const Duration t =
        kernels.mixed_attention(kGrouped, {.sequences = sequences, .visible_keys = sequences * 65536}, {});
    return t.seconds() - 5e-6 - 1e-6 * units - 1e-7 * static_cast<double>(sequences) * 32 / 128;
  };
  const double one = 65536.0 * 512 * 8 / (memory * 4e12), rows = 32 * 256 * 2 / (memory * 4e12);
  EXPECT_NEAR(seconds(1), one + rows, 1e-3 * one);               // heads of a group run together
  EXPECT_NEAR(seconds(128), 128 * (4 * one + rows), 0.5 * one);  // one head of each sequence at a time
}

TEST(MixedAttention, LatentAttentionAndOtherProfilesHaveTwoKernels) {
  EXPECT_FALSE(plain().has_mixed_attention(kGrouped));
  AttentionShape latent{.query_heads = 16, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .latent = true};
  EXPECT_FALSE(KernelCost(round_gpu(), mixed_profile(kMemory)).has_mixed_attention(latent));
}

TEST(Gemm, OneRowBeyondAFullWaveStartsAnotherWave) {
  // S = 128 and n = 64 x 128: each tile of 64 x 64 rows fills the GPU exactly; m = 65 needs a second tile row.
  const KernelCost kernels = plain();
  const double full = kernels.gemm({.m = 256, .n = 16384, .k = 16384}).microseconds() - 3;
  const double more = kernels.gemm({.m = 257, .n = 16384, .k = 16384}).microseconds() - 3;
  // 256 rows: 128 tiles of 256 x 128, one wave. 257 rows: at least 5 x 64 rows of tiles, 320 / 256 of the compute.
  EXPECT_NEAR(full, bf16_us(2.0 * 256 * 16384 * 16384), 0.01);
  EXPECT_NEAR(more / full, 1.25, 1e-3);
}

/// `round_gpu` with 128 FMAs a clock at 2 GHz in each multiprocessor, and products of fp8 in narrow tiles.
KernelCost narrow(double promotion, BytesPerSecond draw, Duration per_wave) {
  GpuSpec gpu = round_gpu();
  gpu.fp32 = {128 * 2e9 * 2 * 128};
  KernelProfile profile = plain_profile();
  GemmSection& gemm = profile.gemm[static_cast<std::size_t>(DataType::fp8)];
  GroupedSection& grouped = profile.grouped_masked[static_cast<std::size_t>(DataType::fp8)];
  gemm.tiles = grouped.tiles = TileChoice::narrow;
  gemm.promotion = grouped.promotion = promotion;
  gemm.draw = grouped.draw = draw;
  gemm.per_wave = grouped.per_wave = per_wave;
  return {gpu, profile};
}

// 16 x 8 tiles of 128 x 128, one for each of 128 multiprocessors.
constexpr GemmShape kOneRound{.m = 2048, .n = 1024, .k = 4096, .weight = DataType::fp8, .activation = DataType::fp8};

TEST(NarrowTiles, AddAccumulatorsOnTheVectorUnitsBesideTheMatrixUnits) {
  // 128 x 128 FMAs at 128 a clock after every 128 columns: 128 clocks, 32 times, at 2 GHz.
  const double flops = 2.0 * 2048 * 1024 * 4096;
  const double matrix = flops / (2e15 * kCompute), vector = 4096.0 / 128 * 128 / 2e9;
  EXPECT_NEAR(narrow(0, {}, {}).gemm(kOneRound).seconds(), 3e-6 + matrix, 1e-11);
  EXPECT_NEAR(narrow(1, {}, {}).gemm(kOneRound).seconds(), 3e-6 + matrix + vector, 1e-11);
  EXPECT_NEAR(narrow(2, {}, {}).gemm(kOneRound).seconds(), 3e-6 + matrix + 2 * vector, 1e-11);
}

TEST(NarrowTiles, WaitForTheirOperands) {
  // 256 bytes for each of 4,096 columns at 50 GB/s take longer than the product; at 100 GB/s they hide.
  EXPECT_NEAR(narrow(0, {50e9}, {}).gemm(kOneRound).seconds(), 3e-6 + 256 * 4096 / 50e9, 1e-11);
  EXPECT_EQ(narrow(0, {100e9}, {}).gemm(kOneRound), narrow(0, {}, {}).gemm(kOneRound));
}

TEST(NarrowTiles, AreNeverSplitAlongTheProduct) {
  // Eight tiles of 64 x 16 on 128 multiprocessors: twice the depth takes twice the time, whatever is idle.
  const KernelCost cost = narrow(0, {20e9}, {});
  GemmShape shape{.m = 16, .n = 128, .k = 16384, .weight = DataType::fp8, .activation = DataType::fp8};
  EXPECT_NEAR(cost.gemm(shape).seconds(), 3e-6 + 80 * 16384 / 20e9, 1e-11);
  shape.k *= 2;
  EXPECT_NEAR(cost.gemm(shape).seconds(), 3e-6 + 2 * 80 * 16384 / 20e9, 1e-11);
}

TEST(NarrowTiles, OfGroupedExpertsGoRoundByRound) {
  // One expert, 128 rows: 4,096 columns are 128 tiles of 128 x 32, 2,048 columns 128 tiles of 128 x 16; one round each.
  const MoeShape shape{.hidden = 2048,
                       .intermediate = 2048,
                       .local_experts = 2,
                       .top_k = 1,
                       .weight = DataType::fp8,
                       .activation = DataType::fp8};
  const ExpertLoad load = even_load(1, 128);
  const auto up = [&](double promotion, Duration per_wave) {
    return MoeCost::grouped(narrow(promotion, {}, per_wave), shape, GroupedLayout::masked)
        .product(load, MoeCost::Product::up);
  };
  const Duration wave = Duration::microseconds(10);  // far above the time of the weights
  const double matrix = 2.0 * 128 * 4096 * 2048 / (2e15 * kCompute);
  const double vector = 2048.0 / 128 * (128 * 32 / 128.0) / 2e9;
  EXPECT_NEAR(up(0, wave).seconds(), 10e-6 + 10e-6 + matrix, 1e-11);
  EXPECT_NEAR(up(1, wave).seconds(), 10e-6 + 10e-6 + matrix + vector, 1e-11);
}

TEST(Kernels, NothingTakesNoTime) {
  const KernelCost kernels = plain();
  EXPECT_EQ(kernels.gemm({.m = 0, .n = 128, .k = 128}), Duration());
  EXPECT_EQ(kernels.memory_pass({0}), Duration());
  EXPECT_EQ(kernels.quantize(0, 128, DataType::fp8), Duration());
  const AttentionShape shape{.query_heads = 8, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  EXPECT_EQ(kernels.decode_attention(shape, {0, 0}), Duration());
  EXPECT_EQ(kernels.prefill_attention(shape, {}), Duration());
  EXPECT_EQ(kernels.linear_attention(RecurrentShape{}, {}), Duration());
  const MoeShape moe{.hidden = 1024, .intermediate = 512, .local_experts = 8, .top_k = 2};
  EXPECT_EQ(MoeCost::fused(kernels, moe)({.tokens = 64}), Duration());
  EXPECT_EQ(MoeCost::grouped(kernels, moe, GroupedLayout::masked)({.tokens = 64}), Duration());
}

TEST(FusedExperts, ReadTheWeightsOfDistinctExpertsOnly) {
  // Few rows: memory decides, and 32 more active experts read 32 x 3 H I more weights.
  const MoeShape shape{.hidden = 4096, .intermediate = 2048, .local_experts = 64, .top_k = 8};
  const MoeCost cost = MoeCost::fused(plain(), shape);
  ExpertLoad few = even_load(32, 1), many = even_load(64, 1);
  many.tokens = few.tokens;
  many.local_tokens = few.local_tokens;
  many.rows = few.rows;  // only the number of experts differs
  const double expert = 3.0 * 4096 * 2048 * 2;
  EXPECT_NEAR((cost(many) - cost(few)).microseconds(), 32 * (read_us(expert) + 0.1), 0.01);
}

TEST(FusedExperts, WithoutAGateReadTwoMatrices) {
  MoeShape shape{.hidden = 4096, .intermediate = 2048, .local_experts = 64, .top_k = 8};
  const ExpertLoad load = even_load(64, 1);
  const double gated = MoeCost::fused(plain(), shape)(load).microseconds();
  shape.gated = false;
  const double plain_ffn = MoeCost::fused(plain(), shape)(load).microseconds();
  // The weights of one matrix, and 4I + less activation traffic of each row at the full bandwidth.
  EXPECT_NEAR(gated - plain_ffn, read_us(64 * 4096.0 * 2048 * 2) + 64 * 4.0 * 2048 / 4e12 * 1e6, 0.01);
}

TEST(FusedExperts, ManyRowsTakeTheirFlops) {
  // 64 experts x 4096 rows: compute decides; the tail of half a wave adds S / 2 tiles to each product.
  const MoeShape shape{.hidden = 4096, .intermediate = 2048, .local_experts = 64, .top_k = 8};
  const ExpertLoad load = even_load(64, 4096);
  const double rows = 64.0 * 4096;
  const double flops = 2 * rows * 3 * 4096 * 2048;
  const double passes = (2 * rows * 4096 + rows * (2 * 4096 * 2 + 8 * 2048 + 2 * 2048 + 4 * 4096) + 2 * rows * 4096);
  const double expected = 20 + bf16_us(flops) + 64 * 0.1 + passes / 4e12 * 1e6;
  const double t = MoeCost::fused(plain(), shape)(load).microseconds();
  EXPECT_GT(t, expected);
  EXPECT_LT(t, 1.02 * expected);
}

TEST(FusedExperts, PaddingOfEveryExpertCosts) {
  // 128 experts with 17 rows need 32 rows each; with 16 they need 16. Compute is made to decide by slow units.
  GpuSpec gpu = round_gpu();
  gpu.bf16 = {1e12};
  const KernelCost kernels(gpu, plain_profile());
  const MoeShape shape{.hidden = 1024, .intermediate = 1024, .local_experts = 128, .top_k = 8};
  const MoeCost cost = MoeCost::fused(kernels, shape);
  const double full = cost(even_load(128, 16)).microseconds(), more = cost(even_load(128, 17)).microseconds();
  EXPECT_NEAR(more / full, 2, 0.1);
}

TEST(GroupedExperts, LargeLoadTakesItsPaddedRowsAtTheComputeRate) {
  const MoeShape shape{.hidden = 7168, .intermediate = 2048, .local_experts = 8, .top_k = 8};
  const double rows = 8.0 * 4096;
  const MoeCost cost = MoeCost::grouped(plain(), shape, GroupedLayout::contiguous);
  const double activation = rows * (4 * 2048 + 2 * 2048) / 4e12 * 1e6;
  EXPECT_NEAR(cost(even_load(8, 4096)).microseconds(), 20 + bf16_us(2 * rows * 3 * 7168 * 2048) + activation, 0.1);
  // 4097 rows an expert are 33 blocks of 128 rather than 32.
  const double more = cost(even_load(8, 4097)).microseconds() - 20 - activation;
  EXPECT_NEAR(more / (bf16_us(2 * rows * 3 * 7168 * 2048)), 33.0 / 32, 1e-3);
}

TEST(DecodeAttention, ReadsTheCacheOnce) {
  // 64 sequences x 8 KV heads fill 128 multiprocessors; 4 query heads share a KV head.
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const double bytes = 64.0 * 4096 * 8 * 256 * 2;
  const KernelCost kernels = plain();
  EXPECT_NEAR(kernels.decode_attention(shape, {64, 64 * 4096}).microseconds(), 7 + read_us(bytes), 0.01);
  // The cache of 8 KV heads is the same with twice the query heads, and half as large in 8 bits.
  AttentionShape wide = shape;
  wide.query_heads = 64;
  EXPECT_EQ(kernels.decode_attention(wide, {64, 64 * 4096}), kernels.decode_attention(shape, {64, 64 * 4096}));
  AttentionShape narrow = shape;
  narrow.kv_cache = DataType::fp8;
  EXPECT_NEAR(kernels.decode_attention(narrow, {64, 64 * 4096}).microseconds(), 7 + read_us(bytes / 2), 0.01);
}

TEST(DecodeAttention, AbsorbedLatentsAreReadOnceAndCanBeBoundByCompute) {
  // A token is 576 x 2 = 1,152 bytes and 128 x 2 x (576 + 512) FLOPs.
  const AttentionShape shape{.query_heads = 128, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .latent = true};
  const double tokens = 128.0 * 4096;
  const KernelCost kernels = plain();
  EXPECT_GT(bf16_us(tokens * 128 * 2 * 1088), read_us(tokens * 1152));
  EXPECT_NEAR(kernels.decode_attention(shape, {128, 128 * 4096}).microseconds(), 7 + bf16_us(tokens * 128 * 2 * 1088),
              0.01);
  // With four times the rate the bytes decide.
  GpuSpec fast = round_gpu();
  fast.bf16 = {4000e12};
  EXPECT_NEAR(KernelCost(fast, plain_profile()).decode_attention(shape, {128, 128 * 4096}).microseconds(),
              7 + read_us(tokens * 1152), 0.01);
}

/// MLA over a memory without limit, in rounds of which a half full one takes 3/4.
KernelCost walking(double split_keys, std::int64_t tile_heads, double wide_unit) {
  GpuSpec gpu = round_gpu();
  gpu.memory_bandwidth = {1e20};
  KernelProfile profile = plain_profile();
  profile.mla_decode[0].last_round = 0.75;
  profile.mla_decode[0].split_keys = split_keys;
  profile.mla_decode[0].tile_heads = tile_heads;
  profile.mla_decode[0].wide_unit = wide_unit;
  return {gpu, profile};
}

/// Microseconds without the fixed time; every sequence has `keys`.
double walk_us(const KernelCost& kernels, std::int64_t query_heads, std::int64_t sequences, std::int64_t keys) {
  const AttentionShape shape{
      .query_heads = query_heads, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .latent = true};
  return kernels.decode_attention(shape, {sequences, sequences * keys}).microseconds() - 7;
}

TEST(DecodeAttention, UnitsOfLatentHeadsWalkTheirKeysAloneInRounds) {
  // One of 128 multiprocessors takes 64 heads x 4096 keys x 2 x 1088 FLOPs at 1 / 128 of the rate.
  const KernelCost kernels = walking(1e9, 64, 1);
  const double walk = bf16_us(64.0 * 4096 * 2 * 1088 * 128);
  for (const auto& [sequences, rounds] : std::vector<std::pair<std::int64_t, double>>{
           {1, 0.75}, {64, 0.75}, {65, 1}, {128, 1}, {129, 1.75}, {192, 1.75}, {193, 2}, {1024, 8}}) {
    EXPECT_NEAR(walk_us(kernels, 16, sequences, 4096), rounds * walk, 1e-6 * walk) << sequences;
    // 128 heads are two units.
    EXPECT_NEAR(walk_us(kernels, 128, sequences, 4096), walk_us(kernels, 64, 2 * sequences, 4096), 1e-6 * walk);
  }
}

TEST(DecodeAttention, SplitsAlongTheKeysShortenTheWalkWhileMultiprocessorsAreFree) {
  const KernelCost kernels = walking(64, 64, 1);
  const auto walk = [](double keys) { return bf16_us(64 * keys * 2 * 1088 * 128); };
  EXPECT_NEAR(walk_us(kernels, 64, 1, 8192), walk(64), 1e-6);          // 128 pieces of 64 keys
  EXPECT_NEAR(walk_us(kernels, 64, 1, 2048), 0.75 * walk(64), 1e-6);   // 32 pieces
  EXPECT_NEAR(walk_us(kernels, 64, 32, 8192), walk(2048), 1e-6);       // 4 pieces each
  EXPECT_NEAR(walk_us(kernels, 64, 256, 8192), 2 * walk(8192), 1e-6);  // none is split
}

TEST(DecodeAttention, OfManyLatentHeadsTakesTheQuickerOfTwoKernels) {
  // A unit of 16 heads takes a quarter of one of 128: eight of them are slower, two are quicker.
  const KernelCost kernels = walking(1e9, 16, 4);
  const double wide = bf16_us(128.0 * 4096 * 2 * 1088 * 128);
  EXPECT_NEAR(walk_us(kernels, 128, 128, 4096), wide, 1e-6 * wide);
  EXPECT_NEAR(walk_us(kernels, 32, 128, 4096), 2 * wide / 4, 1e-6 * wide);
  EXPECT_NEAR(walk_us(kernels, 8, 128, 4096), wide / 4, 1e-6 * wide);
}

/// Only the units count, 2 us for each that a multiprocessor takes.
double units_us(QueryPacking packing, std::int64_t tile_rows, std::int64_t tokens) {
  GpuSpec gpu = round_gpu();
  gpu.bf16 = {1e24};
  gpu.memory_bandwidth = {1e24};
  KernelProfile profile = plain_profile();
  profile.attention_prefill[0].per_unit = Duration::microseconds(2);
  profile.attention_prefill[0].packing = packing;
  profile.attention_prefill[0].tile_rows = tile_rows;
  const AttentionShape shape{.query_heads = 64, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const double n = static_cast<double>(tokens);
  const std::vector<PrefillWork> work(256, {.new_tokens = tokens, .keys = tokens, .pairs = n * (n + 1) / 2});
  return KernelCost(gpu, profile).prefill_attention(shape, work).microseconds() - 9;
}

TEST(PrefillAttention, TilesHoldTheHeadsThatTheKernelPacks) {
  // 256 sequences x 64 heads of a token: 16,384 tiles on 128 multiprocessors, or an eighth where a group shares one.
  EXPECT_NEAR(units_us(QueryPacking::heads, 128, 1), 256, 1e-3);
  EXPECT_NEAR(units_us(QueryPacking::group, 128, 1), 32, 1e-3);
  EXPECT_NEAR(units_us(QueryPacking::single, 128, 1), 32, 1e-3);
  // 16 tokens of 8 heads fill one tile.
  EXPECT_NEAR(units_us(QueryPacking::heads, 128, 16), 256, 1e-3);
  EXPECT_NEAR(units_us(QueryPacking::group, 128, 16), 32, 1e-3);
  EXPECT_NEAR(units_us(QueryPacking::single, 128, 16), 256, 1e-3);
  // Rows of a tile.
  EXPECT_NEAR(units_us(QueryPacking::heads, 64, 256), 4 * 256, 1e-3);
  EXPECT_NEAR(units_us(QueryPacking::heads, 256, 256), 256, 1e-3);
}

TEST(PrefillAttention, KernelsBeforeItPassOverTheNewKeysOnly) {
  KernelProfile profile = plain_profile();
  profile.attention_prefill[0].kv_passes = 3;
  for (const DataType cache : {DataType::bf16, DataType::fp8}) {
    const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128, .kv_cache = cache};
    const PrefillWork work{.new_tokens = 512, .keys = 100'512, .pairs = 512 * (100'000 + 256.5)};
    EXPECT_NEAR(KernelCost(round_gpu(), profile).prefill_attention(shape, {&work, 1}).microseconds(),
                plain().prefill_attention(shape, {&work, 1}).microseconds() + read_us(3 * 512.0 * 8 * 256 * 2), 0.01);
  }
}

TEST(PrefillAttention, ReadsFromTheCacheOnlyWhereItIsReplayed) {
  GpuSpec gpu = round_gpu();
  gpu.bf16 = {1e24};
  KernelProfile profile = plain_profile();
  profile.attention_prefill[0].cache = {.gain = 3, .share = 0.5};
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const PrefillWork work{.new_tokens = 128, .keys = 128, .pairs = 128 * 64.5};
  const double bytes = 128.0 * (32 + 8) * 256 * 2;
  const double x = bytes / (0.5 * static_cast<double>(gpu.l2.value));
  EXPECT_NEAR(KernelCost(gpu, profile).prefill_attention(shape, {&work, 1}).microseconds(), 9 + read_us(bytes), 1e-3);
  EXPECT_NEAR(KernelCost(gpu, profile, CacheState::replayed).prefill_attention(shape, {&work, 1}).microseconds(),
              9 + read_us(bytes) / (1 + 3 / (1 + x * x * x * x * x * x)), 1e-3);
}

TEST(PrefillAttention, TakesThePairsInSightAtTheComputeRate) {
  // n = 8192 new tokens over c cached: (c + (n + 1) / 2) keys on average, + 64 rounded up to 64 for the diagonal.
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const KernelCost kernels = plain();
  for (const double c : {0.0, 8192.0}) {
    const double n = 8192;
    const PrefillWork work{
        .new_tokens = 8192, .keys = static_cast<std::int64_t>(c + n), .pairs = n * (c + (n + 1) / 2)};
    const double keys = c + 4096 + 128;
    const double expected = 9 + bf16_us(32 * n * keys * 4 * 128);
    EXPECT_NEAR(kernels.prefill_attention(shape, {&work, 1}).microseconds(), expected, 0.01) << c;
    // Without padding it would be 4 D pairs FLOPs.
    EXPECT_NEAR(expected, 9 + bf16_us(32 * work.pairs * 4 * 128), 0.04 * expected) << c;
  }
}

TEST(PrefillAttention, ReadsCachedKeysAgain) {
  // Fast matrix units: 128 queries over 100,000 cached keys take the bytes of the cache, queries and results.
  GpuSpec gpu = round_gpu();
  gpu.bf16 = {1e20};
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const PrefillWork work{.new_tokens = 128, .keys = 100'128, .pairs = 128 * (100'000 + 64.5)};
  const double bytes = 128.0 * 32 * 256 * 2 + 100'128.0 * 8 * 256 * 2;
  EXPECT_NEAR(KernelCost(gpu, plain_profile()).prefill_attention(shape, {&work, 1}).microseconds(), 9 + read_us(bytes),
              0.01);
}

TEST(PrefillAttention, SequencesOfOneCallAddTheirComputeButShareTheFixedTime) {
  const AttentionShape shape{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
  const PrefillWork a{.new_tokens = 4096, .keys = 4096, .pairs = 4096 * 2048.5};
  const PrefillWork b{.new_tokens = 1024, .keys = 9216, .pairs = 1024 * (8192 + 512.5)};
  const KernelCost kernels = plain();
  const std::vector<PrefillWork> both{a, b};
  EXPECT_NEAR(kernels.prefill_attention(shape, both).microseconds() + 9,
              kernels.prefill_attention(shape, {&a, 1}).microseconds() +
                  kernels.prefill_attention(shape, {&b, 1}).microseconds(),
              0.01);
}

TEST(PrefillAttention, OneLongSequenceAmongShortOnesIsATail) {
  // Weight 1 of the longest unit: 128 rows x 131,072 keys on one of 128 multiprocessors.
  KernelProfile profile = plain_profile();
  profile.attention_prefill[0].longest = 1;
  const KernelCost kernels(round_gpu(), profile);
  const AttentionShape shape{.query_heads = 1, .kv_heads = 1, .key_dim = 128, .value_dim = 128};
  const PrefillWork work{.new_tokens = 128, .keys = 131'072, .pairs = 128 * (131'072 - 128 + 64.5)};
  EXPECT_NEAR(kernels.prefill_attention(shape, {&work, 1}).microseconds(), 9 + bf16_us(128.0 * 131'072 * 4 * 128 * 128),
              0.5);
}

/// A profile whose sections of one family take `fixed` microseconds each and nothing else that matters.
struct Candidate {
  DataType kv_cache, math;
  bool absorbed;
  double fixed;
};

std::vector<PrefillAttentionSection> prefill_sections(std::initializer_list<Candidate> candidates) {
  std::vector<PrefillAttentionSection> sections;
  for (const Candidate& c : candidates) {
    sections.push_back(plain_profile().attention_prefill[0]);
    sections.back().kv_cache = c.kv_cache;
    sections.back().math = c.math;
    sections.back().absorbed = c.absorbed;
    sections.back().fixed = Duration::from_seconds(c.fixed * 1e-6);
  }
  return sections;
}

/// Whole microseconds of a prefill of one token: the fixed time of the section that serves the shape.
double serving_section(const KernelProfile& profile, const AttentionShape& shape) {
  const PrefillWork work{.new_tokens = 1, .keys = 1, .pairs = 1};
  return std::floor(KernelCost(round_gpu(), profile).prefill_attention(shape, {&work, 1}).microseconds());
}

TEST(PrefillAttention, OfMlaIsServedByItsOwnForm) {
  // The form counts more than the width of the cache: 192/128 expanded, 576/512 absorbed, 128/128 no MLA at all.
  KernelProfile p = plain_profile();
  p.mla_prefill =
      prefill_sections({{DataType::bf16, DataType::bf16, true, 100}, {DataType::fp8, DataType::bf16, false, 200}});
  const AttentionShape expanded{.query_heads = 16, .kv_heads = 16, .key_dim = 192, .value_dim = 128};
  AttentionShape absorbed{.query_heads = 16, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .latent = true};
  EXPECT_EQ(serving_section(p, expanded), 200);
  EXPECT_EQ(serving_section(p, absorbed), 100);
  absorbed.kv_cache = DataType::fp8;
  EXPECT_EQ(serving_section(p, absorbed), 100);
  const AttentionShape plain_heads{.query_heads = 16, .kv_heads = 16, .key_dim = 128, .value_dim = 128};
  EXPECT_EQ(serving_section(p, plain_heads), 9);
}

TEST(PrefillAttention, OverAnEightBitCacheTakesEightBitMathWhereAskedForOrAlone) {
  AttentionShape shape{.query_heads = 16, .kv_heads = 16, .key_dim = 128, .value_dim = 128};
  KernelProfile p = plain_profile();
  p.attention_prefill = prefill_sections({{DataType::bf16, DataType::bf16, false, 100},
                                          {DataType::fp8, DataType::bf16, false, 200},
                                          {DataType::fp8, DataType::fp8, false, 300}});
  EXPECT_EQ(serving_section(p, shape), 100);
  shape.kv_cache = DataType::fp8;
  EXPECT_EQ(serving_section(p, shape), 200);
  shape.math = DataType::fp8;
  EXPECT_EQ(serving_section(p, shape), 300);
  shape.math = DataType::bf16;
  p.attention_prefill =
      prefill_sections({{DataType::bf16, DataType::bf16, false, 100}, {DataType::fp8, DataType::fp8, false, 300}});
  EXPECT_EQ(serving_section(p, shape), 300);
  p.attention_prefill = prefill_sections({{DataType::bf16, DataType::bf16, false, 100}});
  EXPECT_EQ(serving_section(p, shape), 100);
}

TEST(PrefillAttention, OfShippedProfilesReachesTheSectionOfItsMath) {
  // FlashAttention-3 of sglang on H100 multiplies an fp8 cache in fp8 alone, so both widths of math give one time; the
  // kernels of TensorRT-LLM were measured with either. 8 prompts of 16,384 tokens, 64 query and 8 KV heads of 128: rows
  // of aiconfigurator 095f58a5.
  const std::filesystem::path folder = std::filesystem::path(MOESIM_SOURCE_DIR) / "calibrate" / "profiles";
  const std::vector<PrefillWork> work(8, {.new_tokens = 16384, .keys = 16384, .pairs = 16384.0 * 16385 / 2});
  const auto milliseconds = [&](const char* file, DataType kv_cache, DataType math) {
    const KernelCost kernels(testing::h100(), read_kernel_profile_file(folder / file));
    const AttentionShape shape{
        .query_heads = 64, .kv_heads = 8, .key_dim = 128, .value_dim = 128, .kv_cache = kv_cache, .math = math};
    return kernels.prefill_attention(shape, work).milliseconds();
  };
  const char* sglang = "h100_sxm-sglang.json";
  EXPECT_EQ(milliseconds(sglang, DataType::fp8, DataType::bf16), milliseconds(sglang, DataType::fp8, DataType::fp8));
  EXPECT_NEAR(milliseconds(sglang, DataType::fp8, DataType::bf16) / 49.396, 1, 0.1);
  EXPECT_NEAR(milliseconds(sglang, DataType::bf16, DataType::bf16) / 66.347, 1, 0.1);
  const char* trtllm = "h100_sxm-trtllm.json";
  EXPECT_NE(milliseconds(trtllm, DataType::fp8, DataType::bf16), milliseconds(trtllm, DataType::fp8, DataType::fp8));
  EXPECT_NEAR(milliseconds(trtllm, DataType::fp8, DataType::bf16) / 49.170, 1, 0.1);
  EXPECT_NEAR(milliseconds(trtllm, DataType::fp8, DataType::fp8) / 48.485, 1, 0.1);
}

TEST(Quantize, ReadsTwoBytesAndWritesOneAfterReducingTheScale) {
  // Scale reduction reads 2 mk, conversion reads 2 mk and writes mk; block scales need no reduction.
  const double mk = 8192.0 * 8192;
  EXPECT_NEAR(plain().quantize(8192, 8192, DataType::fp8).microseconds(), 1 + 5 + read_us(5 * mk), 0.01);
  EXPECT_NEAR(plain().quantize(8192, 8192, DataType::fp8_block).microseconds(),
              1 + read_us(mk * (3 + 32.0 / 8 / (128 * 128))), 0.01);
  // Without a reduction of its own both formats differ by their stored scales alone.
  KernelProfile fused = plain_profile();
  fused.quantize_scale.reset();
  EXPECT_EQ(KernelCost(round_gpu(), fused).quantize(8192, 8192, DataType::fp8_block),
            plain().quantize(8192, 8192, DataType::fp8_block));
  EXPECT_NEAR(KernelCost(round_gpu(), fused).quantize(8192, 8192, DataType::fp8).microseconds(), 1 + read_us(3 * mk),
              0.01);
}

TEST(LinearAttention, DecodeReadsAndWritesTheState) {
  // 32 heads x 128 x 128 in fp32 are 2 MiB a sequence.
  const RecurrentShape shape{.heads = 32, .key_dim = 128, .value_dim = 128, .state = {2 << 20}, .token = {16384}};
  EXPECT_NEAR(plain().linear_attention(shape, {.decode_sequences = 256}).microseconds(),
              4 + read_us(256.0 * (2 * (2 << 20) + 16384)), 0.01);
}

TEST(LinearAttention, PrefillOfOneSequenceGoesChunkByChunk) {
  // 32 heads on 128 multiprocessors: 8192 / 64 chunks one after the other.
  const RecurrentShape shape{.heads = 32, .key_dim = 128, .value_dim = 128, .state = {2 << 20}, .token = {16384}};
  const RecurrentWork work{.prefill_sequences = 1, .prefill_tokens = 8192, .longest_prefill = 8192};
  EXPECT_NEAR(plain().linear_attention(shape, work).microseconds(), 8 + 128 * 3, 0.01);
  // 64 such sequences: 64 x 32 heads are 16 rounds over the multiprocessors.
  const RecurrentWork many{.prefill_sequences = 64, .prefill_tokens = 64 * 8192, .longest_prefill = 8192};
  EXPECT_NEAR(plain().linear_attention(shape, many).microseconds(), 8 + 128 * 3 * 16, 0.01);
}

TEST(CacheState, WarmWeightsAreFasterOnlyInAReplayedLoop) {
  // Working set of five copies of 2 MB in 50 MB of L2: (1 + gain / (1 + 0.2^6)) times the bandwidth.
  KernelProfile profile = plain_profile();
  profile.gemm[static_cast<std::size_t>(DataType::bf16)].cache = {.gain = 1, .share = 1};
  GpuSpec gpu = round_gpu();
  gpu.bf16 = {1e18};  // memory decides
  const GemmShape shape{.m = 1, .n = 1024, .k = 1024};
  const double weights = 2.0 * 1024 * 1024, x = 5 * weights / 50e6;
  const double evicted = KernelCost(gpu, profile).gemm(shape).microseconds() - 3;
  const double replayed = KernelCost(gpu, profile, CacheState::replayed).gemm(shape).microseconds() - 3;
  EXPECT_NEAR(evicted, read_us(weights + 4 * 1024), 1e-5);
  EXPECT_NEAR(evicted / replayed, 1 + 1 / (1 + x * x * x * x * x * x), 1e-4);
}

// ---- every shipped profile, far outside its fit ----

struct Shipped {
  KernelProfile profile;
  GpuSpec gpu;
};

std::vector<Shipped> shipped_profiles() {
  const std::vector<GpuSpec> gpus{testing::h100(), testing::a100(), testing::b200(), testing::l40s(),
                                  testing::rtx_pro_6000()};
  std::vector<Shipped> all;
  const std::filesystem::path folder = std::filesystem::path(MOESIM_SOURCE_DIR) / "calibrate" / "profiles";
  for (const GpuSpec& gpu : gpus) {
    for (const char* provider : {"vllm", "trtllm", "sglang"}) {
      const std::filesystem::path file = folder / (gpu.id + "-" + provider + ".json");
      if (std::filesystem::exists(file)) all.push_back({read_kernel_profile_file(file), gpu});
    }
    all.push_back({read_kernel_profile_file(folder / "roofline.json"), gpu});
  }
  return all;
}

constexpr DataType kTypes[] = {DataType::bf16, DataType::fp8,   DataType::fp8_block, DataType::int8,
                               DataType::int4, DataType::mxfp4, DataType::nvfp4};

/// A whole number between 1 and `most`, evenly spread over the orders of magnitude.
std::int64_t scale_free(Stream& stream, double most) {
  return std::max<std::int64_t>(1, std::llround(std::pow(most, stream.uniform())));
}

constexpr double kRounding = 1 - 1e-6;  // of the p-norm table

TEST(ShippedProfiles, AreNeverFasterThanTheDatasheet) {
  Stream stream(1, "test/bounds");
  for (const Shipped& s : shipped_profiles()) {
    const KernelCost kernels(s.gpu, s.profile);
    const double bandwidth = s.gpu.memory_bandwidth.value;
    for (int i = 0; i < 300; ++i) {
      const DataType type = kTypes[stream.below(std::size(kTypes))];
      const GemmShape g{.m = scale_free(stream, 1e6),
                        .n = scale_free(stream, 2e5),
                        .k = scale_free(stream, 2e5),
                        .weight = type,
                        .activation = stream.uniform() < 0.5 ? DataType::bf16 : type};
      const double m = static_cast<double>(g.m), n = static_cast<double>(g.n), k = static_cast<double>(g.k);
      const double peak = matrix_peak(s.gpu, compute_type(g.weight, g.activation)).value;
      const double bytes = n * k * bytes_per_element(type) + 2 * m * n;
      const double t = kernels.gemm(g).seconds();
      EXPECT_GE(t, kRounding * std::max(2 * m * n * k / peak, bytes / bandwidth)) << s.profile.name;

      AttentionShape a{
          .query_heads = 0, .kv_heads = std::int64_t{1} << stream.below(5), .key_dim = 128, .value_dim = 128};
      a.query_heads = a.kv_heads * (std::int64_t{1} << stream.below(5));
      const std::int64_t sequences = scale_free(stream, 4096), keys = scale_free(stream, 2e6);
      const double cache = static_cast<double>(sequences) * static_cast<double>(keys * a.kv_heads) * 512;
      EXPECT_GE(kernels.decode_attention(a, {sequences, sequences * keys}).seconds(), kRounding * cache / bandwidth)
          << s.profile.name;
      const std::int64_t fresh = scale_free(stream, 1e5);
      const double pairs =
          static_cast<double>(fresh) * (static_cast<double>(keys) + 0.5 * static_cast<double>(fresh + 1));
      const PrefillWork work{.new_tokens = fresh, .keys = keys + fresh, .pairs = pairs};
      EXPECT_GE(kernels.prefill_attention(a, {&work, 1}).seconds(),
                kRounding * pairs * static_cast<double>(a.query_heads) * 512 / s.gpu.bf16.value)
          << s.profile.name;

      const MoeShape moe{.hidden = 128 * scale_free(stream, 64),
                         .intermediate = 64 * scale_free(stream, 128),
                         .local_experts = 256,
                         .top_k = 8,
                         .weight = type,
                         .activation = g.activation};
      const ExpertLoad load = even_load(scale_free(stream, 256), scale_free(stream, 1e4));
      const double weights = 3.0 * static_cast<double>(moe.hidden * moe.intermediate);
      const double floor = std::max(2 * static_cast<double>(load.rows) * weights / peak,
                                    static_cast<double>(load.active) * weights * bytes_per_element(type) / bandwidth);
      EXPECT_GE(MoeCost::fused(kernels, moe)(load).seconds(), kRounding * floor) << s.profile.name;
      EXPECT_GE(MoeCost::grouped(kernels, moe, GroupedLayout::masked)(load).seconds(), kRounding * floor);
      EXPECT_GE(MoeCost::grouped(kernels, moe, GroupedLayout::contiguous)(load).seconds(), kRounding * floor);
    }
  }
}

TEST(ShippedProfiles, StayWithinAFewTimesTheDatasheetWhenLarge) {
  // Efficiencies below 15 % on a huge aligned GEMM or a long read would be an artefact of a fit.
  for (const Shipped& s : shipped_profiles()) {
    const KernelCost kernels(s.gpu, s.profile);
    for (const DataType type : kTypes) {
      const double n = 32768, flops = 2 * n * n * n;
      const double peak = matrix_peak(s.gpu, s.profile.gemm[static_cast<std::size_t>(type)].math).value;
      EXPECT_LT(kernels.gemm({.m = 32768, .n = 32768, .k = 32768, .weight = type, .activation = type}).seconds(),
                flops / peak / 0.45)
          << s.profile.name << " " << name(type);
      const double bytes = n * n * bytes_per_element(type);
      EXPECT_LT(kernels.gemm({.m = 1, .n = 32768, .k = 32768, .weight = type, .activation = type}).seconds(),
                bytes / s.gpu.memory_bandwidth.value / 0.5 + 50e-6)
          << s.profile.name << " " << name(type);
    }
    const AttentionShape a{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
    const double cache = 256.0 * 65536 * 8 * 512;
    EXPECT_LT(kernels.decode_attention(a, {256, 256 * 65536}).seconds(), cache / s.gpu.memory_bandwidth.value / 0.6)
        << s.profile.name;
    const PrefillWork work{.new_tokens = 32768, .keys = 32768, .pairs = 32768 * 16384.5};
    EXPECT_LT(kernels.prefill_attention(a, {&work, 1}).seconds(), work.pairs * 32 * 512 / s.gpu.bf16.value / 0.35)
        << s.profile.name;
  }
}

TEST(ShippedProfiles, TakeLongerForMoreWork) {
  // On a coarse scale: four times the work does not take less time, but for what residuals say of measured kernels that
  // are faster at a larger size (another tactic, more tiles that draw bandwidth): at most 15 %.
  const auto at_most = [](Duration less, Duration more) { return less.seconds() <= more.seconds() / 0.85; };
  for (const Shipped& s : shipped_profiles()) {
    const KernelCost kernels(s.gpu, s.profile);
    for (const DataType type : kTypes) {
      const auto gemm = [&](std::int64_t m) {
        return kernels.gemm({.m = m, .n = 6144, .k = 4096, .weight = type, .activation = type});
      };
      for (std::int64_t m = 1; m < 1'000'000; m *= 4) EXPECT_TRUE(at_most(gemm(m), gemm(4 * m))) << s.profile.name << m;
      const MoeShape shape{
          .hidden = 2048, .intermediate = 768, .local_experts = 128, .top_k = 8, .weight = type, .activation = type};
      const MoeCost fused = MoeCost::fused(kernels, shape);
      const MoeCost grouped = MoeCost::grouped(kernels, shape, GroupedLayout::masked);
      for (std::int64_t rows = 1; rows < 100'000; rows *= 4) {
        EXPECT_TRUE(at_most(fused(even_load(64, rows)), fused(even_load(64, 4 * rows)))) << s.profile.name;
        EXPECT_TRUE(at_most(grouped(even_load(64, rows)), grouped(even_load(64, 4 * rows)))) << s.profile.name;
        EXPECT_TRUE(at_most(fused(even_load(32, rows)), fused(even_load(128, rows)))) << s.profile.name;
      }
    }
    const AttentionShape a{.query_heads = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128};
    for (std::int64_t keys = 1; keys < 1'000'000; keys *= 4) {
      EXPECT_TRUE(
          at_most(kernels.decode_attention(a, {64, 64 * keys}), kernels.decode_attention(a, {64, 64 * 4 * keys})));
      const double n = static_cast<double>(keys);
      const PrefillWork one{.new_tokens = keys, .keys = keys, .pairs = n * (n + 1) / 2};
      const PrefillWork four{.new_tokens = 4 * keys, .keys = 4 * keys, .pairs = 4 * n * (4 * n + 1) / 2};
      EXPECT_TRUE(at_most(kernels.prefill_attention(a, {&one, 1}), kernels.prefill_attention(a, {&four, 1})));
    }
  }
}

}  // namespace
}  // namespace moesim
