#include "config/read_kernel_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "config/json_reader.h"
#include "config/routing_expectation.h"
#include "config/table_row.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

/// A table in a folder of its own.
class TableFile {
 public:
  TableFile(const std::string& name, const std::string& text) {
    static int count = 0;
    folder_ = fs::temp_directory_path() /
              ("moesim_kernel_table_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    fs::create_directories(folder_);
    path_ = folder_ / name;
    std::ofstream(path_) << text;
  }
  ~TableFile() { fs::remove_all(folder_); }
  TableFile(const TableFile&) = delete;
  TableFile& operator=(const TableFile&) = delete;
  std::string path() const { return path_.string(); }
  fs::path folder() const { return folder_; }

 private:
  fs::path folder_, path_;
};

KernelSamples read(KernelOp op, const std::string& name, const std::string& text, KernelTableOptions options = {}) {
  const TableFile file(name, text);
  options.op = op;
  return read_kernel_tables(std::vector<std::string>{file.path()}, options);
}

/// The message behind the file's name.
std::string error_of(KernelOp op, const std::string& name, const std::string& text) {
  const TableFile file(name, text);
  KernelTableOptions options;
  options.op = op;
  try {
    read_kernel_tables(std::vector<std::string>{file.path()}, options);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 4);
    const std::string message = error.what();
    return message.starts_with(file.path()) ? message.substr(file.path().size()) : message;
  }
  return "no error";
}

template <class Timed>
const Timed& timed(const KernelSamples& samples, std::size_t i = 0) {
  return std::get<Timed>(samples.samples.at(i).timed);
}

const std::string kGemm = "gemm_h100_sxm_trtllm-1.3.csv", kGemmHeader = "dtype,kernel,m,n,k,latency_us\n";
const std::string kMoeHeader = "dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,dist,latency_us,best_us,x_min\n";

TEST(KernelTable, BrokenTablesNameTheLine) {
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, ""), ": empty; expected a header and rows");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader), ": no rows behind the header");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, "dtype,m,n,k,latency\n"),
            ":1: missing column latency_us, which --op gemm needs; is latency it?");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, "dtype,m,m\n"), ":1: column 3: m stands twice");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "fp8,x,1,2,3\n"),
            ":2: 5 fields, expected 6 as in the header");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "fp8,x,8,128,nan,9\n"),
            ":2: k: expected a number that is not negative, got nan");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "fp8,x,8,128,64,-9\n"),
            ":2: latency_us: expected a number that is not negative, got -9");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "fp8,x,0,128,64,9\n"),
            ":2: m: expected a whole number of at least 1, got 0");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "fp8,x,8,128,64,9\nfp88,x,8,128,64,9\n"),
            ":3: dtype: expected a number format, got fp88; did you mean fp8?");
}

TEST(KernelTable, TimesInOtherUnitsAreRefused) {
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "bfloat16,x,1,128,64,0.0038\n"),
            ":2: latency_us: expected microseconds, 0.1 to 1e8, got 0.0038");
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "bfloat16,x,1,128,64,3e9\n"),
            ":2: latency_us: expected microseconds, 0.1 to 1e8, got 3e9");
  // 2 x 8192^3 = 1.0995e12 flops in 1.5 us.
  EXPECT_EQ(error_of(KernelOp::gemm, kGemm, kGemmHeader + "bfloat16,x,8192,8192,8192,1.5\n"),
            ":2: 1.5 us would be 7.33e+05 TFLOP/s, and h100_sxm has a peak of 989: is the time in other units?");
  // Keys and values of 64 x 16,384 tokens, queries and results: 64 x (16384 x 8 x 256 + 2 x 64 x 128) x 2 = 4.297e9
  // bytes.
  const std::string decode = "batch,kv_len,q_heads,kv_heads,head_dim,dtype,kv_dtype,latency_us\n";
  EXPECT_EQ(
      error_of(KernelOp::attn_decode, "attn_decode_h100_sxm_vllm.csv", decode + "64,16384,64,8,128,bf16,bf16,50\n"),
      ":2: 50 us would be 85.94 TB/s, and h100_sxm has a memory of 3.35: is the time in other units?");
  EXPECT_EQ(read(KernelOp::attn_decode, "attn_decode_h100_sxm_vllm.csv", decode + "64,16384,64,8,128,bf16,bf16,1400\n")
                .samples.size(),
            1U);
  EXPECT_EQ(error_of(KernelOp::moe, "moe_h100_sxm_trtllm.csv",
                     kMoeHeader + "bfloat16,x,1000,4096,14336,2,8,1,1,balanced,900,900,0.2\n"),
            ":2: x_min: expected the time over the least one of its series, at least 1");
  // 1,000 tokens x 2 experts x 3 x 2 x 4096 x 14336 = 7.0e11 flops.
  const std::string experts = error_of(KernelOp::moe, "moe_h100_sxm_trtllm.csv",
                                       kMoeHeader + "bfloat16,x,1000,4096,14336,2,8,1,1,balanced,1.5,1.5,1\n");
  EXPECT_NE(experts.find("TFLOP/s"), std::string::npos) << experts;
}

