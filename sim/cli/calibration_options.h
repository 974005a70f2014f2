#pragma once
// What `fit` and `predict` have in common: the op, the hardware, the tables.

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>

#include "cli/command.h"
#include "config/read_comm_table.h"
#include "config/read_kernel_table.h"

namespace moesim {

inline constexpr std::array<OptionRow, 5> kTableOptions = {
    {{.name = "op",
      .value = "OP",
      .meaning = "what was timed: gemm moe moe_wideep grouped_gemm attn_decode attn_prefill attn_mixed mla_decode "
                 "mla_prefill mla_bmm quantize linear_attention memory_pass, or nccl custom_allreduce deepep_ll "
                 "deepep_normal nvlink_a2a p2p",
      .choices = "gemm moe moe_wideep grouped_gemm attn_decode attn_prefill attn_mixed mla_decode mla_prefill mla_bmm "
                 "quantize linear_attention memory_pass nccl custom_allreduce deepep_ll deepep_normal nvlink_a2a p2p"},
     {.name = "gpu",
      .value = "NAME",
      .meaning = "the GPU of a table of kernels that does not say; only its rows of one that does",
      .completion = Completion::gpu},
     {.name = "provider",
      .value = "NAME",
      .meaning = "whose kernels or library: trtllm vllm sglang deepgemm nccl deepep ...; as --gpu",
      .choices = "nccl rccl vllm sglang trtllm cublas deepgemm deepep flashinfer"},
     {.name = "lib-version", .value = "VERSION", .meaning = "only rows of this version of their library"},
     {.name = "cluster",
      .value = "FILE",
      .meaning = "the hardware of all rows of communication",
      .completion = Completion::file}}};

/// `kTableOptions` and a command's own.
template <std::size_t Own>
constexpr std::array<OptionRow, 5 + Own> with_table_options(const std::array<OptionRow, Own>& own) {
  std::array<OptionRow, 5 + Own> rows{};
  std::copy(kTableOptions.begin(), kTableOptions.end(), rows.begin());
  std::copy(own.begin(), own.end(), rows.begin() + kTableOptions.size());
  return rows;
}

/// A refusal: what to print and the exit code.
struct Refusal {
  int code = exit_usage;
  std::string message;
};

/// The options of the tables, from --op, --gpu, --cluster, --provider. Throws ConfigError.
std::variant<CommTableOptions, Refusal> comm_table_options(const Arguments& arguments);

/// Those of kernels, from --op, --gpu, --provider, --lib-version; nothing where --op is not of kernels. Throws
/// ConfigError.
std::optional<KernelTableOptions> kernel_table_options(const Arguments& arguments);

/// The bytes of a profile that was read from `file`.
std::string text_of(const std::filesystem::path& file);
/// What would keep the file of `option` from being written, told before the work: it is a folder or one of the measured
/// tables. Empty where nothing is known to.
std::string output_problem(const Arguments& arguments, const std::string& option);

/// "fit sweep.csv --op nccl": the command as it was typed, for files that it writes.
std::string command_line(std::string_view command, const Arguments& arguments, std::span<const OptionRow> rows);

}  // namespace moesim
