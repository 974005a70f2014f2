#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "config/json_reader.h"
#include "config/read_comm_table.h"

namespace moesim {
namespace {

std::string file_with(const std::string& text) {
  static int count = 0;
  const auto path = std::filesystem::temp_directory_path() /
                    ("moesim_comm_table_" + std::to_string(::getpid()) + "_" + std::to_string(count++) + ".csv");
  std::ofstream(path) << text;
  return path.string();
}

CommSamples read(const std::string& text, CommTableOptions options = {}) {
  const std::vector<std::string> paths{file_with(text)};
  CommSamples samples = read_comm_tables(paths, options);
  std::filesystem::remove(paths[0]);
  return samples;
}

/// The message behind the file's name.
std::string error_of(const std::string& text, CommOp op = CommOp::nccl) {
  const std::string path = file_with(text);
  std::string message;
  try {
    CommTableOptions options;
    options.op = op;
    read_comm_tables(std::vector<std::string>{path}, options);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 4);
    message = error.what();
    if (message.starts_with(path)) message = message.substr(path.size());
  }
  std::filesystem::remove(path);
  return message;
}

const std::string kHeader = "system,nodes,gpus_per_node,ranks,library,collective,bytes,dtype,time_us\n";

TEST(CommTable, BrokenRowsNameTheirLine) {
  EXPECT_EQ(error_of(""), ": empty; expected a header and rows");
  EXPECT_EQ(error_of(kHeader), ": no rows behind the header");
  EXPECT_EQ(error_of(kHeader + "h100_sxm,1,8,8,NCCL,all_reduce,1024,half\n"),
            ":2: 8 fields, expected 9 as in the header");
  EXPECT_EQ(
      error_of(kHeader + "h100_sxm,1,8,8,NCCL,all_reduce,1024,half,12\nh100_sxm,1,8,8,NCCL,all_reduce,1k,half,12\n"),
      ":3: bytes: expected a number that is not negative, got 1k");
  EXPECT_EQ(error_of(kHeader + "h100_sxm,1,8,8,NCCL,allreduce,1024,half,12\n"),
            ":2: collective: expected all_reduce, all_gather, reduce_scatter, alltoall or send_recv, got allreduce");
  EXPECT_EQ(error_of("system,ranks,collective,bytes,times_us\nh100_sxm,8,all_reduce,1024,12\n"),
            ":1: missing column time_us or time_us_median, which --op nccl needs; is times_us it?");
  EXPECT_EQ(error_of("system,ranks,ranks\n"), ":1: column 3: ranks stands twice");
}

TEST(CommTable, RowsThatCannotBeUsedAreCountedByReason) {
  const CommSamples samples = read(kHeader +
                                   "h100_sxm,1,8,8,NCCL,all_reduce,1024,half,12\n"
                                   "h100_sxm,1,8,8,RCCL,all_reduce,1024,half,12\n"
                                   "abacus,1,8,8,NCCL,all_reduce,1024,half,12\n"
                                   "h100_sxm,1,8,8,NCCL,all_reduce,0,half,12\n"
                                   "h100_sxm,1,8,8,NCCL,all_reduce,1024,half,\n"
                                   "h100_sxm,1,8,16,NCCL,all_reduce,1024,half,12\n"
                                   "h100_sxm,1,8,1,NCCL,all_reduce,1024,half,12\n");
  EXPECT_EQ(samples.rows, 7);
  ASSERT_EQ(samples.samples.size(), 1U);
  EXPECT_NEAR(samples.samples[0].measured, 12e-6, 1e-15);
  const std::map<std::string, std::int64_t> expected{
      {"a library that the op is not of", 1}, {"unknown system", 1},      {"no bytes", 1}, {"no time", 1},
      {"ranks do not fit the system", 1},     {"fewer than two ranks", 1}};
  EXPECT_EQ(samples.skipped, expected);
}

TEST(CommTable, EagerRowsAreHostTime) {
  CommTableOptions options;
  options.op = CommOp::custom_allreduce;
  const CommSamples samples = read(
      "system,nodes,ranks,library,kernel,mode,bytes,time_us\n"
      "h100_sxm,1,8,vllm,vLLM_custom_graph,cuda_graph,1024,4.7\n"
      "h100_sxm,1,8,vllm,vLLM_custom_eager,eager,1024,47\n"
      "h100_sxm,1,8,sglang,TRTLLM,cuda_graph,1024,3.5\n",
      options);
  ASSERT_EQ(samples.samples.size(), 2U);
  EXPECT_EQ(samples.samples[0].curve, CostCurve::custom_all_reduce);
  EXPECT_EQ(samples.samples[1].curve, CostCurve::custom_all_reduce_trtllm);  // the kernel's, not who ran it
  EXPECT_EQ(samples.skipped.at("eager mode: host time"), 1);
}

TEST(CommHardware, OwnColumnsComeBeforeTheName) {
  const std::string header = "system,gpu,intra_link,inter_link,nodes,ranks,collective,bytes,time_us\n";
  const CommSamples samples = read(header +
                                   "mine,H100-SXM5-80GB,NVLink4+NVSwitch,4x400G IB,2,16,all_reduce,1024,40\n"
                                   "aws_p5,H100-SXM5-80GB,NVLink4+NVSwitch,32x100G EFA,2,16,all_reduce,1024,70\n"
                                   "lost,H9000,NVLink9,n/a,1,8,all_reduce,1024,40\n");
  ASSERT_EQ(samples.samples.size(), 2U);
  const ClusterSpec& mine = samples.systems[samples.samples[0].system].topology->cluster();
  EXPECT_EQ(mine.gpu, "h100_sxm");
  EXPECT_EQ(mine.nodes, 2);
  EXPECT_EQ(mine.nics_per_node, 4);
  EXPECT_EQ(mine.nic.bandwidth.value, 50e9);
  EXPECT_EQ(samples.samples[0].domains, 2U);
  const CommSystem& cloud = samples.systems[samples.samples[1].system];
  EXPECT_EQ(cloud.topology->cluster().nics_per_node, 32);
  EXPECT_EQ(cloud.profile.transport, "EFA v2");
  EXPECT_EQ(samples.skipped.at("unknown system"), 1);
}

TEST(CommHardware, AShippedFileThatTheSystemNamesIsThatOfTheRow) {
  // What import writes of each: GPU and links alone would be DGX boxes without a cloud's transport or 4:1 uplinks.
  const CommSamples samples = read(
      "system,gpu,intra_link,inter_link,nodes,ranks,collective,bytes,time_us\n"
      "aws-p4d,a100_sxm_40gb,switched 300 GB/s,4x100G EFA v1,2,16,all_reduce,1024,70\n"
      "leaf-spine-h100-4to1,h100_sxm,switched 450 GB/s,8x400G,2,16,all_reduce,1024,40\n"
      "aws-p5,b200_sxm,switched 900 GB/s,8x400G,2,16,all_reduce,1024,40\n");
  ASSERT_EQ(samples.samples.size(), 3U);
  const auto system = [&](std::size_t i) { return samples.systems[samples.samples[i].system]; };
  EXPECT_EQ(system(0).profile.transport, "EFA v1");
  EXPECT_EQ(system(1).topology->cluster().oversubscription, 4);
  EXPECT_EQ(system(2).gpu.id, "b200_sxm");  // another GPU than the file's
  EXPECT_EQ(system(2).profile.transport, "");
}

TEST(CommHardware, AnUnknownNetworkSkipsTheRowAndNamesTheKnownOnes) {
  const auto rows = [](const std::string& inter_link, const std::string& nodes) {
    return read("system,gpu,intra_link,inter_link,nodes,ranks,collective,bytes,time_us\nmine,H100,NVLink4," +
                inter_link + "," + nodes + ",8,all_reduce,1024,40\n");
  };
  for (const char* wrong : {"8*400G IB", "400G", "5x400G IB", "8x400 RoCE", "8x0G IB", "carrier pigeon"}) {
    const CommSamples samples = rows(wrong, "2");
    EXPECT_TRUE(samples.samples.empty()) << wrong;
    EXPECT_EQ(samples.skipped.begin()->first,
              std::string("unknown inter_link ") + wrong +
                  "; expected NICs that share a node's 8 GPUs evenly, as 8x400G, or one of IB, RoCE, EFA, TCPX, NVL");
    EXPECT_EQ(rows(wrong, "1").samples.size(), 1U) << "in one node " << wrong << " carries nothing";
  }
  for (const char* known : {"", "n/a", "IB", "InfiniBand NDR", "infiniband", "RoCE", "efa", "8x RoCE CX-7", "8x400G?",
                            "4x400G (inferred)", "NVL72 (MNNVL)"}) {
    EXPECT_EQ(rows(known, "2").samples.size(), 1U) << known;
  }
}

TEST(CommHardware, NamesAreAliasesOrHoldAGpu) {
  const std::string header = "system,nodes,gpus_per_node_used,ranks,collective,bytes,time_us\n";
  const CommSamples samples = read(header +
                                   "vidur_a100_dgx,2,1,2,all_reduce,1024,40\n"
                                   "our h200_sxm box,1,8,8,all_reduce,1024,40\n"
                                   "vidur_h100_pairwise_nvlink,1,2,2,all_reduce,1024,40\n");
  ASSERT_EQ(samples.samples.size(), 2U);
  EXPECT_EQ(samples.systems[samples.samples[0].system].gpu.id, "a100_sxm");
  EXPECT_EQ(samples.systems[samples.samples[1].system].gpu.id, "h200_sxm");
  EXPECT_EQ(samples.skipped.at("unknown system"), 1);
}

TEST(CommHardware, AGivenClusterIsThatOfEveryRow) {
  CommTableOptions options;
  options.cluster = std::filesystem::path(MOESIM_SOURCE_DIR) / "topologies/cluster/dgx-b200.json";
  const CommSamples samples = read("collective,ep,bytes,time_us\nall_reduce,4,1024,15\nalltoall,8,1024,12\n", options);
  ASSERT_EQ(samples.samples.size(), 2U);
  EXPECT_EQ(samples.systems[samples.samples[0].system].gpu.id, "b200_sxm");
  EXPECT_EQ(samples.samples[1].curve, CostCurve::all_to_all);
  EXPECT_EQ(samples.samples[1].ranks, 8U);
}

TEST(CommTable, PublishedBandwidthsBecomeTimes) {
  // DeepEP README: 153 GB/s on NVLink count one copy a (token, rank): 8 x (1 - C(224, 8) / C(256, 8)) copies of 4,096
  // tokens of 7168 fp8 elements with a 4-byte scale for 128.
  CommTableOptions options;
  options.op = CommOp::deepep_normal;
  const CommSamples samples = read(
      "library,system,gpu,ep,nodes,tokens_per_rank,hidden,topk,sms,op,dtype,time_us,bw_GBps,bw_def\n"
      "DeepEP-normal,h800_cx7_ib,H800,8,1,4096,7168,8,20,dispatch,fp8,,153,nvlink\n"
      "DeepEP-normal,h800_cx7_ib,H800,8,1,4096,7168,8,20,combine,bf16,,158,nvlink (torch_api)\n",
      options);
  ASSERT_EQ(samples.samples.size(), 1U);
  double none = 1;
  for (int i = 0; i < 8; ++i) none *= (224.0 - i) / (256.0 - i);
  EXPECT_NEAR(samples.samples[0].measured, 4096 * 7392.0 * 8 * (1 - none) / 153e9, 1e-9);
  EXPECT_EQ(samples.samples[0].sms, 20);
  EXPECT_EQ(samples.skipped.at("time includes work around the kernel"), 1);
}

}  // namespace
}  // namespace moesim
