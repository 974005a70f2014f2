#include "case_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace moesim::calibrate {

namespace {

using Fields = std::vector<std::string>;
using Names = std::vector<std::string_view>;

/// Five significant digits; times in microseconds.
std::string number(double value) {
  return fmt::format("{:.5g}", value);
}
std::string microseconds(const Timing& timing) {
  return number(timing.median * 1e6);
}

Names key_names(Family family) {
  switch (family) {
    case Family::gemm:
      return {"dtype", "kernel", "m", "n", "k"};
    case Family::quantize:
      return {"kernel", "m", "k"};
    case Family::grouped_gemm:
      return {"dtype", "kernel",      "num_experts",       "num_gpus",        "num_local_experts",
              "topk",  "hidden_size", "intermediate_size", "seq_len_per_gpu", "dist"};
    case Family::moe:
      return {"dtype", "kernel", "tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "dist"};
    case Family::memory_pass:
      return {"kernel", "tokens", "hidden", "inter", "topk", "experts"};
    case Family::attn_decode:
      return {"dtype", "kv_dtype", "kernel", "batch", "kv_len", "q_heads", "kv_heads", "head_dim", "window"};
    case Family::attn_prefill:
      return {"dtype", "kv_dtype", "kernel", "batch", "seq", "q_heads", "kv_heads", "head_dim", "window"};
    case Family::mla_decode:
      return {"dtype", "kv_dtype", "kernel", "batch", "kv_len", "q_heads"};
    case Family::mla_prefill:
      return {"dtype", "kv_dtype", "kernel", "batch", "seq", "q_heads"};
    case Family::mla_bmm:
      return {"dtype", "op", "tokens", "heads"};
    case Family::nccl:
      return {"collective", "bytes", "dtype", "ranks"};
    case Family::alltoallv:
      return {"collective", "bytes", "dtype", "ranks", "imbalance"};
    case Family::memory:
      return {"kernel", "bytes"};
  }
  fail_invariant(__FILE__, __LINE__, "no such family");
}

Names value_names(Family family) {
  switch (family) {
    case Family::grouped_gemm:
      return {"tokens_per_expert", "up_proj_us", "up_mfu", "down_proj_us", "down_mfu"};
    case Family::memory_pass:
      return {"bytes", "latency_us"};
    case Family::nccl:
    case Family::alltoallv:
      return {"system",   "intra_link", "inter_link", "nodes",      "gpus_per_node", "library",  "lib_version",
              "data_dir", "time_us",    "algbw_GBps", "busbw_GBps", "rep",           "source_id"};
    case Family::memory:
      return {"latency_us", "GBps"};
    case Family::gemm:
    case Family::quantize:
    case Family::moe:
    case Family::attn_decode:
    case Family::attn_prefill:
    case Family::mla_decode:
    case Family::mla_prefill:
    case Family::mla_bmm:
      return {"latency_us"};
  }
  fail_invariant(__FILE__, __LINE__, "no such family");
}

/// Values of the key columns for every shape.
struct KeyFields {
  const Case& measured;

  Fields operator()(const GemmCase& c) const {
    return {std::string(name(c.precision)), measured.kernel, std::to_string(c.m), std::to_string(c.n),
            std::to_string(c.k)};
  }
  Fields operator()(const QuantizeCase& c) const {
    return {std::string(c.pass), std::to_string(c.m), std::to_string(c.k)};
  }
  Fields operator()(const MoeCase& c) const {
    if (measured.family == Family::grouped_gemm) {
      // The rank's share of the width, and the tokens that one rank brings: the group holds ep times as many.
      return {std::string(name(c.precision)),
              measured.kernel,
              std::to_string(c.experts),
              std::to_string(c.ep),
              std::to_string(c.experts / c.ep),
              std::to_string(c.top_k),
              std::to_string(c.hidden),
              std::to_string(c.inter / c.tp),
              number(static_cast<double>(c.tokens) / c.ep),
              std::string(c.skew.name)};
    }
    return {std::string(name(c.precision)), measured.kernel,         std::to_string(c.tokens),
            std::to_string(c.hidden),       std::to_string(c.inter), std::to_string(c.top_k),
            std::to_string(c.experts),      std::to_string(c.tp),    std::to_string(c.ep),
            std::string(c.skew.name)};
  }
  Fields operator()(const MoePartCase& c) const {
    return {std::string(c.part),         std::to_string(c.moe.tokens), std::to_string(c.moe.hidden),
            std::to_string(c.moe.inter), std::to_string(c.moe.top_k),  std::to_string(c.moe.experts / c.moe.ep)};
  }
  Fields operator()(const AttentionCase& c) const {
    return {"bfloat16",
            "bfloat16",
            measured.kernel,
            std::to_string(c.batch),
            std::to_string(c.length),
            std::to_string(c.query_heads),
            std::to_string(c.kv_heads),
            std::to_string(c.head_dim),
            "0"};
  }
  Fields operator()(const LatentCase& c) const {
    return {"bfloat16",
            "bfloat16",
            measured.kernel,
            std::to_string(c.batch),
            std::to_string(c.length),
            std::to_string(c.query_heads)};
  }
  Fields operator()(const HeadProductCase& c) const {
    return {"bfloat16", std::string(c.op), std::to_string(c.tokens), std::to_string(c.heads)};
  }
  Fields operator()(const CollectiveCase& c) const {
    Fields fields{std::string(c.collective), std::to_string(c.bytes), "bfloat16", std::to_string(c.ranks)};
    if (measured.family == Family::alltoallv) fields.push_back(number(c.imbalance));
    return fields;
  }
  Fields operator()(const MemoryCase& c) const { return {std::string(c.what), std::to_string(c.bytes)}; }
};

Fields value_fields(const Case& measured, const Measured& result, const Provenance& provenance) {
  const Timing& time = result.times.front();
  if (measured.family == Family::grouped_gemm) {
    const auto& c = std::get<MoeCase>(measured.shape);
    const double rows = static_cast<double>(c.tokens) * c.top_k / c.experts;
    return {number(rows), microseconds(time), "", microseconds(result.times[1]), ""};
  }
  if (measured.family == Family::memory_pass) {
    return {std::to_string(bytes_of(std::get<MoePartCase>(measured.shape), seed_of(measured))), microseconds(time)};
  }
  if (measured.family == Family::nccl || measured.family == Family::alltoallv) {
    const auto& c = std::get<CollectiveCase>(measured.shape);
    const double rate = static_cast<double>(c.bytes) / time.median / 1e9;
    const std::string& version = provenance.version_of("nccl");
    // The links are not known here: predict takes the standard node of the GPU, or --cluster.
    return {provenance.gpu,
            "standard",
            "",
            std::to_string(provenance.nodes),
            std::to_string(provenance.gpus_per_node),
            "NCCL",
            version,
            "",
            microseconds(time),
            number(rate),
            number(rate * bus_factor(c.collective, c.ranks)),
            "0",
            "local"};
  }
  if (measured.family == Family::memory) {
    const auto& c = std::get<MemoryCase>(measured.shape);
    // A copy on the device reads and writes: the bytes that cross its memory are twice the size.
    const double moved = static_cast<double>(c.bytes) * (c.what == "copy" ? 2 : 1);
    return {microseconds(time), c.bytes > 0 ? number(moved / time.median / 1e9) : ""};
  }
  return {microseconds(time)};
}

}  // namespace

const std::string& Provenance::version_of(std::string_view provider) const {
  if (provider == "cublas") return cublas;
  if (provider == "cudnn") return cudnn;
  if (provider == "nccl") return nccl;
  return cuda;
}

std::vector<std::string_view> columns(Family family) {
  Names names = key_names(family);
  for (const std::string_view name : value_names(family)) names.push_back(name);
  for (const std::string_view name :
       {"gpu", "provider", "version", "spread", "date", "driver", "repeats", "outliers", "sm_clock_MHz"}) {
    names.push_back(name);
  }
  return names;
}

std::size_t key_columns(Family family) {
  return key_names(family).size();
}

std::size_t times_of(Family family) {
  return family == Family::grouped_gemm ? 2 : 1;
}

std::vector<std::string> shape_fields(const Case& measured) {
  return std::visit(KeyFields{measured}, measured.shape);
}

std::string key_of(const Case& measured) {
  std::string key;
  for (const std::string& field : shape_fields(measured)) key += field + ',';
  return key + measured.provider;
}

std::vector<std::string> row_fields(const Case& measured, const Measured& result, const Provenance& provenance) {
  MOESIM_CHECK(result.times.size() == times_of(measured.family), "{} times of {}", result.times.size(),
               name(measured.family));
  Fields fields = shape_fields(measured);
  for (std::string& field : value_fields(measured, result, provenance)) fields.push_back(std::move(field));
  double spread = 0;
  int repeats = result.times.front().repeats, outliers = 0;
  for (const Timing& time : result.times) {
    spread = std::max(spread, time.spread);
    repeats = std::min(repeats, time.repeats);
    outliers += time.outliers;
  }
  for (const std::string& field :
       {provenance.gpu, measured.provider, provenance.version_of(measured.provider), number(spread), provenance.date,
        provenance.driver, std::to_string(repeats), std::to_string(outliers),
        result.sm_clock > 0 ? std::to_string(result.sm_clock) : std::string()}) {
    fields.push_back(field);
  }
  return fields;
}

double bus_factor(std::string_view collective, int ranks) {
  const double n = ranks;
  if (collective == "all_reduce") return 2 * (n - 1) / n;
  if (collective == "send_recv") return 1;
  return (n - 1) / n;
}

}  // namespace moesim::calibrate
