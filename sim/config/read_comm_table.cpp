#include "config/read_comm_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "calibration/comm_prediction.h"
#include "collectives/link_loads.h"
#include "config/comm_hardware.h"
#include "config/json_reader.h"
#include "config/line_reader.h"
#include "config/read_collective_profile.h"

namespace moesim {

namespace {

/// Columns that some op uses, and those that belong to such tables and say nothing more.
constexpr std::string_view kUsed[] = {"system",
                                      "gpu",
                                      "intra_link",
                                      "inter_link",
                                      "nodes",
                                      "gpus_per_node_used",
                                      "ranks",
                                      "ep",
                                      "library",
                                      "lib_version",
                                      "collective",
                                      "bytes",
                                      "time_us",
                                      "time_us_median",
                                      "mode",
                                      "kernel",
                                      "op",
                                      "moe_dtype",
                                      "hidden",
                                      "topk",
                                      "experts",
                                      "tokens_per_rank",
                                      "sms",
                                      "dispatch_us",
                                      "combine_us",
                                      "dtype",
                                      "dispatch_dtype",
                                      "engine",
                                      "kind",
                                      "batch",
                                      "concurrency",
                                      "bw_GBps",
                                      "bw_def",
                                      "source_id",
                                      "link"};

/// The fields of one line by the name of their column.
class Row {
 public:
  Row(const LineReader& reader, const std::vector<std::string>& header) : reader_(reader), header_(header) {}

  void take(const std::vector<std::string_view>& fields) { fields_ = fields; }

  /// Empty where the table has no such column.
  std::string_view text(std::string_view column) const {
    const auto place = std::find(header_.begin(), header_.end(), column);
    return place == header_.end() ? std::string_view() : fields_[static_cast<std::size_t>(place - header_.begin())];
  }
  std::string string(std::string_view column) const { return std::string(text(column)); }

  std::optional<double> number(std::string_view column) const {
    const std::string_view field = text(column);
    if (field.empty() || field == "N/A" || field == "n/a") return std::nullopt;
    double value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value) || value < 0) {
      reader_.fail(fmt::format("{}: expected a number that is not negative, got {}", column, echo(field)));
    }
    return value;
  }
  std::optional<std::int64_t> whole(std::string_view column, double most = 1e15) const {
    const std::optional<double> value = number(column);
    if (!value) return std::nullopt;
    if (*value != std::floor(*value) || *value > most) {
      reader_.fail(fmt::format("{}: expected a whole number up to {:g}, got {}", column, most, echo(text(column))));
    }
    return static_cast<std::int64_t>(*value);
  }
  /// Throws where it is missing.
  std::int64_t needed(std::string_view column, double most = 1e15) const {
    const auto value = whole(column, most);
    if (!value) reader_.fail(fmt::format("{}: empty; expected a whole number", column));
    return *value;
  }
  const LineReader& reader() const { return reader_; }

 private:
  const LineReader& reader_;
  const std::vector<std::string>& header_;
  std::vector<std::string_view> fields_;
};

/// Why a row is not used. `unknown system` and other problems of the hardware come from CommHardware.
constexpr std::string_view kOtherGpu = "another GPU than --gpu", kOtherProvider = "another library than --provider",
                           kOtherVersion = "another version than --lib-version",
                           kOtherLibrary = "a library that the op is not of", kEager = "eager mode: host time",
                           kNoTime = "no time", kNoBytes = "no bytes", kNotModelled = "a kernel that is not modelled",
                           kHostWork = "time includes work around the kernel", kDegraded = "degraded fabric",
                           kOldVersion = "a version without NVLink", kOneRank = "fewer than two ranks",
                           kOtherKind = "not a one-sided transfer",
                           kUnequal = "an unequal all-to-all: no curve takes it";

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::optional<CostCurve> collective_curve(std::string_view text) {
  constexpr std::pair<std::string_view, CostCurve> known[] = {{"all_reduce", CostCurve::all_reduce},
                                                              {"all_gather", CostCurve::all_gather},
                                                              {"reduce_scatter", CostCurve::reduce_scatter},
                                                              {"alltoall", CostCurve::all_to_all},
                                                              {"all_to_all", CostCurve::all_to_all},
                                                              {"send_recv", CostCurve::send_recv},
                                                              {"sendrecv", CostCurve::send_recv}};
  for (const auto& [name, curve] : known) {
    if (name == text) return curve;
  }
  return std::nullopt;
}

