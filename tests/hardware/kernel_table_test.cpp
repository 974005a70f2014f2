// The fitted profiles against the measured tables they come from (aiconfigurator 095f58a5), in the state of a benchmark
// loop (small weights stay in L2). Rows are the whole tables: the profile's own residuals are on held-out halves, and
// with about ten constants for thousands of rows the two agree. Bounds are on the median absolute percentage error.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "config/read_profile.h"
#include "datasheet_gpus.h"
#include "hardware/kernel_cost.h"

namespace moesim {
namespace {

/// Rows of a comma-separated file with one header line and no quotes.
class Table {
 public:
  explicit Table(const std::string& file) {
    std::ifstream in(std::string(MOESIM_SHARED_DATA) + "/kernels/" + file);
    std::string line;
    if (!std::getline(in, line)) return;
    std::istringstream header(line);
    for (std::string field; std::getline(header, field, ',');) columns_[field] = columns_.size();
    while (std::getline(in, line)) {
      std::vector<std::string> row;
      std::istringstream fields(line);
      for (std::string field; std::getline(fields, field, ',');) row.push_back(field);
      rows_.push_back(std::move(row));
    }
  }
  std::size_t size() const { return rows_.size(); }
  const std::string& text(std::size_t row, const std::string& column) const { return rows_[row][columns_.at(column)]; }
  double number(std::size_t row, const std::string& column) const { return std::atof(text(row, column).c_str()); }
  std::int64_t count(std::size_t row, const std::string& column) const { return std::llround(number(row, column)); }

 private:
  std::map<std::string, std::size_t> columns_;
  std::vector<std::vector<std::string>> rows_;
};

bool tables_exist() {
  return std::filesystem::exists(std::string(MOESIM_SHARED_DATA) + "/kernels");
}
#define MOESIM_NEEDS_TABLES() \
  if (!tables_exist()) GTEST_SKIP() << "measured kernel tables are not here"

KernelCost cost(const GpuSpec& gpu, const std::string& profile) {
  return KernelCost(
      gpu, read_kernel_profile_file(std::string(MOESIM_SOURCE_DIR) + "/calibrate/profiles/" + profile + ".json"),
      CacheState::replayed);
}

double median(std::vector<double> errors) {
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return *middle;
}

/// Prints the errors and returns the median.
double report(const std::string& what, std::vector<double> errors) {
  const double m = median(errors);
  std::sort(errors.begin(), errors.end());
  double sum = 0;
  for (const double e : errors) sum += e;
  std::printf("  %-40s %6zu rows, median %5.1f %%, mean %5.1f %%, p90 %5.1f %%\n", what.c_str(), errors.size(), 100 * m,
              100 * sum / static_cast<double>(errors.size()), 100 * errors[errors.size() * 9 / 10]);
  return m;
}

double error(Duration predicted, double measured_us) {
  return std::abs(predicted.microseconds() / measured_us - 1);
}

DataType format(const std::string& name) {
  if (name == "bfloat16") return DataType::bf16;
  return data_type_from_name(name).value();
}

double gemm_error(const KernelCost& kernels, const std::string& file, const std::string& type) {
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table.text(i, "dtype") != type) continue;
    const DataType t = format(type);
    const std::int64_t m = table.count(i, "m"), n = table.count(i, "n"), k = table.count(i, "k");
    Duration predicted = kernels.gemm({.m = m, .n = n, .k = k, .weight = t, .activation = t});
    if (t != DataType::bf16) predicted += kernels.quantize(m, k, t);
    errors.push_back(error(predicted, table.number(i, "latency_us")));
  }
  return report(file + " " + type, std::move(errors));
}

/// Expected routed rows of the rank by (tokens, experts, top-k, ep, distribution).
using RoutingKey = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::string>;
std::map<RoutingKey, ExpertLoad> routing_expectations() {
  const Table table("moe_routing_expectation.csv");
  std::map<RoutingKey, ExpertLoad> loads;
  for (std::size_t i = 0; i < table.size(); ++i) {
    ExpertLoad load{.tokens = table.count(i, "tokens"),
                    .local_tokens = table.count(i, "rank0_tokens"),
                    .rows = table.count(i, "rows"),
                    .active = table.count(i, "active"),
                    .padded_rows = {}};
    for (std::size_t b = 0; b < kMoeBlocks.size(); ++b) {
      load.padded_rows[b] = table.count(i, "pad" + std::to_string(kMoeBlocks[b]));
    }
    loads[{load.tokens, table.count(i, "experts"), table.count(i, "topk"), table.count(i, "ep"),
           table.text(i, "dist")}] = load;
  }
  return loads;
}

