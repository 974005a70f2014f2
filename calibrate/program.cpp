#include "program.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <optional>

#include "measured_file.h"

namespace moesim::calibrate {

namespace {

volatile std::sig_atomic_t interrupts = 0;

/// The first ends the run after the row at hand, the second at once.
extern "C" void on_interrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1) _exit(130);
}

int fail(int exit_code, const std::string& message) {
  fmt::print(stderr, "moesim-calibrate: {}\n", message);
  return exit_code;
}

/// One line on a terminal, else a line for every tenth of a table.
class Progress {
 public:
  Progress(std::string_view what, std::size_t total)
      : what_(what), total_(total), start_(std::chrono::steady_clock::now()), animated_(isatty(STDERR_FILENO) != 0) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void at(std::size_t done, const std::string& row) {
    const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const std::string left =
        done > 0
            ? fmt::format(", {:.0f} s left", passed / static_cast<double>(done) * static_cast<double>(total_ - done))
            : std::string();
    if (animated_) {
      fmt::print(stderr, "\r\x1b[K{}: row {} of {}{}: {}", what_, done + 1, total_, left, row);
      std::fflush(stderr);
      drawn_ = true;
    } else if (done * 10 / total_ != said_) {
      said_ = done * 10 / total_;
      fmt::print(stderr, "{}: {} of {} rows{}\n", what_, done, total_, left);
    }
  }
  void say(const std::string& message) {
    clear();
    fmt::print(stderr, "moesim-calibrate: {}\n", message);
  }

 private:
  void clear() {
    if (drawn_) fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
  }
  std::string what_;
  std::size_t total_;
  std::chrono::steady_clock::time_point start_;
  bool animated_, drawn_ = false;
  std::size_t said_ = 0;
};

std::vector<Case> wanted_cases(Family family, const Options& options, std::vector<KernelChoice> kernels, int gpus) {
  if (!options.kernels.empty()) {
    std::erase_if(kernels, [&](const KernelChoice& choice) {
      return std::find(options.kernels.begin(), options.kernels.end(), choice.kernel) == options.kernels.end();
    });
  }
  std::vector<Case> cases = cases_of(family, kernels, gpus);
  if (options.group) {  // a group of processes has one communicator
    std::erase_if(cases, [&](const Case& c) {
      const auto* collective = std::get_if<CollectiveCase>(&c.shape);
      return collective != nullptr && collective->ranks != gpus;
    });
  }
  return cases;
}

int list(const Options& options) {
  for (const Family family : options.families) {
    for (const Case& c : wanted_cases(family, options, all_kernels(), 8)) {
      fmt::print("{}: {}\n", name(family), key_of(c));
    }
  }
  return 0;
}

/// Wrong results in a row after which a kernel is left out; the others of the family stand in for it.
constexpr int kMostWrong = 3;

struct Tally {
  std::size_t measured = 0, present = 0, wrong = 0, skipped = 0;
};

