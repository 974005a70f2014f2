// Every family of rows from its inputs to its times, with CUDA and cuBLAS replaced by the host and the kernels
// emulated: buffers, offsets, layouts and checks of the device code, without a device.

#include "device/benches.h"

#include <gtest/gtest.h>

#include "device/collective_bench.h"
#include "emulated_launches.h"
#include "nccl_library.h"

namespace moesim::calibrate {

namespace {

/// The times of a row, or why it has none.
template <class Measure>
std::string outcome(const Measure& measure) {
  Machine machine(0);
  try {
    const Measured measured = measure(machine);
    for (const Timing& time : measured.times) {
      EXPECT_GT(time.median, 0);
      EXPECT_GE(time.repeats, kFewestRepeats);
    }
    return std::to_string(measured.times.size());
  } catch (const RowError& error) {
    return error.what();
  }
}
template <class Measure>
std::string outcome_with(Broken part, const Measure& measure) {
  broken = part;
  const std::string said = outcome(measure);
  broken = Broken::nothing;
  return said;
}

MoeCase moe(Precision precision, int ep) {
  return {precision, 48, 160, 96, 3, 16, 1, ep, ep == 1 ? kPowerLaw12 : kPowerLaw101};
}

TEST(Benches, MeasureProducts) {
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    EXPECT_EQ(outcome([&](Machine& m) { return measure_gemm(m, {precision, 9, 48, 64}, 77); }), "1");
  }
  for (const std::string_view op : {"mla_gen_pre", "mla_gen_post"}) {
    EXPECT_EQ(outcome([&](Machine& m) { return measure_head_product(m, {op, 3, 4}, 5); }), "1");
  }
}

TEST(Benches, MeasureQuantisation) {
  for (const std::string_view pass : {"compute_scale", "fp8_quantize"}) {
    EXPECT_EQ(outcome([&](Machine& m) { return measure_quantize(m, {pass, 33, 64}, 5); }), "1");
  }
  const std::string said =
      outcome_with(Broken::scale, [](Machine& m) { return measure_quantize(m, {"fp8_quantize", 33, 64}, 5); });
  EXPECT_NE(said.find("so it was not timed: compute_scale"), std::string::npos) << said;
}

TEST(Benches, MeasureTheMoeOpByEveryKernel) {
  for (const char* const kernel : {"cublaslt_loop", "mma_sync", "wgmma"}) {
    for (const Precision precision : {Precision::bf16, Precision::fp8}) {
      EXPECT_EQ(outcome([&](Machine& m) { return measure_moe(m, moe(precision, 1), kernel, 9); }), "1") << kernel;
      EXPECT_EQ(outcome([&](Machine& m) { return measure_grouped(m, moe(precision, 4), kernel, 8); }), "2") << kernel;
    }
  }
  EXPECT_EQ(outcome([](Machine& m) { return measure_moe(m, moe(Precision::bf16, 4), "cublas_grouped", 9); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_moe(m, moe(Precision::fp8, 1), "cublas_grouped", 9); }),
            "cublas_grouped: not for this GPU and data type");
}

TEST(Benches, MeasureThePartsOfTheMoeOp) {
  for (const std::string_view part :
       {"moe_gating_routing_topk", "moe_shuffling", "moe_activation", "moe_quantize", "moe_combine"}) {
    const MoePartCase c{part, {Precision::bf16, 20, 64, 32, 2, 8, 1, 1, kBalanced}};
    EXPECT_EQ(outcome([&](Machine& m) { return measure_moe_part(m, c, 4); }), "1") << part;
  }
}

TEST(Benches, TimeNoWrongPartOfTheMoeOp) {
  const std::pair<Broken, std::string> faults[] = {{Broken::router, "router"},
                                                   {Broken::product, "up projection"},
                                                   {Broken::combine, "combine: 1 elements were not written"}};
  for (const auto& [part, name] : faults) {
    const std::string said =
        outcome_with(part, [](Machine& m) { return measure_moe(m, moe(Precision::bf16, 1), "mma_sync", 9); });
    EXPECT_NE(said.find("the result is wrong, so it was not timed: " + name), std::string::npos) << said;
  }
}

TEST(Benches, MeasureAttention) {
  EXPECT_EQ(outcome([](Machine& m) { return measure_decode(m, {2, 300, 8, 2, 128}, 6); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_decode(m, {1, 1000, 16, 1, 64}, 6); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_latent_decode(m, {2, 150, 32}, 6); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_latent_decode(m, {1, 500, 16}, 6); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_prefill(m, {2, 150, 4, 2, 128}, "flash_mma", 7); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_prefill(m, {1, 128, 4, 2, 64}, "flash_mma", 7); }), "1");
  EXPECT_EQ(outcome([](Machine& m) { return measure_latent_prefill(m, {1, 100, 2}, "flash_mma", 7); }), "1");
  const std::string said = outcome_with(
      Broken::attention, [](Machine& m) { return measure_latent_prefill(m, {1, 100, 2}, "flash_mma", 7); });
  EXPECT_NE(said.find("so it was not timed: prefill attention"), std::string::npos) << said;
}

TEST(Benches, MeasureMemory) {
  for (const std::string_view what :
       {"copy", "host_to_device", "device_to_host", "kernel_launch", "graph_launch", "graph_node"}) {
    EXPECT_EQ(outcome([&](Machine& m) { return measure_memory(m, {what, 4096}, 8); }), "1") << what;
  }
}

/// NCCL of one process: calls wait for the end of their group, where all ranks have called.
struct Call {
  enum Kind { all_reduce, all_gather, reduce_scatter, send, receive } kind;
  const Bf16* from;
  Bf16* to;
  std::size_t count;
  int rank, peer;
};
std::vector<Call> calls;
bool lose_a_message = false;

int rank_of(NcclCommunicator communicator) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(communicator)) - 1;
}
int call(Call::Kind kind, const void* from, void* to, std::size_t count, NcclCommunicator communicator, int peer = 0) {
  calls.push_back({kind, static_cast<const Bf16*>(from), static_cast<Bf16*>(to), count, rank_of(communicator), peer});
  return 0;
}
int finish_group() {
  for (const Call& mine : calls) {
    const bool exchanges = mine.kind == Call::send || mine.kind == Call::receive;
    for (std::size_t i = 0; i < mine.count && !exchanges; ++i) {
      float sum = 0;
      for (const Call& other : calls) {
        if (other.kind != mine.kind) continue;
        const std::size_t start =
            mine.kind == Call::reduce_scatter ? static_cast<std::size_t>(mine.rank) * mine.count : 0;
        if (mine.kind == Call::all_reduce || mine.kind == Call::reduce_scatter) sum += to_float(other.from[start + i]);
        if (mine.kind == Call::all_gather)
          mine.to[static_cast<std::size_t>(other.rank) * mine.count + i] = other.from[i];
      }
      if (mine.kind == Call::all_reduce || mine.kind == Call::reduce_scatter) mine.to[i] = to_bf16(sum);
    }
    if (mine.kind != Call::receive || (lose_a_message && mine.rank == 1)) continue;
    std::size_t senders = 0;
    for (const Call& other : calls) {
      if (other.kind != Call::send || other.rank != mine.peer || other.peer != mine.rank) continue;
      EXPECT_EQ(other.count, mine.count);
      std::copy(other.from, other.from + other.count, mine.to);
      ++senders;
    }
    EXPECT_EQ(senders, 1u);
  }
  calls.clear();
  return 0;
}