/// Tuned rows only: best software version, at most 1.5 times the best of all backends, shards of 64 columns or more.
double moe_error(const KernelCost& kernels, const std::string& file, const std::string& type) {
  static const std::map<RoutingKey, ExpertLoad> loads = routing_expectations();
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table.text(i, "dtype") != type || table.number(i, "x_min") > 1.5) continue;
    const std::int64_t tp = table.count(i, "tp"), inner = table.count(i, "inter") / tp;
    if (inner < 64) continue;
    const auto load = loads.find({table.count(i, "tokens"), table.count(i, "experts"), table.count(i, "topk"),
                                  table.count(i, "ep"), table.text(i, "dist")});
    if (load == loads.end()) continue;
    const MoeCost experts = MoeCost::fused(kernels, {.hidden = table.count(i, "hidden"),
                                                     .intermediate = inner,
                                                     .local_experts = table.count(i, "experts") / table.count(i, "ep"),
                                                     .top_k = table.count(i, "topk"),
                                                     .weight = format(type),
                                                     .activation = format(type)});
    errors.push_back(error(experts(load->second), table.number(i, "best_us")));
  }
  return report(file + " " + type, std::move(errors));
}

double decode_error(const KernelCost& kernels, const std::string& file, const std::string& cache) {
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::int64_t heads = table.count(i, "q_heads"), kv_heads = table.count(i, "kv_heads");
    const std::int64_t dim = table.count(i, "head_dim"), window = table.count(i, "window");
    // Beyond 32 query heads a KV head TensorRT-LLM falls back to a kernel up to 20 times slower.
    if (table.text(i, "kv_dtype") != cache || dim != 128 || heads > 32 * kv_heads) continue;
    const std::int64_t batch = table.count(i, "batch"), length = table.count(i, "kv_len");
    const std::int64_t keys = window > 0 ? std::min(window, length) : length;
    const AttentionShape shape{.query_heads = heads,
                               .kv_heads = kv_heads,
                               .key_dim = dim,
                               .value_dim = dim,
                               .kv_cache = format(cache),
                               .math = DataType::bf16,
                               .latent = false};
    errors.push_back(error(kernels.decode_attention(shape, {batch, batch * keys}), table.number(i, "latency_us")));
  }
  return report(file + " cache " + cache, std::move(errors));
}

double prefill_error(const KernelCost& kernels, const std::string& file) {
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::int64_t dim = table.count(i, "head_dim"), n = table.count(i, "seq"), window = table.count(i, "window");
    if (table.text(i, "dtype") != "bfloat16" || table.text(i, "kv_dtype") != "bfloat16" || dim != 128) continue;
    // Token i sees min(i, window) keys.
    const double w = static_cast<double>(window > 0 ? std::min(window, n) : n);
    const double pairs = w * (w + 1) / 2 + (static_cast<double>(n) - w) * w;
    const std::vector<PrefillWork> work(static_cast<std::size_t>(table.count(i, "batch")), {n, n, pairs});
    const AttentionShape shape{.query_heads = table.count(i, "q_heads"),
                               .kv_heads = table.count(i, "kv_heads"),
                               .key_dim = dim,
                               .value_dim = dim,
                               .kv_cache = DataType::bf16,
                               .math = DataType::bf16,
                               .latent = false};
    errors.push_back(error(kernels.prefill_attention(shape, work), table.number(i, "latency_us")));
  }
  return report(file, std::move(errors));
}