/// Bytes of one token as the kernels of each library carry it.
Bytes low_latency_payload(std::int64_t hidden) {
  return {hidden + hidden / 128 * 4 + 16};  // fp8, scales, header [deepep]
}
Bytes normal_payload(std::int64_t hidden, std::string_view dtype) {
  return {dtype == "bf16" || dtype == "bfloat16" ? hidden * 2 : hidden + hidden / 128 * 4};
}
Bytes nvlink_payload(std::int64_t hidden, std::string_view dtype) {
  if (dtype == "nvfp4") return {hidden / 2 + hidden / 16};  // with a scale for 16 elements
  return {dtype == "fp8" ? hidden : hidden * 2};
}

/// The samples of one row: none with a reason, or one or two.
class RowSamples {
 public:
  RowSamples(const Row& row, const CommTableOptions& options, CommHardware& hardware)
      : row_(row), options_(options), hardware_(hardware) {}

  std::vector<CommSample> samples;
  std::string_view reason = {};
  std::string problem;  ///< of the hardware

  void read() {
    switch (options_.op) {
      case CommOp::nccl:
        return read_nccl();
      case CommOp::custom_allreduce:
        return read_custom();
      case CommOp::deepep_ll:
      case CommOp::deepep_normal:
        return read_deepep();
      case CommOp::nvlink_a2a:
        return read_nvlink();
      case CommOp::p2p:
        return read_put();
    }
  }

 private:
  /// False, with the reason set, where the library is not of the op or not the one asked for.
  bool library_fits(std::initializer_list<std::string_view> own) {
    if (!options_.version.empty() && row_.text("lib_version") != options_.version) {
      reason = kOtherVersion;
      return false;
    }
    const std::string library = lower(row_.text("library"));
    if (!options_.provider.empty()) {
      if (library.starts_with(options_.provider)) return true;
      reason = kOtherProvider;
      return false;
    }
    if (library.empty() ||
        std::any_of(own.begin(), own.end(), [&](std::string_view l) { return library.starts_with(l); })) {
      return true;
    }
    reason = kOtherLibrary;
    return false;
  }

  /// The sample of the row without its curve and time; nothing, with the reason set, where it has no place.
  std::optional<CommSample> placed() {
    CommPlace place{row_.string("system"), row_.string("gpu"), row_.string("intra_link"), row_.string("inter_link")};
    const auto ranks = row_.whole("ranks", 1e9);
    place.ranks = static_cast<std::uint32_t>(options_.op == CommOp::p2p ? 2 : ranks ? *ranks : row_.needed("ep", 1e9));
    place.nodes = static_cast<std::uint32_t>(row_.whole("nodes", 65536).value_or(1));
    if (options_.op == CommOp::p2p) place.nodes = 2;
    if (place.ranks < 2) {
      reason = kOneRank;
      return std::nullopt;
    }
    const CommHardware::Found found = hardware_.find(place);
    if (!found.system) {
      problem = found.problem;
      return std::nullopt;
    }
    const CommSystem& system = hardware_.systems()[*found.system];
    if (!options_.gpu.empty() && system.gpu.id != options_.gpu) {
      reason = kOtherGpu;
      return std::nullopt;
    }
    if (hardware_.degraded(place.system, options_.op, place.nodes)) {
      reason = kDegraded;
      return std::nullopt;
    }
    CommSample sample;
    sample.line = row_.reader().line_number();
    sample.system = *found.system;
    sample.nodes = place.nodes;
    sample.ranks = place.ranks;
    sample.domains =
        group_nodes(*system.topology, sample_group(system.topology->cluster(), place.nodes, place.ranks)).nodes();
    sample.library = row_.string(row_.text("library").empty() ? "engine" : "library");
    sample.version = row_.string("lib_version");
    if (!sample.version.empty()) sample.library += " " + sample.version;
    sample.source = row_.string("source_id");
    return sample;
  }