TEST(KernelTable, RepeatsAndFallingTimesAreCountedAndUsed) {
  const KernelSamples samples = read(KernelOp::gemm, kGemm,
                                     kGemmHeader +
                                         "bfloat16,x,64,128,64,9\n"
                                         "bfloat16,x,64,128,64,9\n"
                                         "bfloat16,x,64,128,64,10\n"
                                         "bfloat16,x,128,128,64,4\n"
                                         "bfloat16,x,256,128,128,3\n");
  EXPECT_EQ(samples.rows, 5);
  EXPECT_EQ(samples.samples.size(), 5U);
  const std::map<std::string, std::int64_t> expected{{"stands twice", 1},
                                                     {"stands twice, with another time", 1},
                                                     {"less than half the time of the next smaller size", 1}};
  EXPECT_EQ(samples.warnings, expected);
}

TEST(KernelTable, GpuAndProviderComeFromColumnsThenOptionsThenTheName) {
  const std::string row = "bfloat16,x,64,128,64,9\n";
  const KernelSamples named = read(KernelOp::gemm, kGemm, kGemmHeader + row);
  EXPECT_EQ(named.gpus.at(0).id, "h100_sxm");
  EXPECT_EQ(named.samples.at(0).provider, "trtllm");
  EXPECT_EQ(named.samples.at(0).version, "1.3");
  EXPECT_EQ(named.samples.at(0).section, "gemm/bf16");
  EXPECT_EQ(named.samples.at(0).line, 2);

  KernelTableOptions options;
  options.gpu = "a100_sxm";
  options.provider = "ours";
  // The option holds against the file's name, and is told of.
  EXPECT_EQ(read(KernelOp::gemm, kGemm, kGemmHeader + row, options)
                .warnings.at("of another GPU by the file's name than by --gpu, which holds"),
            1);
  const KernelSamples asked = read(KernelOp::gemm, "mine.csv", kGemmHeader + row, options);
  EXPECT_EQ(asked.gpus.at(0).id, "a100_sxm");
  EXPECT_EQ(asked.samples.at(0).provider, "ours");

  const KernelSamples columns = read(KernelOp::gemm, kGemm,
                                     "gpu,provider,dtype,m,n,k,latency_us\n"
                                     "A100-SXM4,cuBLAS,bf16,64,128,64,9\n"
                                     "abacus,cuBLAS,bf16,64,128,64,9\n"
                                     "H20,cuBLAS,bf16,64,128,64,9\n");
  EXPECT_EQ(columns.gpus.at(0).id, "a100_sxm");
  EXPECT_EQ(columns.samples.at(0).provider, "cublas");
  EXPECT_EQ(columns.samples.size(), 2U);
  EXPECT_EQ(columns.skipped.at("unknown GPU"), 1);
  const KernelSamples filtered = read(KernelOp::gemm, "x.csv",
                                      "gpu,provider,dtype,m,n,k,latency_us\n"
                                      "a100_sxm,ours,bf16,64,128,64,9\n"
                                      "h20,ours,bf16,64,128,64,9\n"
                                      "a100_sxm,cublas,bf16,64,128,64,9\n",
                                      options);
  EXPECT_EQ(filtered.samples.size(), 1U);
  const std::map<std::string, std::int64_t> skipped{{"another GPU than --gpu", 1},
                                                    {"another provider than --provider", 1}};
  EXPECT_EQ(filtered.skipped, skipped);

  EXPECT_EQ(error_of(KernelOp::gemm, "mine.csv", kGemmHeader + row),
            ":2: whose kernels are these? give --provider, a column provider, or a file name FAMILY_GPU_PROVIDER.csv");
  EXPECT_EQ(error_of(KernelOp::gemm, "mine.csv", "provider," + kGemmHeader + "ours," + row),
            ":2: which GPU is this of? give --gpu, a column gpu, or a file name FAMILY_GPU_PROVIDER.csv");
}

