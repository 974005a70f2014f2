#pragma once
// The run of moesim-calibrate from its arguments to its exit code; the GPU comes in as a Bench.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "case_fields.h"
#include "options.h"

namespace moesim::calibrate {

/// A machine that can be measured.
class Bench {
 public:
  virtual ~Bench() = default;
  virtual const Provenance& provenance() const = 0;
  /// Ranks that a collective can have.
  virtual int gpus() const = 0;
  virtual std::vector<KernelChoice> kernels() const = 0;
  /// Checks the kernel against its reference, then times it.
  virtual Outcome measure(const Case& measured) = 0;
  /// In a group of processes: what rank 0 says. All call it in the same order.
  virtual bool as_rank_0_says(bool mine) { return mine; }
};

/// Why there is nothing to measure with: exit code 6 without a GPU, 3 where a library is missing.
struct NoBench {
  int exit_code = 6;
  std::string reason;
};
using OpenBench = std::function<std::variant<std::unique_ptr<Bench>, NoBench>(const Options&)>;

/// Every kernel that some machine has.
std::vector<KernelChoice> all_kernels();

/// Exit codes of docs: 0; 1 when a kernel failed its check; 2 usage; 3 a file or library; 4 a table that is not ours;
/// 6 no GPU; 130 interrupted. Results go to files, all text to stderr; --list and --help to stdout.
int run_program(std::span<const std::string> words, const OpenBench& open_bench);

}  // namespace moesim::calibrate