  void add(CommSample sample, CostCurve curve, std::optional<double> microseconds) {
    if (!microseconds || *microseconds <= 0) {
      if (samples.empty() && reason.empty()) reason = kNoTime;
      return;
    }
    constexpr double longest = 1e9;  // 1,000 s
    if (*microseconds > longest) {
      row_.reader().fail(fmt::format("a time of {:g} us: expected at most {:g}", *microseconds, longest));
    }
    sample.curve = curve;
    sample.measured = *microseconds * 1e-6;
    samples.push_back(std::move(sample));
    reason = {};
  }

  std::optional<double> time() const {
    const auto median = row_.number("time_us_median");
    return median ? median : row_.number("time_us");
  }

  void read_nccl() {
    if (row_.text("collective") == "alltoallv") {
      reason = kUnequal;
      return;
    }
    const auto curve = collective_curve(row_.text("collective"));
    if (!curve) {
      row_.reader().fail(
          fmt::format("collective: expected all_reduce, all_gather, reduce_scatter, alltoall or send_recv, got {}",
                      echo(row_.text("collective"))));
    }
    if (!library_fits({"nccl"})) return;
    const std::int64_t bytes = row_.needed("bytes");
    if (bytes == 0) {
      reason = kNoBytes;
      return;
    }
    if (auto sample = placed()) {
      sample->bytes = bytes;
      add(*sample, *curve, time());
    }
  }

  /// A column `collective` that names another one than the op is of.
  bool other_collective(CostCurve wanted) {
    if (row_.text("collective").empty() || collective_curve(row_.text("collective")) == wanted) return false;
    reason = kOtherKind;
    return true;
  }

  void read_custom() {
    if (other_collective(CostCurve::all_reduce)) return;
    if (!library_fits({"vllm", "sglang", "trtllm"})) return;
    if (row_.text("mode") == "eager") {
      reason = kEager;
      return;
    }
    const std::string library = lower(row_.text("library"));
    // The library is who measured; the kernel is whose it is.
    const std::string kernel = lower(row_.text("kernel"));
    const bool trtllm = kernel.empty() ? library == "trtllm" : kernel.starts_with("trtllm");
    const bool sglang = kernel.empty() ? library == "sglang" : kernel.starts_with("sglang");
    if (auto sample = placed()) {
      sample->bytes = row_.needed("bytes");
      add(*sample,
          trtllm   ? CostCurve::custom_all_reduce_trtllm
          : sglang ? CostCurve::custom_all_reduce_sglang
                   : CostCurve::custom_all_reduce,
          time());
    }
  }

  void set_shape(CommSample& sample) const {
    sample.tokens = row_.needed("tokens_per_rank", 1e9);
    sample.hidden = row_.needed("hidden", 1e6);
    sample.top_k = row_.needed("topk", 1e4);
    sample.experts = row_.whole("experts", 1e6).value_or(256);
  }

