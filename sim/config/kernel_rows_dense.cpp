// Products, quantisation, recurrences and streams.

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "config/json_reader.h"
#include "config/kernel_rows.h"

namespace moesim {

namespace {

constexpr double kActivation = 2;                   // bytes of a bf16 element
constexpr std::int64_t kNope = 128, kLatent = 512;  // head size and latent of the MLA of DeepSeek
constexpr std::int64_t kConvolution = 4;            // taps of the short convolution before a gated delta net

std::string gemm_section(const GemmShape& shape) {
  return fmt::format("{}/{}", shape.batched() ? "mla_bmm" : "gemm", name(shape.weight));
}

/// Tables of serving engines time the dynamic quantisation of the input with a product of narrow activations
/// [aiconfigurator]; DeepGEMM, cuBLAS and our own kernels are timed alone.
bool times_quantisation(std::string_view provider, DataType activation) {
  return bits_per_element(activation) < 12 && (provider == "trtllm" || provider == "vllm" || provider == "sglang");
}

KernelSample product(KernelOp op, const GemmShape& shape, bool quantizes, double seconds) {
  KernelSample sample;
  sample.op = op;
  sample.section = gemm_section(shape);
  sample.timed = TimedGemm{shape, quantizes};
  sample.shape = fmt::format("n {} k {}", shape.n, shape.k);
  sample.measured = seconds;
  return sample;
}

KernelSample pass(std::string_view what, double bytes, double seconds) {
  KernelSample sample;
  sample.op = KernelOp::memory_pass;
  sample.section = "memory_pass";
  sample.timed = TimedPass{Bytes::ceil(std::min(bytes, 1e18))};
  sample.shape = what;
  sample.measured = seconds;
  return sample;
}

}  // namespace

std::optional<double> KernelRow::seconds(std::string_view column) const {
  const auto microseconds = fields.number(column);
  if (!microseconds) return std::nullopt;
  // Nothing on a GPU ends sooner than a launch, and a kernel of minutes is milliseconds or nanoseconds misread.
  if (*microseconds < 0.1 || *microseconds > 1e8) {
    fields.fail(fmt::format("{}: expected microseconds, 0.1 to 1e8, got {}", column, echo(fields.text(column))));
  }
  return *microseconds * 1e-6;
}

std::optional<double> KernelRow::first_seconds(std::initializer_list<std::string_view> columns) const {
  for (const std::string_view column : columns) {
    if (const auto found = seconds(column)) return found;
  }
  return std::nullopt;
}

Formats formats(const TableRow& row, std::string_view column, Formats otherwise) {
  constexpr std::array<std::pair<std::string_view, Formats>, 14> known{{
      {"bfloat16", {DataType::bf16, DataType::bf16}},
      {"bf16", {DataType::bf16, DataType::bf16}},
      {"float16", {DataType::fp16, DataType::fp16}},
      {"fp16", {DataType::fp16, DataType::fp16}},
      {"fp8", {DataType::fp8, DataType::fp8}},
      {"fp8_block", {DataType::fp8_block, DataType::fp8_block}},
      {"int8", {DataType::int8, DataType::int8}},
      {"int8_wo", {DataType::int8, DataType::bf16}},
      {"int4_wo", {DataType::int4, DataType::bf16}},
      {"nvfp4", {DataType::nvfp4, DataType::nvfp4}},
      {"mxfp4", {DataType::mxfp4, DataType::mxfp4}},
      {"w4a16_mxfp4", {DataType::mxfp4, DataType::bf16}},
      {"w4a8_mxfp4_mxfp8", {DataType::mxfp4, DataType::fp8}},
      {"fp32", {DataType::fp32, DataType::fp32}},
  }};
  if (!row.has(column)) return otherwise;
  const std::string_view text = row.text(column);
  std::vector<std::string> names;
  for (const auto& [spelling, found] : known) {
    if (spelling == text) return found;
    names.emplace_back(spelling);
  }
  const auto near = nearest(text, names);
  row.fail(fmt::format("{}: expected a number format, got {}{}", column, echo(text),
                       near ? "; did you mean " + *near + "?" : std::string()));
}

void read_gemm_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  // InferSim's table has no such column: DeepGEMM in fp8 [infersim].
  if (!f.has("dtype") && row.provider != "deepgemm") f.fail("missing column dtype, which --op gemm needs");
  const Formats types = formats(f, "dtype", {DataType::fp8_block, DataType::fp8_block});
  const GemmShape shape{.m = f.count("m"),
                        .n = f.count("n"),
                        .k = f.count("k"),
                        .weight = types.weight,
                        .activation = types.activation,
                        .batch = f.count_or("batch", 1)};
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  const bool quantizes = !shape.batched() && times_quantisation(row.provider, types.activation);
  out.samples.push_back(product(KernelOp::gemm, shape, quantizes, *time));
}