TEST(KernelTable, EnginesTimeTheQuantisationWithTheProduct) {
  const auto quantizes = [](const std::string& name, const std::string& type) {
    return timed<TimedGemm>(read(KernelOp::gemm, name, kGemmHeader + type + ",x,64,128,64,9\n")).quantizes;
  };
  EXPECT_TRUE(quantizes(kGemm, "fp8"));
  EXPECT_TRUE(quantizes(kGemm, "fp8_block"));
  EXPECT_FALSE(quantizes(kGemm, "bfloat16"));
  EXPECT_FALSE(quantizes("gemm_h100_sxm_ours.csv", "fp8"));
  // InferSim's table has no column dtype: DeepGEMM, fp8 by blocks, alone.
  const KernelSamples deep = read(KernelOp::gemm, "infersim_gemm.csv", "gpu,m,k,n,latency_us,mfu\nh20,16,64,32,9,0\n");
  EXPECT_EQ(deep.samples.at(0).provider, "deepgemm");
  EXPECT_FALSE(timed<TimedGemm>(deep).quantizes);
  EXPECT_EQ(timed<TimedGemm>(deep).shape.k, 64);
  EXPECT_EQ(deep.samples.at(0).section, "gemm/fp8_block");
}

TEST(KernelTable, ExpertRowsAreScoredOnTheBestVersionWhereTuned) {
  const KernelSamples samples = read(KernelOp::moe, "moe_h100_sxm_vllm.csv",
                                     kMoeHeader +
                                         "bfloat16,triton,16,64,256,2,8,2,4,balanced,90,80,1.2\n"
                                         "bfloat16,triton,16,64,256,2,8,2,4,balanced,90,80,1.6\n"
                                         "bfloat16,triton,16,64,256,2,8,8,4,balanced,90,80,1\n");
  ASSERT_EQ(samples.samples.size(), 1U);
  EXPECT_NEAR(samples.samples[0].measured, 80e-6, 1e-15);
  EXPECT_EQ(samples.samples[0].shape, "hidden 64 inter 256 topk 2 experts 8");
  const std::map<std::string, std::int64_t> skipped{{"badly tuned: x_min above 1.5", 1},
                                                    {"narrow shard: inter/tp below 64", 1}};
  EXPECT_EQ(samples.skipped, skipped);
  // 16 tokens x 2 over 8 experts: 4 rows an expert; two experts on the rank; token i chooses i and i + 4 mod 8, so that
  // the tokens 0, 1, 4, 5 of every 8 come to experts 0 and 1.
  const TimedExperts& experts = timed<TimedExperts>(samples);
  EXPECT_EQ(experts.shape.intermediate, 128);
  EXPECT_EQ(experts.shape.local_experts, 2);
  EXPECT_EQ(experts.load.rows, 8);
  EXPECT_EQ(experts.load.active, 2);
  EXPECT_EQ(experts.load.local_tokens, 8);
  EXPECT_EQ(experts.load.padded_rows[0], 32);
  EXPECT_FALSE(experts.layout);
}