  void read_deepep() {
    if (!library_fits({"deepep"})) return;
    const bool low = options_.op == CommOp::deepep_ll;
    const std::string library = lower(row_.text("library"));
    if (library.find(low ? "deepep-ll" : "deepep-normal") != 0 && library.find("deepep-by") != 0 && !library.empty()) {
      reason = kOtherLibrary;
      return;
    }
    if (row_.text("lib_version").find("RDMA only") != std::string_view::npos) {
      reason = kOldVersion;
      return;
    }
    if (library.find("-opt") != std::string::npos || library.find("multiqp") != std::string::npos) {
      reason = kOtherLibrary;
      return;
    }
    const auto tokens = row_.whole("tokens_per_rank", 1e9);
    if (!tokens || *tokens == 0) {
      reason = kNoBytes;
      return;
    }
    // One table of both kernels gives tokens; low-latency kernels take few.
    constexpr std::int64_t most_low_latency = 1024;
    if (library.find("deepep-by") == 0 && (*tokens <= most_low_latency) != low) {
      reason = kOtherLibrary;
      return;
    }
    auto sample = placed();
    if (!sample) return;
    set_shape(*sample);
    if (!low) sample->sms = row_.whole("sms", 1024).value_or(0);
    const std::string_view dtype =
        row_.text("dispatch_dtype").empty() ? row_.text("dtype") : row_.text("dispatch_dtype");
    sample->payload = {low ? low_latency_payload(sample->hidden) : normal_payload(sample->hidden, dtype),
                       Bytes{sample->hidden * 2}};
    const CostCurve dispatch = low ? CostCurve::low_latency_dispatch : CostCurve::normal_dispatch;
    const CostCurve combine = low ? CostCurve::low_latency_combine : CostCurve::normal_combine;
    const std::string_view op = row_.text("op");
    if (op.empty()) {
      add(*sample, dispatch, row_.number("dispatch_us"));
      add(*sample, combine, row_.number("combine_us"));
      return;
    }
    if (op != "dispatch" && op != "combine") {
      reason = kNotModelled;
      return;
    }
    const bool is_dispatch = op == "dispatch";
    add(*sample, is_dispatch ? dispatch : combine, published_time(*sample, is_dispatch));
  }

  /// The time of a published row, or that behind its bandwidth [deepep: README]: NVLink counts one copy a (token,
  /// rank), RDMA one a (token, node), the own one included; low latency one a (token, expert).
  std::optional<double> published_time(const CommSample& sample, bool dispatch) {
    if (const auto published = row_.number("time_us")) return published;
    const auto rate = row_.number("bw_GBps");
    const std::string_view def = row_.text("bw_def");
    if (!rate || *rate <= 0) return std::nullopt;
    if (def.find("torch_api") != std::string_view::npos) {
      reason = kHostWork;
      return std::nullopt;
    }
    const double nodes = sample.domains, groups = std::min(nodes, 4.0), k = static_cast<double>(sample.top_k);
    const double experts = static_cast<double>(sample.experts), allowed = experts * groups / nodes;
    double copies = k;
    if (options_.op == CommOp::deepep_normal) {
      copies = def.starts_with("nvlink")
                   ? groups / nodes * sample.ranks * reach_probability(allowed, experts / sample.ranks, k)
                   : groups * reach_probability(allowed, experts / nodes, k);
    }
    const double bytes = static_cast<double>((dispatch ? sample.payload.dispatch : sample.payload.combine).value) *
                         static_cast<double>(sample.tokens) * copies;
    return bytes / *rate * 1e-3;
  }

  void read_nvlink() {
    if (!library_fits({"trt-llm-nvlink", "trtllm", "flashinfer"})) return;
    const bool one_sided = lower(row_.text("library")).find("onesided") != std::string::npos;
    const std::string_view op = row_.text("op");
    std::optional<CostCurve> curve;
    if (op == "prepare" && !one_sided) curve = CostCurve::two_sided_prepare;
    if (op == "dispatch") curve = one_sided ? CostCurve::one_sided_dispatch : CostCurve::two_sided_dispatch;
    if (op == "combine") curve = one_sided ? CostCurve::one_sided_combine : CostCurve::two_sided_combine;
    if (!curve) {
      reason = kNotModelled;
      return;
    }
    auto sample = placed();
    if (!sample) return;
    set_shape(*sample);
    sample->payload = {nvlink_payload(sample->hidden, row_.text("moe_dtype")), Bytes{sample->hidden * 2}};
    add(*sample, *curve, time());
  }

  void read_put() {
    if (other_collective(CostCurve::send_recv)) return;
    const std::string kind = lower(row_.text("kind"));
    if (!kind.empty() && kind != "rdma_write" && kind != "write" && kind != "rdma_read" && kind != "read") {
      reason = kOtherKind;
      return;
    }
    const std::int64_t bytes = row_.needed("bytes");
    if (bytes == 0) {
      reason = kNoBytes;
      return;
    }
    if (auto sample = placed()) {
      sample->bytes = bytes;
      sample->messages = std::max<std::int64_t>(1, row_.whole("batch", 1e9).value_or(1));
      add(*sample, kind == "rdma_read" || kind == "read" ? CostCurve::get : CostCurve::put, time());
    }
  }

