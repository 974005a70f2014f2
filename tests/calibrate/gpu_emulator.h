#pragma once
// Runs the kernels of calibrate/ on the CPU: every thread of a block is a fiber, a block runs after the other. What the
// hardware does asynchronously (copies to shared memory, products of a warpgroup) happens at the wait that allows it at
// the latest, so a kernel that reads too early or frees too early gives wrong numbers here. Included
// by the source of kernels only.

#include <ucontext.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "number_formats.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wattributes"

#define __global__ inline
#define __device__ inline
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)

struct uint2 {
  std::uint32_t x, y;
};
struct uint4 {
  std::uint32_t x, y, z, w;
};
struct float2 {
  float x, y;
};
inline uint2 make_uint2(std::uint32_t x, std::uint32_t y) {
  return {x, y};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
using std::max;
using std::min;

namespace emulator {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

/// 227 KiB, aligned as the swizzle of 128 bytes needs it.
inline constexpr std::size_t kSharedBytes = 232448;
alignas(1024) inline unsigned char shared_memory[kSharedBytes];

struct Warp {
  int arrived = 0;
  unsigned generation = 0;
  std::array<std::array<unsigned char, 32>, 32> slots[2];
};
struct Fiber {
  ucontext_t context{};
  std::vector<unsigned char> stack;
  bool done = false;
  std::vector<std::function<void()>> copies;  ///< not yet committed
  std::deque<std::vector<std::function<void()>>> committed;
  std::vector<std::function<void()>> products;
  std::deque<std::vector<std::function<void()>>> committed_products;
};
struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  int arrived = 0;
  unsigned generation = 0;
  int running = 0;
  ucontext_t scheduler{};
  std::size_t current = 0;
  long long idle = 0;  ///< switches since something happened
  std::function<void()> kernel;
};
inline Block block;

[[noreturn]] inline void fail(const char* why) {
  std::fprintf(stderr, "emulated GPU: %s\n", why);
  std::abort();
}
inline void happened() {
  block.idle = 0;
}

#if defined(__SANITIZE_ADDRESS__)
inline void* scheduler_stack = nullptr;
inline const void* scheduler_bottom = nullptr;
inline std::size_t scheduler_size = 0;
#endif

inline void yield() {
  if (++block.idle > 4'000'000) fail("deadlock");
  Fiber& me = *block.fibers[block.current];
#if defined(__SANITIZE_ADDRESS__)
  void* mine = nullptr;
  __sanitizer_start_switch_fiber(me.done ? nullptr : &mine, scheduler_bottom, scheduler_size);
  swapcontext(&me.context, &block.scheduler);
  __sanitizer_finish_switch_fiber(mine, &scheduler_bottom, &scheduler_size);
#else
  swapcontext(&me.context, &block.scheduler);
#endif
}

inline void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  block.kernel();
  block.fibers[block.current]->done = true;
  --block.running;
  happened();
  yield();
}

inline Index3 thread_index, block_index, block_size, grid_size;

inline void run_block(unsigned threads) {
  block.warps.assign((threads + 31) / 32, {});
  block.arrived = 0;
  block.generation = 0;
  block.running = static_cast<int>(threads);
  while (block.fibers.size() < threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
    block.fibers.back()->stack.resize(128 << 10);
  }
  for (unsigned t = 0; t < threads; ++t) {
    Fiber& fiber = *block.fibers[t];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
  while (block.running > 0) {
    for (unsigned t = 0; t < threads; ++t) {
      Fiber& fiber = *block.fibers[t];
      if (fiber.done) continue;
      block.current = t;
      thread_index = {t, 0, 0};
#if defined(__SANITIZE_ADDRESS__)
      __sanitizer_start_switch_fiber(&scheduler_stack, fiber.stack.data(), fiber.stack.size());
      swapcontext(&block.scheduler, &fiber.context);
      __sanitizer_finish_switch_fiber(scheduler_stack, nullptr, nullptr);
#else
      swapcontext(&block.scheduler, &fiber.context);
#endif
    }
  }
}

/// What `kernel<<<grid, threads, bytes>>>` does; shared memory starts as NaNs.
inline void launch(Index3 grid, unsigned threads, std::size_t shared_bytes, std::function<void()> kernel) {
  if (shared_bytes > kSharedBytes) fail("too much shared memory");
  block.kernel = std::move(kernel);
  block_size = {threads, 1, 1};
  grid_size = grid;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        block_index = {x, y, z};
        std::memset(shared_memory, 0xff, kSharedBytes);
        run_block(threads);
      }
    }
  }
}

inline void block_barrier() {
  const unsigned generation = block.generation;
  if (++block.arrived == block.running) {
    block.arrived = 0;
    ++block.generation;
    happened();
  }
  while (block.generation == generation) yield();
}

/// What every lane of the warp gives; read(lanes) after all have given.
template <class Value, class Read>
auto exchange(const Value& mine, Read read) {
  static_assert(sizeof(Value) <= 32);
  const std::size_t thread = block.current;
  Warp& warp = block.warps[thread / 32];
  const unsigned generation = warp.generation;
  auto& slots = warp.slots[generation % 2];
  std::memcpy(slots[thread % 32].data(), &mine, sizeof mine);
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.generation;
    happened();
  }
  while (warp.generation == generation) yield();
  std::array<Value, 32> all;
  for (std::size_t i = 0; i < 32; ++i) std::memcpy(&all[i], slots[i].data(), sizeof(Value));
  return read(all, thread % 32);
}

inline void run_all_but(std::deque<std::vector<std::function<void()>>>& groups, std::size_t pending) {
  while (groups.size() > pending) {
    for (const auto& action : groups.front()) action();
    groups.pop_front();
  }
}
inline Fiber& me() {
  return *block.fibers[block.current];
}

}  // namespace emulator

#define threadIdx (::emulator::thread_index)
#define blockIdx (::emulator::block_index)
#define blockDim (::emulator::block_size)
#define gridDim (::emulator::grid_size)

inline void __syncthreads() {
  ::emulator::block_barrier();
}
inline void __syncwarp() {
  ::emulator::exchange(0, [](const auto&, std::size_t) { return 0; });
}
template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return ::emulator::exchange(
      value, [&](const auto& all, std::size_t lane) { return all[lane ^ static_cast<std::size_t>(mask)]; });
}
template <class Value>
Value __shfl_up_sync(unsigned, Value value, int delta) {
  return ::emulator::exchange(value, [&](const auto& all, std::size_t lane) {
    return lane >= static_cast<std::size_t>(delta) ? all[lane - static_cast<std::size_t>(delta)] : all[lane];
  });
}
template <class Value>
Value __shfl_sync(unsigned, Value value, int source) {
  return ::emulator::exchange(value,
                              [&](const auto& all, std::size_t) { return all[static_cast<std::size_t>(source)]; });
}
template <class Value>
unsigned __match_any_sync(unsigned, Value value) {
  return ::emulator::exchange(value, [](const auto& all, std::size_t lane) {
    unsigned same = 0;
    for (unsigned i = 0; i < 32; ++i) same |= all[i] == all[lane] ? 1u << i : 0;
    return same;
  });
}
inline int __popc(unsigned value) {
  return __builtin_popcount(value);
}
inline void atomicAdd(std::int32_t* target, std::int32_t value) {
  *target += value;
}
inline void atomicMax(std::uint32_t* target, std::uint32_t value) {
  if (value > *target) *target = value;
}

#include "calibrate/emulated_instructions.h"