void read_mla_bmm_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  const std::string_view op = f.text("op");
  if (op != "mla_gen_pre" && op != "mla_gen_post") {
    f.fail(fmt::format("op: expected mla_gen_pre or mla_gen_post, got {}", echo(op)));
  }
  const bool before = op == "mla_gen_pre";
  Formats types = formats(f, "dtype", {});
  if (row.provider == "trtllm" && types.weight == DataType::fp8) {
    // Scales by block; on Blackwell the weights are widened when the model is loaded [trtllm]: fp8 and bf16 rows of
    // B200 agree within 1 %.
    const bool widened = row.gpu != nullptr && row.gpu->architecture.starts_with("blackwell");
    types.weight = types.activation = widened ? DataType::bf16 : DataType::fp8_block;
  }
  const GemmShape shape{.m = f.count("tokens"),
                        .n = before ? kLatent : kNope,
                        .k = before ? kNope : kLatent,
                        .weight = types.weight,
                        .activation = types.activation,
                        .batch = f.count("heads"),
                        .in_batch = true};
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  KernelSample sample = product(KernelOp::mla_bmm, shape, false, *time);
  sample.section = fmt::format("mla_bmm/{}", name(types.weight));
  sample.shape = fmt::format("{} heads {}", op, shape.batch);
  out.samples.push_back(std::move(sample));
}

void read_quantize_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  constexpr std::array<std::tuple<std::string_view, TimedQuantize::Pass, DataType>, 4> known{{
      {"compute_scale", TimedQuantize::Pass::scale, DataType::fp8},
      {"fp8_quantize", TimedQuantize::Pass::convert, DataType::fp8},
      {"fp8_block_quantize", TimedQuantize::Pass::convert, DataType::fp8_block},
      {"nvfp4_quantize", TimedQuantize::Pass::convert, DataType::nvfp4},
  }};
  const std::string_view kernel = f.text("kernel");
  const auto* const found =
      std::find_if(known.begin(), known.end(), [&](const auto& one) { return std::get<0>(one) == kernel; });
  if (found == known.end()) {
    f.fail(fmt::format("kernel: expected compute_scale, fp8_quantize, fp8_block_quantize or nvfp4_quantize, got {}",
                       echo(kernel)));
  }
  const TimedQuantize work{std::get<1>(*found), f.count("m"), f.count("k"), std::get<2>(*found)};
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  KernelSample sample;
  sample.op = KernelOp::quantize;
  sample.section = work.pass == TimedQuantize::Pass::scale ? "quantize_scale" : "quantize_convert";
  sample.timed = work;
  sample.shape = fmt::format("k {}", work.k);
  sample.measured = *time;
  out.samples.push_back(std::move(sample));
}

void read_linear_attention_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  const std::string_view kernel = f.text("kernel"), phase = f.text("phase");
  const bool decode = phase == "generation";
  if (!decode && phase != "context") f.fail(fmt::format("phase: expected context or generation, got {}", echo(phase)));
  const std::int64_t batch = f.count("batch"), tokens = f.count("tokens"), k_heads = f.count("k_heads"),
                     k_dim = f.count("k_dim"), v_heads = f.count("v_heads"), v_dim = f.count("v_dim");
  const double state =
      static_cast<double>(v_heads) * static_cast<double>(k_dim) * static_cast<double>(v_dim) * 4;  // fp32
  if (state > 1e12) f.fail(fmt::format("v_heads x k_dim x v_dim: a state of {:g} bytes", state));
  const double keys = static_cast<double>(k_heads * k_dim), values = static_cast<double>(v_heads * v_dim);
  // The short convolution streams q, k and v and keeps the last taps of a sequence.
  const bool convolution = kernel.find("conv") != std::string_view::npos;
  if (convolution != (row.op == KernelOp::memory_pass)) return out.skip(skip::other_kernel);
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  if (convolution) {
    const double channels = 2 * keys + values;
    const double moved = 2 * (static_cast<double>(tokens) + static_cast<double>(batch * (kConvolution - 1))) * channels;
    out.samples.push_back(pass("convolution", moved * kActivation, *time));
    return;
  }
  KernelSample sample;
  sample.op = KernelOp::linear_attention;
  sample.section = decode ? "recurrent_state" : "chunked_scan";
  TimedRecurrence work;
  work.shape = {.heads = v_heads,
                .key_dim = k_dim,
                .value_dim = v_dim,
                .state = Bytes::ceil(state),
                // q, k, v, result and two gates a head
                .token = Bytes::ceil((2 * keys + 2 * values + 2 * static_cast<double>(v_heads)) * kActivation)};
  if (decode) {
    work.work.decode_sequences = batch;
  } else {
    work.work = {
        .decode_sequences = 0, .prefill_sequences = batch, .prefill_tokens = tokens, .longest_prefill = f.count("seq")};
  }
  sample.timed = work;
  sample.shape = fmt::format("k {}x{} v {}x{}", k_heads, k_dim, v_heads, v_dim);
  sample.measured = *time;
  out.samples.push_back(std::move(sample));
}