TEST(KernelTable, WideExpertGroupsAreGroupedProducts) {
  const std::string header = "phase,dtype,world_tokens,hidden,inter,topk,experts,ep,dist,latency_us\n";
  const KernelSamples samples = read(KernelOp::moe_wideep, "moe_wideep_h100_sxm_sglang-0.5.csv",
                                     header +
                                         "decode,fp8_block,64,128,64,2,8,4,uniform,90\n"
                                         "prefill,fp8_block,64,128,64,2,8,4,uniform,900\n");
  ASSERT_EQ(samples.samples.size(), 2U);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).layout, GroupedLayout::masked);
  EXPECT_EQ(timed<TimedExperts>(samples, 1).layout, GroupedLayout::contiguous);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).load.rows, 32);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).host, 0);
  EXPECT_GT(timed<TimedExperts>(samples, 1).host, 0);
  // A balancer with as many slots as experts on 4 ranks: the fused op, its tokens as the table says.
  const KernelSamples balanced = read(KernelOp::moe_wideep, "moe_wideep_h100_sxm_trtllm-1.3.csv",
                                      "dtype,kernel,world_tokens,dp_tokens,rank0_tokens,hidden,inter,topk,experts,"
                                      "slots,ep,dist,latency_us\n"
                                      "fp8_block,cutlass,64,16,31,128,64,2,8,8,4,pl1.2_eplb,90\n"
                                      "fp8_block,cutlass,64,16,31,128,64,2,8,8,4,pl1.2,90\n");
  ASSERT_EQ(balanced.samples.size(), 2U);
  EXPECT_FALSE(timed<TimedExperts>(balanced, 0).layout);
  EXPECT_EQ(timed<TimedExperts>(balanced, 0).load.tokens, 31);
  EXPECT_LE(timed<TimedExperts>(balanced, 0).load.rows, timed<TimedExperts>(balanced, 1).load.rows);
}

TEST(KernelTable, GroupedProductsAreTwoTimesALine) {
  const KernelSamples samples =
      read(KernelOp::grouped_gemm, "infersim_grouped_gemm_decode_h20.csv",
           "gpu,num_experts,num_gpus,num_local_experts,topk,hidden_size,intermediate_size,batch_size_per_gpu,"
           "tokens_per_expert,up_proj_us,up_mfu,down_proj_us,down_mfu\n"
           "h20,8,2,4,2,128,64,16,8,20,0.1,10,0.1\n"
           "h20,8,2,4,2,128,64,2,1,9,0.1,5,0.1\n");
  ASSERT_EQ(samples.samples.size(), 4U);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).part, TimedExperts::Part::up);
  EXPECT_EQ(timed<TimedExperts>(samples, 1).part, TimedExperts::Part::down);
  EXPECT_NEAR(samples.samples[1].measured, 10e-6, 1e-15);
  // floor(8 u), u uniform from 0.7 to 1.3, has the mean (0.4 (5 + 10) + 6 + 7 + 8 + 9) / 4.8 = 7.5: of four experts 30.
  EXPECT_EQ(timed<TimedExperts>(samples, 0).load.rows, 30);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).load.active, 4);
  EXPECT_EQ(timed<TimedExperts>(samples, 0).load.padded_rows[0], 64);
  // floor(u) is zero for half of them.
  EXPECT_EQ(timed<TimedExperts>(samples, 2).load.rows, 2);
  EXPECT_EQ(timed<TimedExperts>(samples, 2).load.active, 2);
  EXPECT_EQ(samples.samples[0].section, "grouped_masked/fp8_block");
}