double latent_error(const KernelCost& kernels, const std::string& file, const std::string& length, bool absorbed) {
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table.text(i, "kv_dtype") != "bfloat16") continue;
    const std::int64_t heads = table.count(i, "q_heads"), batch = table.count(i, "batch"), n = table.count(i, length);
    AttentionShape shape{.query_heads = heads, .kv_heads = 1, .key_dim = 576, .value_dim = 512, .latent = true};
    if (!absorbed) shape = {.query_heads = heads, .kv_heads = heads, .key_dim = 192, .value_dim = 128};
    Duration predicted;
    if (length == "kv_len") {
      predicted = kernels.decode_attention(shape, {batch, batch * n});
    } else {
      const double pairs = 0.5 * static_cast<double>(n) * static_cast<double>(n + 1);
      const std::vector<PrefillWork> work(static_cast<std::size_t>(batch), {n, n, pairs});
      predicted = kernels.prefill_attention(shape, work);
    }
    errors.push_back(error(predicted, table.number(i, "latency_us")));
  }
  return report(file, std::move(errors));
}

/// The absorption products of MLA: a batch of one small product a head.
double batched_error(const KernelCost& kernels, const std::string& file) {
  const Table table(file);
  std::vector<double> errors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table.text(i, "dtype") != "bfloat16") continue;
    const bool before = table.text(i, "op") == "mla_gen_pre";
    const GemmShape shape{.m = table.count(i, "tokens"),
                          .n = before ? 512 : 128,
                          .k = before ? 128 : 512,
                          .weight = DataType::bf16,
                          .activation = DataType::bf16,
                          .batch = table.count(i, "heads")};
    if (shape.batch > 1) errors.push_back(error(kernels.gemm(shape), table.number(i, "latency_us")));
  }
  return report(file, std::move(errors));
}

TEST(KernelTables, BatchedProductsArePredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(batched_error(cost(testing::h100(), "h100_sxm-trtllm"), "mla_bmm_h100_sxm_trtllm-1.3.0rc20.csv"), 0.10);
  EXPECT_LT(batched_error(cost(testing::b200(), "b200_sxm-trtllm"), "mla_bmm_b200_sxm_trtllm-1.3.0rc20.csv"), 0.09);
  EXPECT_LT(batched_error(cost(testing::a100(), "a100_sxm-trtllm"), "mla_bmm_a100_sxm_trtllm-1.0.0.csv"), 0.15);
}

TEST(KernelTables, GemmOfH100IsPredicted) {
  MOESIM_NEEDS_TABLES();
  const KernelCost kernels = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "bfloat16"), 0.06);
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "fp8"), 0.05);
  EXPECT_LT(gemm_error(kernels, "gemm_h100_sxm_trtllm-1.3.0rc20.csv", "fp8_block"), 0.13);
  EXPECT_LT(gemm_error(cost(testing::h100(), "h100_sxm-vllm"), "gemm_h100_sxm_vllm-0.24.0.csv", "bfloat16"), 0.08);
}

TEST(KernelTables, GemmOfOtherGpusIsPredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(gemm_error(cost(testing::a100(), "a100_sxm-sglang"), "gemm_a100_sxm_sglang-0.5.10.csv", "bfloat16"), 0.08);
  const KernelCost b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "bfloat16"), 0.08);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "fp8"), 0.06);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "fp8_block"), 0.08);
  EXPECT_LT(gemm_error(b200, "gemm_b200_sxm_trtllm-1.3.0rc20.csv", "nvfp4"), 0.08);
  EXPECT_LT(gemm_error(cost(testing::l40s(), "l40s-trtllm"), "gemm_l40s_trtllm-1.3.0rc20.csv", "bfloat16"), 0.13);
}

TEST(KernelTables, FusedExpertsOfH100ArePredicted) {
  MOESIM_NEEDS_TABLES();
  const KernelCost trtllm = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "bfloat16"), 0.07);
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "fp8"), 0.09);
  EXPECT_LT(moe_error(trtllm, "moe_h100_sxm_trtllm.csv", "fp8_block"), 0.08);
  const KernelCost vllm = cost(testing::h100(), "h100_sxm-vllm");
  EXPECT_LT(moe_error(vllm, "moe_h100_sxm_vllm.csv", "bfloat16"), 0.08);
  EXPECT_LT(moe_error(vllm, "moe_h100_sxm_vllm.csv", "fp8_block"), 0.08);
  const KernelCost sglang = cost(testing::h100(), "h100_sxm-sglang");
  EXPECT_LT(moe_error(sglang, "moe_h100_sxm_sglang.csv", "bfloat16"), 0.08);
  EXPECT_LT(moe_error(sglang, "moe_h100_sxm_sglang.csv", "fp8_block"), 0.08);
}

