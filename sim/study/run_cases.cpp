#include "study/run_cases.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace moesim {

void run_cases(std::size_t count, int jobs, const CaseProgress& progress, const std::function<void(std::size_t)>& run) {
  std::atomic<std::size_t> next = 0;
  std::mutex reporting;
  std::int64_t done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      if (progress.interrupted && progress.interrupted()) return;
      run(i);
      const std::lock_guard lock(reporting);
      if (progress.update) progress.update(++done, static_cast<std::int64_t>(count));
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < jobs; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace moesim