TEST(KernelTable, AttentionRowsSayWhatIsInSight) {
  const KernelSamples decode = read(KernelOp::attn_decode, "attn_decode_h100_sxm_vllm.csv",
                                    "dtype,kv_dtype,kernel,batch,kv_len,q_heads,kv_heads,head_dim,window,latency_us\n"
                                    "bfloat16,fp8,fa3,4,1000,32,8,128,0,9\n"
                                    "bfloat16,fp8,fa3,4,1000,32,8,128,100,9\n");
  EXPECT_EQ(decode.samples.at(0).section, "attention_decode/bf16/fp8/128");
  EXPECT_EQ(timed<TimedAttention>(decode, 0).decode.visible_keys, 4000);
  EXPECT_EQ(timed<TimedAttention>(decode, 1).decode.visible_keys, 400);

  const KernelSamples prefill = read(KernelOp::attn_prefill, "attn_prefill_h100_sxm_vllm.csv",
                                     "dtype,kv_dtype,batch,seq,q_heads,kv_heads,head_dim,window,latency_us\n"
                                     "bfloat16,bfloat16,2,10,4,1,64,0,9\n"
                                     "bfloat16,bfloat16,2,10,4,1,64,4,9\n");
  EXPECT_EQ(timed<TimedAttention>(prefill, 0).prefill.size(), 2U);
  EXPECT_EQ(timed<TimedAttention>(prefill, 0).prefill[0].pairs, 55);          // 1 + ... + 10
  EXPECT_EQ(timed<TimedAttention>(prefill, 1).prefill[0].pairs, 10 + 6 * 4);  // 1 + 2 + 3 + 4, then 4 each

  const KernelSamples mixed =
      read(KernelOp::attn_mixed, "llmservingsim_attention_mixed_rtx4090_llama3.1-8b.csv",
           "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n4,6,2,100,20\n0,0,2,100,20\n0,0,0,0,20\n");
  EXPECT_EQ(mixed.gpus.at(0).id, "rtx_4090");
  ASSERT_EQ(mixed.samples.size(), 2U);
  const TimedAttention& both = timed<TimedAttention>(mixed, 0);
  EXPECT_EQ(mixed.samples.at(0).section, "attention_mixed/bf16/bf16/128");
  EXPECT_EQ(mixed.samples.at(1).section, "attention_decode/bf16/bf16/128");  // steps only: their own kernel
  EXPECT_EQ(both.shape.query_heads, 32);
  EXPECT_EQ(both.shape.kv_heads, 8);
  EXPECT_EQ(both.decode.visible_keys, 200);
  EXPECT_EQ(both.prefill.at(0).pairs, 7 + 8 + 9 + 10);
  EXPECT_EQ(both.prefill.at(0).keys, 10);
}

TEST(KernelTable, LatentAttentionIsAbsorbedOrExpanded) {
  const std::string header = "dtype,kv_dtype,kernel,batch,seq,q_heads,latency_us\n", row = "bfloat16,fp8,x,1,16,32,9\n";
  const KernelSamples expanded = read(KernelOp::mla_prefill, "mla_prefill_h100_sxm_trtllm.csv", header + row);
  EXPECT_EQ(expanded.samples.at(0).section, "mla_prefill/bf16/fp8/expanded");
  EXPECT_EQ(timed<TimedAttention>(expanded).shape.key_dim, 192);
  EXPECT_EQ(timed<TimedAttention>(expanded).shape.kv_heads, 32);
  const KernelSamples absorbed = read(KernelOp::mla_prefill, "mla_prefill_h100_sxm_sglang.csv", header + row);
  EXPECT_EQ(absorbed.samples.at(0).section, "mla_prefill/bf16/fp8/absorbed");
  EXPECT_EQ(timed<TimedAttention>(absorbed).shape.value_dim, 512);
  const KernelSamples decode = read(KernelOp::mla_decode, "infersim_mla_decode_h20.csv",
                                    "gpu,heads_kvrank_rope,dtype,kv_dtype,batch_size,kv_len,latency_us,mfu\n"
                                    "h20,128-512-64,bf16,bf16,2,1024,25.1,0.1\n");
  EXPECT_EQ(timed<TimedAttention>(decode).shape.query_heads, 128);
  EXPECT_EQ(timed<TimedAttention>(decode).decode.visible_keys, 2048);
  EXPECT_EQ(decode.samples.at(0).provider, "flashmla");
}

