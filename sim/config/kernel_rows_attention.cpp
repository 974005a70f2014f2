// Attention: decode, prefill, MLA, mixed calls.

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "config/json_reader.h"
#include "config/kernel_rows.h"

namespace moesim {

namespace {

// DeepSeek's latent attention: latent and rope key in the absorbed form, 128 + 64 and 128 in the expanded one.
constexpr std::int64_t kLatent = 512, kRope = 64, kNope = 128;

std::int64_t first_count(const TableRow& f, std::string_view column, std::string_view other) {
  return f.count(f.has(column) ? column : other);
}

/// Query heads of InferSim's "128-512-64"; throws where latent and rope are not DeepSeek's.
std::int64_t latent_heads(const TableRow& f) {
  const std::string_view text = f.text("heads_kvrank_rope");
  std::int64_t heads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), heads);
  if (error != std::errc() || heads < 1 || std::string_view(end, text.data() + text.size()) != "-512-64") {
    f.fail(fmt::format("heads_kvrank_rope: expected HEADS-512-64, got {}", echo(text)));
  }
  return heads;
}

struct AttentionFormats {
  DataType math = DataType::bf16, cache = DataType::bf16;
};
AttentionFormats attention_formats(const TableRow& f) {
  const DataType math = formats(f, "dtype", {}).activation;
  return {math, formats(f, "kv_dtype", {math, math}).activation};
}

bool is_latent(KernelOp op) {
  return op == KernelOp::mla_decode || op == KernelOp::mla_prefill;
}

/// The heads of a row, as the section and the shape name them.
struct Heads {
  AttentionShape shape;
  std::string section, name;
};

Heads heads_of(const KernelRow& row, bool absorbed) {
  const TableRow& f = row.fields;
  const AttentionFormats types = attention_formats(f);
  Heads heads;
  AttentionShape& shape = heads.shape;
  shape.kv_cache = types.cache;
  shape.math = types.math;
  const auto types_text = fmt::format("{}/{}", name(types.math), name(types.cache));
  const bool decode = row.op == KernelOp::attn_decode || row.op == KernelOp::mla_decode;
  if (is_latent(row.op)) {
    shape.query_heads = f.has("heads_kvrank_rope") ? latent_heads(f) : f.count("q_heads");
    shape.latent = absorbed;
    shape.kv_heads = absorbed ? 1 : shape.query_heads;
    shape.key_dim = absorbed ? kLatent + kRope : kNope + kRope;
    shape.value_dim = absorbed ? kLatent : kNope;
    heads.section = decode ? fmt::format("mla_decode/{}/{}", types_text, kLatent + kRope)
                           : fmt::format("mla_prefill/{}/{}", types_text, absorbed ? "absorbed" : "expanded");
    heads.name = fmt::format("heads {}", shape.query_heads);
    return heads;
  }
  const bool from_model = !f.has("q_heads") && row.model != nullptr;
  if (!from_model && !f.has("q_heads")) {
    f.fail("which heads? the file name ends in no model's name, and there are no columns q_heads, kv_heads, head_dim");
  }
  shape.query_heads = from_model ? row.model->q_heads : f.count("q_heads");
  shape.kv_heads = from_model ? row.model->kv_heads : f.count("kv_heads");
  shape.key_dim = shape.value_dim = from_model ? row.model->head_dim : f.count("head_dim");
  if (shape.query_heads % shape.kv_heads != 0) {
    f.fail(fmt::format("kv_heads: expected a divisor of {} q_heads, got {}", shape.query_heads, shape.kv_heads));
  }
  const bool steps_only = row.op == KernelOp::attn_mixed && f.count("prefill_chunk", 0) == 0;
  const std::string_view family = decode || steps_only             ? "attention_decode"
                                  : row.op == KernelOp::attn_mixed ? "attention_mixed"
                                                                   : "attention_prefill";
  heads.section = fmt::format("{}/{}/{}", family, types_text, shape.key_dim);
  heads.name = fmt::format("q {} kv {} dim {}", shape.query_heads, shape.kv_heads, shape.key_dim);
  return heads;
}

