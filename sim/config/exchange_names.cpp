#include "config/exchange_names.h"

#include <algorithm>

namespace moesim {

namespace {

constexpr ExchangeChoice both(MoeBackend backend) {
  return {backend, backend};
}

constexpr std::string_view vllm_source = "vllm/config/parallel.py, All2AllBackend";
constexpr std::string_view sglang_source = "sglang/srt/server_args.py, MOE_A2A_BACKEND_CHOICES";

constexpr ExchangeName rows[] = {
    {"allgather_reducescatter", "vllm", both(MoeBackend::allgather_reducescatter), false,
     "all-gather of all tokens, reduce-scatter of the outputs; vLLM's default", vllm_source},
    {"naive", "vllm", both(MoeBackend::naive), false,
     "a broadcast from every rank, then an all-reduce; the default of older releases", vllm_source},
    {"pplx", "vllm", both(MoeBackend::pplx), false, "Perplexity's kernels, direct, in rounds; gone from newer releases",
     vllm_source},
    {"deepep_high_throughput", "vllm", both(MoeBackend::deepep_high_throughput), false,
     "DeepEP's normal kernels: once to each node, then NVLink", vllm_source},
    {"deepep_low_latency", "vllm", both(MoeBackend::deepep_low_latency), false,
     "DeepEP's low-latency kernels: one message a (token, expert), in rounds", vllm_source},
    {"flashinfer_all2allv", "vllm", both(MoeBackend::flashinfer_nvlink_two_sided), false,
     "the former name of flashinfer_nvlink_two_sided", vllm_source},
    {"flashinfer_nvlink_two_sided", "vllm", both(MoeBackend::flashinfer_nvlink_two_sided), false,
     "TensorRT-LLM's two-sided kernels inside one NVLink domain", vllm_source},
    {"flashinfer_nvlink_one_sided", "vllm", both(MoeBackend::flashinfer_nvlink_one_sided), false,
     "TensorRT-LLM's one-sided kernels inside one NVLink domain", vllm_source},
    {"deepep_v2", "vllm", std::nullopt, false, "DeepEP's second version", vllm_source},
    {"nixl_ep", "vllm", std::nullopt, false, "NIXL's elastic kernels", vllm_source},
    {"mori", "vllm, sglang", std::nullopt, false, "AMD's kernels", vllm_source},
    {"mori_high_throughput", "vllm", std::nullopt, false, "AMD's kernels between nodes", vllm_source},
    {"mori_low_latency", "vllm", std::nullopt, false, "AMD's low-latency kernels between nodes", vllm_source},
    {"none", "sglang", both(MoeBackend::allgather_reducescatter), false,
     "SGLang's default: all tokens gathered, the outputs scattered back", sglang_source},
    {"deepep", "sglang", ExchangeChoice{MoeBackend::deepep_high_throughput, MoeBackend::deepep_low_latency}, true,
     "DeepEP; /engine/deepep_mode chooses the kernels", sglang_source},
    {"mooncake", "sglang", both(MoeBackend::deepep_low_latency), true,
     "Mooncake's version of DeepEP's low-latency kernels, assumed as fast; it has no others",
     "sglang/srt/layers/moe/token_dispatcher/mooncake.py"},
    {"flashinfer", "sglang", both(MoeBackend::flashinfer_nvlink_one_sided), false,
     "TensorRT-LLM's one-sided kernels inside one NVLink domain",
     "sglang/srt/layers/moe/token_dispatcher/flashinfer.py"},
    {"nixl", "sglang", std::nullopt, false, "NIXL's elastic kernels", sglang_source},
    {"ascend_fuseep", "sglang", std::nullopt, false, "a fused kernel for Ascend NPUs", sglang_source},
    {"megamoe", "sglang", std::nullopt, false, "exchange and experts in one DeepGEMM kernel", sglang_source},
};

std::string words(bool only_unbuilt) {
  std::string list;
  for (const ExchangeName& row : rows) {
    if (only_unbuilt && row.choice) continue;
    list.append(list.empty() ? "" : " ").append(row.name);
  }
  return list;
}

}  // namespace

std::span<const ExchangeName> exchange_names() {
  return rows;
}

const ExchangeName* find_exchange_name(std::string_view name) {
  const auto row = std::find_if(std::begin(rows), std::end(rows), [name](const auto& r) { return r.name == name; });
  return row == std::end(rows) ? nullptr : row;
}

const std::string& exchange_words() {
  static const std::string all = words(false);
  return all;
}

const std::string& unbuilt_exchange_words() {
  static const std::string unbuilt = words(true);
  return unbuilt;
}

}  // namespace moesim