/// The exit code where the run cannot go on.
std::optional<int> measure_family(Bench& bench, Family family, const Options& options, Tally& tally) {
  const bool writes = !options.group || options.group->rank == 0;
  std::optional<MeasuredFile> table;
  const std::string path = table_path(options.output, family, options.families.size());
  std::string refusal;
  if (writes) {
    auto opened = MeasuredFile::open(path, family, options.resume ? ExistingFile::resume : ExistingFile::refuse);
    if (auto* problem = std::get_if<std::string>(&opened)) {
      refusal = *problem;
    } else {
      table = std::move(std::get<MeasuredFile>(opened));
    }
  }
  if (!bench.as_rank_0_says(refusal.empty()))
    return fail(4, refusal.empty() ? "rank 0 cannot write its table" : refusal);

  const std::vector<Case> cases = wanted_cases(family, options, bench.kernels(), bench.gpus());
  if (cases.empty()) fmt::print(stderr, "moesim-calibrate: {}: no kernel here\n", name(family));
  std::map<std::string, int> wrong_in_a_row;  // by kernel
  Progress progress(name(family), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string row = fmt::format("{} {}", name(family), key_of(cases[i]));
    progress.at(i, key_of(cases[i]));
    if (bench.as_rank_0_says(table && table->holds(cases[i]))) {
      ++tally.present;
      continue;
    }
    int& wrong = wrong_in_a_row[cases[i].kernel];
    if (wrong == kMostWrong) {
      ++tally.wrong;
      continue;
    }
    const Outcome outcome = bench.measure(cases[i]);
    if (const auto* failure = std::get_if<Failure>(&outcome)) {
      progress.say(fmt::format("{}: no time: {}", row, failure->message));
      if (failure->kind == Failure::Kind::device_lost) {
        return fail(
            1, "the device or its group is lost; start again with --resume, or with --kernel to leave this one out");
      }
      ++(failure->kind == Failure::Kind::wrong_result ? tally.wrong : tally.skipped);
      if (failure->kind == Failure::Kind::wrong_result && ++wrong == kMostWrong) {
        progress.say(fmt::format("{}: {} is wrong on this machine and is left out", name(family), cases[i].kernel));
      }
    } else {
      ++tally.measured;
      wrong = 0;
      if (table && !table->add(cases[i], std::get<Measured>(outcome), bench.provenance())) {
        return fail(3, fmt::format("{}: cannot be written", path));
      }
    }
    if (bench.as_rank_0_says(interrupts > 0)) return 130;
  }
  return std::nullopt;
}

}  // namespace

std::vector<KernelChoice> all_kernels() {
  std::vector<KernelChoice> kernels{{Family::gemm, "cublas", "cublaslt", {}},
                                    {Family::quantize, "ours", "ours", {}},
                                    {Family::memory_pass, "ours", "ours", {}},
                                    {Family::attn_decode, "ours", "split_kv", {}},
                                    {Family::attn_prefill, "ours", "flash_mma", {}},
                                    {Family::attn_prefill, "cudnn", "sdpa", {}},
                                    {Family::mla_prefill, "cudnn", "sdpa", {}},
                                    {Family::mla_decode, "ours", "split_kv", {}},
                                    {Family::mla_prefill, "ours", "flash_mma", {}},
                                    {Family::mla_bmm, "cublas", "cublaslt", {}},
                                    {Family::nccl, "nccl", "nccl", {}},
                                    {Family::alltoallv, "nccl", "nccl", {}},
                                    {Family::memory, "cuda", "cuda", {}}};
  for (const Family family : {Family::grouped_gemm, Family::moe}) {
    kernels.push_back({family, "cublas", "cublaslt_loop", {}});
    kernels.push_back({family, "cublas", "cublas_grouped", Precision::bf16});
    kernels.push_back({family, "ours", "wgmma", {}});
    kernels.push_back({family, "ours", "mma_sync", {}});
  }
  return kernels;
}

int run_program(std::span<const std::string> words, const OpenBench& open_bench) {
  const auto parsed = parse_options(words, process_environment);
  if (const auto* refused = std::get_if<Refused>(&parsed)) {
    if (refused->exit_code != 0) return fail(refused->exit_code, refused->text);
    fmt::print("{}", refused->text);
    return 0;
  }
  const Options& options = std::get<Options>(parsed);
  if (options.list) return list(options);

  const auto opened = open_bench(options);
  if (const auto* none = std::get_if<NoBench>(&opened)) return fail(none->exit_code, none->reason);
  Bench& bench = *std::get<std::unique_ptr<Bench>>(opened);
  std::signal(SIGINT, on_interrupt);

  Tally tally;
  for (const Family family : options.families) {
    if (const auto code = measure_family(bench, family, options, tally)) return *code;
  }
  fmt::print(stderr, "moesim-calibrate: {} rows measured, {} there before, {} not supported here, {} wrong\n",
             tally.measured, tally.present, tally.skipped, tally.wrong);
  return tally.wrong > 0 ? 1 : 0;
}

}  // namespace moesim::calibrate