TEST(KernelTables, FusedExpertsOfOtherGpusArePredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(moe_error(cost(testing::a100(), "a100_sxm-trtllm"), "moe_a100_sxm_trtllm.csv", "bfloat16"), 0.08);
  const KernelCost b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(moe_error(b200, "moe_b200_sxm_trtllm.csv", "bfloat16"), 0.08);
  EXPECT_LT(moe_error(b200, "moe_b200_sxm_trtllm.csv", "fp8_block"), 0.08);
  EXPECT_LT(moe_error(cost(testing::b200(), "b200_sxm-vllm"), "moe_b200_sxm_vllm.csv", "nvfp4"), 0.10);
  EXPECT_LT(moe_error(cost(testing::l40s(), "l40s-trtllm"), "moe_l40s_trtllm.csv", "bfloat16"), 0.08);
}

TEST(KernelTables, DecodeAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  const KernelCost vllm = cost(testing::h100(), "h100_sxm-vllm");
  EXPECT_LT(decode_error(vllm, "attn_decode_h100_sxm_vllm-0.24.0.csv", "bfloat16"), 0.08);
  EXPECT_LT(decode_error(vllm, "attn_decode_h100_sxm_vllm-0.24.0.csv", "fp8"), 0.08);
  EXPECT_LT(
      decode_error(cost(testing::h100(), "h100_sxm-trtllm"), "attn_decode_h100_sxm_trtllm-1.3.0rc20.csv", "bfloat16"),
      0.14);
  EXPECT_LT(
      decode_error(cost(testing::b200(), "b200_sxm-trtllm"), "attn_decode_b200_sxm_trtllm-1.3.0rc20.csv", "bfloat16"),
      0.07);
  EXPECT_LT(decode_error(cost(testing::a100(), "a100_sxm-vllm"), "attn_decode_a100_sxm_vllm-0.14.0.csv", "bfloat16"),
            0.13);
}

TEST(KernelTables, PrefillAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  EXPECT_LT(prefill_error(cost(testing::h100(), "h100_sxm-vllm"), "attn_prefill_h100_sxm_vllm-0.24.0.csv"), 0.09);
  EXPECT_LT(prefill_error(cost(testing::h100(), "h100_sxm-sglang"), "attn_prefill_h100_sxm_sglang-0.5.14.csv"), 0.08);
  EXPECT_LT(prefill_error(cost(testing::b200(), "b200_sxm-trtllm"), "attn_prefill_b200_sxm_trtllm-1.3.0rc20.csv"),
            0.11);
  EXPECT_LT(prefill_error(cost(testing::a100(), "a100_sxm-vllm"), "attn_prefill_a100_sxm_vllm-0.14.0.csv"), 0.11);
}

TEST(KernelTables, LatentAttentionIsPredicted) {
  MOESIM_NEEDS_TABLES();
  const KernelCost sglang = cost(testing::h100(), "h100_sxm-sglang"), trtllm = cost(testing::h100(), "h100_sxm-trtllm");
  EXPECT_LT(latent_error(sglang, "mla_decode_h100_sxm_sglang-0.5.14.csv", "kv_len", true), 0.09);
  EXPECT_LT(latent_error(trtllm, "mla_decode_h100_sxm_trtllm-1.3.0rc20.csv", "kv_len", true), 0.10);
  EXPECT_LT(latent_error(sglang, "mla_prefill_h100_sxm_sglang-0.5.14.csv", "seq", true), 0.08);
  EXPECT_LT(latent_error(trtllm, "mla_prefill_h100_sxm_trtllm-1.3.0rc20.csv", "seq", false), 0.10);
  const KernelCost b200 = cost(testing::b200(), "b200_sxm-trtllm");
  EXPECT_LT(latent_error(b200, "mla_decode_b200_sxm_trtllm-1.3.0rc20.csv", "kv_len", true), 0.12);
  EXPECT_LT(latent_error(b200, "mla_prefill_b200_sxm_trtllm-1.3.0rc20.csv", "seq", false), 0.08);
}

}  // namespace
}  // namespace moesim