TEST(KernelTable, SmallOperatorsAreProductsRecurrencesAndStreams) {
  const KernelSamples products = read(KernelOp::mla_bmm, "mla_bmm_h100_sxm_trtllm.csv",
                                      "dtype,op,tokens,heads,latency_us\nbfloat16,mla_gen_pre,4,16,9\n");
  EXPECT_EQ(timed<TimedGemm>(products).shape.n, 512);
  EXPECT_EQ(timed<TimedGemm>(products).shape.batch, 16);
  EXPECT_TRUE(timed<TimedGemm>(products).shape.batched());
  EXPECT_EQ(products.samples.at(0).section, "mla_bmm/bf16");
  const KernelSamples passes = read(KernelOp::quantize, "quantize_h100_sxm_trtllm.csv",
                                    "kernel,m,k,latency_us\ncompute_scale,8,64,7\nfp8_quantize,8,64,2\n");
  EXPECT_EQ(timed<TimedQuantize>(passes, 0).pass, TimedQuantize::Pass::scale);
  EXPECT_EQ(passes.samples.at(1).section, "quantize_convert");

  const std::string gdn =
      "kernel,phase,batch,seq,tokens,d_model,k_heads,k_dim,v_heads,v_dim,latency_us\n"
      "causal_conv1d_fn,context,2,8,16,64,2,16,4,16,4\n"
      "chunk_gated_delta_rule,context,2,8,16,64,2,16,4,16,12\n"
      "fused_recurrent_gated_delta_rule,generation,5,1,5,64,2,16,4,16,6\n";
  const KernelSamples scans = read(KernelOp::linear_attention, "gdn_h100_sxm_vllm.csv", gdn);
  ASSERT_EQ(scans.samples.size(), 2U);
  EXPECT_EQ(scans.skipped.at("another operator than --op"), 1);
  EXPECT_EQ(timed<TimedRecurrence>(scans, 0).work.prefill_tokens, 16);
  EXPECT_EQ(timed<TimedRecurrence>(scans, 0).shape.state.value, 4 * 16 * 16 * 4);
  EXPECT_EQ(scans.samples[1].section, "recurrent_state");
  EXPECT_EQ(read(KernelOp::memory_pass, "gdn_h100_sxm_vllm.csv", gdn).samples.size(), 1U);

  const std::string layers =
      "gpu,model,op,tokens,tp,hidden,inter,q_heads,kv_heads,time_us\n"
      "a100,m,attn_pre_proj,16,2,512,1024,8,4,9\n"
      "a100,m,mlp_act,16,2,512,1024,8,4,9\n"
      "a100,m,attn_rope,16,2,512,1024,8,4,9\n";
  const KernelSamples gemms = read(KernelOp::gemm, "vidur_mlp_ops.csv", layers);
  ASSERT_EQ(gemms.samples.size(), 1U);
  EXPECT_EQ(timed<TimedGemm>(gemms).shape.n, (8 + 2 * 4) * 64 / 2);
  EXPECT_EQ(timed<TimedGemm>(gemms).shape.k, 512);
  const KernelSamples streams = read(KernelOp::memory_pass, "vidur_mlp_ops.csv", layers);
  ASSERT_EQ(streams.samples.size(), 2U);
  EXPECT_EQ(timed<TimedPass>(streams, 0).bytes.value, 3 * 16 * 512 * 2);
  EXPECT_EQ(timed<TimedPass>(streams, 1).bytes.value, 2 * 16 * (8 + 4) * 64 / 2 * 2);

  const KernelSamples named = read(KernelOp::gemm, "frontier_linear_ops.csv",
                                   "gpu,model,op,tokens,hidden,inter,q_heads,kv_heads,tp,event_us,kernel_us\n"
                                   "h800,llama3.1-405b-fp8,mlp_down_proj,16,512,1024,8,4,2,9,9\n"
                                   "h800,Qwen3-30B-A3B-tiny,attn_post_proj,16,512,1024,8,4,2,9,9\n");
  ASSERT_EQ(named.samples.size(), 2U);
  EXPECT_EQ(named.samples.at(0).section, "gemm/fp8");
  EXPECT_TRUE(timed<TimedGemm>(named, 0).quantizes);
  EXPECT_EQ(timed<TimedGemm>(named, 1).shape.k, 8 * 128 / 2);  // heads of Qwen3 are 128 wide, not hidden / heads
}