/// Causal: token i of n over c cached ones sees min(c + i, window) keys.
PrefillWork causal(std::int64_t n, std::int64_t cached, std::int64_t window) {
  PrefillWork work{.new_tokens = n, .keys = cached + n, .pairs = 0};
  const auto growing = [](double from, double count) { return count * from + count * (count + 1) / 2; };
  const double all = static_cast<double>(n), before = static_cast<double>(cached), w = static_cast<double>(window);
  if (window == 0 || window >= cached + n) {
    work.pairs = growing(before, all);
  } else {
    const double rising = std::max(0.0, w - before);  // tokens that see fewer keys than the window
    work.pairs = growing(before, rising) + (all - rising) * w;
    work.keys = std::min(cached + n, window + n - 1);
  }
  return work;
}

KernelSample attention_sample(const KernelRow& row, Heads heads, double seconds) {
  KernelSample sample;
  sample.op = row.op;
  sample.section = std::move(heads.section);
  sample.shape = std::move(heads.name);
  sample.measured = seconds;
  return sample;
}

}  // namespace

void read_decode_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  Heads heads = heads_of(row, true);
  const std::int64_t batch = first_count(f, "batch", "batch_size"), length = f.count("kv_len");
  const std::int64_t window = f.count_or("window", 0, 0);
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  TimedAttention timed;
  timed.shape = heads.shape;
  timed.decode = {batch, batch * (window > 0 ? std::min(window, length) : length)};
  KernelSample sample = attention_sample(row, std::move(heads), *time);
  sample.timed = std::move(timed);
  out.samples.push_back(std::move(sample));
}

void read_prefill_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  // On Blackwell SGLang takes TensorRT-LLM's kernels, which are expanded: absorbed, 16,384 tokens of 128 heads in 8.6
  // ms would be 4.4 PFLOP/s.
  const bool blackwell = row.gpu != nullptr && row.gpu->architecture.starts_with("blackwell");
  const bool absorbed = f.has("form") ? f.text("form") == "absorbed" : row.provider == "sglang" && !blackwell;
  Heads heads = heads_of(row, absorbed);
  const std::int64_t batch = f.has("batch") ? f.count("batch", 1, 1'000'000) : 1, n = first_count(f, "seq", "seq_len");
  const auto time = row.seconds("latency_us");
  if (!time) return out.skip(skip::no_time);
  TimedAttention timed;
  timed.shape = heads.shape;
  timed.prefill.assign(static_cast<std::size_t>(batch),
                       causal(n, f.count_or("prefix", 0, 0), f.count_or("window", 0, 0)));
  KernelSample sample = attention_sample(row, std::move(heads), *time);
  sample.timed = std::move(timed);
  out.samples.push_back(std::move(sample));
}

void read_mixed_row(const KernelRow& row, KernelRowSamples& out) {
  const TableRow& f = row.fields;
  Heads heads = heads_of(row, false);
  const std::int64_t n = f.count("prefill_chunk", 0), cached = f.count("kv_prefill", 0),
                     sequences = f.count("n_decode", 0), length = f.count("kv_decode", 0);
  const auto time = row.first_seconds({"latency_us", "time_us"});
  if (!time) return out.skip(skip::no_time);
  if (n == 0 && (sequences == 0 || length == 0)) return out.skip(skip::no_rows);
  TimedAttention timed;
  timed.shape = heads.shape;
  if (sequences > 0) timed.decode = {sequences, sequences * length};
  if (n > 0) timed.prefill.push_back(causal(n, cached, 0));
  timed.one_kernel = n > 0;
  KernelSample sample = attention_sample(row, std::move(heads), *time);
  sample.timed = std::move(timed);
  out.samples.push_back(std::move(sample));
}

}  // namespace moesim
