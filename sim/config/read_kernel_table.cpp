#include "config/read_kernel_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <unordered_map>

#include "config/json_reader.h"
#include "config/kernel_rows.h"
#include "config/kernel_table_names.h"
#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExpectations = "moe_routing_expectation.csv";
constexpr std::string_view kOtherGpu = "another GPU than --gpu", kOtherProvider = "another provider than --provider",
                           kOtherVersion = "another version than --lib-version", kUnknownGpu = "unknown GPU",
                           kSparseGpu = "a GPU whose multiprocessors are not known";
constexpr std::string_view kOtherName = "of another GPU by the file's name than by --gpu, which holds";
constexpr std::string_view kTwice = "stands twice", kTwiceOtherTime = "stands twice, with another time",
                           kFalls = "less than half the time of the next smaller size";
/// Columns that say what came out, or something of the measurement, not what was timed.
constexpr std::string_view kResults[] = {
    "latency_us", "best_us",   "x_min",   "mfu",    "up_proj_us", "up_mfu",    "down_proj_us", "down_mfu",  "time_us",
    "event_us",   "kernel_us", "spread",  "date",   "driver",     "clock_MHz", "util",         "load_cv",   "source",
    "note",       "gpu_name",  "repeats", "min_us", "max_us",     "p10_us",    "p90_us",       "spread_us", "samples"};
/// Columns that follow from the size.
constexpr std::string_view kFollowing[] = {"dp_tokens", "rank0_tokens", "batch_size_per_gpu", "seq_len_per_gpu"};

bool is_layer_table(const TableRow& row) {
  return row.has("layer") || (row.has("op") && row.has("tokens") && row.has("hidden"));
}

/// What an op cannot do without, alternatives parted by |, and the size along which its series run.
struct Columns {
  std::vector<std::string_view> needed;
  std::string_view size;
};
Columns columns(KernelOp op, const TableRow& row) {
  switch (op) {
    case KernelOp::gemm:
    case KernelOp::memory_pass:
      if (row.has("layer")) return {{"layer", "n", "time_us"}, "n"};
      if (is_layer_table(row)) {
        return {{"tokens", "inter", "q_heads", "kv_heads", "kernel_us|time_us|latency_us"}, "tokens"};
      }
      if (op == KernelOp::gemm) return {{"m", "n", "k", "latency_us"}, "m"};
      if (!row.has("phase")) return {{"bytes", "latency_us"}, "bytes"};
      [[fallthrough]];
    case KernelOp::linear_attention:
      return {{"kernel", "phase", "batch", "seq", "tokens", "k_heads", "k_dim", "v_heads", "v_dim", "latency_us"},
              "tokens"};
    case KernelOp::moe:
      if (row.has("activated_experts")) return {{"tokens", "time_us|latency_us"}, "tokens"};
      return {{"tokens", "hidden", "inter", "topk", "experts", "dist", "latency_us|best_us"}, "tokens"};
    case KernelOp::moe_wideep:
      return {{"world_tokens", "hidden", "inter", "topk", "experts", "ep", "dist", "latency_us"}, "world_tokens"};
    case KernelOp::grouped_gemm:
      return {{"num_experts", "num_local_experts", "topk", "hidden_size", "intermediate_size", "tokens_per_expert",
               "up_proj_us|down_proj_us"},
              "tokens_per_expert"};
    case KernelOp::attn_decode:
      return {{"batch|batch_size", "kv_len", "q_heads", "kv_heads", "head_dim", "latency_us"}, "kv_len"};
    case KernelOp::attn_prefill:
      return {{"seq|seq_len", "q_heads", "kv_heads", "head_dim", "latency_us"}, row.has("seq") ? "seq" : "seq_len"};
    case KernelOp::attn_mixed:
      return {{"prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us|latency_us"}, "kv_decode"};
    case KernelOp::mla_decode:
      return {{"batch|batch_size", "kv_len", "q_heads|heads_kvrank_rope", "latency_us"}, "kv_len"};
    case KernelOp::mla_prefill:
      return {{"seq|seq_len", "q_heads|heads_kvrank_rope", "latency_us"}, row.has("seq") ? "seq" : "seq_len"};
    case KernelOp::mla_bmm:
      return {{"op", "tokens", "heads", "latency_us"}, "tokens"};
    case KernelOp::quantize:
      return {{"kernel", "m", "k", "latency_us"}, "m"};
  }
  return {};
}