TEST(RoutingExpectations, BalancedTokensSpreadEvenly) {
  RoutingExpectations routing;
  // One token of 8 choices over 128 experts on 8 ranks: one of its experts is on each rank.
  const ExpertLoad one = routing.load({1, 128, 8, 8, {}, 0});
  EXPECT_EQ(one.rows, 1);
  EXPECT_EQ(one.active, 1);
  EXPECT_EQ(one.padded_rows[4], 256);
  const ExpertLoad many = routing.load({1024, 128, 8, 8, {}, 0});
  EXPECT_EQ(many.rows, 1024);
  EXPECT_EQ(many.local_tokens, 1024);
  EXPECT_EQ(many.active, 16);
}

TEST(RoutingExpectations, SkewLoadsTheBusiestRankMore) {
  RoutingExpectations routing;
  const auto rows = [&](double alpha, std::int64_t ep) { return routing.load({1024, 128, 8, ep, alpha, 0}).rows; };
  EXPECT_EQ(rows(1.2, 1), 8192);      // all rows are on the only rank
  EXPECT_GT(rows(1.2, 8), 8192 / 8);  // the busiest of eight has more than its share
  EXPECT_LT(rows(0.2, 8), rows(1.2, 8));
  EXPECT_EQ(rows(1.2, 8), RoutingExpectations().load({1024, 128, 8, 8, 1.2, 0}).rows);
  // Redundant slots take from the busiest.
  EXPECT_LT(routing.load({1024, 128, 8, 8, 1.2, 160}).rows, rows(1.2, 8));
}

TEST(RoutingExpectations, ComputedLoadsAgreeWithTheSharedTable) {
  const fs::path table = fs::path(MOESIM_SHARED_DATA) / "kernels/moe_routing_expectation.csv";
  if (!fs::exists(table)) GTEST_SKIP() << "measured kernel tables are not here";
  RoutingExpectations given, computed;
  given.read(table);
  LineReader reader(table);
  TableRow row(reader);
  while (row.next()) {
    if (row.text("dist") != "balanced") continue;
    const ExpertLoad load =
        computed.load({row.count("tokens"), row.count("experts"), row.count("topk"), row.count("ep"), {}, 0});
    // Four digits are given.
    for (const auto& [column, value] :
         {std::pair("rows", load.rows), std::pair("active", load.active), std::pair("rank0_tokens", load.local_tokens),
          std::pair("pad16", load.padded_rows[0]), std::pair("pad256", load.padded_rows[4])}) {
      const double listed = row.number(column).value_or(-1);
      ASSERT_NEAR(static_cast<double>(value), listed, 6e-4 * listed) << column << " of line " << row.line();
    }
  }
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  for (const std::int64_t tokens : {1, 16, 256, 4096}) {
    for (const auto& [experts, top_k] : {std::pair(128, 8), std::pair(256, 8), std::pair(8, 2)}) {
      for (const std::int64_t ep : {1, 2, 8}) {
        SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(experts) + " experts, ep " +
                     std::to_string(ep));
        // Both are means of a few draws, in which rows of the busiest rank spread by a fifth.
        for (const double alpha : {1.01, 1.2}) {
          const ExpertLoad listed = given.load({tokens, experts, top_k, ep, alpha, 0});
          const ExpertLoad drawn = computed.load({tokens, experts, top_k, ep, alpha, 0});
          EXPECT_NEAR(real(drawn.rows), real(listed.rows), 0.2 * real(listed.rows) + 1);
          EXPECT_NEAR(real(drawn.active), real(listed.active), 0.12 * real(listed.active) + 1);
        }
      }
    }
  }
}

}  // namespace
}  // namespace moesim
