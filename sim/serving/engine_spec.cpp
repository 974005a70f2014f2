#include "serving/engine_spec.h"

#include "parallel/graph_sizes.h"

namespace moesim {

std::string_view name(EnginePreset preset) {
  switch (preset) {
    case EnginePreset::vllm:
      return "vllm";
    case EnginePreset::sglang:
      return "sglang";
    case EnginePreset::trtllm:
      return "trtllm";
  }
  return "";
}

/// Assumes one Python scheduler process for vLLM and SGLang and a C++ runtime for TensorRT-LLM. No table measures these
/// times apart from kernels: they are stated orders of magnitude, not fits, and a scenario may replace them
/// (/engine/host). One HTTP request with tokenization: about 2 ms + 1 us a token (HF fast tokenizers make 1M tokens/s).
HostTimes default_host_times(EnginePreset preset) {
  HostTimes times;
  times.request = Duration::microseconds(2000);
  times.per_input_token = Duration::microseconds(1);
  times.detokenize = Duration::microseconds(200);
  switch (preset) {
    case EnginePreset::vllm:
      times.step = Duration::microseconds(1000);
      times.per_sequence = Duration::microseconds(4);
      break;
    case EnginePreset::sglang:
      times.step = Duration::microseconds(800);
      times.per_sequence = Duration::microseconds(3);
      break;
    case EnginePreset::trtllm:
      times.step = Duration::microseconds(300);
      times.per_sequence = Duration::microseconds(1);
      break;
  }
  return times;
}

/// vLLM: fused_add_rms_norm; torch.compile fuses activation quantisation into norm and SiLU (fusion pass); rotary and
/// reshape_and_cache are two kernels; one flash_attn_varlen_func over all sequences of a batch. SGLang: the same norm,
/// block quantisation as a kernel of its own. TensorRT-LLM: norm+quantise and SwiGLU+quantise plug-ins, rope inside the
/// attention kernel.
FusionTable default_fusions(EnginePreset preset) {
  FusionTable fusions;
  switch (preset) {
    case EnginePreset::vllm:
      fusions.quantize_with_norm = fusions.quantize_with_activation = true;
      fusions.mixed_attention = true;
      break;
    case EnginePreset::sglang:
      break;
    case EnginePreset::trtllm:
      fusions.quantize_with_norm = fusions.quantize_with_activation = true;
      fusions.rope_with_cache_write = true;
      break;
  }
  return fusions;
}

/// vLLM sends chunks of VLLM_MOE_DP_CHUNK_SIZE 256 tokens [vllm: envs.py]; SGLang's buffer holds
/// SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK 128 [sglang: environ.py], and a larger step fails there. Assumes
/// vLLM's for TensorRT-LLM.
std::int64_t default_max_dispatch_tokens(EnginePreset preset) {
  switch (preset) {
    case EnginePreset::vllm:
    case EnginePreset::trtllm:
      return 256;
    case EnginePreset::sglang:
      return 128;
  }
  return 256;
}

ExecutionSpec execution_spec(const EngineSpec& engine) {
  ExecutionSpec spec;
  spec.plan = engine.plan;
  spec.network = engine.network;
  spec.backend = engine.all2all_backend;
  spec.decode_backend = engine.decode_backend;
  spec.max_dispatch_tokens = engine.max_dispatch_tokens_per_rank;
  spec.redundant_experts = engine.num_redundant_experts;
  spec.fusion = engine.fusion;
  spec.activation = engine.activation;
  spec.kv_cache = engine.kv_cache;
  spec.cuda_graphs = engine.cuda_graphs;
  // vLLM captures up to min(2 max_num_seqs, 512) tokens and piecewise graphs serve steps with prefill; the others
  // replay graphs for pure decode steps.
  spec.largest_graph = largest_graph(engine.max_num_seqs);
  spec.graphs_hold_prefill = engine.preset == EnginePreset::vllm;
  return spec;
}

}  // namespace moesim