void read_row(const KernelRow& row, KernelRowSamples& out) {
  switch (row.op) {
    case KernelOp::gemm:
      return is_layer_table(row.fields) ? read_layer_row(row, out) : read_gemm_row(row, out);
    case KernelOp::memory_pass:
      if (is_layer_table(row.fields)) return read_layer_row(row, out);
      return row.fields.has("phase") ? read_linear_attention_row(row, out) : read_stream_row(row, out);
    case KernelOp::moe:
      return read_moe_row(row, out);
    case KernelOp::moe_wideep:
      return read_wideep_row(row, out);
    case KernelOp::grouped_gemm:
      return read_grouped_gemm_row(row, out);
    case KernelOp::attn_decode:
    case KernelOp::mla_decode:
      return read_decode_row(row, out);
    case KernelOp::attn_prefill:
    case KernelOp::mla_prefill:
      return read_prefill_row(row, out);
    case KernelOp::attn_mixed:
      return read_mixed_row(row, out);
    case KernelOp::mla_bmm:
      return read_mla_bmm_row(row, out);
    case KernelOp::quantize:
      return read_quantize_row(row, out);
    case KernelOp::linear_attention:
      return read_linear_attention_row(row, out);
  }
}

template <class List>
bool contains(const List& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

/// Finds rows that stand twice and times that fall with size, by the text of the other columns.
class SeriesCheck {
 public:
  SeriesCheck(const TableRow& row, std::string_view size) : size_(size) {
    for (const std::string& column : row.header()) {
      if (column == size || contains(kResults, column)) continue;
      (contains(kFollowing, column) ? following_ : fixed_).push_back(column);
    }
    // Of a linear-attention row the tokens are batch x seq.
    if (row.has("phase") && row.has("seq")) std::erase(fixed_, "seq");
  }

  void add(const TableRow& row, const std::vector<KernelSample>& samples, KernelSamples& all) {
    std::string key;
    for (const std::string& column : fixed_) key.append(row.text(column)) += ',';
    Series& series = series_[key];
    const double size = row.number(size_).value_or(0);
    std::string point(row.text(size_));
    for (const std::string& column : following_) (point += ',').append(row.text(column));
    for (const KernelSample& sample : samples) {
      const std::size_t part = &sample - samples.data();
      const auto [known, fresh] = series.times.try_emplace({point, part}, sample.measured);
      if (!fresh) {
        ++all.warnings[std::string(known->second == sample.measured ? kTwice : kTwiceOtherTime)];
      } else {
        series.sizes.push_back({part, size, sample.measured});
      }
    }
  }

  void finish(KernelSamples& all) {
    for (auto& [key, series] : series_) {
      std::sort(series.sizes.begin(), series.sizes.end());
      for (std::size_t i = 1; i < series.sizes.size(); ++i) {
        const auto& [part, size, time] = series.sizes[i];
        const auto& [part_before, size_before, time_before] = series.sizes[i - 1];
        if (part == part_before && size > size_before && time < time_before / 2) ++all.warnings[std::string(kFalls)];
      }
    }
  }

 private:
  struct Series {
    std::map<std::pair<std::string, std::size_t>, double> times;
    std::vector<std::tuple<std::size_t, double, double>> sizes;  // which of the row's times, size, time
  };
  std::string size_;
  std::vector<std::string> fixed_, following_;
  std::unordered_map<std::string, Series> series_;
};

class KernelTableReader {
 public:
  KernelTableReader(const KernelTableOptions& options, KernelSamples& all) : options_(options), all_(all) {}

  void read(const std::string& path) {
    LineReader reader(path);
    TableRow row(reader);
    const Columns wanted = columns(options_.op, row);
    for (const std::string_view column : wanted.needed) {
      row.need(column, fmt::format("which --op {} needs", name(options_.op)));
    }
    stem_ = is_standard_input(path) ? std::string() : fs::path(path).stem().string();
    named_ = table_name(stem_, gpus_);
    const bool needs_model = row.has("layer") || row.has("activated_experts") || row.has("prefill_chunk");
    model_ = needs_model ? model_in_name(stem_) : std::nullopt;
    RoutingExpectations routing;
    if (row.has("dist") && row.has("tokens")) {
      const fs::path beside = fs::path(path).parent_path() / kExpectations;
      std::error_code error;
      if (!is_standard_input(path) && fs::exists(beside, error)) routing.read(beside);
    }
    SeriesCheck series(row, wanted.size);
    const std::int64_t before = all_.rows;
    while (row.next()) {
      ++all_.rows;
      read_one(row, routing, series);
    }
    if (all_.rows == before) reader.fail_file("no rows behind the header");
    series.finish(all_);
    all_.tables.push_back(input_name(path));
  }

 private:
  void read_one(const TableRow& row, RoutingExpectations& routing, SeriesCheck& series) {
    const auto skipped = [&](std::string_view reason) { ++all_.skipped[std::string(reason)]; };
    const std::string provider = provider_of(row);
    const std::string version = row.has("version") ? std::string(row.text("version")) : named_.version;
    const GpuSpec* const gpu = gpu_of(row);
    KernelRowSamples found;
    // Broken rows are told of whatever becomes of them.
    read_row({.fields = row,
              .op = options_.op,
              .gpu = gpu,
              .provider = provider,
              .model = model_ ? &*model_ : nullptr,
              .routing = routing},
             found);
    if (gpu == nullptr) return skipped(kUnknownGpu);
    if (!options_.gpu.empty() && gpu->id != options_.gpu) return skipped(kOtherGpu);
    if (!options_.provider.empty() && provider != options_.provider) return skipped(kOtherProvider);
    if (!options_.version.empty() && !version.empty() && version != options_.version) return skipped(kOtherVersion);
    if (gpu->multiprocessors == 0) return skipped(kSparseGpu);
    if (found.samples.empty()) return skipped(found.skipped);
    if (!row.has("gpu") && named_.gpu != nullptr && named_.gpu->id != gpu->id) ++all_.warnings[std::string(kOtherName)];
    series.add(row, found.samples, all_);
    for (KernelSample& sample : found.samples) {
      check_rate(row, sample, *gpu);
      sample.table = all_.tables.size();
      sample.line = row.line();
      sample.gpu = index_of(*gpu);
      sample.provider = provider;
      sample.version = version;
      all_.samples.push_back(std::move(sample));
    }
  }

  std::string provider_of(const TableRow& row) const {
    std::string provider = row.has("provider")          ? std::string(row.text("provider"))
                           : !options_.provider.empty() ? options_.provider
                                                        : named_.provider;
    if (provider.empty()) {
      row.fail("whose kernels are these? give --provider, a column provider, or a file name FAMILY_GPU_PROVIDER.csv");
    }
    std::transform(provider.begin(), provider.end(), provider.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return provider;
  }

  /// Nothing where the row names a GPU that is not known.
  const GpuSpec* gpu_of(const TableRow& row) const {
    if (row.has("gpu")) return gpus_.find(row.text("gpu"));
    if (!options_.gpu.empty()) return gpus_.find(options_.gpu);
    if (named_.gpu == nullptr) {
      row.fail("which GPU is this of? give --gpu, a column gpu, or a file name FAMILY_GPU_PROVIDER.csv");
    }
    return named_.gpu;
  }

  /// Twice the peak of the matrix units, or twenty times the bandwidth of the memory (caches are two to ten times as
  /// fast), is no kernel.
  static void check_rate(const TableRow& row, const KernelSample& sample, const GpuSpec& gpu) {
    const KernelWork work = work_of(sample);
    const LeastTimes least = least_times(work, gpu);
    const double compute = least.compute / sample.measured, memory = least.memory / sample.measured;
    if (compute > 2) {
      const double flops = std::accumulate(work.flops.begin(), work.flops.end(), 0.0);
      row.fail(
          fmt::format("{:.4g} us would be {:.4g} TFLOP/s, and {} has a peak of {:.4g}: is the time in other units?",
                      sample.measured * 1e6, flops / sample.measured * 1e-12, gpu.id, flops / least.compute * 1e-12));
    }
    if (memory > 20) {
      row.fail(fmt::format("{:.4g} us would be {:.4g} TB/s, and {} has a memory of {:.4g}: is the time in other units?",
                           sample.measured * 1e6, work.memory_bytes / sample.measured * 1e-12, gpu.id,
                           gpu.memory_bandwidth.value * 1e-12));
    }
  }

  std::size_t index_of(const GpuSpec& gpu) {
    const auto found =
        std::find_if(all_.gpus.begin(), all_.gpus.end(), [&](const GpuSpec& one) { return one.id == gpu.id; });
    if (found != all_.gpus.end()) return static_cast<std::size_t>(found - all_.gpus.begin());
    all_.gpus.push_back(gpu);
    return all_.gpus.size() - 1;
  }

  const KernelTableOptions& options_;
  KernelSamples& all_;
  GpuNames gpus_;
  std::string stem_;
  TableName named_;
  std::optional<LayerShape> model_;
};

}  // namespace

KernelSamples read_kernel_tables(std::span<const std::string> paths, const KernelTableOptions& options) {
  KernelSamples all;
  KernelTableReader reader(options, all);
  for (const std::string& path : paths) reader.read(path);
  return all;
}

}  // namespace moesim
