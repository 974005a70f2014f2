#pragma once
// Many independent runs on several threads.

#include <cstddef>
#include <cstdint>
#include <functional>

namespace moesim {

struct CaseProgress {
  std::function<void(std::int64_t done, std::int64_t total)> update;  ///< called by one thread at a time
  std::function<bool()> interrupted;
};

/// Calls `run(i)` once for every i < count, `jobs` at a time, in any order; those that are left when `interrupted`
/// turns true are not called.
void run_cases(std::size_t count, int jobs, const CaseProgress& progress, const std::function<void(std::size_t)>& run);

}  // namespace moesim