void read_stream_row(const KernelRow& row, KernelRowSamples& out) {
  const std::string_view kernel = row.fields.text("kernel");
  // moesim-calibrate measures these in the table of its copies; none streams through the GPU's memory.
  for (const std::string_view other :
       {"host_to_device", "device_to_host", "kernel_launch", "graph_launch", "graph_node"}) {
    if (kernel == other) return out.skip(skip::other_kernel);
  }
  // The size of a copy is read and written.
  const std::int64_t bytes = row.fields.count("bytes", 1, 10'000'000'000'000) * (kernel == "copy" ? 2 : 1);
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  out.samples.push_back(pass(kernel.empty() ? "stream" : kernel, static_cast<double>(bytes), *time));
}

/// Heads of Qwen3 are 128 wide, those of Qwen3-Next 256, whatever hidden / heads [models/Qwen3-30B-A3B.json,
/// models/Qwen3-Next-80B-A3B-Instruct.json].
std::int64_t head_size(const LayerShape& shape, std::string_view model) {
  if (model.starts_with("Qwen3-30B") || model.starts_with("qwen3-a3b")) return 128;
  if (model.starts_with("qwen3-next")) return 256;
  return shape.hidden / shape.q_heads;
}

void read_layer_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  const bool named = f.has("layer");
  const std::string_view op = f.text(named ? "layer" : "op");
  const std::int64_t tokens = f.count(named ? "n" : "tokens");
  LayerShape shape;
  if (named) {
    if (row.model == nullptr) {
      f.fail("which model? the file name ends in no model's name, and there are no columns hidden, inter, q_heads");
    }
    shape = *row.model;
  } else {
    shape = {.hidden = f.count("hidden"),
             .inter = f.count("inter"),
             .q_heads = f.count("q_heads"),
             .kv_heads = f.count("kv_heads")};
    shape.head_dim = f.count_or("head_dim", head_size(shape, f.has("model") ? f.text("model") : ""));
  }
  const std::int64_t tp = f.count_or("tp", 1);
  const double t = static_cast<double>(tokens), h = static_cast<double>(shape.hidden);
  const std::int64_t queries = shape.q_heads * shape.head_dim / tp;
  const std::int64_t kv = std::max<std::int64_t>(1, shape.kv_heads / tp) * shape.head_dim, inter = shape.inter / tp;
  const auto time = row.first_seconds({"kernel_us", "latency_us", "time_us"});
  if (!time) return out.skip(f.has("event_us") ? skip::eager : skip::no_time);
  const auto gemm = [&](std::int64_t n, std::int64_t k) {
    if (row.op != KernelOp::gemm) return out.skip(skip::other_kernel);
    if (n < 1 || k < 1) return out.skip(skip::other_kernel);
    // Frontier's names of models end in the format of their weights; the operator contains the quantisation.
    const bool fp8 = f.has("model") && f.text("model").ends_with("-fp8");
    const DataType type = fp8 ? DataType::fp8 : DataType::bf16;
    out.samples.push_back(
        product(KernelOp::gemm, {.m = tokens, .n = n, .k = k, .weight = type, .activation = type}, fp8, *time));
  };
  const auto stream = [&](double elements) {
    if (row.op != KernelOp::memory_pass || elements <= 0) return out.skip(skip::other_kernel);
    out.samples.push_back(pass(op, elements * kActivation, *time));
  };
  const double rotated = static_cast<double>(queries + kv);
  if (op == "attn_pre_proj" || op == "qkv_proj") return gemm(queries + 2 * kv, shape.hidden);
  if (op == "attn_post_proj" || op == "o_proj") return gemm(shape.hidden, queries);
  if (op == "mlp_up_proj" || op == "gate_up_proj") return gemm(2 * inter, shape.hidden);
  if (op == "mlp_down_proj" || op == "down_proj") return gemm(shape.hidden, inter);
  if (op == "lm_head") return gemm(shape.vocabulary, shape.hidden);
  if (op == "mlp_act" || op == "act_fn") return stream(3 * t * static_cast<double>(inter));
  if (op == "attn_rope" || op == "rotary_emb") return stream(2 * t * rotated);
  if (op == "qk_norm") return stream(2 * t * rotated);
  if (op == "add") return stream(3 * t * h);
  // vLLM's norm adds the residual: it reads and writes both. Profilers that time an add of their own do not.
  if (op == "layernorm" || op == "final_layernorm") return stream(4 * t * h);
  if (op == "input_layernorm" || op == "post_attention_layernorm") return stream(2 * t * h);
  if (op == "emb" || op == "embedding") return stream(2 * t * h);
  out.skip(skip::other_kernel);
}

}  // namespace moesim