  const Row& row_;
  const CommTableOptions& options_;
  CommHardware& hardware_;
};

/// What each op cannot do without; alternatives are parted by |.
std::vector<std::string_view> needed_columns(CommOp op) {
  switch (op) {
    case CommOp::nccl:
      return {"collective", "bytes", "ranks|ep", "time_us|time_us_median"};
    case CommOp::custom_allreduce:
      return {"bytes", "ranks|ep", "time_us"};
    case CommOp::deepep_ll:
    case CommOp::deepep_normal:
      return {"ep|ranks", "hidden", "topk", "tokens_per_rank", "dispatch_us|op"};
    case CommOp::nvlink_a2a:
      return {"op", "ep|ranks", "hidden", "topk", "tokens_per_rank", "time_us"};
    case CommOp::p2p:
      return {"bytes", "time_us"};
  }
  return {};
}

void check_header(const LineReader& reader, const std::vector<std::string>& header, CommOp op) {
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (std::find(header.begin(), header.begin() + static_cast<std::ptrdiff_t>(i), header[i]) !=
        header.begin() + static_cast<std::ptrdiff_t>(i)) {
      reader.fail(fmt::format("column {}: {} stands twice", i + 1, echo(header[i])));
    }
  }
  std::vector<std::string> strangers;
  for (const std::string& column : header) {
    if (std::find(std::begin(kUsed), std::end(kUsed), column) == std::end(kUsed)) strangers.push_back(column);
  }
  for (std::string_view wanted : needed_columns(op)) {
    bool there = false;
    std::string names;
    for (std::string_view left = wanted; !left.empty();) {
      const std::string_view one = left.substr(0, left.find('|'));
      there = there || std::find(header.begin(), header.end(), one) != header.end();
      names += (names.empty() ? "" : " or ") + std::string(one);
      left.remove_prefix(std::min(left.size(), one.size() + 1));
    }
    if (there) continue;
    const auto near = nearest(wanted.substr(0, wanted.find('|')), strangers);
    reader.fail(fmt::format("missing column {}, which --op {} needs{}", names, name(op),
                            near ? fmt::format("; is {} it?", echo(*near)) : ""));
  }
}

void read_table(const std::string& path, const CommTableOptions& options, CommHardware& hardware, CommSamples& all) {
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> fields;
  std::vector<std::string> storage, header;
  if (!reader.next(line)) reader.fail_file("empty; expected a header and rows");
  split_csv(line, fields, storage);
  for (const std::string_view field : fields) header.emplace_back(field);
  check_header(reader, header, options.op);
  const std::int64_t before = all.rows;
  Row row(reader, header);
  while (reader.next(line)) {
    split_csv(line, fields, storage);
    if (fields.size() != header.size()) {
      reader.fail(fmt::format("{} fields, expected {} as in the header", fields.size(), header.size()));
    }
    row.take(fields);
    ++all.rows;
    RowSamples found(row, options, hardware);
    found.read();
    if (found.samples.empty()) {
      ++all.skipped[found.problem.empty() ? std::string(found.reason) : found.problem];
    }
    for (CommSample& sample : found.samples) {
      sample.table = all.tables.size();
      all.samples.push_back(std::move(sample));
    }
  }
  if (all.rows == before) reader.fail_file("no rows behind the header");
  all.tables.push_back(input_name(path));
}

}  // namespace

CommSamples read_comm_tables(std::span<const std::string> paths, const CommTableOptions& options) {
  CommHardware hardware(options.cluster);
  CommSamples all;
  for (const std::string& path : paths) read_table(path, options, hardware, all);
  all.systems = std::move(hardware.systems());
  return all;
}

void overlay_profile(CommSamples& samples, const std::filesystem::path& file) {
  for (CommSystem& system : samples.systems) {
    system.profile = own_collective_profile(file, system.gpu, system.topology->cluster(), system.profile);
  }
}

}  // namespace moesim