NcclLibrary host_nccl() {
  NcclLibrary nccl;
  nccl.complete = true;
  nccl.get_unique_id = [](NcclId*) { return 0; };
  nccl.init_rank = [](NcclCommunicator* communicator, int, NcclId, int rank) {
    *communicator = reinterpret_cast<NcclCommunicator>(static_cast<std::intptr_t>(rank + 1));
    return 0;
  };
  nccl.destroy = [](NcclCommunicator) { return 0; };
  nccl.group_start = [] { return 0; };
  nccl.group_end = finish_group;
  nccl.all_reduce = [](const void* from, void* to, std::size_t n, int, int, NcclCommunicator c, void*) {
    return call(Call::all_reduce, from, to, n, c);
  };
  nccl.all_gather = [](const void* from, void* to, std::size_t n, int, NcclCommunicator c, void*) {
    return call(Call::all_gather, from, to, n, c);
  };
  nccl.reduce_scatter = [](const void* from, void* to, std::size_t n, int, int, NcclCommunicator c, void*) {
    return call(Call::reduce_scatter, from, to, n, c);
  };
  nccl.send = [](const void* from, std::size_t n, int, int peer, NcclCommunicator c, void*) {
    return call(Call::send, from, nullptr, n, c, peer);
  };
  nccl.receive = [](void* to, std::size_t n, int, int peer, NcclCommunicator c, void*) {
    return call(Call::receive, nullptr, to, n, c, peer);
  };
  nccl.error_string = [](int) { return "an error"; };
  return nccl;
}

TEST(Benches, MeasureCollectivesOfEveryKind) {
  const NcclLibrary nccl = host_nccl();
  CollectiveBench bench(nccl, 8, std::nullopt, 0);
  for (const int ranks : {2, 3, 8}) {
    for (const std::string_view collective : {"all_reduce", "all_gather", "reduce_scatter", "alltoall", "alltoallv"}) {
      const double imbalance = collective == "alltoallv" ? 1.5 : 1;
      for (const std::int64_t bytes : {512, 8192}) {
        const Measured measured = bench.measure({collective, ranks, bytes, imbalance}, 3);
        EXPECT_GT(measured.times.front().median, 0) << collective << ' ' << ranks;
      }
    }
  }
  EXPECT_GT(bench.measure({"send_recv", 2, 4096, 1}, 3).times.front().median, 0);
  lose_a_message = true;
  EXPECT_THROW(bench.measure({"alltoall", 3, 512, 1}, 3), RowError);
  lose_a_message = false;
}

}  // namespace

}  // namespace moesim::calibrate
